"""The artefact that ships: small, sound, honest about what it saw, and what answers where no model is named."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from cli_runner import ROOT, archcast

import archcast as ac
from archcast.cost_models import find_cost_model, shipped
from costmodel.anchors import anchored
from costmodel.artefact import Card, load_card
from costmodel.contract import check_cost_model
from costmodel.document import PAGE, shipped_page
from costmodel.features import describe
from costmodel.physics import price
from costmodel.protocol import SHIPPED
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from foundation.errors import BadFileError
from hardware_specs import load_device
from workloads.table import OpTable

CARD: Card = load_card(SHIPPED)
DEVICES = CARD.scope.devices


def test_it_is_at_most_ten_megabytes() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 10e6


def test_its_card_says_what_it_was_trained_on_and_what_it_never_saw() -> None:
    assert len(CARD.data_sha256) == 64
    assert CARD.settings["data"]["sources"]
    held_out = CARD.settings["held_out"]
    assert held_out["gemm"]
    assert all(len(key) == 16 for keys in held_out.values() for key in keys)
    assert CARD.rows["held_out"] > 10_000


@pytest.mark.parametrize("device", DEVICES)
def test_it_beats_the_closed_form_on_rows_that_it_never_saw(device: str) -> None:
    mine = [s for name, s in CARD.scores.items() if name.startswith(f"{device}/") and s.rows >= 50]
    assert mine
    assert np.mean([s.mape for s in mine]) < np.mean([s.physics_mape for s in mine])


@pytest.mark.parametrize("device", [*DEVICES, "rtx-4090", "mi300x", "raspberry-pi-5"])
def test_it_keeps_the_contract(device: str) -> None:
    check_cost_model(shipped(), rates=compile_rates(load_device(device)))


def test_predict_answers_with_it_and_says_so() -> None:
    found = ac.predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=512, generate=32)
    assert found.source["learned"] > 0.7
    assert found.versions["cost_model"].startswith("learned ")
    ended = archcast("predict", "llama-3.1-8b", "--on", "h100-sxm")
    assert "% learned" in ended.stdout


def test_physics_names_the_closed_form() -> None:
    found = ac.predict("llama-3.1-8b", on="h100-sxm", model="physics")
    assert found.source == {"physics": 1.0}
    ended = archcast("predict", "llama-3.1-8b", "--on", "h100-sxm", "--model", "physics")
    assert "source: 100 % physics" in ended.stdout


def test_a_name_that_nothing_has_is_refused_in_one_sentence() -> None:
    with pytest.raises(BadFileError, match="no such folder, and no package offers"):
        find_cost_model("phisics")


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadFileError, match="there is no such folder"):
        find_cost_model("some/where")


def test_a_device_of_another_kind_keeps_the_closed_form() -> None:
    assert ac.predict("mobilenet-v2", on="rk3588").source == {"physics": 1.0}


def test_it_answers_without_importing_xgboost() -> None:
    code = (
        "import sys, archcast as ac; ac.predict('llama-3.1-8b', on='h100-sxm', batch=4, prompt=100, generate=8); "
        "print('xgboost' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_every_measured_device_is_in_it_by_an_id_of_the_catalogue() -> None:
    model = shipped()
    assert isinstance(model, LearnedModel)
    for device in DEVICES:
        assert model.rates_digests[device] == compile_rates(load_device(device)).digest(), device


def test_its_page_is_what_its_card_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == shipped_page()


@pytest.mark.parametrize("rows", [1, 5, 200])
def test_sums_of_stages_are_part_of_what_it_says_of_experts(rows: int) -> None:
    model = shipped()
    assert isinstance(model, LearnedModel)
    name = next(name for name in model.forest.names if name.startswith("moe/") and "h200-sxm" in name)
    table = OpTable.from_columns({
        "op": "moe", "dtype": "bf16", "tokens": np.arange(1.0, rows + 1), "hidden": 4096.0, "inter": 1536.0,
        "experts": 128.0, "topk": 8.0,
    })  # fmt: skip
    rates = compile_rates(load_device("h200-sxm"))
    features = np.ascontiguousarray(describe(table, price(table, rates), rates, "moe", "vllm 0.24.0").matrix)
    trees = model.forest.trees(name)
    assert trees.anchor is not None
    sums = anchored(trees.anchor, features, name)
    np.testing.assert_allclose(model.log_factor(name, features), trees.predict(features) + sums, atol=1e-5)
    assert np.abs(sums).min() > 0.001
