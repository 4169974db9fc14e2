"""Bad measurements as a user gives them to `archcast calibrate`: one sentence each, and no artefact is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import archcast, refused

from archcast.import_options import asked_import
from archcast.repeats import CONFLICT, settled
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.measurements import measurement_table
from workloads.table import OpTable

pytest.importorskip("xgboost")
TRACES = Path(__file__).parent / "fixtures" / "traces"
ROWS = 240


def columns(device: str = "h100-sxm", rows: int = ROWS, times: float = 1.7) -> dict[str, Any]:
    """GEMMs of some thirty shapes, all different, at `times` the closed form's latency."""
    rng = np.random.default_rng(0)
    shape = rng.integers(0, 30, rows)
    sizes = {"m": 64.0 + 16 * np.arange(rows), "n": 256.0 + 64 * shape, "k": 512.0 + 64 * shape}
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes}, rows=rows)
    latency = times * predict_physics(table, compile_rates(load_device(device))).latency_s
    texts = {name: np.full(rows, word) for name, word in (("device", device), ("op", "gemm"), ("dtype", "bf16"))}
    return {**texts, **sizes, "latency_s": latency}


def written(path: Path, given: dict[str, Any]) -> Path:
    write_columns(path, {name: np.asarray(column) for name, column in given.items()})
    return path


def sentence(path: Path, folder: Path, *options: object) -> str:
    """Return the one sentence with which calibration refuses a table; nothing may be left."""
    said = refused("calibrate", path, "--out", folder / "model", *options)
    assert said.startswith("Error: ")
    assert "\n" not in said
    assert not (folder / "model").exists()
    return said


def test_a_good_table_of_one_device_is_learned_from_and_says_nothing_of_others(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.csv", columns())
    assert archcast("calibrate", path, "--out", tmp_path / "model").code == 0
    few = written(tmp_path / "few.csv", {n: c[:20] for n, c in columns("l40s").items()})
    said = sentence(few, tmp_path / "other", "--from", tmp_path / "model")
    assert "can adapt nothing" in said
    known = sentence(path, tmp_path / "again", "--from", tmp_path / "model")
    assert "was calibrated on h100-sxm itself" in known


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e3, "look like milliseconds"),
        (1e6, "look like microseconds"),
        (1e-3, "divided by 1,000 once too often"),
        (1e-6, "divided by 1,000,000 once too often"),
    ],
)
def test_a_wrong_unit_is_named_both_ways(factor: float, words: str, tmp_path: Path) -> None:
    said = sentence(written(tmp_path / "mine.csv", columns(times=1.7 * factor)), tmp_path)
    assert words in said
    assert "latency_s is in seconds" in said


def test_three_rows_are_too_few_to_learn_from(tmp_path: Path) -> None:
    said = sentence(written(tmp_path / "mine.csv", columns(rows=3)), tmp_path)
    assert "at least 30 rows" in said
    assert "3 are given" in said


def test_an_empty_table_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("device,op,dtype,m,n,k,latency_s\n")
    assert "no rows" in sentence(path, tmp_path)
    path.write_text("")
    assert str(path) in sentence(path, tmp_path)


@pytest.mark.parametrize("cell", ["nan", "inf", "-1", "0", "fast"])
def test_a_latency_that_is_none_names_row_and_column(cell: str, tmp_path: Path) -> None:
    path = written(tmp_path / "mine.csv", columns())
    lines = path.read_text().splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0] + f",{cell}"
    path.write_text("\n".join(lines) + "\n")
    said = sentence(path, tmp_path)
    assert "row 5" in said
    assert "'latency_s'" in said


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = written(tmp_path / "mine.parquet", columns())
    content = path.read_bytes()
    for keep in (4, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:keep])
        assert str(path) in sentence(path, tmp_path)


def test_rows_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    given = columns()
    for name in ("m", "n", "k"):
        given[name][77] = given[name][11]
    given["latency_s"][77] = 1.5 * CONFLICT * given["latency_s"][11]
    path = written(tmp_path / "mine.csv", given)
    said = sentence(path, tmp_path)
    assert "rows 12 and 78" in said
    assert f"factor of {CONFLICT:g}" in said
    ended = archcast("calibrate", path, "--skip-bad", "--out", tmp_path / "model", "--json")
    assert ended.code == 0
    assert sum(ended.json()["rows"].values()) == ROWS - 2
    assert any("row 12" in reason for reason in ended.json()["skipped"])


def test_of_repeats_within_noise_the_median_counts() -> None:
    nan = float("nan")
    given = {"device": "h100-sxm", "op": "gemm", "dtype": "bf16", "m": [8.0, 8.0, 16.0, 8.0, 16.0, 32.0], "n": 64.0,
             "k": 64.0, "latency_s": [1.0, 2.0, 5.0, 1.2, 7.0, 9.0], "energy_j": [1.0, nan, nan, 2.0, nan, 3.0],
             "software": ["a", "a", "a", "a", "a", "b"]}  # fmt: skip
    found = settled(measurement_table("here", given))
    assert found.table.full("m").tolist() == [8.0, 16.0, 32.0]
    assert found.value("latency_s").tolist() == [1.2, 6.0, 9.0]  # of 1, 1.2, 2; of 5 and 7; alone
    energy = found.value("energy_j")
    assert energy[0] == 1.5
    assert np.isnan(energy[1])
    assert energy[2] == 3.0


def test_another_stack_device_or_format_is_no_repeat() -> None:
    given = {"device": ["h100-sxm", "l40s", "h100-sxm", "h100-sxm"], "op": "gemm",
             "dtype": ["bf16", "bf16", "fp8", "bf16"], "software": ["a", "a", "a", "b"], "m": 8.0, "n": 64.0, "k": 64.0,
             "latency_s": [1.0, 10.0, 100.0, 1000.0]}  # fmt: skip
    assert settled(measurement_table("here", given)).rows == 4
    with pytest.raises(BadFileError, match="rows 1 and 3"):
        settled(measurement_table("here", {**given, "device": "h100-sxm", "dtype": "bf16"}))


def test_a_tampered_artefact_and_one_of_another_version_are_refused(tmp_path: Path) -> None:
    path, model = written(tmp_path / "mine.csv", columns()), tmp_path / "model"
    assert archcast("calibrate", path, "--out", model).code == 0
    ask = ("predict", "gpt-2", "--on", "h100-sxm", "--model", model)
    assert archcast(*ask).code == 0
    card, content = (model / "card.json").read_text(), (model / "model.bin").read_bytes()
    (model / "model.bin").write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert "changed after the artefact was made" in refused(*ask)
    (model / "model.bin").write_bytes(content)
    (model / "card.json").write_text(card.replace("h100-sxm", "h200-sxm"))
    assert "card was changed" in refused(*ask)
    (model / "card.json").write_text(json.dumps({**json.loads(card), "schema_version": 1}))
    assert "schema version 1" in refused(*ask)


def test_a_trace_of_another_workload_is_refused_and_its_own_is_aligned(tmp_path: Path) -> None:
    trace = TRACES / "resnet18_cpu.json.gz"
    options = f"kineto={trace},device=xeon-4210r,workload=bert-base,batch=2,prompt=64"
    said = refused("calibrate", "--import", options, "--out", tmp_path / "model")
    assert "does not look like bert-base" in said
    own = f"kineto={trace},device=xeon-4210r,workload=resnet-18,batch=2"
    said = refused("calibrate", "--import", own, "--out", tmp_path / "model")
    assert "at least 30 rows" in said  # the 20 convolutions of the trace are read, and are too few
    assert "'batches'" in refused("calibrate", "--import", own.replace("batch=", "batches="), "--out", tmp_path / "m")


def test_options_stand_behind_the_path_of_an_import(tmp_path: Path) -> None:
    assert asked_import("aiconfigurator") == ("aiconfigurator", None, {})
    tables = "gemm_perf,moe_perf"
    assert asked_import(f"aiconfigurator,tables={tables}") == ("aiconfigurator", None, {"tables": tables})
    assert asked_import("kineto=a,b.json,workload=x,batch=2") == (
        "kineto", Path("a,b.json"), {"workload": "x", "batch": "2"},
    )  # fmt: skip
    odd = tmp_path / "a,b=c.json"
    odd.write_text("{}")
    assert asked_import(f"kineto={odd}") == ("kineto", odd, {})
    for text, words in ((",a=b", "names no import"), ("x=p,a=", "no value"), ("x=p,a=1,a=2", "stands twice")):
        with pytest.raises(BadValueError, match=words):
            asked_import(text)
