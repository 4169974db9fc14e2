"""The built-in architectures: compiled as their files say, names and aliases that resolve, a new one in one file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from foundation.errors import BadFileError, UnknownNameError
from foundation.packed_text import read_packed
from workloads.catalogue import (
    ARCHITECTURES,
    COMPILED,
    EXAMPLES,
    architecture_facts,
    examples,
    load_model,
    workload_names,
)
from workloads.compile import EXAMPLES_FOLDER, compile_architectures, examples_text, text_of
from workloads.document import PAGE, page
from workloads.families import FAMILIES

SMALL = "family: resnet\nsource: ours\npublished_parameters: 1\nknobs: {depths: [1, 1, 1, 1], block: basic}\n"


def test_the_compiled_architectures_are_what_the_yaml_says() -> None:
    assert read_packed(COMPILED).decode() == text_of(compile_architectures()), "run python -m workloads.compile"


def test_the_page_of_networks_is_what_the_catalogue_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m workloads.document"


def test_there_are_more_than_65_architectures_of_every_domain_and_each_is_within_1_percent() -> None:
    assert len({architecture_facts(name)["source"] for name in workload_names()}) >= 65
    off = re.findall(r"[+-]\d+\.\d+(?=%)", PAGE.read_text(encoding="utf-8"))
    assert all(abs(float(share)) <= 1 for share in off)


@pytest.mark.parametrize("name", workload_names())
def test_every_architecture_states_its_family_and_source(name: str) -> None:
    facts = architecture_facts(name)
    assert facts["family"] in FAMILIES
    assert facts["source"]


def test_names_aliases_and_other_spellings_resolve() -> None:
    assert load_model("ResNet_50").name == load_model("resnet50").name == "resnet-50"
    for name in workload_names():
        assert all(
            architecture_facts(alias) == architecture_facts(name) for alias in architecture_facts(name)["aliases"]
        )


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_model("resnet-5O")
    assert "resnet-50" in caught.value.nearest


def test_adding_an_architecture_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "architectures"
    shutil.copytree(ARCHITECTURES, folder)
    (folder / "vision" / "resnet-10.yaml").write_text(SMALL, encoding="utf-8")
    assert compile_architectures(folder)["resnet-10"]["knobs"]["depths"] == [1, 1, 1, 1]
    model = load_model(folder / "vision" / "resnet-10.yaml")
    assert model.name == "resnet-10"
    assert model.summary()["parameters"] > 4e6


def test_variants_inherit_what_their_file_states_knob_by_knob(tmp_path: Path) -> None:
    (tmp_path / "vision").mkdir()
    file = tmp_path / "vision" / "nets.yaml"
    file.write_text(SMALL + "variants:\n  net-a: {knobs: {depths: [2, 2, 2, 2]}}\n  net-b:\n", encoding="utf-8")
    entries = compile_architectures(tmp_path)
    assert list(entries) == ["net-a", "net-b"]
    assert entries["net-a"]["knobs"] == {"depths": [2, 2, 2, 2], "block": "basic"}
    assert entries["net-b"]["knobs"] == {"depths": [1, 1, 1, 1], "block": "basic"}
    assert entries["net-a"]["domain"] == "vision"
    with pytest.raises(BadFileError, match=r"variants.*describes one network"):
        load_model(file)


def test_a_wrong_key_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "vision").mkdir()
    (tmp_path / "vision" / "net.yaml").write_text(SMALL + "parametres: 5\n", encoding="utf-8")
    with pytest.raises(BadFileError, match="parametres"):
        compile_architectures(tmp_path)


def test_the_files_that_come_along_are_found_by_name() -> None:
    assert load_model("Keyword_Spotting").name == load_model(EXAMPLES_FOLDER / "keyword-spotting.yaml").name
    assert read_packed(EXAMPLES).decode() == examples_text(), "run python -m workloads.compile"
    assert not set(examples()) & set(workload_names())
    with pytest.raises(UnknownNameError) as caught:
        load_model("cache-evicton")
    assert "cache-eviction" in caught.value.nearest
