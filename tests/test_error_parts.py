"""What of a workload's error is shared: the parts add up to the interval that `compose` gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from archcast.batches import batch_columns
from archcast.oracle.cells import Cells, combined, price
from archcast.oracle.questions import as_questions
from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from workloads.table import OpTable

ASKED: Any = {"workload": "qwen3-0.6b", "on": "l40s", "batch": [1, 4, 32], "prompt": 256, "generate": 16}
ONE: Any = {**ASKED, "batch": 4}


@dataclass(frozen=True)
class Even:
    """The closed form, off by 20 % to either side, of which a share is common to all rows."""

    shared: float
    name: str = "even"
    version: str = "1"

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        costs = predict_physics(table, rates, fabric)
        ends: Any = {"latency_lo_s": 0.8 * costs.latency_s, "latency_hi_s": 1.2 * costs.latency_s}
        return replace(costs, **ends, shared_log_error=self.shared)


@pytest.mark.parametrize("shared", [0.0, 0.08, 0.5, 1.0])
def test_the_parts_add_up_to_the_interval(shared: float) -> None:
    found = batch_columns(ASKED, Even(shared), errors=True)
    deviation = found["latency_hi_s"] - found["latency_s"]
    assert found["latency_s_deviation"].sum(axis=1) == (pytest.approx(0.2 * found["latency_s"], rel=1e-6))
    together = found["latency_s_shared"] * deviation**2
    assert together == pytest.approx(shared * (0.2 * found["latency_s"]) ** 2, rel=1e-6)
    if shared in (0.0, 1.0):
        assert found["latency_s_shared"] == pytest.approx(shared)
    else:
        assert (found["latency_s_shared"] > shared).all()  # what is not shared evens out over operators


def test_what_is_added_and_taken_away_leaves_nothing() -> None:
    cells, _ = price(as_questions(ONE), Even(0.3))
    nothing = combined([(1.0, cells), (-1.0, cells)])
    for side in ("value", "lo", "hi"):
        assert np.nan_to_num(getattr(nothing, side)) == pytest.approx(0, abs=1e-12)


def test_twice_the_work_is_twice_as_wide_and_work_of_its_own_is_not() -> None:
    cells, _ = price(as_questions(ONE), Even(0.3))

    def width(found: Cells) -> float:
        return float(found.hi[0, 0] - found.value[0, 0])

    assert width(combined([(2.0, cells)])) == pytest.approx(2 * width(cells))
    apart = width(combined([(1.0, cells), (1.0, cells)], nested=False))
    far = width(combined([(1.0, cells), (1.0, cells)], nested=False, together=False))
    assert 2**0.5 * width(cells) < apart < 2 * width(cells)
    assert far == pytest.approx(2**0.5 * width(cells))
