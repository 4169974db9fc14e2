"""`predict_ops`: price rows of operators, in memory or from a measurement table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archcast.question import find_target
from costmodel.collectives import fabric_of
from costmodel.costs import BOUNDS, NUMERIC, SOURCES, OpCosts
from costmodel.protocol import CostModel, PhysicsModel
from costmodel.rates import require_format
from foundation.errors import BadFileError, BadValueError, InputError
from foundation.formats import FORMAT_NAMES
from workloads.table import KINDS, OpTable


def find_cost_model(folder: str | Path | None) -> CostModel:
    """Return the artefact in a folder, or the closed form where none is named. Raises BadFileError."""
    if folder is None:
        return PhysicsModel()
    from costmodel.artefact import load_artefact

    return load_artefact(Path(folder))


def predict_ops(
    table: OpTable | Mapping[str, Any], *, on: str | Any = "", model: CostModel | None = None
) -> OpCosts:  # fmt: skip
    """Return the cost of every row, in the order given.

    Args:
        table: an `OpTable`, or columns by name (docs/measurements.md), of which `device` may be one.
        on: the device of all rows, where there is no `device` column.

    Raises:
        InputError: no device, an unknown one, a row without its sizes, or a format that a device cannot compute in.
    """
    columns = {} if isinstance(table, OpTable) else dict(table)
    named = columns.pop("device", None)
    software = columns.pop("software", None)
    ops = table if isinstance(table, OpTable) else OpTable.from_columns(columns)
    devices = np.full(ops.rows, on) if named is None else np.broadcast_to(np.asarray(named, dtype=str), (ops.rows,))
    stacks = np.broadcast_to(np.asarray("" if software is None else software, dtype=str), (ops.rows,))
    faults = ops.faults()
    if faults:
        raise BadValueError(f"Row {faults[0][0] + 1}: {faults[0][1]}.")
    return _by_device(ops, devices, stacks, model or PhysicsModel())


def _by_device(ops: OpTable, devices: Any, stacks: Any, model: CostModel) -> OpCosts:
    if not ops.rows:
        return OpCosts.empty(0)
    keys, inverse = np.unique(np.char.add(np.char.add(devices, "\x00"), stacks), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    parts, start = [], 0
    for i, key in enumerate(keys):
        size = int((inverse == i).sum())
        rows = order[start : start + size]
        name, _, software = str(key).partition("\x00")
        parts.append(_on_device(ops.take(rows) if len(keys) > 1 else ops, name, software, model))
        start += size
    if len(parts) == 1:
        return parts[0]
    back = np.empty(ops.rows, dtype=np.intp)
    back[order] = np.arange(ops.rows)
    return OpCosts.concat(parts).take(back)


def _on_device(ops: OpTable, name: str, software: str, model: CostModel) -> OpCosts:
    if not name:
        raise BadValueError("No device is named: add a column `device`, or say `on`.")
    target = find_target(name)
    for code in np.unique(ops["dtype"]):
        require_format(target.rates, FORMAT_NAMES[int(code)])
    ranks = int(ops["ranks"].max()) if np.any(ops["kind"] > KINDS.index("")) else 1
    return model.predict(ops, target.rates, fabric_of(target.spec, ranks), software=software)


def cost_columns(costs: OpCosts) -> dict[str, Any]:
    """Return the columns that predict-ops adds: numbers, and `bound` and `source` by name."""
    columns: dict[str, Any] = {name: getattr(costs, name) for name in NUMERIC}
    columns["bound"] = np.array(BOUNDS)[costs.bound]
    columns["source"] = np.array(SOURCES)[costs.source]
    return columns


def predict_ops_file(source: str | Path, out: str | Path, model: str | Path | None = None) -> OpCosts:
    """Price the operators of a measurement table and write it with the costs added; row order is kept.

    Raises:
        BadFileError: the table cannot be used; file, row and column are named.
    """
    from workloads.measurements import read_measurements, write_costs

    measured = read_measurements(Path(source))
    cost_model = find_cost_model(model)
    try:
        costs = _by_device(measured.table, np.asarray(measured.device, dtype=str), np.asarray(measured.software, dtype=str), cost_model)
    except InputError as error:
        raise BadFileError(source, str(error)) from None
    write_costs(Path(out), measured.drop_measured(), cost_columns(costs))
    return costs
