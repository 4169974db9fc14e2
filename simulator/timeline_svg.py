"""The timeline as a self-contained SVG: one lane per engine, colours by category, a title on every shape.

Plain text, no dependency, no script and no ids, so that any number of them can stand in one HTML page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from simulator.lanes import Block, Lane, blocks, categories, lanes, task_category
from simulator.time_axis import axis_ticks, time_text
from simulator.timeline import Timeline

PALETTE = (
    "#3b6fb6", "#e08a3c", "#3f9e6e", "#c8506b", "#7d62b5", "#2f9fb0", "#b3922a", "#8a6d5a", "#d279b2", "#64748b",
    "#88a9d6", "#f0bb85", "#87c7a6", "#e39aac", "#b3a2d6",
)  # fmt: skip
MAX_ENGINES = 64
MAX_ROWS = 6

_LEFT, _RIGHT, _TOP = 168, 84, 64
_LANE, _ROW, _GAP, _DEVICE = 28, 16, 10, 24
_INK, _SOFT, _FAINT, _BED = "#1f2933", "#6b7785", "#e3e8ee", "#f5f7fa"
_CHARACTER, _LEAST = 6.0, 1.5
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
_FONT = "font-family=\"system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif\""


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour per category, in order of first use."""
    return {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(names)}


def timeline_svg(timeline: Timeline, *, width_px: int = 1120, title: str = "Timeline") -> str:
    """Return the drawing. At most `MAX_ENGINES` engines and `MAX_ROWS` rows of each are drawn; a note says so."""
    return _Drawing(timeline, max(int(width_px), 480), title).svg()


class _Drawing:
    """Lays the lanes out from top to bottom and collects the shapes."""

    def __init__(self, timeline: Timeline, width: int, title: str) -> None:
        self.timeline, self.width, self.title = timeline, width, title
        self.span = width - _LEFT - _RIGHT
        self.x_per_tick = self.span / max(timeline.makespan_ticks, 1)
        self.names = categories(timeline)
        self.paint = colours(self.names)
        self.critical = np.zeros(len(timeline), dtype=bool)
        self.critical[list(timeline.critical_tasks)] = True
        self.lanes: list[str] = []
        self.y = float(_TOP)

    def svg(self) -> str:
        """Return the whole document."""
        for device, engines in self._by_device().items():
            self._device(device, engines)
            for at, members in engines.items():
                self._engine(at, members)
        bottom = self.y
        axis = self._axis(bottom)
        self.y = bottom + 30
        legend = self._legend()
        height = self.y + 10
        body = "".join([self._header(), axis, *self.lanes, legend])
        label = _text(f"{self.title}: {self._subtitle()}")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:.0f}" width="{self.width}" '
            f'height="{height:.0f}" style="max-width:100%;height:auto" role="img" aria-label="{label}" {_FONT}>'
            f'<rect width="{self.width}" height="{height:.0f}" rx="10" fill="#fff"/>{body}</svg>'
        )

    def _by_device(self) -> dict[str, dict[int, list[Lane]]]:
        """Return the rows to draw of each engine of each device, in order of first mention."""
        found: dict[str, dict[int, list[Lane]]] = {}
        for lane in lanes(self.timeline):
            if lane.engine < MAX_ENGINES and lane.row < MAX_ROWS:
                device = found.setdefault(self.timeline.graph.engines[lane.engine].device, {})
                device.setdefault(lane.engine, []).append(lane)
        return found

    def _subtitle(self) -> str:
        timeline = self.timeline
        low, _ = timeline.graph.bounds_ticks
        parts = [
            f"makespan {time_text(timeline.makespan_s)}",
            f"lower bound {time_text(low / timeline.graph.ticks_per_second)}",
            f"{len(timeline):,} task{'' if len(timeline) == 1 else 's'}",
            f"policy {timeline.policy}",
        ]
        hidden = len(timeline.graph.engines) - MAX_ENGINES
        return " · ".join([*parts, f"{hidden} more engines not drawn"] if hidden > 0 else parts)

    def _header(self) -> str:
        return (
            f'<text x="20" y="28" font-size="16" font-weight="600" fill="{_INK}">{_text(self.title)}</text>'
            f'<text x="20" y="47" font-size="12" fill="{_SOFT}">{_text(self._subtitle())}</text>'
            f'<text x="{self.width - 20}" y="47" font-size="11" fill="{_SOFT}" text-anchor="end">in use</text>'
        )

    def _device(self, name: str, engines: dict[int, list[Lane]]) -> None:
        """Head a group of engines, unless the name says nothing new."""
        if name and [self.timeline.graph.engines[at].name for at in engines] != [name]:
            label = f'<text x="20" y="{self.y + 14:.1f}" font-size="11" font-weight="600" fill="{_SOFT}"'
            self.lanes.append(f'{label} letter-spacing=".04em">{_text(_short(name, 150))}</text>')
            self.y += _DEVICE

    def _engine(self, at: int, members: list[Lane]) -> None:
        """Draw one engine: its name, the bed of the lane, its rows and how much of it was used."""
        engine = self.timeline.graph.engines[at]
        row_height = _LANE if len(members) == 1 else _ROW
        height = row_height * len(members) + 2 * (len(members) - 1)
        middle = self.y + height / 2
        used = self.timeline.utilisation[engine.name]
        about = f"{engine.name}: {engine.kind}, {engine.discipline}, capacity {engine.capacity}, {used:.1%} in use"
        bar = self.width - _RIGHT + 12
        self.lanes.append(
            f"<g><title>{_text(about)}</title>"
            f'<text x="{_LEFT - 12}" y="{middle + 4:.1f}" font-size="12" fill="{_INK}" text-anchor="end">'
            f"{_text(_short(engine.name, _LEFT - 36))}</text>"
            f'<rect x="{_LEFT}" y="{self.y:.1f}" width="{self.span}" height="{height}" rx="4" fill="{_BED}"/>'
            f'<rect x="{bar}" y="{middle + 7:.1f}" width="52" height="3" rx="1.5" fill="{_FAINT}"/>'
            f'<rect x="{bar}" y="{middle + 7:.1f}" width="{52 * min(used, 1):.1f}" height="3" rx="1.5" fill="{_SOFT}"/>'
            f'<text x="{self.width - 20}" y="{middle + 2:.1f}" font-size="12" fill="{_INK}" text-anchor="end">'
            f"{used:.0%}</text></g>"
        )
        for lane in members:
            self._row(lane, self.y + lane.row * (row_height + 2), row_height)
        self.y += height + _GAP

    def _row(self, lane: Lane, y: float, height: int) -> None:
        """Draw the shapes of one row, one group per category so that the colour stands once."""
        shapes = blocks(self.timeline, lane, self.x_per_tick, _LEAST)
        for name in self.names:
            mine = [shape for shape in shapes if shape.category == name]
            if mine:
                drawn = "".join(self._block(shape, y, height) for shape in mine)
                self.lanes.append(f'<g fill="{self.paint[name]}">{drawn}</g>')
        labels = [self._label(shape, y, height) for shape in shapes if not shape.merged and shape.x1 - shape.x0 > 26]
        if any(labels):
            size = 11 if height >= _LANE else 10
            self.lanes.append(f'<g fill="#fff" font-size="{size}" pointer-events="none">{"".join(labels)}</g>')
        self._critical(lane, y + height)

    def _block(self, shape: Block, y: float, height: int) -> str:
        x, width = _LEFT + shape.x0, shape.x1 - shape.x0
        thin = width < 3
        gap = 0.0 if shape.merged or thin else 0.6  # a hair of white between neighbours
        density = min(1.0, max(0.35, shape.busy / width)) if shape.merged else 1.0
        fade = f' fill-opacity="{density:.2f}"' if density < 0.995 else ""
        corner = "" if thin else ' rx="2.5"'
        return (
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width - gap, 0.5):.2f}" height="{height}"{corner}{fade}>'
            f"<title>{_text(self._about(shape))}</title></rect>"
        )

    def _about(self, shape: Block) -> str:
        """What the pointer shows."""
        timeline, task = self.timeline, shape.first
        graph, rate = timeline.graph, timeline.graph.ticks_per_second
        if shape.count > 1:
            span, busy = (ticks / self.x_per_tick / rate for ticks in (shape.x1 - shape.x0, shape.busy))
            begins = time_text(shape.x0 / self.x_per_tick / rate)
            names = f"{shape.count:,} short tasks from {graph.names[task]}"
            return f"{names}\nmostly {shape.category}\nfrom {begins}, {time_text(busy)} busy in {time_text(span)}"
        start, end = int(timeline.start_ticks[task]), int(timeline.end_ticks[task])
        engine = graph.engines[int(graph.task_engine[task])].name
        lines = [graph.names[task], f"{task_category(timeline, task)} on {engine}"]
        lines.append(f"{time_text(start / rate)} to {time_text(end / rate)}: {time_text((end - start) / rate)}")
        if graph.repeat[task] > 1:
            lines.append(f"{int(graph.repeat[task]):,} times")
        if graph.size_bytes[task]:
            lines.append(f"{int(graph.size_bytes[task]):,} bytes")
        if end - start > graph.duration_ticks[task]:
            lines.append(f"alone it takes {time_text(int(graph.duration_ticks[task]) / rate)}: the rest is contention")
        return "\n".join(lines)

    def _label(self, shape: Block, y: float, height: int) -> str:
        name = _short(self.timeline.graph.names[shape.first], shape.x1 - shape.x0 - 8)
        if not name:
            return ""
        x = _LEFT + (shape.x0 + shape.x1) / 2
        return f'<text x="{x:.1f}" y="{y + height / 2 + 3.8:.1f}" text-anchor="middle">{_text(name)}</text>'

    def _critical(self, lane: Lane, y: float) -> None:
        """Underline the tasks of the chain that sets the makespan; touching ones share a line."""
        runs: list[list[float]] = []
        members = np.array(lane.tasks, dtype=np.int64)
        for task in members[self.critical[members]].tolist():
            x0, x1 = (float(c[task]) * self.x_per_tick for c in (self.timeline.start_ticks, self.timeline.end_ticks))
            if runs and x0 - runs[-1][1] < 0.75:
                runs[-1][1] = x1
            else:
                runs.append([x0, x1])
        lines = "".join(
            f'<rect x="{_LEFT + x0:.2f}" y="{y - 3:.1f}" width="{max(x1 - x0 - 0.6, 0.6):.2f}" height="3" rx="1"/>'
            for x0, x1 in runs
        )
        if lines:
            self.lanes.append(f'<g fill="{_INK}" fill-opacity=".78" pointer-events="none">{lines}</g>')

    def _axis(self, bottom: float) -> str:
        seconds = max(self.timeline.makespan_s, 1e-300)
        parts = []
        for time_s, label in axis_ticks(self.timeline.makespan_s, about=max(3, self.span // 110)):
            x = _LEFT + time_s / seconds * self.span
            parts.append(f'<path d="M{x:.1f} {_TOP - 8}V{bottom - 2:.1f}" stroke="{_FAINT}" fill="none"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{label}</text>')
        return f'<g font-size="11" fill="{_SOFT}">{"".join(parts)}</g>'

    def _legend(self) -> str:
        """Categories with their share of all work, then the mark of the critical chain, wrapped to the width."""
        timeline, work = self.timeline, dict.fromkeys(self.names, 0)
        for task, ticks in enumerate(timeline.graph.duration_ticks.tolist()):
            work[task_category(timeline, task)] += ticks
        total = max(sum(work.values()), 1)
        entries = [(f"{name}  {work[name] / total:.0%}", self.paint[name], 10) for name in self.names[: len(PALETTE)]]
        if len(self.names) > len(PALETTE):
            entries.append((f"and {len(self.names) - len(PALETTE)} more", _FAINT, 10))
        if len(timeline):
            entries.append(("critical chain", _INK, 3))
        x, parts = float(_LEFT), []
        for label, colour, height in entries:
            label = _short(label, 220)
            wide = 34 + _CHARACTER * len(label)
            if x + wide > self.width - 20 and x > _LEFT:
                x, self.y = float(_LEFT), self.y + 20
            mark = f'<rect x="{x:.1f}" y="{self.y + 9 - height / 2:.1f}" width="12" height="{height}" rx="2"'
            parts.append(f'{mark} fill="{colour}"/><text x="{x + 18:.1f}" y="{self.y + 13:.1f}">{_text(label)}</text>')
            x += wide
        self.y += 20
        return f'<g font-size="11" fill="{_INK}">{"".join(parts)}</g>'


def _short(text: str, width: float) -> str:
    """Return `text` cut to about `width` pixels; empty where not even three characters fit."""
    room = int(width / _CHARACTER)
    if len(text) <= room:
        return text
    return text[: room - 1] + "…" if room >= 3 else ""


def _text(text: str) -> str:
    """Return `text` safe inside XML: markup escaped, control characters (which XML forbids) replaced."""
    return escape(_FORBIDDEN.sub("\ufffd", text), {'"': "&quot;"})
