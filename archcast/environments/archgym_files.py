"""ArchGym's two CSV layouts, read with limits and written so that they read back the same.

Aligned tables: `actions_feasible.csv` and `observations_feasible.csv`, a row a design. Trajectories: lines of
`reward, "{action}", "[[energy power latency]]"`, where the action is a Python dict and the observation a numpy print.
"""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import BadFileError, BadValueError
from foundation.files import plain_file, written_whole
from workloads.table import Array

ACTIONS, OBSERVATIONS = "actions_feasible.csv", "observations_feasible.csv"
MOST_BYTES, MOST_ROWS, MOST_CELL, MOST_KEYS = 200_000_000, 2_000_000, 20_000, 500


@dataclass(frozen=True)
class Designs:
    """Aligned tables: columns of actions (numbers, or text) and of observations, shape (designs,)."""

    actions: dict[str, Array]
    observations: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.observations.values()), ()))


@dataclass(frozen=True)
class Step:
    """One line of a trajectory."""

    reward: float
    action: dict[str, Any]
    observation: tuple[float, ...]


def read_designs(folder: str | Path) -> Designs:
    """Return the two aligned tables of a folder. Raises BadFileError: absent, ragged, too large, or not aligned."""
    actions, observations = (_table(Path(folder) / name) for name in (ACTIONS, OBSERVATIONS))
    counts = [len(next(iter(one.values()))) for one in (actions, observations)]
    if counts[0] != counts[1]:
        raise BadFileError(Path(folder) / OBSERVATIONS, f"it has {counts[1]:,} rows, {ACTIONS} has {counts[0]:,}.")
    if any(column.dtype.kind not in "fiu" for column in observations.values()):
        raise BadFileError(Path(folder) / OBSERVATIONS, "an observation is not a number.")
    return Designs(actions, observations)


def write_designs(folder: str | Path, designs: Designs) -> None:
    """Write the two aligned tables into a folder, made where it is absent. Raises BadValueError: unequal lengths."""
    sizes = {len(column) for table in (designs.actions, designs.observations) for column in table.values()}
    if len(sizes) != 1:
        raise BadValueError("actions and observations are columns of one length.")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, table in ((ACTIONS, designs.actions), (OBSERVATIONS, designs.observations)):
        with written_whole(Path(folder) / name) as part, part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(table)
            writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))


def _table(path: Path) -> dict[str, Array]:
    rows = _rows(path)
    head = rows[0]
    if len(set(head)) != len(head):
        raise BadFileError(path, "two columns have one name.", line=1)
    if len(rows) < 2:
        raise BadFileError(path, "it has no row.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise BadFileError(path, f"{len(row)} cells where the head has {len(head)}.", line=number)
    return {name: _column([row[k] for row in rows[1:]]) for k, name in enumerate(head)}


def _column(cells: list[str]) -> Array:
    """Return whole numbers, numbers, or text."""
    for kind in (np.int64, np.float64):
        try:
            found = np.array(cells, dtype=str).astype(kind)
        except (ValueError, OverflowError):
            continue
        if np.isfinite(found).all():
            return found
    return np.array(cells, dtype=str)


def _rows(path: Path) -> list[list[str]]:
    file = plain_file(path, MOST_BYTES)
    found = []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                if number > MOST_ROWS + 1 or len(row) > MOST_KEYS or any(len(cell) > MOST_CELL for cell in row):
                    raise BadFileError(path, "more rows, columns or text than is read.", line=number)
                if row:
                    found.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFileError(path, f"this is no CSV file: {error}.") from None
    if not found:
        raise BadFileError(path, "the file is empty.")
    return found


def read_trajectory(path: str | Path) -> list[Step]:
    """Return the steps of a trajectory file. Raises BadFileError, with the line, for what is no step."""
    return [_step(Path(path), number, row) for number, row in enumerate(_rows(Path(path)), start=1)]


def _step(path: Path, line: int, row: list[str]) -> Step:
    if len(row) != 3:
        raise BadFileError(
            path, f'a line is reward, "{{action}}", "[[observation]]"; this has {len(row)} cells.', line=line
        )
    try:
        reward = float(row[0])
        action = ast.literal_eval(row[1].strip())
        numbers = tuple(float(text) for text in row[2].replace("[", " ").replace("]", " ").replace(",", " ").split())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadFileError(path, "the reward, the action or the observation cannot be read.", line=line) from None
    plain = isinstance(action, dict) and len(action) <= MOST_KEYS and all(
        isinstance(key, str) and isinstance(value, (str, int, float)) for key, value in action.items()
    )  # fmt: skip
    if not plain or not numbers or math.isnan(reward) or any(math.isnan(one) for one in numbers):
        raise BadFileError(
            path, "the action is no dict of names to numbers or text, or a number is missing.", line=line
        )
    return Step(reward, action, numbers)


def write_trajectory(path: str | Path, steps: Sequence[Step]) -> None:
    """Write a trajectory file; numbers are written so that they read back the same."""
    with written_whole(Path(path)) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for step in steps:
            action = {str(key): _plain(value) for key, value in step.action.items()}
            numbers = " ".join(repr(float(one)) for one in step.observation)
            writer.writerow([repr(float(step.reward)), repr(action), f"[[{numbers}]]"])


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def as_designs(steps: Sequence[Step], names: Sequence[str] = ("energy", "power", "latency")) -> Designs:
    """Return the aligned tables of a trajectory, as ArchGym's converter makes them. Raises BadValueError."""
    if not steps:
        raise BadValueError("a trajectory without a step has no designs.")
    keys: Mapping[str, Any] = steps[0].action
    if any(step.action.keys() != keys.keys() or len(step.observation) != len(names) for step in steps):
        raise BadValueError(f"all steps need the same parameters, and {len(names)} observed values.")
    actions = {key: np.array([step.action[key] for step in steps]) for key in keys}
    observed = {name: np.array([step.observation[k] for step in steps]) for k, name in enumerate(names)}
    return Designs(actions, observed)
