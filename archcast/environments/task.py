"""`Task`: designs in, observations, rewards and values out, for any number of designs at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import lt, truediv
from typing import Any, NamedTuple

import numpy as np

from archcast.environments.kinds import environment_id, start_of
from archcast.searching.designs import DESIGNS
from archcast.searching.problem import Problem, evaluate
from archcast.searching.search_file import CLOSED_FORM, read_search
from archcast.searching.space import Columns, DesignSpace
from foundation.checks import finite_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

FORMULATIONS = ("latency", "energy", "power", "area", "joint", "edp")
SINGLE = {"latency": "latency_s", "energy": "energy_j", "power": "power_w", "area": "area_mm2"}
LN_10 = math.log(10.0)
LARGEST_LOG = 30.0
"""Observed logarithms (base 10) of values lie within so many; a value that is not known is seen as this."""
WORST = -10.0
"""The score of a design that does not stand: as if each value were e^10 (22,026) times the reference."""
SAMPLED, SAMPLE_SEED = 256, 20_260_101
"""Designs whose median is the reference where none is given, and the seed by which they are drawn."""


@dataclass(frozen=True)
class Outcome:
    """Of designs, arrays of shape (designs,): values by name (NaN: not known), whether each stands, its score."""

    values: Mapping[str, Array]
    feasible: Array
    score: Array
    reason: Array
    reasons: tuple[str, ...]
    observation: Array
    """Of shape (designs, observed + 1 + knobs), float32."""


class Single(NamedTuple):
    """Of one design: values by name (NaN: not known), whether it stands, its score, why not, what is observed."""

    values: dict[str, float]
    feasible: bool
    score: float
    reason: str
    observation: Array


@dataclass(frozen=True)
class Task:
    """A problem with what counts as good. `terms` are the values whose logarithms make up the score, with weights."""

    name: str
    problem: Problem
    cheap: Problem
    fidelity: str
    objective: str
    terms: tuple[tuple[str, float], ...]
    observed: tuple[str, ...]
    given: Mapping[str, float] = field(default_factory=dict)
    extra: Callable[[Columns], Mapping[str, Array]] | None = None
    """Values that are shown in `info` but neither observed nor rewarded."""

    @property
    def space(self) -> DesignSpace:
        return self.problem.space

    @cached_property
    def counts(self) -> Array:
        """Return how many values each knob has."""
        return np.array(self.space.shape, dtype=np.int64)

    @cached_property
    def _counts(self) -> list[int]:
        return [int(count) for count in self.counts]

    @cached_property
    def _sample(self) -> tuple[dict[str, float], float]:
        """Return the medians of designs that stand, and the seconds that one evaluation takes here."""
        random = np.random.default_rng(SAMPLE_SEED)
        codes = (random.random((len(self.counts), SAMPLED)) * self.counts[:, None]).astype(np.int64)
        columns = self.space.columns(codes)
        evaluate(self.cheap, columns)
        few = columns if self.problem is self.cheap else {name: column[:2] for name, column in columns.items()}
        started = time.perf_counter()
        found = evaluate(self.problem, few)
        cost_s = (time.perf_counter() - started) / len(found.reason)
        found = evaluate(self.cheap, columns)
        medians = {}
        for name in found.values:
            known = found.values[name][found.feasible]
            medians[name] = float(np.median(known)) if len(known) else 1.0
        return medians, cost_s

    @cached_property
    def reference(self) -> dict[str, float]:
        """Return the value of each term at which it adds nothing to the score."""
        missing = [name for name, _ in self.terms if name not in self.given]
        medians = self._sample[0] if missing else {}
        return {name: float(self.given.get(name, medians.get(name, 1.0))) for name, _ in self.terms}

    @cached_property
    def cost_s(self) -> float:
        """Return the seconds of an evaluation, measured once on this machine ."""
        return self._sample[1]

    def evaluate(self, codes: Array) -> Outcome:
        """Return what designs (codes of shape (knobs, designs)) are worth. A design's outcome depends on it alone."""
        columns = self.space.columns(codes)
        found = evaluate(self.problem, columns)
        feasible, more = found.feasible, self.extra(columns) if self.extra else {}
        count = codes.shape[1]
        seen = np.full((count, len(self.observed) + 1 + len(codes)), LARGEST_LOG, dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = {name: np.log(np.where(one > 0, one, np.nan)) for name, one in found.values.items()}
            for place, name in enumerate(self.observed):
                if name in logs:
                    shown = np.clip(logs[name] / LN_10, -LARGEST_LOG, LARGEST_LOG)
                    seen[:, place] = np.where(np.isnan(shown), LARGEST_LOG, shown)
            score = np.zeros(count)
            for (name, weight), zero in zip(self.terms, self._zeros, strict=True):
                score -= weight * (logs.get(name, np.full(count, np.nan)) - zero)
        score = np.where(feasible & np.isfinite(score), np.maximum(score, WORST), WORST)
        at = len(self.observed)
        seen[:, at] = feasible
        seen[:, at + 1 :] = (codes / np.array(self._ends)[:, None]).T
        return Outcome({**found.values, **more}, feasible, score, found.reason, found.reasons, seen)

    def evaluate_one(self, codes: Array) -> Single:
        """Return what one design (codes of shape (knobs,)) is worth: `evaluate` to the bit, with less around it."""
        columns = self._columns_of(codes)
        found = evaluate(self.problem, columns)
        values = {name: column.item() for name, column in found.values.items()}
        reason = int(found.reason[0])
        found_logs = np.log(np.array([one if one > 0 else math.nan for one in values.values()])).tolist()
        logs = dict(zip(values, found_logs, strict=True))
        seen = [logs.get(name, math.nan) / LN_10 for name in self.observed]
        seen = [LARGEST_LOG if one != one else min(max(one, -LARGEST_LOG), LARGEST_LOG) for one in seen]
        score = 0.0
        for (name, weight), zero in zip(self.terms, self._zeros, strict=True):
            score -= weight * (logs.get(name, math.nan) - zero)
        score = max(score, WORST) if reason == 0 and math.isfinite(score) else WORST
        seen += [float(reason == 0), *map(truediv, codes.tolist(), self._ends)]
        if self.extra is not None:
            values |= {name: np.asarray(column).item() for name, column in self.extra(columns).items()}
        words = found.reasons[reason - 1] if reason else ""
        return Single(values, reason == 0, score, words, np.array(seen, dtype=np.float32))

    def _columns_of(self, codes: Array) -> Columns:
        """Return the columns of one design: slices that are kept, where each code stands for itself."""
        if self._cells is None:
            return self.space.columns(codes[:, None])
        return {name: cells[code] for (name, cells), code in zip(self._cells, codes.tolist(), strict=True)}

    @cached_property
    def _cells(self) -> list[tuple[str, list[Array]]] | None:
        """Return of each knob its name and a column (1,) for each code; None where knobs have conditions or spans."""
        if self.space.conditions or not self.space.listed:
            return None
        found = []
        for knob in self.space.knobs:
            numbers = knob.numbers.copy()
            numbers.flags.writeable = False
            found.append((knob.name, [numbers[at : at + 1] for at in range(len(numbers))]))
        return found

    @cached_property
    def _zeros(self) -> list[float]:
        """Return the logarithms of the references of the terms."""
        return [float(np.log(self.reference[name])) for name, _ in self.terms]

    @cached_property
    def _ends(self) -> list[float]:
        return [float(max(count - 1, 1)) for count in self.counts]

    def codes_of(self, action: Mapping[str, Any], *, coded: bool = False) -> Array:
        """Return the codes of a design given by the names of its knobs; a code of a name is taken too.

        With `coded` numbers are codes of all knobs, not values.

        Raises:
            UnknownNameError: a knob or a value that there is not. BadValueError: a knob is missing.
        """
        names = [knob.name for knob in self.space.knobs]
        for name in action:
            if name not in names:
                raise UnknownNameError("knob", str(name), names, f"Known: {', '.join(names)}.")
        found = np.zeros(len(names), dtype=np.int64)
        for place, knob in enumerate(self.space.knobs):
            if knob.name not in action:
                raise BadValueError(f"the design says nothing about {knob.name}.")
            value = action[knob.name]
            if knob.category and isinstance(value, str):
                if value not in knob.values:
                    raise UnknownNameError(knob.name, value, map(str, knob.values))
                found[place] = knob.values.index(value)
            elif knob.category or coded:
                found[place] = _code(knob.name, value, len(knob.values))
            else:
                found[place] = int(knob.codes(np.array([finite_number(knob.name, value, low=-np.inf)]))[0])
        return found

    def checked(self, codes: Any) -> Array:
        """Return codes as whole numbers in range, shape (knobs,). Raises BadValueError."""
        found = np.asarray(codes)
        if found.shape == self.counts.shape and found.dtype == np.int64:
            known = found.tolist()
            if min(known) >= 0 and all(map(lt, known, self._counts)):
                return found.copy()
        if (
            found.shape != self.counts.shape
            or found.dtype.kind not in "iu"
            or ((found < 0) | (found >= self.counts)).any()
        ):
            raise BadValueError(
                f"an action has a code for each of {len(self.counts)} knobs, each below {self.counts.tolist()}; this "
                f"is {np.array2string(found, threshold=20)}."
            )
        return found.astype(np.int64)


def _code(name: str, value: Any, count: int) -> int:
    number = finite_number(f"the code of {name}", value)
    if number != int(number) or number >= count:
        raise BadValueError(f"the code of {name} is a whole number below {count}, not {value!r}.")
    return int(number)


def make_task(
    name: str, *, objective: str = "joint", constraints: Mapping[str, Any] | None = None,
    fidelity: str = CLOSED_FORM, workload: str = "", space: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None, objectives: Sequence[str] = (), batch: int = 1, dtype: str = "int8",
    reference: Mapping[str, float] | None = None,
) -> Task:  # fmt: skip
    """Return the task of an environment.

    Args:
        name: its id. objective: one of `FORMULATIONS`, or the name of a value. constraints: the most of values or knobs
            by name ({"area_mm2": 20}), or {"max": ..., "min": ...}.
        fidelity: closed_form, or what the problem has beside it (events).
        workload, space, fixed, batch, dtype: as in a file of kind `search`; left out, they are those that ship.
        objectives: what "joint" joins (left out: those that ship).
        reference: values at which a term is worth 0; left out, the median of designs drawn at random (closed form).

    Raises:
        UnknownNameError, BadFileError, BadValueError: a name, key or value that there is not.
    """
    found = environment_id(name)
    start = start_of(found)
    kind = DESIGNS[found]
    bounds = constraints or {}
    split = bounds if set(bounds) <= {"max", "min"} else {"max": dict(bounds)}
    terms = _terms(objective, tuple(objectives) or start.objectives, tuple(kind.values))
    document: dict[str, Any] = {
        "kind": "search", "design": found, "space": dict(space or start.space), "fixed": dict(fixed or {}),
        "objectives": [name for name, _ in terms], "constraints": {side: dict(known) for side, known in split.items()},
        "fidelity": fidelity,
    }  # fmt: skip
    if kind.workload:
        document |= {"workload": workload or start.workload}
        if kind.request:
            document |= {"batch": batch, "dtype": dtype}
    elif workload:
        raise BadValueError(f"the environment '{found}' has no workload; leave it out.")
    study = read_search(document)
    given = {key: finite_number(f"reference of {key}", value, strict=True) for key, value in (reference or {}).items()}
    return Task(
        found, study.problem, study.cheap or study.problem, fidelity, objective, terms, tuple(kind.values), given,
        start.extra,
    )  # fmt: skip


def _terms(objective: str, joined: tuple[str, ...], known: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Return the values of an objective and their weights in the score."""
    if objective == "joint":
        return tuple((name, 1.0 / len(joined)) for name in joined)
    if objective == "edp":
        names: tuple[str, ...] = ("latency_s", "energy_j")
    else:
        names = (SINGLE.get(objective, objective),)
    for name in names:
        if name not in known:
            usable = [one for one in FORMULATIONS if one not in SINGLE or SINGLE[one] in known]
            raise UnknownNameError("objective", objective, (*usable, *known), f"Known: {', '.join((*usable, *known))}.")
    return tuple((name, 1.0) for name in names)
