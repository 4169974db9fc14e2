"""Costs of many questions at once, and sums and differences of them that keep account of what their errors share.

The deviation of a cost (its distance to an end of the interval) has a part that all questions on one device and
software share and a part of its own: deviation^2 = A^2 + B^2 with A^2 = shared x deviation^2 (`costmodel.error_parts`).
In a sum of costs on one device the A add with their signs, the B^2 likewise where the rows of one are among the rows of
the other (a prompt that is subtracted again), so that what cancels does, and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.batches import ERRING, QUANTITIES, batch_columns, interval_columns
from archcast.cost_models import AnyModel, find_cost_model
from archcast.oracle.checks import check_stacks
from archcast.oracle.questions import KNOBS, NAME, SAMPLES, Questions, limited
from archcast.prediction import bytes_text
from archcast.question import find_model, find_target, mappings_of
from costmodel.protocol import CostModel
from foundation.errors import BadValueError, InputError, UnknownNameError
from workloads.model import Model
from workloads.table import OPS, Array

SPLITS = ("tp", "pp", "ep", "dp", "cp")


@dataclass(frozen=True)
class Cells:
    """Costs of rows of questions: `value`, `lo`, `hi`, `shared` have shape (rows, quantities), NaN without an answer.

    `shared` is the share of the variance of the error that a row has in common with others on its device and software,
    `families` what each operator family adds to it, shape (rows, quantities, families). `mapping` says how devices
    share the work, `work_flop` all that they do. `shortfall_bytes` is what a row lacks of memory, NaN where unanswered.
    """

    value: Array
    lo: Array
    hi: Array
    shared: Array
    families: Array
    feasible: Array
    reason: Array
    mapping: Array
    work_flop: Array
    shortfall_bytes: Array
    quantities: tuple[str, ...] = QUANTITIES

    def take(self, index: Array) -> Cells:
        found: Any = {
            name: getattr(self, name)[index] for name in self.__dataclass_fields__ if name != "quantities"
        }  # fmt: skip
        return Cells(**found, quantities=self.quantities)

    def of(self, name: str) -> tuple[Array, Array, Array]:
        """Return (value, lo, hi) of a quantity, shape (rows,) each."""
        at = self.quantities.index(name)
        return self.value[:, at], self.lo[:, at], self.hi[:, at]


def price(questions: Questions, model: AnyModel = None, *, refuse: bool = True) -> tuple[Cells, CostModel]:
    """Return the costs of all questions by one call of the batch query, and the cost model that answered.

    `samples` answers of each request share its prompt: they are read once and decoded together. Where only `count` is
    said, the fastest mapping that fits is chosen, as `predict` does. Software that nothing knows is refused, or (where
    `refuse` is off) a row's reason.

    Raises:
        BadValueError: no workload or device. UnknownNameError: software that nothing knows.
    """
    cost_model = find_cost_model(model)
    for name in ("workload", "on"):
        if name not in questions.columns:
            raise BadValueError(f"A question needs '{name}'.")
    if refuse:
        check_stacks(questions, cost_model)
    questions, broken = _with_models(questions)
    questions, owner = _with_mappings(questions)
    samples = questions.numbers(SAMPLES, 1.0)
    several = samples > 1
    if several.any():
        cells = _sampled(questions, samples, several, cost_model)
    else:
        cells = _priced(questions, cost_model)
    best = _fastest(cells, owner) if owner is not None else cells
    best = _masked(best)
    for row, problem in broken.items():
        best.reason[row] = problem
    return best, cost_model


def combined(
    terms: Sequence[tuple[float | Array, Cells]], *, nested: bool = True, together: bool = True
) -> Cells:  # fmt: skip
    """Return a sum of costs, row by row, each with a factor (one, or one a row of shape (rows, 1)); see above.

    `nested`: rows of a term that is subtracted are among those of the terms before it. Otherwise terms are work of
    their own, whose own errors are independent. `together`: all terms are of one device; otherwise the shared errors
    are independent, too. Infeasible where one term is.
    """
    value = sum(factor * cells.value for factor, cells in terms)
    ends = []
    for end in ("lo", "hi"):
        spreads: list[tuple[Any, Array, Array]] = [(f, np.abs(getattr(c, end) - c.value), c.shared) for f, c in terms]
        shared = [f * np.sqrt(s) * d for f, d, s in spreads]
        common = np.asarray(sum(shared)) ** 2 if together else np.asarray(sum(part**2 for part in shared))
        own = sum((f * abs(f) if nested else f * f) * (1 - s) * d**2 for f, d, s in spreads)
        ends.append((common, np.maximum(own, 0.0)))
    lo, hi = (np.sqrt(common + own) for common, own in ends)
    whole = sum(a + b for a, b in ends)
    share = np.divide(ends[0][0] + ends[1][0], whole, out=np.ones_like(np.asarray(whole)), where=np.asarray(whole) > 0)
    first = terms[0][1]
    feasible = np.logical_and.reduce([cells.feasible for _, cells in terms])
    reason = np.array([next((r for r in row if r), "") for row in zip(*(c.reason for _, c in terms), strict=True)],
                      dtype=object)  # fmt: skip
    floor = np.minimum(np.asarray(value), 0.0)
    return replace(
        first, value=np.asarray(value), lo=np.maximum(np.asarray(value) - lo, floor), hi=np.asarray(value) + hi,
        shared=share, families=_families(terms), feasible=feasible,
        reason=reason, work_flop=np.asarray(sum(np.ravel(f) * c.work_flop for f, c in terms)),
    )  # fmt: skip


def _families(terms: Sequence[tuple[float | Array, Cells]]) -> Array:
    parts = [np.asarray(f, float).reshape(-1, 1, 1) * cells.families for f, cells in terms]
    return np.asarray(np.abs(sum(parts)))


def joined(parts: Iterable[Cells]) -> Cells:
    """Return the rows of all parts, one after the other."""
    parts = list(parts)
    found: Any = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Cells.__dataclass_fields__ if name != "quantities"
    }  # fmt: skip
    return Cells(**found, quantities=parts[0].quantities)


def pick_quantities(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of quantities. Raises UnknownNameError: one that is none; BadValueError: none at all."""
    if isinstance(names, str):
        names = (names,)
    for name in names:
        if name not in QUANTITIES:
            raise UnknownNameError("quantity", str(name), QUANTITIES)
    if not names:
        raise BadValueError(f"No quantity is asked for; there are {', '.join(QUANTITIES)}.")
    return tuple(names)


def versions_of(cost_model: CostModel, questions: Questions) -> dict[str, Any]:
    """Return what makes an answer repeatable: versions, the cost model, and a digest of each device's figures."""
    from archcast import __version__

    devices = {}
    for name in _distinct(questions.columns["on"]):
        try:
            target = find_target(name)
        except InputError:
            continue
        devices[target.spec.id] = target.rates.digest()
    model = f"{cost_model.name} {cost_model.version}"
    return {"archcast": __version__, "cost_model": model, "numpy": np.__version__, "devices": devices}


def _distinct(column: Array) -> list[Any]:
    return list({(value if isinstance(value, str) else id(value)): value for value in column.tolist()}.values())


def _priced(questions: Questions, cost_model: CostModel) -> Cells:
    columns = {
        name: _filled(name, column) for name, column in questions.columns.items() if name not in (SAMPLES, KNOBS, NAME)
    }
    found = batch_columns(columns, cost_model, errors=True)
    rows = questions.rows
    ends = [[found[column] for column in interval_columns(name)] for name in QUANTITIES]
    value, lo, hi = (np.stack([quantity[i] for quantity in ends], axis=1) for i in range(3))
    time, energy = (found[f"{name}_shared"] for name in ERRING)
    shared = np.stack([time, time, time, energy, np.ones(rows), time], axis=1)
    by_time, by_energy = (found[f"{name}_deviation"] for name in ERRING)
    families = np.stack([by_time, by_time, by_time, by_energy, np.ones((rows, len(OPS))), by_time], axis=1)
    mapping = _mapping_labels(questions)
    return Cells(value, lo, hi, shared, families, found["verdict"] == "feasible", found["reason"], mapping,
                 found["work_flop"], found["shortfall_bytes"])  # fmt: skip


def _masked(cells: Cells) -> Cells:
    """Return costs without those of rows that do not fit; the memory that they would take stays."""
    keep = cells.feasible[:, None] | (np.array(QUANTITIES) == "memory_bytes")
    ends: Any = {side: np.where(keep, getattr(cells, side), np.nan) for side in ("value", "lo", "hi")}
    return replace(cells, **ends)


def _mapping_labels(questions: Questions) -> Array:
    """Return how the devices of each row share the work: 'tp=4 dp=2', '' for one device; shape (rows,)."""
    names = [name for name in SPLITS if name in questions.columns]
    labels = np.full(questions.rows, "", dtype=object)
    if not names:
        return labels
    sizes = np.stack([questions.numbers(name, 1.0) for name in names], axis=1)
    distinct, back = np.unique(sizes, axis=0, return_inverse=True)
    words = [" ".join(f"{n}={int(v)}" for n, v in zip(names, row, strict=True) if v > 1) for row in distinct.tolist()]
    labels[:] = np.array(words, dtype=object)[np.ravel(back)]
    return labels


def _filled(name: str, column: Array) -> Any:
    """Return a column as the batch query takes it: one value where all rows have the same."""
    from archcast.batches import DEFAULTS

    if column.dtype.kind == "f":
        column = np.where(np.isnan(column), DEFAULTS[name], column)
        if name in ("batch", "prompt", "generate"):
            return column
        first = column[0]
        return int(first) if (column == first).all() else [int(value) for value in column.tolist()]
    values = [DEFAULTS.get(name) if value is None else value for value in column.tolist()]
    return values[0] if isinstance(values[0], str) and values.count(values[0]) == len(values) else values


def _with_models(questions: Questions) -> tuple[Questions, dict[int, str]]:
    """Return questions in which models with changed knobs are objects, and the rows whose knobs cannot be."""
    knobs = questions.columns.get(KNOBS)
    if knobs is None:
        return questions, {}
    workloads = questions.columns["workload"].copy()
    found: dict[Any, Model | str] = {}
    broken: dict[int, str] = {}
    for row, (name, changes) in enumerate(zip(workloads.tolist(), knobs.tolist(), strict=True)):
        if not changes:
            continue
        key = (name if isinstance(name, str) else id(name), repr(sorted(changes.items(), key=str)))
        if key not in found:
            try:
                found[key] = find_model(name, changes)
            except InputError as error:
                found[key] = str(error)
        model = found[key]
        workloads[row] = None if isinstance(model, str) else model
        if isinstance(model, str):
            broken[row] = model
    return questions.with_columns(workload=workloads), broken


def _with_mappings(questions: Questions) -> tuple[Questions, Array | None]:
    """Return questions in which those that say only `count` stand once for each mapping, and the row each is for."""
    count = questions.numbers("count", 0.0)
    alone = (count > 1) & (np.prod([questions.numbers(name, 1.0) for name in SPLITS], axis=0) == 1)
    if not alone.any():
        return questions, None
    batch = questions.numbers("batch", 1.0)
    known: dict[Any, list[tuple[int, ...]]] = {}
    rows, splits = [], []
    for row in range(questions.rows):
        ways: list[tuple[int, ...]] = [(0, 0, 0, 0, 0)]
        if alone[row]:
            workload = questions.columns["workload"][row]
            key = (workload if isinstance(workload, str) else id(workload), count[row], batch[row])
            if key not in known:
                known[key] = _ways(workload, int(count[row]), int(batch[row]))
            ways = known[key]
        rows += [row] * len(ways)
        splits += ways
    owner, table = np.array(rows), np.array(splits, dtype=float)
    wide = questions.take(owner)
    limited(wide.rows)
    chosen = alone[owner]
    columns = {
        name: np.where(chosen, table[:, i], wide.numbers(name, 1.0)) for i, name in enumerate(SPLITS)
    }  # fmt: skip
    return wide.with_columns(**columns), owner


def _ways(workload: Any, count: int, together: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    with contextlib.suppress(InputError):
        found = [(m.tp, m.pp, m.ep, m.dp, 1) for m in mappings_of(count, find_model(workload), together)]
    return found or [(count, 1, 1, 1, 1)]


def _fastest(cells: Cells, owner: Array) -> Cells:
    """Return of each owner's rows the fastest that fits, else the first."""
    latency = np.where(cells.feasible, cells.value[:, 0], np.inf)
    order = np.lexsort((np.arange(len(owner)), latency, owner))
    return cells.take(order[np.flatnonzero(np.diff(owner[order], prepend=-1))])


def _sampled(questions: Questions, samples: Array, several: Array, cost_model: CostModel) -> Cells:
    """Return costs of requests that are answered several times from one prompt.

    All answers decoded together from prompts of their own, less these prompts, plus one prompt a request.
    """
    batch = questions.numbers("batch", 1.0)
    together = _priced(questions.with_columns(batch=batch * samples), cost_model)
    where = np.flatnonzero(several)
    some = questions.take(where)
    prompts = some.with_columns(generate=1.0)
    all_prompts = _priced(prompts.with_columns(batch=(batch * samples)[where]), cost_model)
    one_prompt = _priced(prompts, cost_model)
    shared = combined([(1.0, together.take(where)), (-1.0, all_prompts), (1.0, one_prompt)])
    shared = _fitting(shared, together.take(where))
    at = QUANTITIES.index("ttft_s")
    for name in ("value", "lo", "hi", "shared"):  # tpot stays that of all answers together
        getattr(shared, name)[:, at] = getattr(one_prompt, name)[:, at]
        getattr(shared, name)[:, at + 1] = getattr(together, name)[where, at + 1]
    back = np.arange(questions.rows)
    back[where] = questions.rows + np.arange(len(where))
    return joined([together, shared]).take(back)


def _fitting(shared: Cells, apart: Cells) -> Cells:
    """Return costs of samples that share a prompt, held against the memory that they need with one prompt a request.

    With prompts of their own (`apart`) they lack more: what sharing saves is taken off.
    """
    at = QUANTITIES.index("memory_bytes")
    saved = apart.value[:, at] - shared.value[:, at]
    lacking = np.maximum(apart.shortfall_bytes - np.where(apart.shortfall_bytes > 0, saved, 0.0), 0.0)
    answered = ~np.isnan(lacking) & ~np.isnan(shared.value[:, 0])
    short = answered & (lacking > 0)
    reason = np.where(answered, "", shared.reason).astype(object)
    reason[short] = [f"{bytes_text(float(x))} short of memory" for x in lacking[short]]
    return replace(shared, feasible=answered & ~short, reason=reason, shortfall_bytes=lacking)
