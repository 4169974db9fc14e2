"""Files of kind `search`: what is in one, checked key by key. docs/search.md lists the keys.

kind: search
workload: resnet-50
space: {rows: {from: 8, to: 256, times: 2}, cols: [16, 32], dataflow: [ws, os], ...}
objectives: [latency_s, energy_j, area_mm2]
constraints: {max: {area_mm2: 20, rows * cols: 16384}}
method: bayesian
evaluations: 150
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.question import MAX_BATCH, find_model
from archcast.searching.designs import DESIGNS
from archcast.searching.file_values import fixed_of, limits_of, objectives_of
from archcast.searching.knobs import Planned, planned
from archcast.searching.methods import GRID, METHODS
from archcast.searching.problem import Build, Design, Problem
from archcast.searching.ranges import made_conditions
from archcast.searching.space import DesignSpace
from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from foundation.formats import number_format
from foundation.yaml_file import YamlDocument, load_yaml
from workloads.model import Model, Request

if TYPE_CHECKING:
    from archcast.searching.from_proxy import Learned

TOP = (
    "kind", "design", "workload", "knobs", "batch", "dtype", "space", "when", "fixed", "objectives", "constraints",
    "method", "fidelity", "evaluations", "seconds", "batch_size", "initial", "options",
)  # fmt: skip
MOST_DESIGNS = 100_000_000
"""That one run evaluates; a shard is a run."""
CLOSED_FORM, PROXY = "closed_form", "proxy"
"""Fidelities: every kind of space has the first; the second needs a log (`--proxy-from`)."""
EVALUATIONS, SIMULATIONS = 2000, 150
"""Evaluations of an adaptive method where a file says none: of a closed form, and of anything slower."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th (from 1) of `of` equal parts of the designs."""

    number: int = 1
    of: int = 1

    def bounds(self, size: int) -> tuple[int, int]:
        """Return the first design and the one after the last."""
        return size * (self.number - 1) // self.of, size * self.number // self.of


@dataclass(frozen=True)
class Budget:
    """How much an adaptive method may do. 0 seconds: no limit; 0 designs in a batch or at first: the method's own."""

    evaluations: int
    seconds: float = 0.0
    batch_size: int = 0
    initial: int = 0


@dataclass(frozen=True)
class Study:
    """A whole file, checked: the problem and how it is asked. `digest` is that of all that decides values."""

    name: str
    design: str
    method: str
    batch: int
    dtype: str
    problem: Problem
    digest: str
    fidelity: str = CLOSED_FORM
    cheap: Problem | None = None
    """The closed form, where the problem is valued more closely."""
    budget: Budget = Budget(EVALUATIONS)
    options: Mapping[str, Any] = field(default_factory=dict)
    workload: bool = True
    request: bool = True
    """Whether `batch` and `dtype` mean something."""
    learned: Learned | None = None
    """The proxy that stands for the closed form, where one does."""

    @property
    def closed_form(self) -> Problem:
        """The closed form of the file, whatever its fidelity."""
        return self.cheap or self.problem

    @property
    def quick(self) -> bool:
        """Whether a design is valued in microseconds: nothing is simulated."""
        return self.fidelity in (CLOSED_FORM, PROXY)


def read_search(
    file: str | Path | Mapping[str, Any], shard: Shard | None = None, changes: Mapping[str, Any] | None = None
) -> Study:
    """Return the study that a file (or a mapping with its keys) asks for; `changes` replace keys of the file.

    Raises:
        BadFileError: file, line and key: an unknown key or knob, a bad value, an empty space, too many designs.
        UnknownNameError: no such workload.
    """
    document = YamlDocument(Path("search"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    settings = Settings(document)
    for key, value in (changes or {}).items():
        settings.override(key, value)
    data = settings.data
    if data.get("kind", "search") != "search":  # before its keys, which are those of another kind
        raise settings.fault(("kind",), f"a search file has 'kind: search', not {data['kind']!r}.")
    settings.known((), data, TOP)
    design = settings.choice(("design",), data.get("design", "npu-array"), "design", tuple(DESIGNS))
    method = settings.choice(("method",), data.get("method", GRID), "method", METHODS)
    if method == GRID and "evaluations" in (changes or {} if "method" in (changes or {}) else data):
        hint = "Leave it out, or name a method that chooses designs, such as nsga2."
        raise settings.fault(("evaluations",), "a grid evaluates every design, however many are asked for.", hint)
    kind = DESIGNS[design]
    known = (CLOSED_FORM, *kind.fidelities)
    fidelity = settings.choice(("fidelity",), data.get("fidelity", CLOSED_FORM), "fidelity", known)
    model, name = _model(settings, kind, design)
    space = _space(settings, kind, shard or Shard(), method)
    batch = settings.at(("batch",), lambda: whole_number("batch", data.get("batch", 1), high=MAX_BATCH))
    dtype = settings.at(("dtype",), lambda: number_format(str(data.get("dtype", "int8"))).name)
    fixed = fixed_of(settings, kind)
    objectives, limits = objectives_of(settings, kind), limits_of(settings, kind)
    request = Request(batch, dtype=dtype) if kind.workload else None

    def built(build: Build) -> Problem:
        # a kind without a workload takes no model and no request
        return settings.at(
            ("workload",) if kind.workload else ("design",),
            lambda: build(space, objectives, limits, fixed, model, request),  # type: ignore[arg-type]
        )

    close = kind.fidelities.get(fidelity)
    problem = built(close or kind.build)
    found = [[knob.name, list(knob.values), repr(knob.span)] for knob in space.knobs]
    asked = [name, batch, dtype, design, found, repr(space.conditions), fixed, problem.objectives]
    digest = json.dumps([*asked, [limit.text for limit in problem.limits], repr(model), fidelity])
    return Study(
        name, design, method, batch, dtype, problem, hashlib.sha256(digest.encode()).hexdigest()[:16], fidelity,
        built(kind.build) if close else None, _budget(settings, fidelity), settings.mapping(("options",)) or {},
        kind.workload, kind.workload and kind.request,
    )  # fmt: skip


def _model(settings: Settings, kind: Design, design: str) -> tuple[Model | None, str]:
    """Return the workload and its name; where a kind takes none, nothing and the name of the kind."""
    if not kind.workload:
        if named := [key for key in ("workload", "knobs", "batch", "dtype") if key in settings.data]:
            raise settings.fault((named[0],), f"the design '{design}' takes no {named[0]}.", "Leave it out.")
        return None, design
    if not kind.request and (named := [key for key in ("batch", "dtype") if key in settings.data]):
        inside = [key for key in kind.knobs if named[0] in key]
        hint = f"Knobs of its space are: {', '.join(inside)}." if inside else "Leave it out."
        raise settings.fault((named[0],), f"the design '{design}' has no use for '{named[0]}'.", hint)
    if not settings.data.get("workload"):
        raise settings.fault((), "a file of kind 'search' needs the key 'workload'.", "Such as workload: resnet-50.")
    name = settings.near(str(settings.data["workload"]))
    model = settings.at(("workload",), lambda: find_model(name))
    if changed := settings.mapping(("knobs",)):
        model = settings.at(("knobs",), lambda: find_model(name, changed))
    return model, model.name


def _budget(settings: Settings, fidelity: str) -> Budget:
    data = settings.data

    def whole(name: str, default: int, low: int) -> int:
        return settings.at((name,), lambda: whole_number(name, data.get(name, default), low=low, high=MOST_DESIGNS))

    seconds = settings.at(("seconds",), lambda: finite_number("seconds", data.get("seconds", 0.0), high=1e9))
    most = EVALUATIONS if fidelity == CLOSED_FORM else SIMULATIONS
    return Budget(whole("evaluations", most, 1), seconds, whole("batch_size", 0, 0), whole("initial", 0, 0))


def _space(settings: Settings, kind: Design, shard: Shard, method: str) -> DesignSpace:
    given = settings.mapping(("space",))
    if not given:
        raise settings.fault(("space",) if "space" in settings.data else (), "the space is empty: it has no knob.",
                             f"Give space: a value, list or range each for {', '.join(kind.needed)}.")  # fmt: skip
    for name in given:
        if name in kind.fixed:
            raise settings.fault(("space", name), f"'{name}' is shared by all designs.", "Put it under 'fixed'.")
    settings.known(("space",), given, tuple(kind.knobs))
    if missing := [name for name in kind.needed if name not in given]:
        raise settings.fault(("space",), f"the space says nothing about {', '.join(missing)}.",
                             "Give one value, a list or a range.")  # fmt: skip
    plans = [
        settings.at(
            ("space", name),
            partial(
                planned, name, given.get(name, kind.defaults.get(name)), knob, method != GRID and name in kind.open
            ),
        )
        for name, knob in kind.knobs.items()
    ]
    if method == GRID:
        _checked_size(settings, plans, shard)
    knobs = tuple(settings.at(("space", plan.name), plan.knob) for plan in plans)
    when = settings.mapping(("when",)) or {}
    return DesignSpace(knobs, settings.at(("when",), lambda: made_conditions(knobs, _when(when))))


def _when(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions of a file: `when: {knob: {another: value or values}}`. Raises BadValueError."""
    for name, asked in given.items():
        if not isinstance(asked, dict) or not asked:
            raise BadValueError(f"when {name} matters is a mapping, such as {name}: {{dataflow: ws}}.")
    return {name: dict(asked) for name, asked in given.items()}


def _checked_size(settings: Settings, plans: list[Planned], shard: Shard) -> None:
    """Refuse spaces that a grid cannot go through. Raises BadFileError."""
    size = math.prod(plan.count for plan in plans)
    first, last = shard.bounds(size)
    if last - first > MOST_DESIGNS:
        raise settings.fault(("space",), *_too_many(plans, size, shard))
    if last == first:
        raise settings.fault(("space",), f"shard {shard.number}/{shard.of} of {size:,} designs is empty.")


def _too_many(plans: list[Planned], size: int, shard: Shard) -> tuple[str, str]:
    """Return what is wrong with the size of a space, and how to make it smaller."""
    counts = sorted(plan.count for plan in plans)
    keep = max(v for v in _doublings(counts[-1]) if v == 1 or math.prod(min(n, v) for n in counts) <= MOST_DESIGNS)
    widest = ", ".join(f"{plan.name} {plan.count:,}" for plan in sorted(plans, key=lambda p: -p.count)[:3])
    of = "" if shard.of == 1 else f", {size / shard.of:.3g} in a shard"
    return (
        f"the space has {size:.3g} designs{of}, more than the {MOST_DESIGNS:,} of one run.",
        f"Thin the knobs with most values ({widest}) with a larger step or times, to at most {keep} values each, "
        f"or run it in at least {math.ceil(size / MOST_DESIGNS):,} parts with --shard, or with a method that does not "
        "try all designs, such as nsga2.",
    )


def _doublings(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length())]
