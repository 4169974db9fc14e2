"""The figures of a device as rows: place, value, range and where each came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archcast.render.human import digits, printable, text, unit_of

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec

_KINDS: tuple[tuple[str, str], ...] = (
    ("energy_per_byte_j", "j_per_byte"), ("energy_per_flop_j", "j_per_flop"), ("peak_flop_per_s", "flop_per_s"),
    ("bytes_per_s", "bytes_per_s"), ("usd_per_hour", "usd_per_hour"), ("_bytes", "bytes"), ("_hz", "hz"), ("_s", "s"),
    ("_w", "w"), ("_j", "j"), ("_nm", "nm"),
)  # fmt: skip
"""Ending of a field's name -> kind of quantity; the first that fits counts."""


@dataclass(frozen=True)
class FigureRow:
    """One figure, ready to print; `origin` is the title of its source and `key` its short name, or `estimated`."""

    place: str
    value: str
    range: str
    origin: str
    key: str
    estimated: bool


def figure_rows(spec: DeviceSpec) -> Iterator[FigureRow]:
    """Yield every figure of a device in the order of its description."""
    names: dict[str, list[str]] = {"units": [u.name for u in spec.units], "memory": [m.name for m in spec.memory]}
    for place, figure in spec.figures():
        kind = _kind([str(part) for part in place])
        factor, _ = unit_of(figure.value, kind)
        exact = figure.lo == figure.hi == figure.value
        span = "" if exact else f"[{digits(figure.lo / factor)} .. {digits(figure.hi / factor)}]"
        origin = "estimated" if figure.estimated else spec.sources.get(figure.source, figure.source)
        words = []
        for before, part in zip(("", *place), place, strict=False):
            if isinstance(part, int):
                words.append(names[str(before)][part] if str(before) in names else str(part))
            elif part not in names:
                words.append(_plain(part))
        key = "estimated" if figure.estimated else printable(figure.source)
        where = printable(" ".join(words))
        yield FigureRow(where, text(figure.value, kind), span, printable(origin), key, figure.estimated)


def _kind(place: list[str]) -> str:
    field = next((part for part in reversed(place) if any(part.endswith(end) for end, _ in _KINDS)), "")
    return next((kind for end, kind in _KINDS if field.endswith(end)), "")


def _plain(field: str) -> str:
    """Return a field's name without its unit: `bandwidth_bytes_per_s` becomes `bandwidth`."""
    for end in ("_flop_per_s", "_bytes_per_s", "_bytes", "_usd_per_hour", "_hz", "_s", "_w", "_j", "_nm"):
        if field.endswith(end):
            field = field.removesuffix(end)
            break
    return field.replace("_", " ")
