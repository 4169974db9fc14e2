"""`History`: every design that an environment evaluated, written as two aligned tables, actions and observations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from archcast.environments.task import Outcome, Single
from archcast.searching.evaluations import write_evaluations
from archcast.searching.space import DesignSpace
from foundation.errors import BadValueError
from workloads.table import Array

ACTIONS, OBSERVATIONS, FEASIBLE = "actions", "observations", "_feasible"


class History:
    """Designs and what they were worth, in the order of evaluation."""

    def __init__(self, space: DesignSpace) -> None:
        self.space = space
        self._codes: list[Array] = []
        self._outcomes: list[Outcome] = []

    def __len__(self) -> int:
        return sum(codes.shape[1] for codes in self._codes)

    def add(self, codes: Array, outcome: Outcome) -> None:
        """Keep designs (codes of shape (knobs, designs))."""
        self._codes.append(codes.copy())
        self._outcomes.append(outcome)

    def add_one(self, codes: Array, found: Single) -> None:
        """Keep one design (codes of shape (knobs,))."""
        values = {name: np.array([value]) for name, value in found.values.items()}
        reason, score = np.array([int(not found.feasible)]), np.array([found.score])
        self.add(codes[:, None], Outcome(values, reason == 0, score, reason, (found.reason,), found.observation[None]))

    def tables(self, *, feasible_only: bool = False) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return (actions, observations): values of knobs by name, and values, reward and feasibility; aligned."""
        if not self._codes:
            raise BadValueError("nothing was evaluated yet, so there is nothing to write.")
        codes = np.concatenate(self._codes, axis=1)
        feasible = np.concatenate([one.feasible for one in self._outcomes])
        keep = np.flatnonzero(feasible) if feasible_only else np.arange(len(feasible))
        actions = {}
        for knob, row in zip(self.space.knobs, codes[:, keep], strict=True):
            actions[knob.name] = np.array(knob.values, dtype=str)[row] if knob.category else knob.numbers[row]
        names = dict.fromkeys(name for one in self._outcomes for name in one.values)
        observations = {name: _column(self._outcomes, name)[keep] for name in names}
        observations["reward"] = np.concatenate([one.score for one in self._outcomes])[keep]
        if not feasible_only:
            observations["feasible"] = feasible
        return actions, observations

    def write(self, path: str | Path, *, feasible_only: bool = False) -> tuple[Path, Path]:
        """Write ArchGym's layout to a folder (CSV), or to files whose names start with PATH, in .csv or .parquet.

        A folder gets actions.csv and observations.csv, of feasible designs alone actions_feasible.csv and
        observations_feasible.csv. Raises UnsupportedError: Parquet without pyarrow.
        """
        file = Path(path)
        ending = FEASIBLE if feasible_only else ""
        if file.suffix in (".csv", ".parquet"):
            names = [file.with_name(f"{file.stem}_{one}{ending}{file.suffix}") for one in (ACTIONS, OBSERVATIONS)]
        else:
            file.mkdir(parents=True, exist_ok=True)
            names = [file / f"{one}{ending}.csv" for one in (ACTIONS, OBSERVATIONS)]
        for name, table in zip(names, self.tables(feasible_only=feasible_only), strict=True):
            write_evaluations(name, table, {"layout": "actions and observations, aligned by row"})
        return names[0], names[1]


def _column(outcomes: list[Outcome], name: str) -> Array:
    """Return a value of all designs, NaN where it was not worked out."""
    return np.concatenate([one.values.get(name, np.full(len(one.feasible), np.nan)) for one in outcomes])
