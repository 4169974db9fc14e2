"""What every cost model must keep, ours and those of others: `check_cost_model`, and where others are found.

A package offers a model under the entry point group `archcast.cost_models`: a name, and a function without arguments
that returns it. A model may promise that times never fall when work grows (`promises = {"monotone"}`) and may be saved
(`check_cost_model(..., again=load)`); the rest is asked of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np

from costmodel.costs import COLUMNS, NUMERIC, OpCosts
from costmodel.features import floor_s
from costmodel.physics import price
from costmodel.protocol import CostModel
from costmodel.rates import Rates, compile_rates
from foundation.errors import BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.table import OpTable

ENTRY_POINTS = "archcast.cost_models"
MONOTONE = "monotone"
SAME = 1e-6
"""Relative difference that two ways to the same answer may have (single precision in trees)."""


@dataclass(frozen=True)
class Breach:
    """One broken clause of the contract: which, and what was seen."""

    clause: str
    seen: str

    def __str__(self) -> str:
        return f"{self.clause}: {self.seen}"


def contract_table(rows: int = 40, seed: int = 0) -> OpTable:
    """Return operators of the main families, from launches of a few microseconds to seconds of work."""
    rng = np.random.default_rng(seed)
    sizes = {name: np.exp2(rng.uniform(0, 14, rows)).round() for name in ("m", "n", "k")}
    gemm = {"op": "gemm", "dtype": "bf16", **sizes}
    attention = {
        "op": "attention", "dtype": "bf16", "kv_dtype": "bf16", "phase": "decode", "q_len": 1.0, "heads": 32.0,
        "kv_heads": 8.0, "head_dim": 128.0, "batch": np.exp2(rng.integers(0, 8, rows)),
        "kv_len": np.exp2(rng.uniform(4, 14, rows)).round(),
    }  # fmt: skip
    moe = {
        "op": "moe", "dtype": "bf16", "tokens": np.exp2(rng.integers(0, 13, rows)), "hidden": 4096.0, "inter": 1536.0,
        "experts": 128.0, "topk": 8.0,
    }  # fmt: skip
    norm = {"op": "norm", "dtype": "bf16", "rows": np.exp2(rng.integers(0, 13, rows)), "hidden": 4096.0}
    return OpTable.concat([OpTable.from_columns(columns) for columns in (gemm, attention, moe, norm)])


def breaches(
    model: CostModel, *, rates: Rates | None = None, table: OpTable | None = None, software: str = "",
    again: Callable[[], CostModel] | None = None,
) -> list[Breach]:  # fmt: skip
    """Return what a model breaks of the contract; empty where it keeps it.

    Args:
        rates: the device to ask about (default: H100 SXM).
        table: the operators to ask about (default: `contract_table`).
        again: returns the model as it was saved and loaded.
    """
    rates = compile_rates(load_device("h100-sxm")) if rates is None else rates
    table = contract_table() if table is None else table
    costs = model.predict(table, rates, software=software)
    found = [*_named(model), *_sound(costs, table), *_above_floor(costs, table, rates)]
    order = np.random.default_rng(1).permutation(table.rows)
    shuffled = model.predict(table.take(order), rates, software=software)
    found += _equal("the order of rows changes nothing", shuffled, costs.take(order))
    few = np.arange(0, table.rows, max(1, table.rows // 25))
    ones = OpCosts.concat(
        [model.predict(table.take(few[i : i + 1]), rates, software=software) for i in range(len(few))]
    )
    found += _equal("a batch is what its rows are one by one", ones, costs.take(few))
    found += _equal("the same question has the same answer", model.predict(table, rates, software=software), costs)
    if MONOTONE in getattr(model, "promises", ()):
        found += _monotone(model, rates, software)
    if again is not None:
        found += _equal("saved and loaded it answers alike", again().predict(table, rates, software=software), costs)
    return found


def check_cost_model(
    model: CostModel, *, rates: Rates | None = None, table: OpTable | None = None, software: str = "",
    again: Callable[[], CostModel] | None = None,
) -> None:  # fmt: skip
    """Hold a model to the contract (see `breaches` for the arguments).

    Raises:
        BadValueError: names the clauses that it breaks.
    """
    found = breaches(model, rates=rates, table=table, software=software, again=again)
    if found:
        raise BadValueError(f"The cost model breaks its contract: {'; '.join(map(str, found))}.")


def _named(model: CostModel) -> Iterator[Breach]:
    for word in ("name", "version"):
        if not (isinstance(getattr(model, word, None), str) and getattr(model, word)):
            yield Breach("it has a name and a version", f"no {word}")


def _sound(costs: OpCosts, table: OpTable) -> Iterator[Breach]:
    """Every number is finite, times are positive, intervals are ordered, one answer a row."""
    if any(np.shape(getattr(costs, name)) != (table.rows,) for name in COLUMNS):
        yield Breach("one answer a row", f"{costs.rows} answers for {table.rows} rows")
        return
    for name in NUMERIC:
        values = getattr(costs, name)
        if not np.isfinite(values).all():
            yield Breach("every number is finite", f"{name} of row {int(np.flatnonzero(~np.isfinite(values))[0])}")
        low = values <= 0 if name.startswith("latency") else values < 0
        if low.any():
            yield Breach("times are positive, energies not negative", f"{name} of row {int(np.flatnonzero(low)[0])}")
    for unit in ("latency_{}s", "energy_{}j"):
        lo, value, hi = (getattr(costs, unit.format(end)) for end in ("lo_", "", "hi_"))
        wrong = ~((lo <= value) & (value <= hi))
        if wrong.any():
            yield Breach("lo, value, hi are in order", f"{unit.format('')} of row {int(np.flatnonzero(wrong)[0])}")


def _above_floor(costs: OpCosts, table: OpTable, rates: Rates) -> Iterator[Breach]:
    floor = np.broadcast_to(floor_s(price(table, rates).stages, rates), (table.rows,))
    below = costs.latency_s < floor * (1 - SAME)
    if below.any():
        row = int(np.flatnonzero(below)[0])
        seen = f"row {row}: {costs.latency_s[row]:.3g} s, the hardware needs {floor[row]:.3g} s"
        yield Breach("no answer is below the physical floor", seen)


def _equal(clause: str, one: OpCosts, other: OpCosts) -> Iterator[Breach]:
    for name in NUMERIC:
        a, b = getattr(one, name), getattr(other, name)
        apart = ~np.isclose(a, b, rtol=SAME, atol=0)
        if apart.any():
            row = int(np.flatnonzero(apart)[0])
            yield Breach(clause, f"{name} is {a[row]:.9g} and {b[row]:.9g}")
            return


def _monotone(model: CostModel, rates: Rates, software: str) -> Iterator[Breach]:
    """Times never fall as one size of a product grows."""
    steps = np.exp2(np.arange(0, 15.0, 0.25)).round()
    for name in ("m", "n", "k"):
        sizes = {"m": 512.0, "n": 4096.0, "k": 4096.0, name: steps}
        table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes})
        falls = np.flatnonzero(np.diff(model.predict(table, rates, software=software).latency_s) < 0)
        if len(falls):
            yield Breach(
                "times never fall when work grows", f"{name} from {steps[falls[0]]:g} to {steps[falls[0] + 1]:g}"
            )


def offered() -> tuple[str, ...]:
    """Return the names of the models that installed packages offer."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


def find_cost_model(name: str) -> CostModel:
    """Return a model that an installed package offers.

    Raises:
        UnknownNameError: no package offers it.
        BadValueError: the package's function fails, or what it returns breaks the contract.
    """
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in points:
        raise UnknownNameError("cost model", name, sorted(points), f"Packages offer them as '{ENTRY_POINTS}'.")
    try:
        model: CostModel = points[name].load()()
        found = breaches(model)
    except Exception as error:  # of somebody else's code: anything may come
        raise BadValueError(f"The cost model '{name}' cannot be used: {type(error).__name__}: {error}.") from error
    if found:
        raise BadValueError(f"The cost model '{name}' breaks its contract: {'; '.join(map(str, found))}.")
    return model
