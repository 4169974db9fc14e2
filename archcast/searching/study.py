"""Ask and tell: a search whose designs somebody else evaluates.

study = make_study(space, ["latency_s", "energy_j"], method="nsga2", seed=1)
designs = study.ask(100)                  # columns: name -> array
study.tell(designs, values)               # name -> array, or an array (designs, objectives); NaN: infeasible
study.front().columns
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archcast.searching.front import Archive
from archcast.searching.limits import Limit, read_limit
from archcast.searching.methods import find_sampler
from archcast.searching.sampler import Asked, Prior, Told, keys_of, stream
from archcast.searching.space import Columns, DesignSpace
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array

TRIES = 24
"""Times that a sampler is asked for designs that are new, before they are drawn at random."""
LISTED = 2**18
"""Designs of a space that are gone through one by one where chance finds no new one."""
MOST_ASKED = 10**7


@dataclass
class History:
    """All that was told, in order: `values` are NaN where a design does not stand, `batch` counts tells from 0."""

    codes: Array
    values: Array
    feasible: Array
    violation: Array
    batch: Array

    @property
    def evaluations(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class StudyFront:
    """Designs that no other told design beats, by rising first objective; `place` is that in the history."""

    place: Array
    codes: Array
    columns: dict[str, Array]
    values: Array


@dataclass
class AskTell:
    """A search in progress. Equal calls with equal seeds ask for equal designs, in this process or another."""

    space: DesignSpace
    objectives: tuple[str, ...]
    method: str
    seed: int
    limits: tuple[Limit, ...] = ()
    prior: Prior | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    codes: Array = field(init=False)
    """Codes of the designs asked for last, shape (knobs, designs)."""
    batches: int = field(init=False, default=0)
    evaluations: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        allowed = self._allowed if self.limits else None
        asked = Asked(self.space, len(self.objectives), self.seed, allowed, self.prior, self.options)
        self.sampler = find_sampler(self.method)(asked)
        self.codes = np.zeros((len(self.space.knobs), 0))
        self._seen: set[int] = set()
        self._told: list[Told] = []
        self._history: History | None = None
        self._archive = Archive(len(self.objectives))

    def ask(self, count: int = 1) -> dict[str, Array]:
        """Return the columns of `count` designs that were not asked for before; fewer where the space has no more.

        Raises:
            BadValueError: `count` is no whole number above 0.
        """
        whole_number("the number of designs", count, high=MOST_ASKED)
        rng = stream(self.seed, self.method, self.batches)
        self.batches += 1
        parts: list[Array] = []
        found, knows = 0, True
        for attempt in range(2 * TRIES):
            want = count - found
            if attempt < TRIES and knows:
                codes = self.sampler.propose(want, rng)
                knows = codes.shape[1] > 0  # a method that knows of no more designs is not asked again
            else:
                codes = self.space.decode(rng.random((want + 64, len(self.space.knobs))))
            fresh = self._fresh(codes, want)
            found += fresh.shape[1]
            parts.append(fresh)
            if found >= count:
                break
        if found < count and self.space.listed and self.space.size <= LISTED:
            every = rng.permutation(self.space.size)
            parts.append(self._fresh(self.space.canonical(self.space.codes(every).astype(float)), count - found))
        self.codes = np.concatenate(parts, axis=1)
        return self.space.columns(self.codes)

    def tell(self, columns: Columns | None, values: Any, *, violation: Any = None) -> None:
        """Take the values of designs in, whether they were asked for or not.

        Args:
            columns: the designs; None: those asked for last.
            values: objective -> array, or an array (designs, objectives), all to be small; NaN: the design does not
                stand.
            violation: how far designs that do not stand are from standing, above 0 (1 where nobody knows).

        Raises:
            BadValueError: columns and values do not go together.
        """
        codes = self.codes if columns is None else self.space.codes_of(columns)
        self.tell_codes(codes, self._table(values, codes.shape[1]), violation)

    def tell_codes(self, codes: Array, values: Array, violation: Any = None) -> None:
        """Take values in, of designs by code; see `tell`."""
        table = np.asarray(values, dtype=float)
        if table.shape != (codes.shape[1], len(self.objectives)):
            raise BadValueError(f"{codes.shape[1]} designs of {len(self.objectives)} objectives have values of shape "
                                f"({codes.shape[1]}, {len(self.objectives)}), not {table.shape}.")  # fmt: skip
        feasible = np.isfinite(table).all(axis=1)
        off = np.ones(len(table)) if violation is None else np.asarray(violation, dtype=float)
        if off.shape != (len(table),):
            raise BadValueError(f"violation has one number a design, not the shape {off.shape}.")
        off = np.where(feasible, 0.0, np.where(off > 0, off, 1.0))
        table = np.where(feasible[:, None], table, np.nan)
        told = Told(np.asarray(codes, dtype=float), table, feasible, off)
        self._seen.update(keys_of(told.codes))
        self._told.append(told)
        self._history = None
        self._archive.add(self.evaluations + np.flatnonzero(feasible), table[feasible])
        self.evaluations += len(table)
        self.sampler.learn(told)

    @property
    def history(self) -> History:
        if self._history is None:
            told = self._told
            self._history = History(
                np.concatenate([self.codes[:, :0], *(one.codes for one in told)], axis=1),
                np.concatenate([np.zeros((0, len(self.objectives))), *(one.values for one in told)]),
                np.concatenate([np.zeros(0, dtype=bool), *(one.feasible for one in told)]),
                np.concatenate([np.zeros(0), *(one.violation for one in told)]),
                np.repeat(np.arange(len(told)), [len(one.values) for one in told]),
            )
        return self._history

    def front(self) -> StudyFront:
        """Return the designs told so far that nothing told beats."""
        order = np.lexsort((self._archive.index, *self._archive.values.T[::-1]))
        place = self._archive.index[order]
        codes = self.history.codes[:, place]
        return StudyFront(place, codes, self.space.columns(codes), self._archive.values[order])

    def replay(self, codes: Array, values: Array, violation: Any = None) -> None:
        """Take a batch of a log in as if it had been asked for and told.

        Raises:
            BadValueError: the log is of another search: it asked for other designs.
        """
        if self.sampler.asks_matter:
            self.ask(codes.shape[1])
            if not np.array_equal(self.codes, codes):
                raise BadValueError("the log is of another search: at this place this one asks for other designs.")
        else:
            self.batches += 1
            self.codes = codes
        self.tell_codes(codes, values, violation)

    def _fresh(self, codes: Array, want: int) -> Array:
        """Return up to `want` designs that keep the limits on knobs and are new; they count as seen from now on."""
        if self.limits:
            codes = codes[:, self._allowed(codes)]
        keep: list[int] = []
        for place, key in enumerate(keys_of(codes)):
            if key not in self._seen and len(keep) < want:
                self._seen.add(key)
                keep.append(place)
        return codes if len(keep) == codes.shape[1] else codes[:, keep]

    def _allowed(self, codes: Array) -> Array:
        columns = self.space.columns(codes)
        found = np.ones(codes.shape[1], dtype=bool)
        for limit in self.limits:
            if limit.known(columns):
                found &= ~limit.broken(columns)
        return found

    def _table(self, values: Any, designs: int) -> Array:
        if isinstance(values, Mapping):
            if missing := [name for name in self.objectives if name not in values]:
                raise BadValueError(f"the values say nothing about {', '.join(missing)}.")
            values = np.stack(np.broadcast_arrays(*(np.asarray(values[name]) for name in self.objectives)), axis=-1)
        table = np.asarray(values, dtype=float)
        return table[:, None] if table.ndim == 1 and len(self.objectives) == 1 else table


def make_study(
    space: DesignSpace, objectives: str | Sequence[str], method: str = "nsga2", seed: int = 0,
    limits: Mapping[str, Mapping[str, float]] | Iterable[Limit] = (), prior: Prior | None = None, **options: Any,
) -> AskTell:  # fmt: skip
    """Return a search whose designs the caller evaluates.

    Args:
        space: such as `DesignSpace.of(rows=Choice([8, 16, 32]), rate=Real(1e-4, 1e-1, log=True))`.
        objectives: names of what is to be small.
        method: `random`, `sobol`, `nsga2`, `ants`, `bayesian`, `optuna-tpe`, `optuna-nsga2` or `pymoo-nsga2`.
        seed: of every random stream.
        limits: on knobs, as files have them, {"max": {"rows * cols": 4096}}: no design that breaks one is asked for.
        prior: a cheap guess of the objectives (closed form, a proxy), which the method `bayesian` starts from.
        options: those of the method (docs/search.md).

    Raises:
        UnknownNameError: no such method, option or knob in a limit.
        BadValueError: no objective, a bad seed or option.
        UnsupportedError: the method's package is not installed.
    """
    names = (objectives,) if isinstance(objectives, str) else tuple(objectives)
    if not names or len(set(names)) != len(names):
        raise BadValueError("a search has at least one objective, each named once.")
    whole_number("seed", seed, low=0, high=2**63 - 1)
    if isinstance(limits, Mapping):
        known = [knob.name for knob in space.knobs if not knob.category]
        limits = [
            read_limit(text, finite_number(text, bound, low=-1e300), side == "max", known)
            for side, bounds in limits.items() for text, bound in bounds.items()
        ]  # fmt: skip
    return AskTell(space, names, method, seed, tuple(limits), prior, dict(options))
