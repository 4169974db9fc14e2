"""What a file of kind `search` says of values: objectives, limits, and the figures that all designs share."""

from __future__ import annotations

from functools import partial
from typing import Any

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit, read_limit
from archcast.searching.problem import Design
from archcast.yaml_settings import Settings
from foundation.checks import finite_number

CONSTRAINTS = ("max", "min")
DEFAULT_OBJECTIVES = ("latency_s", "energy_j", "area_mm2")


def fixed_of(settings: Settings, design: Design) -> dict[str, Any]:
    """Return what all designs share, with defaults. Raises BadFileError."""
    given = settings.mapping(("fixed",)) or {}
    for name in given:
        if name in design.knobs:
            raise settings.fault(("fixed", name), f"'{name}' is a knob.", "Put it under 'space', as one value too.")
    settings.known(("fixed",), given, tuple(design.fixed))

    def one(name: str, kind: KnobKind) -> Any:
        value = given.get(name, design.fixed_defaults[name])
        return kind.one(name, {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value)

    return {name: settings.at(("fixed", name), partial(one, name, kind)) for name, kind in design.fixed.items()}


def objectives_of(settings: Settings, kind: Design) -> tuple[str, ...]:
    """Return the objectives: those given, or the usual ones. Raises BadFileError."""
    usual = [name for name in DEFAULT_OBJECTIVES if name in kind.values]
    given = settings.data.get("objectives", usual if len(usual) > 1 else list(kind.values)[:2])
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise settings.fault(("objectives",), f"objectives is a list of at least one of {', '.join(kind.values)}.")
    found = [settings.choice(("objectives",), name, "objective", tuple(kind.values)) for name in names]
    if again := next((name for name in found if found.count(name) > 1), ""):
        raise settings.fault(("objectives",), f"the objective '{again}' stands twice.", "Give each once.")
    return tuple(found)


def limits_of(settings: Settings, kind: Design) -> tuple[Limit, ...]:
    """Return the limits of `constraints`. Raises BadFileError."""
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
