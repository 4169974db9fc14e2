"""Importers are found by name; a plug-in adds one, and a broken one breaks nothing; tables are built from columns."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.calibration import calibrate
from costmodel.artefact import load_card
from costmodel.measured.base import IMPORTERS, ImportRequest, MeasurementImporter, find_importer
from costmodel.measured.rows import Exclusion, shape_keys, thin
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.measurements import MeasurementTable, measurement_table, read_measurements
from workloads.table import OpTable

GEMM = {"op": "gemm", "dtype": "bf16", "device": "h100-sxm", "software": "lab 1"}


class Entry:
    def __init__(self, name: str, found: object) -> None:
        self.name, self.found = name, found

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def plugged(monkeypatch: pytest.MonkeyPatch, **found: object) -> None:
    entries = [Entry(name, thing) for name, thing in found.items()]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries if "measurements" in group else [])


def two_rows(request: ImportRequest) -> Iterator[MeasurementTable]:
    request.report.read += 2
    yield measurement_table("lab", {**GEMM, "m": [1, 2], "n": 64, "k": 64, "latency_s": [1e-6, 2e-6]})


def fails(request: ImportRequest) -> Iterator[MeasurementTable]:
    yield from two_rows(request)
    raise RuntimeError("no such luck")


def test_every_built_in_importer_has_a_loader_and_a_line_about_it() -> None:
    for name, importer in IMPORTERS.items():
        assert importer.name == name
        assert importer.describe
        module, _, function = importer.loader.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_a_plug_in_adds_an_importer_and_broken_ones_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = MeasurementImporter("lab", "rows of a lab", f"{__name__}:two_rows")
    plugged(monkeypatch, a=ImportError("gone"), b="no importer", lab=mine)
    request = ImportRequest()
    (found,) = find_importer("lab").load(request)
    assert found.rows == request.report.mapped == 2
    with pytest.raises(BadFileError, match="gone"):
        find_importer("a")
    with pytest.raises(BadFileError, match="must name a MeasurementImporter"):
        find_importer("b")
    with pytest.raises(UnknownNameError, match="aiconfigurator"):
        find_importer("aiconfigurater")


def test_a_plug_in_cannot_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(monkeypatch, thief=MeasurementImporter("csv", "another", f"{__name__}:two_rows"))
    assert find_importer("csv").loader.startswith("costmodel.measured.")
    with pytest.raises(BadFileError, match="the name 'csv' is taken"):
        find_importer("thief")


def test_what_a_plug_in_raises_by_mistake_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(monkeypatch, lab=MeasurementImporter("lab", "rows of a lab", f"{__name__}:fails"))
    with pytest.raises(BadFileError, match=r"importer 'lab'.*no such luck"):
        list(find_importer("lab").load(ImportRequest()))


def test_columns_in_memory_pass_the_checks_of_a_file(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        **{name: np.array([word] * 3, dtype=object) for name, word in GEMM.items()}, "m": np.array([1.0, 2, 3]),
        "n": np.full(3, 64.0), "k": np.full(3, 32.0), "latency_s": np.array([1e-6, np.nan, 3e-6]),
    }  # fmt: skip
    write_columns(tmp_path / "t.csv", columns)
    there, here = read_measurements(tmp_path / "t.csv"), measurement_table("memory", columns)
    for name in ("op", "dtype", "m", "n", "k"):
        assert np.array_equal(there.table.full(name), here.table.full(name))
    assert np.array_equal(there.value("latency_s"), here.value("latency_s"), equal_nan=True)
    assert there.device.tolist() == here.device.tolist()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"m": [1]}, "no column 'op'"),
        ({**GEMM, "m": [], "n": 1, "k": 1}, "no rows"),
        ({**GEMM, "m": [1, 2], "n": [1, 2, 3], "k": 1}, "different lengths"),
        ({**GEMM, "m": [1, 0], "n": 1, "k": 1}, "row 2: gemm needs m above 0"),
        ({**GEMM, "m": [1, np.inf], "n": 1, "k": 1}, "row 2: 'inf' is not a usable number"),
        ({**GEMM, "m": ["x"], "n": 1, "k": 1}, "holds something else"),
        ({**GEMM, "op": "gem", "m": 1, "n": 1, "k": 1}, "Nearest: gemm"),
        ({**GEMM, "m": 1, "n": 1, "k": 1, "latency_s": [0.0]}, "latency of 0"),
    ],
)
def test_columns_in_memory_that_are_no_table_are_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFileError, match=words):
        measurement_table("memory", columns)


def measured(rows: int = 400, seed: int = 0, device: str = "h100-sxm") -> dict[str, Any]:
    """GEMMs of 40 shapes at twice the closed form's time, some noise on it."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(0, 40, rows)
    columns = {**GEMM, "device": device, "m": np.exp2(rng.integers(0, 12, rows)), "n": 256.0 + 64 * shape,
               "k": 512.0 + 64 * (shape % 7)}  # fmt: skip
    table = OpTable.from_columns({name: columns[name] for name in ("op", "dtype", "m", "n", "k")}, rows=rows)
    physics = predict_physics(table, compile_rates(load_device(device))).latency_s
    return {**columns, "latency_s": 2 * physics * np.exp(rng.normal(0, 0.05, rows))}


def written(folder: Path, name: str, columns: dict[str, Any]) -> Path:
    rows = len(columns["latency_s"])
    full = {n: np.full(rows, v, dtype=object) if isinstance(v, str) else v for n, v in columns.items()}
    write_columns(folder / name, full)
    return folder / name


def test_shapes_that_are_held_out_stay_out_of_training_on_every_device(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    file = written(tmp_path, "m.csv", measured())
    held = written(tmp_path, "held.csv", {**GEMM, "device": "b200", "m": np.array([999.0]), "n": np.array([256.0]),
                                          "k": np.array([512.0]), "latency_s": np.array([1.0])})  # fmt: skip
    out = calibrate(file, out=tmp_path / "model", exclude=held)
    table = read_measurements(file)
    sizes = np.unique(np.stack([table.table.full(name) for name in ("m", "n", "k")]), axis=1)  # repeats are one row
    gone = int(((sizes[1] == 256) & (sizes[2] == 512)).sum())
    assert gone > 0
    assert sum(out.card.rows.values()) == sizes.shape[1] - gone
    data = load_card(tmp_path / "model").settings["data"]
    assert data["sources"]["m.csv"]["skipped"]["a shape that is held out"] == gone
    assert data["excluded"]["file"] == "held.csv"
    with pytest.raises(BadValueError, match="all rows were left out"):
        calibrate(file, out=tmp_path / "none", exclude=file)


def test_only_the_devices_asked_for_are_learned(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    files = [written(tmp_path, f"{d}.csv", measured(seed=i, device=d)) for i, d in enumerate(("h100-sxm", "l40s"))]
    out = calibrate(files, out=tmp_path / "model", devices=["l40s"])
    assert out.card.scope.devices == ("l40s",)
    with pytest.raises(UnknownNameError, match="l40s"):
        calibrate(files, out=tmp_path / "model", devices=["l40z"])


def test_too_many_rows_are_thinned_and_the_card_says_so(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    files = [written(tmp_path, f"{d}.csv", measured(seed=i, device=d)) for i, d in enumerate(("h100-sxm", "l40s"))]
    out = calibrate(files, out=tmp_path / "model", max_rows=300)
    assert sum(out.card.rows.values()) <= 300 + 4
    data = load_card(tmp_path / "model").settings["data"]
    assert set(data["thinned"]["kept_of"]) == {"h100-sxm/gemm", "l40s/gemm"}
    assert "thinned: l40s/gemm to" in out.text()


def tables() -> list[MeasurementTable]:
    small = {**GEMM, "op": "norm", "rows": np.arange(1.0, 11), "hidden": 64.0, "latency_s": np.full(10, 1e-6)}
    return [measurement_table("a", measured(300)), measurement_table("b", small),
            measurement_table("c", measured(500, 1))]  # fmt: skip


def test_thinning_cuts_the_large_families_alone_and_not_by_their_order() -> None:
    one, other = tables(), tables()[::-1]
    kept = thin(one, 210)
    assert set(kept) == {"h100-sxm/gemm"}
    assert one[1].rows == 10
    assert 200 <= kept["h100-sxm/gemm"][0] <= 210  # equal rows go together
    thin(other, 210)
    latencies = [sorted(np.concatenate([t.value("latency_s") for t in some])) for some in (one, other)]
    assert latencies[0] == latencies[1]
    assert thin(tables(), 810) == {}


def test_a_shape_is_the_same_whatever_its_tokens_format_or_device() -> None:
    a = measurement_table("a", {**GEMM, "m": [1, 7, 7], "n": [64, 64, 65], "k": 32})
    b = measurement_table("b", {**GEMM, "dtype": "fp8", "device": "l40s", "m": 3, "n": [64], "k": 32})
    keys = shape_keys(a.table)
    assert keys[0] == keys[1] != keys[2]
    assert Exclusion.of(b).mask(a).tolist() == [True, True, False]


def test_as_many_key_heads_as_heads_may_be_left_unsaid() -> None:
    row = {"op": "attention", "dtype": "bf16", "phase": "decode", "batch": 1, "q_len": 1, "kv_len": 9, "heads": 8,
           "head_dim": 64}  # fmt: skip
    said, unsaid = (measurement_table("a", {**row, "kv_heads": heads}).table for heads in (8, 0))
    assert shape_keys(said) == shape_keys(unsaid)
