"""Files of kind `search`: what is in one, checked key by key. docs/search.md lists the keys.

kind: search
workload: resnet-50
space: {rows: {from: 8, to: 256, times: 2}, cols: [16, 32], dataflow: [ws, os], ...}
objectives: [latency_s, energy_j, area_mm2]
constraints: {max: {area_mm2: 20, rows * cols: 16384}}
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from archcast.question import MAX_BATCH, find_model
from archcast.searching.designs import DESIGNS
from archcast.searching.knobs import KnobKind, Planned, planned
from archcast.searching.limits import Limit, read_limit
from archcast.searching.methods import METHODS
from archcast.searching.problem import Design, Problem
from archcast.searching.space import DesignSpace
from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.formats import number_format
from foundation.yaml_file import YamlDocument, load_yaml
from workloads.model import Request

TOP = ("kind", "design", "workload", "knobs", "batch", "dtype", "space", "fixed", "objectives", "constraints", "method")
CONSTRAINTS = ("max", "min")
DEFAULT_OBJECTIVES = ("latency_s", "energy_j", "area_mm2")
MOST_DESIGNS = 100_000_000
"""That one run evaluates; a shard is a run."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th (from 1) of `of` equal parts of the designs."""

    number: int = 1
    of: int = 1

    def bounds(self, size: int) -> tuple[int, int]:
        """Return the first design and the one after the last."""
        return size * (self.number - 1) // self.of, size * self.number // self.of


@dataclass(frozen=True)
class Study:
    """A whole file, checked: the problem and how it is asked. `digest` is that of all that decides the answer."""

    name: str
    design: str
    method: str
    batch: int
    dtype: str
    problem: Problem
    digest: str


def read_search(file: str | Path | Mapping[str, Any], shard: Shard | None = None) -> Study:
    """Return the study that a file (or a mapping with its keys) asks for.

    Raises:
        BadFileError: file, line and key: an unknown key or knob, a bad value, an empty space, too many designs.
        UnknownNameError: no such workload.
    """
    document = YamlDocument(Path("search"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    settings = Settings(document)
    data = settings.data
    if data.get("kind", "search") != "search":  # before its keys, which are those of another kind
        raise settings.fault(("kind",), f"a search file has 'kind: search', not {data['kind']!r}.")
    settings.known((), data, TOP)
    if not data.get("workload"):
        raise settings.fault((), "a file of kind 'search' needs the key 'workload'.", "Such as workload: resnet-50.")
    design = settings.choice(("design",), data.get("design", "npu-array"), "design", tuple(DESIGNS))
    method = settings.choice(("method",), data.get("method", "grid"), "method", tuple(METHODS))
    kind = DESIGNS[design]
    space = _space(settings, kind, shard or Shard())
    name = settings.near(str(data["workload"]))
    model = settings.at(("workload",), lambda: find_model(name))
    if changed := settings.mapping(("knobs",)):
        model = settings.at(("knobs",), lambda: find_model(name, changed))
    batch = settings.at(("batch",), lambda: whole_number("batch", data.get("batch", 1), high=MAX_BATCH))
    dtype = settings.at(("dtype",), lambda: number_format(str(data.get("dtype", "int8"))).name)
    fixed = _fixed(settings, kind)
    problem = settings.at(
        ("workload",),
        lambda: kind.build(
            space, _objectives(settings, kind), _limits(settings, kind), fixed, model, Request(batch, dtype=dtype)
        ),
    )
    found = [[knob.name, list(knob.values)] for knob in space.knobs]
    limits = [limit.text for limit in problem.limits]
    asked = json.dumps([model.name, batch, dtype, design, found, fixed, problem.objectives, limits, repr(model)])
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return Study(model.name, design, method, batch, dtype, problem, digest)


def _space(settings: Settings, kind: Design, shard: Shard) -> DesignSpace:
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
        settings.at(("space", name), partial(planned, name, given.get(name, kind.defaults.get(name)), knob))
        for name, knob in kind.knobs.items()
    ]
    size = math.prod(plan.count for plan in plans)
    first, last = shard.bounds(size)
    if last - first > MOST_DESIGNS:
        raise settings.fault(("space",), *_too_many(plans, size, shard))
    if last == first:
        raise settings.fault(("space",), f"shard {shard.number}/{shard.of} of {size:,} designs is empty.")
    return DesignSpace(tuple(settings.at(("space", plan.name), plan.knob) for plan in plans))


def _too_many(plans: list[Planned], size: int, shard: Shard) -> tuple[str, str]:
    """Return what is wrong with the size of a space, and how to make it smaller."""
    counts = sorted(plan.count for plan in plans)
    keep = max(v for v in _doublings(counts[-1]) if v == 1 or math.prod(min(n, v) for n in counts) <= MOST_DESIGNS)
    widest = ", ".join(f"{plan.name} {plan.count:,}" for plan in sorted(plans, key=lambda p: -p.count)[:3])
    of = "" if shard.of == 1 else f", {size / shard.of:.3g} in a shard"
    return (
        f"the space has {size:.3g} designs{of}, more than the {MOST_DESIGNS:,} of one run.",
        f"Thin the knobs with most values ({widest}) with a larger step or times, to at most {keep} values each, "
        f"or run it in at least {math.ceil(size / MOST_DESIGNS):,} parts with --shard.",
    )


def _doublings(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length())]


def _fixed(settings: Settings, design: Design) -> dict[str, Any]:
    given = settings.mapping(("fixed",)) or {}
    for name in given:
        if name in design.knobs:
            raise settings.fault(("fixed", name), f"'{name}' is a knob.", "Put it under 'space', as one value too.")
    settings.known(("fixed",), given, tuple(design.fixed))

    def one(name: str, kind: KnobKind) -> Any:
        value = given.get(name, design.fixed_defaults[name])
        return kind.one(name, {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value)

    return {name: settings.at(("fixed", name), partial(one, name, kind)) for name, kind in design.fixed.items()}


def _objectives(settings: Settings, kind: Design) -> tuple[str, ...]:
    given = settings.data.get("objectives", list(DEFAULT_OBJECTIVES))
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise settings.fault(("objectives",), f"objectives is a list of at least one of {', '.join(kind.values)}.")
    found = [settings.choice(("objectives",), name, "objective", tuple(kind.values)) for name in names]
    return tuple(dict.fromkeys(found))


def _limits(settings: Settings, kind: Design) -> tuple[Limit, ...]:
    given = settings.mapping(("constraints",)) or {}
    settings.known(("constraints",), given, CONSTRAINTS)
    numbers = {name: knob for name, knob in kind.knobs.items() if knob.kind != "name"}
    known = (*numbers, *kind.values)
    units = {name: knob.unit for name, knob in numbers.items()} | dict(kind.values)
    found = []
    for side in CONSTRAINTS:
        bounds = given.get(side) or {}
        if not isinstance(bounds, dict):
            raise settings.fault(
                ("constraints", side), f"'{side}' maps names to bounds, such as {side}: {{area_mm2: 20}}."
            )
        for text, bound in bounds.items():
            place = ("constraints", side, text)
            unit = units.get(str(text).strip(), units.get(str(text).split("+")[0].strip(), "") if "+" in text else "")
            number = settings.at(place, partial(_bound, str(text), bound, unit))
            found.append(settings.at(place, partial(read_limit, str(text), number, side == "max", known)))
    return tuple(found)


def _bound(text: str, bound: object, unit: str) -> float:
    return KnobKind("real", unit=unit).number(text, bound) if unit else finite_number(text, bound)
