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
from archcast.question import MAX_BATCH, MAX_TOKENS, Question, ask, parallel
from costmodel.collectives import fabric_of
from costmodel.estimate import compose
from costmodel.in_network import costs_in_network
from costmodel.memory import MemoryReport, memory_of
from costmodel.protocol import CostModel
from costmodel.spatial.costs import SHORT_BUFFERS
from foundation.checks import whole_number
from foundation.errors import BadValueError, InputError, UnknownNameError
from workloads.lowering import lower
from workloads.mapping import Mapping as Parallel
from workloads.table import Array

SIZES = ("batch", "prompt", "generate")
GROUPED = ("workload", "on", "dtype", "kv_dtype", "mode", "count", "tp", "pp", "ep", "dp", "cp", "software")
DEFAULTS: Mapping[str, Any] = {
    "batch": 1, "prompt": 0, "generate": 0, "dtype": "", "kv_dtype": "", "mode": "infer", "count": 0, "tp": 1, "pp": 1,
    "ep": 1, "dp": 1, "cp": 1, "software": "",
}  # fmt: skip
"""Value of a column that is not given; 0 tokens stand for the model's default, count 0 for tp x pp x dp."""

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
        UnknownNameError: a column that does not exist. BadValueError: columns of different lengths.
    """
    rows, table = _columns(columns)
    out = _empty(rows)
    groups: dict[tuple[Any, ...], list[int]] = {}
    keys = zip(*(table[name] for name in GROUPED), strict=True)
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    cost_model = find_cost_model(model)
    for key, members in groups.items():
        where = np.array(members)
        try:
            _answer(dict(zip(GROUPED, key, strict=True)), where, table, out, cost_model)
        except InputError as error:
            out["reason"][where] = str(error)
    return out


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
    lists = {k: list(v) for k, v in columns.items() if not isinstance(v, (str, bytes)) and hasattr(v, "__len__")}
    lengths = {len(v) for v in lists.values()}
    if len(lengths) > 1:
        detail = ", ".join(f"{k} {len(v)}" for k, v in lists.items())
        raise BadValueError(f"The columns of predict_batch have different lengths: {detail}.")
    rows = lengths.pop() if lengths else 1
    single = {k: columns.get(k, DEFAULTS.get(k)) for k in known}
    return rows, {k: lists[k] if k in lists else [single[k]] * rows for k in known}


def _empty(rows: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in QUANTITIES:
        for column in interval_columns(name):
            out[column] = np.full(rows, np.nan)
    for name in ("dram_bytes", "shortfall_bytes"):
        out[name] = np.full(rows, np.nan)
    out["verdict"] = np.full(rows, "infeasible", dtype="U10")
    out["reason"] = np.full(rows, "", dtype=object)
    return out


def _answer(
    key: dict[str, Any], where: Array, table: Mapping[str, Any], out: dict[str, Any], cost_model: CostModel
) -> None:
    """Answer the rows `where`, which differ in their sizes only."""
    mapping = parallel(key["count"] or None, key["tp"], key["pp"], key["ep"], key["dp"], key["software"], key["cp"])
    if mapping is None:
        raise BadValueError(f"count={key['count']} alone does not say how to divide the model; give tp, pp or dp too.")
    question = ask(
        key["workload"], key["on"], dtype=key["dtype"], kv_dtype=key["kv_dtype"], mode=key["mode"],
        software=key["software"],
    )  # fmt: skip
    sizes, good = _sizes(where, table, out)
    if not good.any():
        return
    where, sizes = where[good], {name: values[good] for name, values in sizes.items()}
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
    target = question.target
    if lacking_tile(lowered.table, target.rates)[0] > 0:
        _answer_each(replace(question, request=request), mapping, sizes["batch"], where, out, cost_model)
        return
    report = memory_of(workload, lowered, mapping, target.rates)
    fabric = fabric_of(target.spec, linked_devices(mapping, lowered.table))
    weights_bytes = float(report.parts["weights"][0])
    costs = costs_in_network(cost_model, lowered.table, target.rates, fabric, mapping.software, weights_bytes)
    if chip := laid_out(replace(question, request=request), mapping, lowered.table, cost_model):
        costs = chip.scaled(costs, lowered)
    totals = compose(workload, lowered, costs)
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
        out["dram_bytes"][row] = np.nan if found.dram_bytes is None else found.dram_bytes
        out["shortfall_bytes"][row], out["verdict"][row] = found.shortfall_bytes, found.verdict
        short = f"{bytes_text(found.shortfall_bytes)} short of memory" if found.shortfall_bytes else ""
        out["reason"][row] = found.reason if found.reason.startswith(SHORT_BUFFERS) else short


def _sizes(where: Array, table: Mapping[str, Any], out: dict[str, Any]) -> tuple[dict[str, Array], Array]:
    """Return the sizes of the rows and which rows are usable; the others get their reason."""
    good = np.ones(len(where), dtype=bool)
    sizes = {name: np.zeros(len(where)) for name in SIZES}
    for at, row in enumerate(where):
        try:
            for name in SIZES:
                high = MAX_BATCH if name == "batch" else MAX_TOKENS
                value = table[name][row]
                low = table["dp"][row] if name == "batch" else 0
                sizes[name][at] = whole_number(name, value if value is not None else 0, low=low, high=high)
        except InputError as error:
            out["reason"][row] = str(error)
            good[at] = False
    return sizes, good


def _fill(out: dict[str, Any], where: Array, report: MemoryReport, values: Mapping[str, Array], dram: Array) -> None:
    """Write the answers of the rows `where`; what does not fit has its memory and what is missing."""
    fits = report.shortfall_bytes <= 0
    for name, columns in values.items():
        for j, column in enumerate(interval_columns(name)):
            out[column][where] = np.where(fits, columns[:, j], np.nan)
    held = (report.total_bytes, report.lo_bytes, report.hi_bytes)
    for column, size in zip(interval_columns("memory_bytes"), held, strict=True):
        out[column][where] = size
    out["dram_bytes"][where] = np.where(fits, dram, np.nan)
    out["shortfall_bytes"][where] = report.shortfall_bytes
    out["verdict"][where] = np.where(fits, "feasible", "infeasible")
    out["reason"][where] = [
        f"{bytes_text(x)} short of memory" if x > 0 else "" for x in report.shortfall_bytes.tolist()
    ]
