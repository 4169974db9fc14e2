"""`predict_ops`: price rows of operators, in memory or from a measurement table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel, find_cost_model
from archcast.operator_columns import operator_table, refuse_words, texts
from archcast.question import find_target
from archcast.software import as_known, check_software
from costmodel.collectives import fabric_of
from costmodel.costs import BOUNDS, NUMERIC, SOURCES, OpCosts
from costmodel.protocol import CostModel
from costmodel.rates import require_format
from foundation.errors import BadFileError, BadValueError, InputError
from foundation.formats import FORMAT_NAMES
from hardware_specs import DeviceSpec
from workloads.table import KINDS, Array, OpTable


def predict_ops(
    table: OpTable | Mapping[str, Any], *, on: str | Path | DeviceSpec = "", model: AnyModel = None
) -> OpCosts:  # fmt: skip
    """Return the cost of every row, in the order given.

    Args:
        table: an `OpTable`, or columns by name (docs/measurements.md), of which `device` may be one; NaN, None and ''
            are empty cells, as in a file.
        on: the device of all rows, where there is no `device` column.
        model: as in `predict`.

    Raises:
        InputError: no device, an unknown one, a row without its sizes, a size that a file may not hold, a format
            that a device cannot compute in, or a slip of a software's name (as in `predict`).
    """
    if not isinstance(table, OpTable):
        refuse_words(table)
    return price_columns(table, on, model)


def price_columns(table: OpTable | Mapping[str, Any], on: str | Path | DeviceSpec, model: AnyModel) -> OpCosts:
    """Return what `predict_ops` returns, of columns whose sizes are known to be numbers or empty cells."""
    columns = {} if isinstance(table, OpTable) else dict(table)
    named, software = columns.pop("device", None), columns.pop("software", "")
    ops = table if isinstance(table, OpTable) else operator_table(columns)
    spec = {on.id: on} if isinstance(on, DeviceSpec) else {}
    whole = on.id if isinstance(on, DeviceSpec) else str(on)
    devices = texts("device", whole if named is None else named, ops.rows)
    stacks = texts("software", software, ops.rows)
    faults = ops.faults()
    if faults:
        raise BadValueError(f"Row {faults[0][0] + 1}: {faults[0][1]}.")
    try:
        return _by_device(ops, devices, stacks, find_cost_model(model), spec)
    except _RowError as error:
        many = named is not None or (error.column == "software" and not isinstance(software, str))
        raise BadValueError(f"Row {error.row + 1}: {error}" if many else str(error)) from None


class _RowError(InputError):
    """What is wrong with the rows of one device; `row` is the first of them, from 0."""

    def __init__(self, row: int, column: str, problem: str) -> None:
        self.row, self.column = row, column
        super().__init__(problem)


def _by_device(
    ops: OpTable, devices: Array, stacks: Array, model: CostModel, specs: Mapping[str, DeviceSpec] | None = None
) -> OpCosts:  # fmt: skip
    """Price rows, grouped by device and software. `specs` holds devices that are objects, by id. Raises _RowError."""
    if not ops.rows:
        return OpCosts.empty(0)
    if not any(labels.strides[0] for labels in (devices, stacks)):  # one value for all rows
        name = str(devices[0])
        return _on_device(ops, (specs or {}).get(name, name), str(stacks[0]), model, np.arange(ops.rows))
    keys, inverse = np.unique(np.char.add(np.char.add(devices, "\x1f"), stacks), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    parts, start = [], 0
    for i, key in enumerate(keys):
        size = int((inverse == i).sum())
        rows = order[start : start + size]
        name, _, software = str(key).partition("\x1f")
        on = (specs or {}).get(name, name)
        parts.append(_on_device(ops.take(rows) if len(keys) > 1 else ops, on, software, model, rows))
        start += size
    if len(parts) == 1:
        return parts[0]
    back = np.empty(ops.rows, dtype=np.intp)
    back[order] = np.arange(ops.rows)
    return OpCosts.concat(parts).take(back)


def _on_device(ops: OpTable, on: str | DeviceSpec, software: str, model: CostModel, rows: Array) -> OpCosts:
    """Price the rows of one device.

    Raises:
        _RowError: no device, an unknown one, a slip of a software's name, or a format that the device cannot do.
    """
    if not on:
        hint = "fill the column `device` (`archcast devices` lists them)"
        raise _RowError(int(rows[0]), "device", f"no device is named; {hint}.")
    try:
        target = find_target(on)
    except InputError as error:
        raise _RowError(int(rows[0]), "device", str(error)) from None
    if software:
        try:
            check_software(software, model, target.spec, own=True)
        except InputError as error:
            raise _RowError(int(rows[0]), "software", str(error)) from None
        software = as_known(software, model)
    codes = ops.full("dtype").astype(np.intp)
    for code in np.flatnonzero(np.bincount(codes)):
        try:
            require_format(target.rates, FORMAT_NAMES[int(code)])
        except InputError as error:
            raise _RowError(int(rows[np.argmax(codes == code)]), "dtype", str(error)) from None
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
    devices, stacks = (np.asarray(labels, dtype=str) for labels in (measured.device, measured.software))
    try:
        costs = _by_device(measured.table, devices, stacks, cost_model)
    except _RowError as error:
        row = int(measured.row_numbers[error.row])
        raise BadFileError(source, f"row {row}: {error}", key=error.column) from None
    write_costs(Path(out), measured.drop_measured(), cost_columns(costs))
    return costs
