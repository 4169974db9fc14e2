"""The roofline: each operator by its arithmetic intensity and the rate that it reaches, under the roofs of the device.

Williams, Waterman and Patterson 2009. Intensity counts the traffic to device memory, so an operator whose data stay on
chip may stand above the device-memory roof, and the on-chip roof is drawn at the same axis. Where a whole network is
computed from SRAM, that is the memory. What a runtime left to another processor is no dot under these lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archcast.render.human import percent, text, unit_of
from archcast.render.labels import Box, Labels
from archcast.render.markup import esc, num, svg_text, tip
from archcast.render.roofs import roofs_svg
from costmodel.estimate import Detail
from costmodel.explain import OperatorCost
from foundation.formats import FORMAT_NAMES
from workloads.work import count_work

MAX_DOTS = 300
DECADES_BELOW_PEAK = 9.0


@dataclass(frozen=True)
class Dot:
    """One operator: FLOP a byte of device memory, FLOP a second, share of the time."""

    name: str
    phase: str
    intensity_flop_per_byte: float
    rate_flop_per_s: float
    latency_s: float
    share: float
    bound: str


@dataclass(frozen=True)
class Roofline:
    """What the chart shows. `roofs` are (name, bytes a second), `peaks` (name, FLOP a second, of the matrix unit).

    `hidden` operators are not drawn since they are many, `off` since they have no FLOP or no traffic, `elsewhere` since
    another processor has most of their time; the shares are the time that those take. Intensity is FLOP a byte of
    `memory`.
    """

    dots: tuple[Dot, ...]
    roofs: tuple[tuple[str, float], ...]
    peaks: tuple[tuple[str, float, bool], ...]
    hidden: int
    off: int
    off_share: float
    elsewhere: int = 0
    elsewhere_share: float = 0.0
    memory: str = "device memory"


def roofline(detail: Detail, operators: Sequence[OperatorCost], limit: int = MAX_DOTS) -> Roofline:
    """Return the chart's content; operators come longest first, and so do the dots."""
    peaks = _peaks(detail)
    top = max((rate for _, rate, _ in peaks), default=1.0)
    dots, off, off_share = [], 0, 0.0
    there = [o for o in operators if o.elsewhere > 0.5]
    for o in operators:
        if o.elsewhere > 0.5:
            continue
        rate = o.work_flop / o.latency_s if o.latency_s > 0 else 0.0
        if rate < top / 10**DECADES_BELOW_PEAK or o.dram_bytes <= 0 or not math.isfinite(rate):
            off, off_share = off + 1, off_share + o.share
            continue
        dots.append(Dot(o.name, o.phase, o.work_flop / o.dram_bytes, rate, o.latency_s, o.share, o.bound))
    rates = detail.rates
    roofs = [(detail.memory, float(rates.dram_bytes_per_s))]
    if rates.cache_bytes > 0 and rates.cache_bytes_per_s > 1.02 * rates.dram_bytes_per_s:
        roofs.append(("on chip", float(rates.cache_bytes_per_s)))
    return Roofline(
        tuple(dots[:limit]), tuple(roofs), peaks, max(0, len(dots) - limit), off, off_share, len(there),
        sum(o.share for o in there), detail.memory,
    )  # fmt: skip


def _peaks(detail: Detail) -> tuple[tuple[str, float, bool], ...]:
    """Return the peak of each format that the operators use; equal rates share one line, named by all their formats."""
    table, rates = detail.lowered.table, detail.rates
    work = count_work(table)
    codes = np.broadcast_to(table["dtype"], (table.rows,)).astype(int)
    found: dict[tuple[float, bool], list[str]] = {}
    for flop, peak, matrix in (
        (work.matrix_flop, rates.peak_flop_per_s, True),
        (work.vector_flop * (work.matrix_flop <= 0), rates.vector_flop_per_s, False),
    ):
        used = np.broadcast_to(flop, (table.rows,)) > 0
        for code in np.unique(codes[used]):
            rate = float(peak[code])
            names = found.setdefault((rate, matrix), []) if math.isfinite(rate) and rate > 0 else []
            names.append(FORMAT_NAMES[code])
    matrix_rates = {rate for rate, matrix in found if matrix}
    alone = sum(not matrix for _, matrix in found) == 1
    return tuple(
        (f"peak {', '.join(names)}" if matrix else "vector" if alone else f"vector {', '.join(names)}", rate, matrix)
        for (rate, matrix), names in sorted(found.items(), key=lambda item: -item[0][0])
        if matrix or rate not in matrix_rates
    )


LEAST_NAMED = 0.004
"""Share of the time from which an operator is worth a name in the drawing."""

Placed = tuple[Dot, float, float, float]
"""A dot with its x, y and radius in pixels."""


@dataclass(frozen=True)
class Frame:
    """The plot area in pixels and its range in powers of ten."""

    left: float
    right: float
    top: float
    bottom: float
    x_lo: float
    x_hi: float
    y_lo: float
    y_hi: float

    def x(self, value: float) -> float:
        return self.left + (math.log10(value) - self.x_lo) / (self.x_hi - self.x_lo) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (math.log10(value) - self.y_lo) / (self.y_hi - self.y_lo) * (self.bottom - self.top)


def roofline_svg(chart: Roofline, *, width_px: int = 1080, height_px: int = 520, label_count: int = 9) -> str:
    """Return the drawing; colours come from the page's style sheet."""
    small = width_px < 600
    frame = _frame(chart, width_px, height_px, left=44 if small else 92)
    dots: list[Placed] = [
        (dot, frame.x(dot.intensity_flop_per_byte), frame.y(dot.rate_flop_per_s), _radius(dot.share, small))
        for dot in chart.dots
    ]
    drawn, boxes = roofs_svg(chart, frame, dots)
    labels = Labels(Box(frame.left, frame.top, frame.right, frame.bottom), boxes)
    for _, x, y, r in dots:
        labels.block(Box(x - r, y - r, x + r, y + r))
    words = []
    for names, x, y, r in _named(dots, label_count):
        if spot := labels.place(names, x, y, r):
            if spot.far:
                words.append(f'<path class="leader" d="M{num(x)} {num(y)}L{num(spot.foot_x)} {num(spot.foot_y)}"/>')
            words.append(svg_text(spot.x, spot.y, names, "dotname", spot.anchor))
    circles = "".join(
        f'<circle class="dot b-{esc(dot.bound)}" cx="{num(x)}" cy="{num(y)}" r="{num(r)}">{_tip(dot)}</circle>'
        for dot, x, y, r in dots
    )
    label = f"Roofline with {len(dots)} operators: FLOP per second against FLOP per byte of {chart.memory}"
    return (
        f'<svg class="roofline" viewBox="0 0 {width_px} {height_px}" role="img" aria-label="{esc(label)}">'
        f"{_grid(frame, small, chart.memory)}{drawn}{circles}{''.join(words)}</svg>"
    )


def _named(dots: Sequence[Placed], limit: int) -> list[tuple[str, float, float, float]]:
    """Return (names, x, y, radius) of what is worth a name; dots that lie on each other share one label."""
    found: list[tuple[str, float, float, float]] = []
    done: set[int] = set()
    several = len({dot.phase for dot, *_ in dots}) > 1
    for i, (dot, x, y, r) in enumerate(dots):
        if i in done or dot.share < LEAST_NAMED:
            continue
        near = [
            j for j, (other, ox, oy, _) in enumerate(dots)
            if j not in done and other.phase == dot.phase and math.hypot(ox - x, oy - y) < r + 5
        ]  # fmt: skip
        done.update(near)
        found.append((_names([dots[j][0] for j in near], several), x, y, r))
        if len(found) == limit:
            break
    return found


def _names(dots: Sequence[Dot], with_phase: bool) -> str:
    short = [dot.name if len(dot.name) <= 20 else dot.name[:19] + "…" for dot in dots]
    kept = short if len(short) <= 3 else [*short[:2], f"{len(short) - 2} more"]
    phase = dots[0].phase if with_phase else ""
    return ", ".join(kept) + (f" · {phase}" if 0 < len(phase) <= 10 else "")


def _tip(dot: Dot) -> str:
    return tip(
        f"{dot.name} ({dot.phase})" if dot.phase else dot.name,
        f"{text(dot.latency_s, 's')}, {percent(dot.share)} of the time",
        f"{text(dot.rate_flop_per_s, 'flop_per_s')} at {text(dot.intensity_flop_per_byte, 'flop_per_byte')}",
        f"bound: {dot.bound}",
    )


def _radius(share: float, small: bool) -> float:
    """Area is proportional to the share of the time, but no dot is too small to see."""
    return max(3.0 if small else 3.5, (16.0 if small else 26.0) * math.sqrt(max(share, 0.0)))


def _frame(chart: Roofline, width: int, height: int, left: float) -> Frame:
    """Choose the range: all dots, the ridge of the highest peak, and some room."""
    top = max([rate for _, rate, _ in chart.peaks] or [1.0])
    slowest, fastest = min(rate for _, rate in chart.roofs), max(rate for _, rate in chart.roofs)
    xs = [d.intensity_flop_per_byte for d in chart.dots] + [top / slowest, top / fastest]
    ys = [d.rate_flop_per_s for d in chart.dots] + [top]
    x_lo, x_hi = math.log10(min(xs)) - 0.35, math.log10(max(xs)) + 0.45
    y_lo, y_hi = math.log10(min(ys)) - 0.3, math.log10(max(ys)) + 0.35
    return Frame(left, width - 16.0, 14.0, height - 44.0, x_lo, x_hi, min(y_lo, y_hi - 2.5), y_hi)


def _grid(frame: Frame, small: bool, memory: str) -> str:
    parts = []
    for power in range(math.ceil(frame.x_lo), math.floor(frame.x_hi) + 1):
        x = frame.x(10.0**power)
        parts.append(f'<path class="grid" d="M{num(x)} {num(frame.top)}V{num(frame.bottom)}"/>')
        parts.append(svg_text(x, frame.bottom + 17, _power(power), "tick", "middle"))
    for power in range(math.ceil(frame.y_lo), math.floor(frame.y_hi) + 1):
        y = frame.y(10.0**power)
        parts.append(f'<path class="grid" d="M{num(frame.left)} {num(y)}H{num(frame.right)}"/>')
        factor, unit = unit_of(10.0**power, "flop_per_s")
        unit = unit.removesuffix("FLOP/s") if small else unit
        parts.append(svg_text(frame.left - 7, y + 4, f"{10.0**power / factor:.0f} {unit}".strip(), "tick", "end"))
    middle = (frame.left + frame.right) / 2
    parts.append(
        svg_text(middle, frame.bottom + 37, f"arithmetic intensity: FLOP per byte of {memory}", "axis", "middle")
    )
    parts.append(
        f'<path class="axisline" d="M{num(frame.left)} {num(frame.top)}V{num(frame.bottom)}H{num(frame.right)}"/>'
    )
    if small:
        parts.append(svg_text(frame.left + 6, frame.top + 10, "FLOP/s", "axis"))
    return "".join(parts)


def _power(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"
