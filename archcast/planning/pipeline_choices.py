"""What a plan of a pipeline's farm may choose: parts, servers of a part, buffers, and whole alternatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.yaml_file import Path_
from hardware_specs.units import Quantity, parse_quantity

KEYS = ("parts", "servers", "places", "buffer_bytes", "alternatives")
ALTERNATIVE = ("settings", "improved_by", "servers")
SPAN = ("from", "to", "step")
MOST_UNITS = 1_000_000_000
BUFFERS = 25
"""Sizes that a span of buffers without a step is looked at, evenly in the logarithm."""
MOST_PLACES = 10**12


@dataclass(frozen=True)
class Span:
    """Whole numbers from `lo` to `hi` by `step`, or the listed ones (`values`, rising)."""

    lo: int
    hi: int
    step: int = 1
    values: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values) or (self.hi - self.lo) // self.step + 1

    def at(self, index: int) -> int:
        return self.values[index] if self.values else self.lo + index * self.step

    def below(self, value: int) -> int | None:
        """Return the largest choice below a value, None where there is none."""
        if self.values:
            return max((v for v in self.values if v < value), default=None)
        if value <= self.lo:
            return None
        return self.lo + ((min(value - 1, self.hi) - self.lo) // self.step) * self.step


@dataclass(frozen=True)
class Buffers:
    """Sizes of the buffer of one part, rising: bytes, or waiting places. `free`: any size between them may be taken."""

    in_bytes: bool
    values: tuple[float, ...]
    free: bool = False


@dataclass(frozen=True)
class Alternative:
    """Another service or server: settings and improvements of the pipeline, and perhaps other servers of a part."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    improved_by: tuple[str, ...] | None = None
    servers: Span | None = None


@dataclass(frozen=True)
class Choices:
    """What may be chosen; None: as the pipeline has it."""

    parts: Span | None
    servers: Span | None
    buffers: Buffers | None
    alternatives: tuple[Alternative, ...]


def read_choices(settings: Settings) -> Choices:
    """Return the choices of a plan file. Raises BadFileError."""
    given = settings.mapping(("choices",)) or {}
    settings.known(("choices",), given, KEYS)
    if given.get("parts") is None and given.get("servers") is None:
        hint = "Give choices: {servers: {from: 100, to: 4000}}, or parts."
        raise settings.fault(("choices",), "there is nothing to choose: neither servers nor parts.", hint)
    if given.get("places") is not None and given.get("buffer_bytes") is not None:
        raise settings.fault(("choices", "places"), "give places or buffer_bytes, not both.", "Take one key out.")
    parts, servers = (_span(settings, ("choices", key), given.get(key)) for key in ("parts", "servers"))
    return Choices(parts, servers, _buffers(settings, given), _alternatives(settings, given.get("alternatives")))


def _span(settings: Settings, at: Path_, given: Any) -> Span | None:
    if given is None:
        return None

    def whole(place: Path_, value: Any) -> int:
        return settings.at(place, lambda: whole_number(str(at[-1]), value, high=MOST_UNITS))

    if isinstance(given, dict):
        settings.known(at, given, SPAN)
        for key in SPAN[:2]:
            if given.get(key) is None:
                raise settings.fault(at, f"a span needs '{key}'.", "Give {from: 100, to: 4000}, or a list.")
        lo, hi = whole((*at, "from"), given["from"]), whole((*at, "to"), given["to"])
        step = whole((*at, "step"), given.get("step", 1))
        if hi < lo:
            raise settings.fault((*at, "to"), f"the span ends at {hi}, before it begins at {lo}.")
        return Span(lo, hi, step)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise settings.fault(at, "the list is empty.")
    found = sorted({whole((*at, i) if isinstance(given, list) else at, value) for i, value in enumerate(values)})
    return Span(found[0], found[-1], values=tuple(found))


def _buffers(settings: Settings, choices: Mapping[str, Any]) -> Buffers | None:
    key = "places" if choices.get("places") is not None else "buffer_bytes"
    given, at = choices.get(key), ("choices", key)
    if given is None:
        return None
    in_bytes = key == "buffer_bytes"

    def size(place: Path_, value: Any) -> float:
        def make() -> float:
            if not in_bytes:
                return float(whole_number("places", value, low=0, high=MOST_PLACES))
            number = parse_quantity(value, Quantity("B", 0, math.inf)) if isinstance(value, str) else value
            return finite_number("buffer_bytes", number)

        return settings.at(place, make)

    if not isinstance(given, dict):
        values = given if isinstance(given, list) else [given]
        if not values:
            raise settings.fault(at, "the list is empty.")
        listed = {size((*at, i) if isinstance(given, list) else at, value) for i, value in enumerate(values)}
        return Buffers(in_bytes, tuple(sorted(listed)))
    settings.known(at, given, SPAN)
    for end in SPAN[:2]:
        if given.get(end) is None:
            raise settings.fault(at, f"a span needs '{end}'.", "Give {from: 100 MB, to: 4 GB}, or a list.")
    lo, hi = size((*at, "from"), given["from"]), size((*at, "to"), given["to"])
    if hi < lo:
        raise settings.fault((*at, "to"), "the span ends before it begins.")
    if given.get("step") is not None:
        step = size((*at, "step"), given["step"])
        if step <= 0 or (hi - lo) / step > 1000:
            raise settings.fault((*at, "step"), "a step makes at least one and at most 1000 sizes.")
        return Buffers(in_bytes, tuple(lo + i * step for i in range(int((hi - lo) / step + 1e-9) + 1)))
    return Buffers(in_bytes, _spread(lo, hi, whole=not in_bytes), free=True)


def _spread(lo: float, hi: float, *, whole: bool) -> tuple[float, ...]:
    """Return sizes evenly in the logarithm (from 0: of one more)."""
    ratio = (hi + 1) / (lo + 1)
    found = [(lo + 1) * ratio ** (i / (BUFFERS - 1)) - 1 for i in range(BUFFERS)]
    found[0], found[-1] = lo, hi
    return tuple(sorted({float(round(x)) if whole else x for x in found}))


def _alternatives(settings: Settings, given: Any) -> tuple[Alternative, ...]:
    if given is None:
        return (Alternative(""),)
    at: Path_ = ("choices", "alternatives")
    if not isinstance(given, dict) or not given:
        raise settings.fault(at, "alternatives are a mapping of names to settings.", "E.g. {cpu: {}, gpu: {..}}.")
    found = []
    for name, one in given.items():
        one = one or {}
        if not isinstance(one, dict):
            raise settings.fault((*at, name), "an alternative is a mapping.", f"Keys: {', '.join(ALTERNATIVE)}.")
        settings.known((*at, name), one, ALTERNATIVE)
        improved = one.get("improved_by")
        names = None if improved is None else (improved,) if isinstance(improved, str) else tuple(map(str, improved))
        changes = one.get("settings") or {}
        if not isinstance(changes, dict):
            raise settings.fault((*at, name, "settings"), "settings are a mapping of dotted paths to values.")
        found.append(
            Alternative(str(name), changes, names, _span(settings, (*at, name, "servers"), one.get("servers")))
        )
    return tuple(found)
