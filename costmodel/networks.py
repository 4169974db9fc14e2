"""Whole networks as counts of distinct operators: what models of whole-network timings see of a graph.

Networks of a family share most operators, so a set of them is one small `OpTable` and a matrix of counts; a price of
the table prices every network by one product. Each instance of an operator is live, dead (nothing that leaves the
network reads it) or constant (all that it reads is constant: a zero fill, or what follows from one). Runtimes that
fold constants and drop dead code pay for the live ones only; others pay for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from workloads.graph import BLOCK_INPUT, Block, Operator, Workload
from workloads.table import CATEGORIES, DEFAULTS, Array, OpTable, category_code
from workloads.work import count_work

LIVE, CONSTANT, DEAD = range(3)
STATES = ("live", "constant", "dead")
PER_GROUP = ("launches", "flop", "bytes")
_OWN = ("op", "dtype")


@dataclass(frozen=True)
class NetworkCounts:
    """`counts[state, network, operator]`: how often each distinct operator of `table` runs; state as `STATES`."""

    table: OpTable
    counts: Array

    @property
    def networks(self) -> int:
        return int(self.counts.shape[1])

    @property
    def total(self) -> Array:
        """Counts of all states, shape (networks, operators)."""
        return np.asarray(self.counts.sum(axis=0))


def count_networks(workloads: Iterable[Workload], dtype: str = "") -> NetworkCounts:
    """Return the distinct operators of workloads (one request each, all passes) and their counts.

    `dtype` replaces the format of every operator. Launched operators only: what is fused costs no launch.

    Raises:
        BadValueError: no network.
    """
    places: dict[tuple[tuple[str, object], ...], int] = {}
    found: list[dict[tuple[int, int], float]] = []
    for workload in workloads:
        mine: dict[tuple[int, int], float] = {}
        for run in workload.passes:
            for block in run.graph.blocks:
                times = block.count * float(np.asarray(run.times, float).sum())
                for operator, state in zip(block.operators, block_states(block), strict=True):
                    if not operator.fused:
                        place = places.setdefault(_key(operator, dtype), len(places))
                        mine[state, place] = mine.get((state, place), 0.0) + times
        found.append(mine)
    if not found or not places:
        raise BadValueError("There is no network to count operators of.")
    counts = np.zeros((len(STATES), len(found), len(places)))
    for row, mine in enumerate(found):
        for (state, place), times in mine.items():
            counts[state, row, place] = times
    return NetworkCounts(_table([dict(key) for key in places]), counts)


def block_states(block: Block) -> list[int]:
    """Return the state of each operator of a block."""
    by_name = {o.name: o for o in block.operators}
    read: set[str] = set()
    waiting = [block.operators[-1].name] if block.operators else []
    while waiting:
        name = waiting.pop()
        if name != BLOCK_INPUT and name not in read:
            read.add(name)
            waiting += by_name[name].inputs
    constant: set[str] = set()
    for o in block.operators:
        if _fills(o) or (o.inputs and all(source in constant for source in o.inputs)):
            constant.add(o.name)
    return [DEAD if o.name not in read else CONSTANT if o.name in constant else LIVE for o in block.operators]


def _fills(operator: Operator) -> bool:
    """Return whether an operator writes zeros: pointwise, one operand, no arithmetic (a sum over no edges)."""
    shape = operator.shape
    return operator.op == "elementwise" and shape.get("operands", 1) <= 1 and operator.name.endswith("zero")


def _key(operator: Operator, dtype: str) -> tuple[tuple[str, object], ...]:
    shape = {name: value for name, value in operator.shape.items() if name in DEFAULTS or name in CATEGORIES}
    sizes = {n: v if isinstance(v, str) else float(np.asarray(v, float).ravel()[0]) for n, v in shape.items()}
    return tuple(sorted({**sizes, "op": operator.op, "dtype": dtype or operator.dtype}.items()))


def _table(rows: list[dict[str, object]]) -> OpTable:
    names = sorted({name for row in rows for name in row})
    columns: dict[str, Array] = {}
    for name in names:
        if name in CATEGORIES:
            default = rows[0]["dtype"] if name in ("dtype", "kv_dtype") else CATEGORIES[name][0]
            codes = [category_code(name, str(row.get(name, default))) for row in rows]
            columns[name] = np.array(codes, dtype=np.int16)
        else:
            columns[name] = np.array([float(str(row.get(name, DEFAULTS[name]))) for row in rows])
    return OpTable(len(rows), columns)


@dataclass(frozen=True)
class NetworkFeatures:
    """Sums over groups of like operators: `matrix` (networks, features), none constant, none twice."""

    names: tuple[str, ...]
    matrix: Array


def network_features(counted: NetworkCounts, states: bool = True, sizes: bool = True) -> NetworkFeatures:
    """Return launches, FLOP and bytes of each group of operators (kind, kernel, grouping, map size) and state.

    A column in proportion to an earlier one says nothing more and is left out, so cells that are stacked at three
    sizes count once.
    """
    work, table = count_work(counted.table), counted.table
    rows = table.rows
    per_one = {"launches": np.ones(rows), "flop": work.flop, "bytes": work.bytes_moved}
    groups = _groups(table, sizes)
    columns, names = [], []
    for state in range(len(STATES)) if states else (-1,):
        counts = counted.counts[state] if states else counted.total
        for group in sorted(set(groups)):
            mine = np.array([g == group for g in groups])
            for what in PER_GROUP:
                columns.append(counts[:, mine] @ np.broadcast_to(per_one[what], (rows,))[mine])
                names.append(f"{group}/{STATES[state] if states else 'all'}/{what}")
    return _distinct(names, np.array(columns).T)


def _groups(table: OpTable, sizes: bool) -> list[str]:
    """Return the group of each operator."""
    from workloads.table import OPS

    full = {name: table.full(name) for name in ("op", "kh", "groups", "c_in", "h", "operands", "flop_per_element")}
    names = []
    for i in range(table.rows):
        op = OPS[int(full["op"][i])]
        if op == "conv2d":
            grouped = full["groups"][i] > 1
            wide = "depthwise" if grouped and full["groups"][i] >= full["c_in"][i] else "grouped" if grouped else ""
            at = f"@{int(full['h'][i])}" if sizes else ""
            names.append(f"conv{int(full['kh'][i])}{wide}{at}")
        elif op == "elementwise":
            sums = full["operands"][i] > 1
            names.append("sum" if sums else f"pointwise{int(full['flop_per_element'][i])}")
        else:
            names.append(op)
    return names


def _distinct(names: list[str], matrix: Array) -> NetworkFeatures:
    """Return the columns that vary and are in proportion to no earlier one, each over its mean."""
    kept: list[int] = []
    shapes: list[Array] = []
    for i in range(matrix.shape[1]):
        column = matrix[:, i]
        if np.ptp(column) <= 1e-9 * max(1.0, float(np.abs(column).max())):
            continue
        shape = column / column.mean()
        if not any(np.allclose(shape, other, rtol=1e-6, atol=1e-9) for other in shapes):
            kept.append(i)
            shapes.append(shape)
    if not kept:
        raise BadValueError("The networks do not differ in any group of operators.")
    return NetworkFeatures(tuple(names[i] for i in kept), np.stack(shapes, axis=1))
