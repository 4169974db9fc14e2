"""`archcast calibrate` with imports, maps, devices and held-out shapes, as a user types it."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import archcast, refused

from archcast.cli.calibrate import calibrate
from costmodel.artefact import load_card
from costmodel.measured.rows import MOST_ROWS
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.table import OpTable

pytest.importorskip("xgboost")
MAP = "m=M,n=N,k=K,latency_s=ms*1e-3,op:gemm,dtype:bf16,device:h100-sxm"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 300 different GEMMs of 30 shapes, its own columns, at twice the closed form's time in milliseconds."""
    rng = np.random.default_rng(0)
    shape = rng.integers(0, 30, 300)
    sizes: dict[str, Any] = {"m": 8.0 * np.arange(1, 301), "n": 256.0 + 64 * shape, "k": 512.0 + 64 * shape}
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes}, rows=300)
    latency_s = 2 * predict_physics(table, compile_rates(load_device("h100-sxm"))).latency_s
    path = tmp_path_factory.mktemp("mine") / "mine.csv"
    write_columns(path, {"M": sizes["m"], "N": sizes["n"], "K": sizes["k"], "ms": latency_s * 1e3})
    return path


def test_a_table_of_ones_own_columns_is_calibrated_from(mine: Path, tmp_path: Path) -> None:
    ended = archcast("calibrate", mine, "--map", MAP, "--out", tmp_path / "m", "--json")
    assert ended.code == 0
    assert ended.stderr == ""  # a bar stands on terminals alone
    answer = ended.json()
    assert sum(answer["rows"].values()) == 300
    assert answer["settings"]["data"]["sources"]["mine.csv"] == {"read": 300, "mapped": 300, "skipped": {}}
    assert load_card(tmp_path / "m").scores["h100-sxm/gemm"].rows > 0


def test_the_importer_of_plain_tables_takes_the_map_too(mine: Path, tmp_path: Path) -> None:
    ended = archcast("calibrate", "--import", f"csv={mine}", "--map", MAP, "--out", tmp_path / "m", "--json")
    assert sum(ended.json()["rows"].values()) == 300


def test_a_factor_that_was_forgotten_is_caught_by_the_unit(mine: Path, tmp_path: Path) -> None:
    message = refused("calibrate", mine, "--map", MAP.replace("*1e-3", ""), "--out", tmp_path / "m")
    assert "milliseconds" in message


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_a_folder_of_aiconfigurator_is_imported_and_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = 300
    sizes = {"m": np.exp2(rng.integers(0, 12, rows)), "n": 64.0 * rng.integers(1, 40, rows),
             "k": 64.0 * rng.integers(1, 4, rows)}  # fmt: skip
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes}, rows=rows)
    latency_s = 2 * predict_physics(table, compile_rates(load_device("l40s"))).latency_s
    words = {"framework": "VLLM", "version": "0.24.0", "system": "l40s", "gemm_dtype": "bfloat16"}
    texts = {name: np.full(rows, word, dtype=object) for name, word in words.items()}
    folder = tmp_path / "tables"
    folder.mkdir()
    write_columns(folder / "gemm_perf.parquet", {**texts, **sizes, "latency": latency_s * 1e3})
    ended = archcast("calibrate", "--import", f"aiconfigurator={folder}", "--devices", "l40s", "--out", tmp_path / "m")
    assert ended.code == 0
    assert f"aiconfigurator={folder}: 300 rows read" in ended.stdout
    settings = load_card(tmp_path / "m").settings
    assert list(settings["data"]["sources"]) == ["aiconfigurator=tables"]  # no folders of this disk in a card
    assert settings["data"]["devices"] == ["l40s"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to calibrate from"),
        (("--import", "aiconfigurater"), "aiconfigurator"),
        (("--import", "aiconfigurator=nowhere"), "not a folder"),
        (("--import", "csv"), "--import NAME=PATH"),
        (("--import", "aiconfigurator", "--devices", "h100sxn"), "h100-sxm"),
        (("--import", "aiconfigurator", "--exclude", "nowhere.csv"), "nowhere.csv"),
        (("nowhere.csv", "--map", "m=M,oops"), "oops"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert words in refused("calibrate", *options, "--out", tmp_path / "m")


def test_the_default_bound_is_the_same_for_both_ways_to_call() -> None:
    assert inspect.signature(calibrate).parameters["max_rows"].default == MOST_ROWS


def test_a_bound_on_rows_must_be_a_number_of_rows(mine: Path, tmp_path: Path) -> None:
    assert "max_rows" in refused("calibrate", mine, "--map", MAP, "--max-rows", "0", "--out", tmp_path / "m")
