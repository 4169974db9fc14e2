"""`Proxy`: what a simulator says of designs, learned from a log of them, with intervals and a flag for unlike designs.

Trees and kriging each learn the logarithm of a value, and of the value over the closed form's where there is one; what
they say of left-out designs decides how much each counts. Runs of one design are one design: its folds, its intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.proxy.boosting import Boosted
from archcast.searching.proxy.conformal import Interval
from archcast.searching.proxy.domain import Domain
from archcast.searching.proxy.encoding import Encoding, Guess, guessed_logs
from archcast.searching.proxy.kriging import Kriging
from archcast.searching.space import Columns, DesignSpace
from foundation.errors import BadValueError
from workloads.table import Array

MOST_TABLE = 2**21
"""Designs of a space that a table may hold."""
TABLE_BLOCK = 2**15
MOST_LOG = 700.0
"""Of a value's logarithm: what no log taught is finite too."""
CLIP = 8.0
"""Standard deviations of the log beyond which the closed form is held as a column."""


@dataclass(frozen=True)
class Member:
    """One model and how much it counts. `residual`: it learned the logarithm over that of the closed form."""

    model: Boosted | Kriging
    residual: bool
    weight: float

    @property
    def kind(self) -> str:
        return ("trees" if isinstance(self.model, Boosted) else "kriging") + (" on the rest" if self.residual else "")


@dataclass(frozen=True)
class Output:
    """Models of one value. `log`: whether of its logarithm; `guess`: place of the closed form's value, -1 for none.

    `least` and `most`: what the value can be, where the log says so; values and ends are kept within.
    """

    name: str
    log: bool
    guess: int
    members: tuple[Member, ...]
    interval: Interval
    least: float = -math.inf
    most: float = math.inf

    def natural(self, shaped: Array) -> Array:
        """Return values of what was learned."""
        return np.clip(np.exp(np.minimum(shaped, MOST_LOG)) if self.log else shaped, self.least, self.most)


@dataclass(frozen=True)
class Predicted:
    """Values by name, with the ends of one run's 90 % interval; NaN ends where `outside` (unlike the log's designs)."""

    value: dict[str, Array]
    lo: dict[str, Array]
    hi: dict[str, Array]
    outside: Array


@dataclass(frozen=True)
class Proxy:
    """A learned simulator. `card` says what it was made from and how good it is on left-out designs (docs/proxy.md).

    `middle` and `spread` standardise what the closed form says; `table` has (outputs, value lo hi, designs) of all
    designs and `unlike` their flags, where it was asked for.
    """

    encoding: Encoding
    guess: Guess | None
    middle: Array
    spread: Array
    outputs: tuple[Output, ...]
    domain: Domain
    card: Mapping[str, Any]
    table: Array | None = None
    unlike: Array | None = field(default=None, repr=False)

    @staticmethod
    def fit(
        space: DesignSpace, columns: Columns, values: Mapping[str, Array], closed_form: Guess | None = None, *,
        seed: int = 0, most_kriged: int = 4000, groups: Array | None = None,
    ) -> Proxy:  # fmt: skip
        """Return the proxy of logged designs.

        Args:
            columns: knobs by name, one row a run; runs of equal designs are replications of one.
            values: what runs gave, by name; runs with a NaN are left out.
            closed_form: columns to values by name; those that `values` names too are corrected, all are learned from.
            seed: of folds and of the designs that lengths are fitted on.
            most_kriged: designs that kriging takes at most (time rises with the third power); 0: trees alone.
            groups: a number for each run; runs of one group share their chance (the seed of a simulation), and are left
                out together, so that intervals know it. At least 5 groups. Where they have the same designs, folds are
                of designs instead (a design is of the group of its first run: a fold would be empty).

        Raises:
            BadValueError: fewer than 40 designs or 5 groups, values of another length, or values that are all one.
        """
        from archcast.searching.proxy.fitting import fitted

        return fitted(space, columns, values, closed_form, seed, most_kriged, groups)

    @property
    def space(self) -> DesignSpace:
        return self.encoding.space

    @property
    def names(self) -> tuple[str, ...]:
        """What it predicts."""
        return tuple(one.name for one in self.outputs)

    def predict(self, columns: Columns, return_interval: bool = True) -> Predicted:
        """Return values of designs; without intervals `lo` and `hi` are empty.

        Raises:
            BadValueError, UnknownNameError: columns that are not those of the space.
        """
        codes = self.space.codes_of(columns)
        if self.table is None:
            return self._of_codes(codes, self.space.columns(codes), return_interval)
        at = self.space.index(codes)
        assert self.unlike is not None
        outside = self.unlike[at]
        parts = [self.table[:, k].take(at, axis=1) for k in range(3 if return_interval else 1)]
        ends = [dict(zip(self.names, part, strict=True)) for part in parts]
        return Predicted(ends[0], ends[1] if return_interval else {}, ends[2] if return_interval else {}, outside)

    def _of_codes(self, codes: Array, columns: Columns, intervals: bool, together: bool = False) -> Predicted:
        logs = guessed_logs(self.guess, self.encoding.guesses, columns)
        outside = self.domain.outside(self.space, codes, logs)
        known = standard(logs, self.middle, self.spread)
        features = self.encoding.features(codes, known)
        kriged = any(isinstance(member.model, Kriging) for one in self.outputs for member in one.members)
        points = self.encoding.points(codes, known) if kriged else None
        found = Predicted({}, {}, {}, outside)
        for one in self.outputs:
            shaped = self._shaped(one, features, points, logs, together)
            found.value[one.name] = one.natural(shaped)
            if intervals:
                below, above = one.interval.ends(features)
                for ends, off in ((found.lo, below), (found.hi, above)):
                    ends[one.name] = np.where(outside, np.nan, one.natural(shaped + off))
        return found

    def _shaped(self, one: Output, features: Array, points: Array | None, logs: Array, together: bool) -> Array:
        """Return the (logarithm of the) value, summed over members."""
        total = np.zeros(len(features))
        for member in one.members:
            if isinstance(member.model, Boosted):
                said = member.model.predict(features)
            else:
                assert points is not None
                said = member.model.predict(points, together=together)
            if member.residual:
                base = logs[:, one.guess]
                said = said + np.where(np.isnan(base), self.middle[one.guess], base)
            total += member.weight * said
        return total

    def tabulated(self) -> Proxy:
        """Return the proxy with all designs of its space worked out once, so that an answer is a look-up.

        Raises:
            BadValueError: a space with spans, or of more than `MOST_TABLE` designs.
        """
        size = self.space.size
        if not self.space.listed:
            raise BadValueError("a table is of a space of listed values, and this one has ranges of numbers.")
        if size > MOST_TABLE:
            raise BadValueError(f"a table holds at most {MOST_TABLE:,} designs, and the space has {size:,}.")
        table = np.empty((len(self.outputs), 3, size), dtype=float)
        unlike = np.empty(size, dtype=bool)
        for start in range(0, size, TABLE_BLOCK):
            codes = self.space.canonical(self.space.codes(np.arange(start, min(start + TABLE_BLOCK, size))))
            part = self._of_codes(codes, self.space.columns(codes), True, together=True)
            at = slice(start, start + codes.shape[1])
            unlike[at] = part.outside
            for k, name in enumerate(self.names):
                table[k, :, at] = part.value[name], part.lo[name], part.hi[name]
        return replace(self, table=table, unlike=unlike)

    def save(self, path: str | Path) -> None:
        """Write to a file (.npz: arrays and JSON, no code). Raises BadFileError: it cannot be written."""
        from archcast.searching.proxy.stored import save

        save(self, path)

    @staticmethod
    def load(path: str | Path, closed_form: Guess | None = None) -> Proxy:
        """Read what `save` wrote; `closed_form` is the one that it was made with.

        Raises:
            BadFileError: no such file, or no sound proxy in it.
            BadValueError: it was made with a closed form and none is given.
        """
        from archcast.searching.proxy.stored import load

        return load(path, closed_form)


def standard(logs: Array, middle: Array, spread: Array) -> Array:
    """Return logarithms of a closed form centred and of spread 1, 0 where it says nothing."""
    known = np.clip((logs - middle) / spread, -CLIP, CLIP)
    return np.asarray(np.where(np.isnan(known), 0.0, known))
