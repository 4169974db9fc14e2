"""ArchGym: designs of a simulated cluster and the time of a collective (github.com/srivatsankrishnan/oss-arch-gym).

Apache-2.0. Trap: labels are outputs of a simulator (AstraSim), never hardware: a test of learning from knobs alone, in
the simulator's own units (the files state none). Rows fit no operator, so they come as a `KnobTable`. Splits: by
topology (`topology-name`); the authors' own is 80/20 at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import read_file, set_folder
from foundation.errors import BadFileError
from workloads.column_files import read_columns
from workloads.table import Array

SOURCE = "ArchGym AstraSim proxy, commit 53f745af (Apache-2.0); simulator output"
GROUP = "topology-name"


@dataclass(frozen=True)
class KnobTable:
    """Designs by their knobs: numbers as float64, text as objects, and what a simulator said of each.

    `outputs` hold the columns that vary, in the simulator's own units. All arrays have shape (rows,).
    """

    path: str
    source: str
    knobs: dict[str, Array]
    outputs: dict[str, Array]
    group: Array

    @property
    def rows(self) -> int:
        return len(self.group)

    @property
    def device(self) -> Array:
        """Return the names of devices: none, these are designs."""
        return np.full(self.rows, "", dtype=object)


def load_archgym(request: ImportRequest) -> Iterator[KnobTable]:
    """Yield one table. Raises BadFileError: files absent, or of different lengths."""
    request.check_options()
    folder = set_folder(request, "archgym-astrasim")
    text = read_columns(folder / "actions_feasible.csv", lambda _: False, bool)
    names = tuple(f"observation-{i}" for i in range(1, 6))
    outputs = read_file(folder / "observations_feasible.csv", names)
    if text.rows != len(outputs[names[0]]):
        raise BadFileError(folder, f"{text.rows} designs have {len(outputs[names[0]])} observations.")
    request.report.read += text.rows
    knobs = {name: _numbers(column) for name, column in text.columns.items()}
    varied = {name: column for name, column in outputs.items() if np.ptp(column) > 0}
    yield KnobTable("ArchGym AstraSim", SOURCE, knobs, varied, knobs[GROUP])


def _numbers(column: Array) -> Array:
    """Return a column as numbers where all its cells are."""
    try:
        return column.astype(np.float64)
    except ValueError:
        return column
