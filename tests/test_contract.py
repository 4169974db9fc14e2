"""The contract that every cost model keeps, and that it notices the models that do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_calibration import ROUNDS, gemm_columns, measured

from costmodel import contract, residual
from costmodel.artefact import load_artefact
from costmodel.calibration import calibrate
from costmodel.collectives import Fabric, fabric_of
from costmodel.contract import breaches, check_cost_model, find_cost_model
from costmodel.costs import COLUMNS, OpCosts
from costmodel.physics import predict_physics
from costmodel.protocol import PhysicsModel
from costmodel.rates import Rates, compile_rates
from costmodel.residual import LearnedModel
from foundation.errors import BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import OpTable


@dataclass(frozen=True)
class Promising(PhysicsModel):
    """The closed form, which also promises to be monotone."""

    promises: frozenset[str] = frozenset({"monotone"})


@dataclass
class Broken:
    """The closed form with one fault."""

    fault: str
    name: str = "broken"
    version: str = "1"
    promises: frozenset[str] = frozenset({"monotone"})
    asked: int = 0

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        costs = predict_physics(table, rates, fabric)
        self.asked += 1
        latency = costs.latency_s
        if self.fault == "fast":
            latency, lo = latency * 1e-4, costs.latency_lo_s * 1e-4
            return replace(costs, latency_s=latency, latency_lo_s=lo)
        if self.fault == "nan":
            return replace(costs, latency_s=np.where(np.arange(table.rows) == 3, np.nan, latency))
        if self.fault == "order":
            return replace(costs, latency_lo_s=latency * 2)
        if self.fault == "batch":
            return replace(costs, latency_s=latency + 1e-9 * table.rows, latency_hi_s=costs.latency_hi_s + 1)
        if self.fault == "moody":
            return replace(costs, latency_s=latency * (1 + 1e-4 * self.asked), latency_hi_s=costs.latency_hi_s + 1)
        if self.fault == "falls":
            return replace(costs, latency_s=1.0 / (1.0 + table.full("m")) + 1, latency_hi_s=costs.latency_hi_s + 9)
        return costs


def test_the_closed_form_keeps_the_contract_and_its_promise() -> None:
    check_cost_model(Promising(), again=PhysicsModel)


def test_a_calibrated_model_keeps_the_contract_after_saving_too(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    calibrate([measured(tmp_path)], tmp_path / "model", rounds=ROUNDS)
    model = load_artefact(tmp_path / "model")
    check_cost_model(model, again=lambda: load_artefact(tmp_path / "model"))
    inner = OpTable.from_columns(gemm_columns(20, 10, inner=True))
    assert set(model.predict(inner, compile_rates(load_device("h100-sxm"))).sources()) == {"learned"}
    check_cost_model(model, table=inner)


LINKS_OF_EIGHT = fabric_of(load_device("h100-sxm"), 8)
FAMILIES: dict[str, dict[str, tuple[float, ...]]] = {
    "gemm": {"m": (1, 7, 4096, 2**17), "n": (16, 1000, 8192), "k": (64, 4096, 50_000)},
    "attention": {
        "batch": (1, 33), "q_len": (1, 500), "kv_len": (0, 900, 100_000), "heads": (8, 32), "kv_heads": (0, 8),
        "head_dim": (64, 128), "window": (0, 128), "phase": (1, 2),
    },
    "mla": {"batch": (1, 33), "q_len": (1, 500), "kv_len": (900, 9000), "heads": (16,), "kv_rank": (512,),
            "rope_dim": (64,), "phase": (1, 2)},
    "moe": {"tokens": (1, 100, 40_000), "hidden": (512, 4096), "inter": (1536,), "experts": (8, 128), "topk": (2, 8),
            "ep": (1, 4), "tp": (1, 2), "skew": (0, 1, 1.2)},
    "collective": {"bytes": (1, 1e6, 1e9), "ranks": (1, 2, 8), "kind": (1, 2, 3, 4, 5)},
    "norm": {"rows": (1, 4096), "hidden": (64, 8192)},
    "conv2d": {"batch": (1, 64), "c_in": (64,), "h": (56,), "w": (56,), "c_out": (64, 256), "kh": (1, 3), "kw": (3,)},
    "scan": {"batch": (1, 8), "q_len": (1, 2048), "heads": (16,), "head_dim": (64,), "state": (16, 128)},
    "softmax": {"rows": (1, 4096), "hidden": (64, 8192)},
}  # fmt: skip
GROWING = ("m", "n", "k", "batch", "q_len", "kv_len", "tokens", "hidden", "rows")
"""Sizes that invented measurements have many of."""


def invented(device: str, op: str, factor: float, rows: int, seed: int) -> MeasurementTable:
    """Rows of an operator that take `factor` times the closed form, give or take 5 %."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"op": op, "dtype": "bf16"}
    for name, values in FAMILIES[op].items():
        top = np.exp2(rng.uniform(np.log2(max(min(values), 1)), np.log2(max(values) + 1), rows)).round()
        columns[name] = top if name in GROWING else rng.choice(np.array(values), rows)
    if op == "attention":
        columns["kv_heads"] = np.where(columns["kv_heads"] > columns["heads"], 0, columns["kv_heads"])
    table = OpTable.from_columns(columns)
    latency = predict_physics(table, compile_rates(load_device(device))).latency_s * factor
    texts = {"device": device, "software": "stack 1", "op": op, "dtype": "bf16"}
    sizes = {name: table.names("phase") if name == "phase" else table.full(name) for name in FAMILIES[op]}
    return measurement_table("made up", {**texts, **sizes, "latency_s": latency * np.exp(rng.normal(0, 0.05, rows))})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LearnedModel]:
    """One that measured the main operators on two devices, and the same with few rows of a third."""
    pytest.importorskip("xgboost")
    folder = tmp_path_factory.mktemp("models")
    ops = ("gemm", "attention", "mla", "moe", "norm")
    known = [invented(d, op, f, 400, 1) for op in ops for d, f in (("h100-sxm", 1.5), ("a100-sxm-80gb", 1.3))]
    calibrate(known, folder / "base", rounds=20)
    calibrate([invented("h200-sxm", op, 2.0, 20, 2) for op in ops], folder / "few", base=folder / "base")
    return {name: load_artefact(folder / name) for name in ("base", "few")}


@pytest.mark.parametrize("device", ["h100-sxm", "h200-sxm", "l4"])
@pytest.mark.parametrize("name", ["base", "few"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_no_row_of_any_operator_depends_on_the_rows_beside_it(
    models: dict[str, LearnedModel], name: str, device: str, data: st.DataObject
) -> None:
    """Learned, extrapolated, of kin, by few rows or by the closed form: a batch is its rows one by one."""
    parts = []
    for op, sizes in FAMILIES.items():
        count = data.draw(st.integers(1, 3))
        drawn = {n: data.draw(st.lists(st.sampled_from(v), min_size=count, max_size=count)) for n, v in sizes.items()}
        parts.append(OpTable.from_columns({"op": op, "dtype": data.draw(st.sampled_from(("bf16", "fp8"))), **drawn}))
    products = gemm_columns(2, data.draw(st.integers(1, residual.FLAT_ROWS)), inner=data.draw(st.booleans()))
    table = OpTable.concat([*parts, OpTable.from_columns(products)])
    model, rates = models[name], compile_rates(load_device(device))
    whole = model.predict(table, rates, LINKS_OF_EIGHT)
    order = data.draw(st.permutations(range(table.rows)))
    for row in order[:25]:
        alone = model.predict(table.take(slice(row, row + 1)), rates, LINKS_OF_EIGHT)
        for column in COLUMNS:
            one, many = getattr(alone, column)[0], getattr(whole, column)[row]
            assert one == pytest.approx(many, rel=contract.SAME, nan_ok=True), (column, row)


def test_a_row_just_outside_the_trained_range_is_as_wide_beside_one_far_outside(
    models: dict[str, LearnedModel],
) -> None:
    """Rows within the tolerance were once widened only where another row of the batch lay beyond it."""
    near = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": np.geomspace(1, 2**20, 40).round(),
                                 "n": 4096.0, "k": 4096.0})  # fmt: skip
    rates = compile_rates(load_device("h100-sxm"))
    whole = models["base"].predict(near, rates)
    assert {"learned", "extrapolated"} <= set(whole.sources())
    for row in range(near.rows):
        alone = models["base"].predict(near.take(slice(row, row + 1)), rates)
        assert alone.latency_hi_s[0] == pytest.approx(whole.latency_hi_s[row], rel=contract.SAME)


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        ("fast", "physical floor"), ("nan", "finite"), ("order", "in order"), ("batch", "one by one"),
        ("moody", "same answer"), ("falls", "never fall"),
    ],
)  # fmt: skip
def test_a_model_with_a_fault_is_told_which_clause_it_breaks(fault: str, clause: str) -> None:
    assert clause in " ".join(map(str, breaches(Broken(fault))))
    with pytest.raises(BadValueError, match="breaks its contract"):
        check_cost_model(Broken(fault))


def test_a_model_without_a_name_and_one_that_loads_as_another_are_refused() -> None:
    assert "no name" in str(breaches(Broken("", name=""))[0])
    found = breaches(PhysicsModel(), again=lambda: Broken("moody"))
    assert [b.clause for b in found] == ["saved and loaded it answers alike"]


@dataclass
class Offered:
    name: str
    made: Any

    def load(self) -> Any:
        return self.made


def test_models_of_other_packages_are_found_by_name_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> None:
        raise RuntimeError("no licence")

    points = [Offered("good", PhysicsModel), Offered("bad", lambda: Broken("nan")), Offered("ugly", explode)]
    monkeypatch.setattr(contract, "entry_points", lambda group: points if group == contract.ENTRY_POINTS else [])
    assert find_cost_model("good").name == "physics"
    with pytest.raises(BadValueError, match="'bad' breaks its contract"):
        find_cost_model("bad")
    with pytest.raises(BadValueError, match="RuntimeError: no licence"):
        find_cost_model("ugly")
    with pytest.raises(UnknownNameError, match="good"):
        find_cost_model("goood")
