"""Knobs: the free numbers of an architecture, checked wherever they come from (YAML, config.json, `--set`).

A builder is a frozen dataclass that derives from `KnobModel` and declares its knobs with the functions below; its
constructor then refuses what no network can have, and `knobs` and `with_knobs` come for free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, ClassVar, Self

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from foundation.formats import number_format
from workloads.model import Model

MAX_WIDTH = 10**7
"""No layer width, count of heads or context of a knob may exceed this."""
MAX_LIST = 10_000
MAX_TEXT = 2000


def size(default: int, *, low: int = 1, high: int = MAX_WIDTH) -> Any:
    """Declare a whole-number knob in [low, high]."""
    return field(default=default, metadata={"kind": "size", "low": low, "high": high})


def share(default: float, *, low: float = 0.0, high: float = 1.0, strict: bool = False) -> Any:
    """Declare a real-number knob in [low, high] (above `low` where `strict`)."""
    return field(default=default, metadata={"kind": "share", "low": low, "high": high, "strict": strict})


def switch(default: bool) -> Any:
    """Declare a yes-or-no knob."""
    return field(default=default, metadata={"kind": "switch"})


def choice(default: str, options: Sequence[str]) -> Any:
    """Declare a knob that is one of `options`."""
    return field(default=default, metadata={"kind": "choice", "options": tuple(options)})


def names(default: tuple[str, ...], options: Sequence[str]) -> Any:
    """Declare a knob that is a list of names from `options`; as text: `window*5,attention`."""
    return field(default=default, metadata={"kind": "names", "options": tuple(options)})


def sizes(default: tuple[int, ...], *, low: int = 1, high: int = MAX_WIDTH) -> Any:
    """Declare a knob that is a list of whole numbers; as text: `64,128,256`."""
    return field(default=default, metadata={"kind": "sizes", "low": low, "high": high})


def rows(default: tuple[str, ...], pattern: str, example: str) -> Any:
    """Declare a knob that is a list of short texts which all match `pattern`; `example` is shown with a refusal."""
    return field(default=default, metadata={"kind": "rows", "pattern": pattern, "example": example})


def text(default: str) -> Any:
    """Declare a knob that is a text of at most `MAX_TEXT` characters, which the builder reads."""
    return field(default=default, metadata={"kind": "text"})


def number_format_knob(default: str = "") -> Any:
    """Declare a number format; "" means that it follows from the others."""
    return field(default=default, metadata={"kind": "format"})


@dataclass(frozen=True)
class KnobModel(Model):
    """A model whose dataclass fields are its knobs. `notes` are sentences that a user should see."""

    family: ClassVar[str] = ""
    name: str
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for knob, metadata in knob_fields(type(self)).items():
            object.__setattr__(self, knob, converted(knob, getattr(self, knob), metadata))
        self.check()

    def check(self) -> None:
        """Refuse knobs that do not go together. Raises BadValueError."""

    def knobs(self) -> Mapping[str, Any]:
        return {knob: getattr(self, knob) for knob in knob_fields(type(self))}

    def with_knobs(self, changes: Mapping[str, Any]) -> Self:
        return replace(self, **known_knobs(type(self), changes))

    @classmethod
    def from_knobs(cls, name: str, knobs: Mapping[str, Any], notes: Sequence[str] = ()) -> Self:
        """Build a model from knobs by name; those left out keep their defaults.

        Raises:
            UnknownNameError: no such knob.
            BadValueError: a value that the knob cannot have.
        """
        return cls(name=name, notes=tuple(notes), **known_knobs(cls, knobs))


@cache
def knob_fields(model: type[KnobModel]) -> Mapping[str, Mapping[str, Any]]:
    """Return the knobs of a builder and what each may be."""
    return {f.name: f.metadata for f in fields(model) if "kind" in f.metadata}


def known_knobs(model: type[KnobModel], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `changes`, all of which are knobs. Raises UnknownNameError."""
    known = knob_fields(model)
    for knob in changes:
        if knob not in known:
            raise UnknownNameError("knob", str(knob), known, "`archcast workloads NAME` lists all knobs.")
    return dict(changes)


def converted(knob: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    """Return a value as the knob's type. Raises BadValueError, UnknownNameError (a name among options, a format)."""
    kind = metadata["kind"]
    if kind == "size":
        return whole_number(knob, value, low=metadata["low"], high=metadata["high"])
    if kind == "share":
        return finite_number(knob, value, low=metadata["low"], high=metadata["high"], strict=metadata["strict"])
    if kind == "switch":
        return _switch(knob, value)
    if kind == "choice":
        return _option(knob, value, metadata["options"])
    if kind == "format":
        return _format(knob, value)
    if kind == "text":
        return _text(knob, value)
    parts = _parts(knob, value)
    if kind == "rows":
        return tuple(_row(knob, part, metadata["pattern"], metadata["example"]) for part in parts)
    if kind == "names":
        return tuple(_option(knob, part, metadata["options"]) for part in parts)
    return tuple(whole_number(knob, part, low=metadata["low"], high=metadata["high"]) for part in parts)


def _switch(knob: str, value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = words.get(str(value).lower())
    if found is None:
        raise BadValueError(f"{knob} must be true or false, not {value!r}.")
    return found


def _option(knob: str, value: Any, options: Sequence[str]) -> str:
    if value not in options:
        raise UnknownNameError(f"value of {knob}", str(value), options, f"It is one of {', '.join(options)}.")
    return str(value)


def _row(knob: str, value: Any, pattern: str, example: str) -> str:
    if not re.fullmatch(pattern, str(value)):
        raise BadValueError(f"{knob} has an entry {value!r}; an entry is written like '{example}'.")
    return str(value)


def _format(knob: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadValueError(f"{knob} must be the name of a number format, not {value!r}.")
    return number_format(value).name if value else ""


def _text(knob: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadValueError(f"{knob} must be a text of at most {MAX_TEXT} characters, not {str(value)[:40]!r}.")
    return value


def _parts(knob: str, value: Any) -> list[Any]:
    """Return a list's items; text is split at commas, and `name*3` stands for three."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        items = [items]
    parts: list[Any] = []
    for item in items:
        text, times = str(item).strip(), "1"
        if "*" in text:
            text, times = (part.strip() for part in text.split("*", 1))
        count = whole_number(f"the repeat of {knob}", times, high=MAX_LIST)
        parts += [text] * count
        if len(parts) > MAX_LIST:
            raise BadValueError(f"{knob} lists more than {MAX_LIST} entries.")
    if not parts or parts == [""]:
        raise BadValueError(f"{knob} must list at least one entry.")
    return parts
