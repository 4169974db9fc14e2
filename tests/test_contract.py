"""The contract that every cost model keeps, and that it notices the models that do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_calibration import ROUNDS, gemm_columns, measured

from costmodel import contract
from costmodel.artefact import load_artefact
from costmodel.calibration import calibrate
from costmodel.collectives import Fabric
from costmodel.contract import breaches, check_cost_model, find_cost_model
from costmodel.costs import OpCosts
from costmodel.physics import predict_physics
from costmodel.protocol import PhysicsModel
from costmodel.rates import Rates
from foundation.errors import BadValueError, UnknownNameError
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
    assert set(model.predict(inner, contract.compile_rates(contract.load_device("h100-sxm"))).sources()) == {"learned"}
    check_cost_model(model, table=inner)


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
