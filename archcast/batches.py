"""`predict_batch`: many questions at once, columns in and columns out.

Questions that share model, device, formats and mapping are one vectorised evaluation; their sizes are arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel, find_cost_model
from archcast.fallback import is_alone, runtime_of
from archcast.frame_rate import laid_out
from archcast.prediction import answer, bytes_text, lacking_tile, linked_devices
from archcast.quantities import quantities
from archcast.question import MAX_BATCH, MAX_TOKENS, MOST_DEVICES, Question, ask, parallel
from archcast.software import as_known, check_software
from costmodel.collectives import fabric_of
from costmodel.error_parts import error_parts
from costmodel.estimate import compose
from costmodel.in_network import costs_in_network
from costmodel.memory import MemoryReport, memory_of
from costmodel.protocol import CostModel
from costmodel.spatial.costs import SHORT_BUFFERS
from foundation.checks import whole_number
from foundation.errors import BadValueError, InputError, UnknownNameError
from workloads.lowering import lower
from workloads.mapping import Mapping as Parallel
from workloads.table import OPS, Array, OpTable
from workloads.work import count_work

SIZES = ("batch", "prompt", "generate")
GROUPED = ("workload", "on", "dtype", "kv_dtype", "mode", "count", "tp", "pp", "ep", "dp", "cp", "software")
COUNTS = ("count", "tp", "pp", "ep", "dp", "cp")
DEFAULTS: Mapping[str, Any] = {
    "batch": 1, "prompt": 0, "generate": 0, "dtype": "", "kv_dtype": "", "mode": "infer", "count": 0, "tp": 1, "pp": 1,
    "ep": 1, "dp": 1, "cp": 1, "software": "",
}  # fmt: skip
"""Value of a column that is not given; 0 tokens stand for the model's default, count 0 for tp x pp x dp."""

PIECE = 4096
"""Questions of one evaluation: their operators must fit in memory."""
ALONE = 256
"""Rows up to which each has its own reason where sizes cannot be answered."""
NAMED = 4096
"""Rows of operators up to which they keep their names, for errors; beyond it, handling names takes half the time."""
ERRING = ("latency_s", "energy_j")
"""Quantities whose error has a part that rows share."""

QUANTITIES = ("latency_s", "ttft_s", "tpot_s", "energy_j", "memory_bytes", "cost_usd")


def predict_batch(*, model: AnyModel = None, **columns: Any) -> dict[str, Any]:
    """Return columns of answers, one row a question, in the order given.

    Args:
        columns: `workload` and `on`, and any of `batch`, `prompt`, `generate`, `dtype`, `kv_dtype`, `mode`, `count`,
            `tp`, `pp`, `ep`, `dp`, `cp`, `software`; each a list or one value for all rows.
        model: as in `predict`.

    Returns:
        Arrays of shape (rows,): latency_s, ttft_s, tpot_s, energy_j, memory_bytes, cost_usd and the ends of each
        (`latency_lo_s`, `latency_hi_s`, ...), NaN where there is no answer; `dram_bytes`, `shortfall_bytes`,
        `verdict` and `reason`.

    A row that cannot be answered is `infeasible` with a `reason`; the others are answered.

    Raises:
        UnknownNameError: a column that does not exist. BadValueError: columns of different lengths, or a number that is
            no size (zero, negative, NaN), with its row.
    """
    check_sizes(columns)
    return batch_columns(columns, find_cost_model(model))


def check_sizes(columns: Mapping[str, Any]) -> None:
    """Refuse numbers that are no sizes, in the words of `predict`. Raises BadValueError: the first, with its row."""
    for name in (*SIZES, *COUNTS):
        given = columns.get(name, DEFAULTS[name])
        many = hasattr(given, "__len__") and not isinstance(given, (str, bytes))
        values = _listed(given) if many else [given]
        numbers = _numbers(values, len(values))
        low, high = whole_range(name)
        with np.errstate(invalid="ignore"):
            bad = ~((numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers)))
        if bad.any():
            row = int(np.argmax(bad))
            where = f"Row {row + 1}: " if many else ""
            value = values[row].item() if isinstance(values[row], np.generic) else values[row]
            raise BadValueError(where + _refusal(name, value, low, high))


def whole_range(name: str) -> tuple[int, int]:
    """Return the least and the largest number of a column of sizes or counts."""
    high = MAX_BATCH if name == "batch" else MAX_TOKENS if name in SIZES else MOST_DEVICES
    return 0 if DEFAULTS[name] == 0 else 1, high


def batch_columns(columns: Mapping[str, Any], cost_model: CostModel, *, errors: bool = False) -> dict[str, Any]:
    """Return the columns of `predict_batch`; with `errors` also the parts of each row's error.

    These are `<quantity>_shared` (the share of the variance of the log error that rows of one device and software have
    in common, shape (rows,)) and `<quantity>_deviation` (what each operator family adds to the deviation when all
    errors go together, shape (rows, families)), for latency_s and energy_j;
    and `work_flop` of all devices. Rows that do not fit then keep what they would cost.
    """
    rows, table = _columns(columns)
    out = _empty(rows, errors)
    for key, where in grouped(rows, table):
        try:
            _answer(key, where, table, out, cost_model)
        except InputError as error:
            out["reason"][where] = str(error)
    return out


def grouped_questions(
    columns: Mapping[str, Any], rows: int
) -> list[tuple[dict[str, Any], Array, dict[str, Array]]]:  # fmt: skip
    """Return of questions what groups of them share, their places, and their sizes; all have been checked before."""
    given: dict[str, list[Any]] = {}
    for name, values in columns.items():
        filled: list[Any] = [DEFAULTS.get(name) if v is None or v != v else v for v in values.tolist()]
        given[name] = [int(v) for v in filled] if name in COUNTS else filled
    table = {name: given.get(name, _Same(DEFAULTS.get(name), rows)) for name in ("workload", "on", *DEFAULTS)}
    return [
        (key, where, {name: _numbers(_picked(table[name], where), len(where)) for name in SIZES})
        for key, where in grouped(rows, table)
    ]


def grouped(rows: int, table: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], Array]]:
    """Return what rows share that differ in their sizes only, and their places; objects are told apart by identity."""
    if not rows:
        return []
    varies = [name for name in GROUPED if not isinstance(table[name], _Same)]
    if not varies:
        return [({name: table[name][0] for name in GROUPED}, np.arange(rows))]
    groups: dict[tuple[Any, ...], list[int]] = {}
    columns = [[v if isinstance(v, (str, int, float)) else id(v) for v in table[name]] for name in varies]
    for i, key in enumerate(zip(*columns, strict=True)):
        groups.setdefault(key, []).append(i)
    return [({name: table[name][where[0]] for name in GROUPED}, np.array(where)) for where in groups.values()]


class _Same(Sequence[Any]):
    """One value for all rows."""

    def __init__(self, value: Any, rows: int) -> None:
        self.value, self.rows = value, rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, at: Any) -> Any:
        return self.value


def interval_columns(name: str) -> tuple[str, str, str]:
    """Return the columns of a quantity's value, lo and hi; the unit stays last: `latency_s`, `latency_lo_s`, ..."""
    stem, _, unit = name.rpartition("_")
    return name, f"{stem}_lo_{unit}", f"{stem}_hi_{unit}"


def _columns(columns: Mapping[str, Any]) -> tuple[int, dict[str, Sequence[Any]]]:
    known = ("workload", "on", *DEFAULTS)
    for name in columns:
        if name not in known:
            raise UnknownNameError("column of predict_batch", name, known)
    for name in ("workload", "on"):
        if name not in columns:
            raise BadValueError(f"predict_batch needs the column '{name}'.")
    lists = {k: _listed(v) for k, v in columns.items() if not isinstance(v, (str, bytes)) and hasattr(v, "__len__")}
    lengths = {len(v) for v in lists.values()}
    if len(lengths) > 1:
        detail = ", ".join(f"{k} {len(v)}" for k, v in lists.items())
        raise BadValueError(f"The columns of predict_batch have different lengths: {detail}.")
    rows = lengths.pop() if lengths else 1
    single = {k: columns.get(k, DEFAULTS.get(k)) for k in known}
    return rows, {k: lists[k] if k in lists else _Same(single[k], rows) for k in known}


def _listed(values: Any) -> Any:
    """Return a column as a list, sizes in an array of numbers as they are."""
    return (
        values if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf" else list(values)
    )


def _empty(rows: int, errors: bool) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in QUANTITIES:
        for column in interval_columns(name):
            out[column] = np.full(rows, np.nan)
    for name in ("dram_bytes", "shortfall_bytes"):
        out[name] = np.full(rows, np.nan)
    out["verdict"] = np.full(rows, "infeasible", dtype="U10")
    out["reason"] = np.full(rows, "", dtype=object)
    if errors:
        out["work_flop"] = np.full(rows, np.nan)
        for name in ERRING:
            out[f"{name}_shared"] = np.ones(rows)
            out[f"{name}_deviation"] = np.zeros((rows, len(OPS)))
    return out


def _answer(
    key: dict[str, Any], where: Array, table: Mapping[str, Any], out: dict[str, Any], cost_model: CostModel
) -> None:
    """Answer the rows `where`, which differ in their sizes only."""
    software = as_known(key["software"], cost_model)
    mapping = parallel(key["count"] or None, key["tp"], key["pp"], key["ep"], key["dp"], software, key["cp"])
    if mapping is None:
        raise BadValueError(f"count={key['count']} alone does not say how to divide the model; give tp, pp or dp too.")
    question = ask(
        key["workload"], key["on"], dtype=key["dtype"], kv_dtype=key["kv_dtype"], mode=key["mode"],
        software=key["software"],
    )  # fmt: skip
    check_software(key["software"], cost_model, question.target.spec)
    sizes, good = _sizes(where, table, out)
    if not good.any():
        return
    where, sizes = where[good], {name: values[good] for name, values in sizes.items()}
    # equal questions are answered once, and many in pieces: a question is a hundred rows of operators
    distinct, back = np.unique(np.stack([sizes[name] for name in SIZES]), axis=1, return_inverse=True)
    found = out if distinct.shape[1] == len(where) else _empty(distinct.shape[1], f"{ERRING[0]}_shared" in out)
    places = where if found is out else np.arange(distinct.shape[1])
    own = sizes if found is out else dict(zip(SIZES, distinct, strict=True))
    for start in range(0, len(places), PIECE):
        part = slice(start, start + PIECE)
        _answer_good(question, mapping, {n: v[part] for n, v in own.items()}, places[part], found, cost_model)
    if found is not out:
        for name, values in found.items():
            out[name][where] = values[np.ravel(back)]


def _answer_good(
    question: Question, mapping: Parallel, sizes: dict[str, Array], where: Array, out: dict[str, Any],
    cost_model: CostModel,
) -> None:  # fmt: skip
    """Answer those of several sizes that can be answered; the others get their reason.

    What one size cannot have (more tokens than the model's table of positions) fails all of them together: rows are
    ordered by size and halved. Of more than `ALONE` rows whose smallest fails all have its reason.
    """
    try:
        return _answer_piece(question, mapping, sizes, where, out, cost_model)
    except InputError as error:
        if len(where) == 1:
            out["reason"][where] = str(error)
            return None
    order = np.lexsort((sizes["batch"], sizes["prompt"] + sizes["generate"]))
    half = len(where) // 2
    if len(where) > ALONE:
        one = order[:1]
        _answer_good(question, mapping, {n: v[one] for n, v in sizes.items()}, where[one], out, cost_model)
        if np.isnan(out["shortfall_bytes"][where[one[0]]]):
            out["reason"][where] = out["reason"][where[one[0]]]
            return None
    for part in (order[:half], order[half:]):
        _answer_good(question, mapping, {n: v[part] for n, v in sizes.items()}, where[part], out, cost_model)
    return None


def _answer_piece(
    question: Question, mapping: Parallel, sizes: dict[str, Array], where: Array, out: dict[str, Any],
    cost_model: CostModel,
) -> None:  # fmt: skip
    """Answer one question at several sizes."""
    defaults = question.model.defaults
    tokens = {
        n: np.where(sizes[n] > 0, sizes[n], float(defaults[n])) if defaults[n] else None for n in ("prompt", "generate")
    }
    batch = np.ceil(sizes["batch"] / mapping.dp)
    request = replace(question.request, batch=batch, prompt=tokens["prompt"], generate=tokens["generate"])
    paths = bool(getattr(question.model, "paths", ()))
    if paths or is_alone(question.target) or runtime_of(mapping.software, question.target):
        _answer_each(replace(question, request=request), mapping, sizes["batch"], where, out, cost_model)
        return
    workload = question.model.workload(request)
    lowered = lower(workload.passes, mapping)
    if lowered.table.rows > NAMED:
        lowered = replace(lowered, table=OpTable(lowered.table.rows, lowered.table.columns))
    target = question.target
    if lacking_tile(lowered.table, target.rates)[0] > 0:
        _answer_each(replace(question, request=request), mapping, sizes["batch"], where, out, cost_model)
        return
    work = count_work(lowered.table)
    report = memory_of(workload, lowered, mapping, target.rates, work)
    fabric = fabric_of(target.spec, linked_devices(mapping, lowered.table))
    weights_bytes = float(report.parts["weights"][0])
    costs = costs_in_network(cost_model, lowered.table, target.rates, fabric, mapping.software, weights_bytes)
    if chip := laid_out(replace(question, request=request), mapping, lowered.table, cost_model):
        costs = chip.scaled(costs, lowered)
    totals = compose(workload, lowered, costs, work)
    if f"{ERRING[0]}_shared" in out:
        out["work_flop"][where] = totals.flop * mapping.ranks
        for name, parts in error_parts(workload, lowered, costs).items():
            out[f"{name}_shared"][where], out[f"{name}_deviation"][where] = parts.shared, parts.deviation
    _fill(out, where, report, quantities(workload, totals, mapping, target), totals.dram_bytes)


def _answer_each(
    question: Question, mapping: Parallel, batch: Array, where: Array, out: dict[str, Any], cost_model: CostModel
) -> None:  # fmt: skip
    """Answer rows one by one: what lies on the chip, or on the host, differs from row to row."""
    sizes = {"prompt": question.request.prompt, "generate": question.request.generate}
    for at, row in enumerate(where):
        own: dict[str, Any] = {name: None if v is None else int(np.ravel(v)[at]) for name, v in sizes.items()}
        found = answer(
            replace(question, request=replace(question.request, batch=int(batch[at]), **own)), mapping, cost_model
        )
        for name in QUANTITIES:
            quantity = getattr(found, name)
            if quantity is not None:
                for column, value in zip(
                    interval_columns(name), (quantity.value, quantity.lo, quantity.hi), strict=True
                ):
                    out[column][row] = value
        if "work_flop" in out and found.work_flop is not None:
            out["work_flop"][row] = found.work_flop * mapping.ranks
        out["dram_bytes"][row] = np.nan if found.dram_bytes is None else found.dram_bytes
        out["shortfall_bytes"][row], out["verdict"][row] = found.shortfall_bytes, found.verdict
        short = f"{bytes_text(found.shortfall_bytes)} short of memory" if found.shortfall_bytes else ""
        out["reason"][row] = found.reason if found.reason.startswith(SHORT_BUFFERS) else short


def _sizes(where: Array, table: Mapping[str, Any], out: dict[str, Any]) -> tuple[dict[str, Array], Array]:
    """Return the sizes of the rows and which rows are usable; the others get their reason."""
    good = np.ones(len(where), dtype=bool)
    sizes = {}
    for name in SIZES:
        high = MAX_BATCH if name == "batch" else MAX_TOKENS
        low = _picked(table["dp"], where) if name == "batch" else 0
        values = _picked(table[name], where)
        sizes[name] = _numbers(values, len(where))
        with np.errstate(invalid="ignore"):
            fine = (sizes[name] >= low) & (sizes[name] <= high) & (sizes[name] == np.floor(sizes[name]))
        for at in np.flatnonzero(~fine & good):
            value = values if np.ndim(values) == 0 else values[at]
            out["reason"][where[at]] = _refusal(name, value, int(np.ravel(low)[at % np.size(low)]), high)
        good &= fine
    return sizes, good


def _picked(column: Any, where: Array) -> Any:
    """Return the values of some rows: an array, a list, or the one value of all rows."""
    if isinstance(column, _Same):
        return column.value
    return column[where] if isinstance(column, np.ndarray) else [column[i] for i in where]


def _numbers(values: Any, rows: int) -> Array:
    """Return sizes as numbers, shape (rows,), None as 0; NaN where a value is none."""

    def number(value: Any) -> float:
        try:
            return 0.0 if value is None else np.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            return np.nan

    if isinstance(values, np.ndarray):
        return values.astype(float)
    if isinstance(values, list):
        return np.array([number(value) for value in values])
    return np.full(rows, number(values))


def _refusal(name: str, value: Any, low: int, high: int) -> str:
    try:
        whole_number(name, value, low=low, high=high)
    except InputError as error:
        return str(error)
    return f"{name} must be a whole number from {low} to {high}, not {value!r}."


def _fill(out: dict[str, Any], where: Array, report: MemoryReport, values: Mapping[str, Array], dram: Array) -> None:
    """Write the answers of the rows `where`; what does not fit has its memory and what is missing."""
    fits = report.shortfall_bytes <= 0
    shown = fits | ("work_flop" in out)  # with errors: what would be costs, too
    for name, columns in values.items():
        for j, column in enumerate(interval_columns(name)):
            out[column][where] = np.where(shown, columns[:, j], np.nan)
    held = (report.total_bytes, report.lo_bytes, report.hi_bytes)
    for column, size in zip(interval_columns("memory_bytes"), held, strict=True):
        out[column][where] = size
    out["dram_bytes"][where] = np.where(fits, dram, np.nan)
    out["shortfall_bytes"][where] = report.shortfall_bytes
    out["verdict"][where] = np.where(fits, "feasible", "infeasible")
    out["reason"][where] = [
        f"{bytes_text(x)} short of memory" if x > 0 else "" for x in report.shortfall_bytes.tolist()
    ]
