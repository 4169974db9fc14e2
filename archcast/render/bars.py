"""Bars: stacked ones with a legend, sorted ones with names, intervals, and memory against its capacity.

Bars are inline SVG whose widths are percentages, so that they follow the page; all text is HTML beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

from archcast.render.breakdown import Part
from archcast.render.human import Shown, percent, text
from archcast.render.markup import esc, num, tip
from costmodel.estimate import Estimate, Quantity

LABEL_AFTER, ZERO_FROM = 40.0, 8.0
"""Percent of a memory bar: where the limit lies left of these, its label stands right of it, and no zero beside."""
COLOURS = 8
"""The page's style sheet has colours c0 to c7 for parts without a colour of their own."""

Segment = tuple[float, float, str, str]
"""(begin, length) as shares of the width, CSS classes, and what the pointer shows."""


def bar_svg(segments: Sequence[Segment], *, height_px: int = 14, extra: str = "") -> str:
    """Return one bar on a track."""
    parts = []
    for begin, length, style, about in segments:
        if length <= 0:
            continue
        x, width = 100 * min(max(begin, 0.0), 1.0), max(100 * min(length, 1.0), 0.25)
        parts.append(
            f'<rect class="seg {style}" x="{num(x)}%" width="{num(width)}%" height="{height_px}">{tip(about)}</rect>'
        )
    track = f'<rect class="track" width="100%" height="{height_px}"/>'
    return f'<svg class="bar" height="{height_px}" aria-hidden="true">{track}{"".join(parts)}{extra}</svg>'


def stacked(parts: Sequence[Part], kind: str, styles: Sequence[str], *, meanings: dict[str, str] | None = None) -> str:
    """Return a stacked bar and its legend; `styles` has a CSS class for each part.

    Without a `kind` of quantity, parts are shares only. With `meanings` (by name) the legend has one column.
    """
    segments: list[Segment] = []
    legend, before = [], 0.0
    for part, style in zip(parts, styles, strict=True):
        value = f"{text(part.value, kind)}, {percent(part.share)}" if kind else percent(part.share)
        segments.append((before, part.share, style, f"{part.name}: {value}"))
        meaning = (meanings or {}).get(part.name, "")
        note = f"<small>{esc(meaning)}</small>" if meaning else ""
        number = f"<small>{esc(text(part.value, kind))}</small>" if kind else ""
        legend.append(
            f'<li><i class="key {style}"></i><span>{esc(part.name, 60)}{note}</span>'
            f'<span class="n">{percent(part.share)}{number}</span></li>'
        )
        before += part.share
    return f'{bar_svg(segments, height_px=22)}<ul class="legend{" one" if meanings else ""}">{"".join(legend)}</ul>'


def numbered(parts: Sequence[Part]) -> list[str]:
    """Return one colour a part, in order; what is beyond the palette is grey."""
    return [f"c{i}" if i < COLOURS and not part.name.startswith("other") else "c-rest" for i, part in enumerate(parts)]


def sorted_bars(rows: Sequence[tuple[str, str, float, str, str]]) -> str:
    """Return named bars; a row is (name, under the name, share, CSS class, value). The longest fills the width."""
    longest = max((share for _, _, share, _, _ in rows), default=1.0) or 1.0
    lines = []
    for name, under, share, style, value in rows:
        bar = bar_svg([(0.0, share / longest, style, f"{name}: {value}, {percent(share)}")], height_px=12)
        lines.append(
            f'<div class="row"><span class="what"><b>{esc(name, 60)}</b><small>{esc(under, 30)}</small></span>'
            f'<span class="barcell">{bar}</span>'
            f'<span class="n">{percent(share)}<small>{esc(value)}</small></span></div>'
        )
    return f'<div class="rows">{"".join(lines)}</div>'


def interval_bar(quantity: Quantity, shown: Shown, end: float = 0.0) -> str:
    """Return the interval on a line from zero to `end` (0: a little more than `hi`), with the value as a dot."""
    end = max(quantity.hi, quantity.value, end / 1.06) * 1.06
    if end <= 0:
        return ""
    lo, mid, hi = (100 * max(0.0, x) / end for x in (quantity.lo, quantity.value, quantity.hi))
    about = f"{shown.value}, between {shown.lo} and {shown.hi} {shown.unit}".strip()
    width = max(hi - lo, 0.3)
    return (
        f'<svg class="range" height="14" role="img" aria-label="{esc(about)}">'
        f'<rect class="track" y="6" width="100%" height="2"/>'
        f'<rect class="span" x="{num(lo)}%" y="4" width="{num(width)}%" height="6" rx="3">{tip(about)}</rect>'
        f'<circle class="mid" cx="{num(mid)}%" cy="7" r="4.5">{tip(about)}</circle></svg>'
    )


def memory_html(estimate: Estimate, parts: Sequence[Part]) -> str:
    """Return memory by use against the capacity, one bar for each memory that holds a part; the excess is hatched."""
    if not estimate.stores:
        return _memory_bar(parts, estimate.capacity_bytes, estimate.memory_bytes.hi, estimate.shortfall_bytes)
    found = []
    for store in estimate.stores:
        held = [Part(store.holds, store.used_bytes, store.used_bytes / store.usable_bytes)]
        bar = _memory_bar(held, store.usable_bytes, store.used_bytes, store.shortfall_bytes)
        found.append(f"<h3>{esc(store.name)}</h3>{bar}")
    return "".join(found)


def _memory_bar(parts: Sequence[Part], capacity: float, most: float, shortfall: float) -> str:
    total = sum(part.value for part in parts)
    extent = max(capacity, most, total) * 1.02 or 1.0
    segments: list[Segment] = []
    before = 0.0
    for part, style in zip(parts, numbered(parts), strict=True):
        segments.append((before / extent, part.value / extent, style, f"{part.name}: {text(part.value, 'bytes')}"))
        before += part.value
    limit = 100 * capacity / extent
    extra = f'<rect class="limit" x="{num(limit)}%" width="2" height="34"/>'
    if shortfall > 0:
        about = tip(f"{text(shortfall, 'bytes')} more than there is")
        hatch = '<pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        extra += (
            f'<defs>{hatch}<rect class="stripe" width="3" height="8"/></pattern></defs><rect x="{num(limit)}%" '
            f'width="{num(100 * shortfall / extent)}%" height="34" fill="url(#hatch)">{about}</rect>'
        )
    zero = "<span>0</span>" if limit >= ZERO_FROM else ""
    side = "cap after" if limit < LABEL_AFTER else "cap"
    scale = (
        f'<div class="scale">{zero}<span class="{side}" style="left:{num(limit)}%">'
        f"{text(capacity, 'bytes')} usable</span></div>"
    )
    legend = "".join(
        f'<li><i class="key {style}"></i><span>{esc(part.name)}</span>'
        f'<span class="n">{percent(part.share)}<small>{text(part.value, "bytes")}</small></span></li>'
        for part, style in zip(parts, numbered(parts), strict=True)
    )
    return f'{bar_svg(segments, height_px=34, extra=extra)}{scale}<ul class="legend">{legend}</ul>'
