"""An artefact is refused unless it is whole, unchanged and of this version."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_calibration import ROUNDS, gemm_columns, measured

from costmodel.artefact import load_artefact, load_card
from costmodel.calibration import calibrate
from costmodel.costs import COLUMNS
from costmodel.rates import compile_rates
from foundation.errors import BadFileError
from hardware_specs import load_device
from workloads.table import OpTable

pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefact")
    calibrate([measured(folder)], folder / "model", rounds=ROUNDS)
    return folder / "model"


@pytest.fixture
def artefact(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the card and give it a fitting hash, as another version would have written it."""
    card = json.loads((folder / "card.json").read_text())
    card.pop("card_sha256")
    change(card)
    card["card_sha256"] = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def refusal(folder: Path) -> str:
    with pytest.raises(BadFileError) as caught:
        load_artefact(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_loaded_model_answers_as_the_one_loaded_before(artefact: Path, original: Path) -> None:
    table, rates = OpTable.from_columns(gemm_columns(10, 30)), compile_rates(load_device("h100-sxm"))
    first, second = (load_artefact(path).predict(table, rates) for path in (artefact, original))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert load_artefact(artefact).version == load_artefact(original).version


def test_the_card_is_plain_json_and_says_what_a_reader_needs(artefact: Path) -> None:
    card = json.loads((artefact / "card.json").read_text())
    assert card["scope"]["devices"] == ["h100-sxm"]
    assert card["versions"].keys() >= {"xgboost", "numpy"}
    assert len(card["data_sha256"]) == 64
    assert card["files"]["model.bin"] == hashlib.sha256((artefact / "model.bin").read_bytes()).hexdigest()
    assert card["settings"]["nthread"] == 1
    assert card["scores"]["h100-sxm/gemm"]["rows"] == 120
    assert list(load_card(artefact).features["gemm"]) == card["features"]["gemm"]


def test_a_changed_model_file_is_noticed(artefact: Path) -> None:
    data = (artefact / "model.bin").read_bytes()
    (artefact / "model.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "changed after the artefact was made" in refusal(artefact)


def test_a_changed_card_is_noticed(artefact: Path) -> None:
    card = json.loads((artefact / "card.json").read_text())
    card["physics_version"] = f"{card['physics_version']}0"
    (artefact / "card.json").write_text(json.dumps(card))
    assert "card was changed" in refusal(artefact)


def test_another_schema_physics_or_feature_set_is_refused(artefact: Path, original: Path) -> None:
    changes: list[tuple[Callable[[dict[str, Any]], None], str]] = [
        (lambda card: card.update(schema_version=1), "schema version 1, this archcast reads 3"),
        (lambda card: card.update(physics_version="0"), "another version of the closed form"),
        (lambda card: card["features"]["gemm"].pop(), "another version of the closed form"),
        (lambda card: card.pop("scope"), "lacks or garbles a field"),
        (lambda card: card["scope"]["ranges"]["gemm/h100-sxm/bf16"][0].pop(), "lacks or garbles a field"),
        (lambda card: card.update(surprise=1), "lacks or garbles a field"),
    ]
    for change, says in changes:
        shutil.copy(original / "card.json", artefact / "card.json")
        rewritten(artefact, change)
        assert says in refusal(artefact)


def test_missing_files_and_other_folders_are_refused(artefact: Path, tmp_path: Path) -> None:
    (artefact / "model.bin").unlink()
    assert "cannot be read" in refusal(artefact)
    assert "no such folder" in refusal(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "not an artefact" in refusal(empty)
    assert "not an artefact" in refusal(artefact / "card.json")


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"schema_version": NaN}', "\x80\x04pickle", "[" * 100_000])
def test_a_card_that_is_none_is_refused(text: str, artefact: Path) -> None:
    (artefact / "card.json").write_text(text)
    assert "not the card of an artefact" in refusal(artefact)


def test_calibrating_again_replaces_the_artefact(artefact: Path, tmp_path: Path) -> None:
    before = load_artefact(artefact).version
    calibrate([measured(tmp_path, seed=5)], artefact, rounds=5)
    assert load_artefact(artefact).version != before
    assert sorted(p.name for p in artefact.iterdir()) == ["card.json", "model.bin"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
