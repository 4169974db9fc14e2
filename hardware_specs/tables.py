"""What measured tables call their devices, and the catalogue's ids for those names."""

from __future__ import annotations

from pydantic import Field

from hardware_specs.figures import Spec


class TableNames(Spec):
    """The device names of one measured table.

    `column` says where they stand: a column's name (or several), 'header', or 'file name'. A table that names no
    device of its own, such as a simulated cluster, has an empty `devices` and a note that says why.
    """

    set: str
    column: str | tuple[str, ...] = ""
    notes: str = ""
    devices: dict[str, str] = Field(default_factory=dict)
