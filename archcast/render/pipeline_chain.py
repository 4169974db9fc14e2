"""The chain as a picture: boxes from left to right, links as wide as the logarithm of their bytes a second."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archcast.render.human import percent, text
from archcast.render.markup import esc, num, svg_text, tip
from archcast.render.pipeline_rows import StageRow, detector_bytes_per_s, share_words, words

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline

WIDTH = 1136
LEAST_PITCH, MOST_PITCH, GAP = 152, 236, 68
BOX_HEIGHT, ROW = 66, 86
THINNEST, THICKEST = 1.5, 15.0
Key = str | int
MOST_SEPARATE = 3
"""Detectors of one stage that have boxes of their own; more share one."""


@dataclass
class _Box:
    """A detector (or several) or a stage; `column` and `slot` say where it stands."""

    name: str
    column: int
    under: str
    style: str
    about: tuple[str, ...]
    rate_hz: float
    bytes_per_s: float
    targets: tuple[str, ...]
    warning: str = ""
    load: float = math.nan
    link_load: float = math.nan
    slot: float = 0.0


def chain(answer: Pipeline, rows: list[StageRow]) -> str:
    """Return the picture in a frame that scrolls where the page is narrow."""
    boxes = _boxes(answer, rows)
    columns = max(box.column for box in boxes.values()) + 1
    ends = any(not box.targets and answer.spec.stage(box.name).kind != "storage" for box in boxes.values())
    pitch = min(MOST_PITCH, max(LEAST_PITCH, (WIDTH + (0 if ends else GAP)) / columns))
    width = pitch * columns - (0 if ends else GAP) + 2
    deepest = _place(boxes, columns)
    height = deepest * ROW + 4
    most = max((box.bytes_per_s for box in boxes.values()), default=1.0)
    least = min((box.bytes_per_s for box in boxes.values() if box.bytes_per_s > 0), default=1.0)
    drawing = _Drawing(boxes, pitch, height, least, most, ends)
    body = "".join(drawing.flows(box) for box in boxes.values()) + "".join(drawing.box(box) for box in boxes.values())
    style = f"min-width:{num(min(width, columns * 128))}px;max-width:{num(width)}px"
    label = f"the chain: {', '.join(row.name for row in rows)}"
    return (
        f'<div class="scroll drawn"><svg class="chain" viewBox="0 0 {num(width)} {num(height)}" style="{style}" '
        f'role="img" aria-label="{esc(label)}">{body}</svg></div>'
    )


def _boxes(answer: Pipeline, rows: list[StageRow]) -> dict[Key, _Box]:
    """Return all boxes: stages by their names, detectors by a number; columns follow the longest way to each stage."""
    spec, column, found = answer.spec, dict[str, int](), dict[Key, _Box]()
    for row in rows:
        column[row.name] = 1 + max((column[name] for name in spec.stage(row.name).inputs), default=0)
    for row in rows:
        for box in _detector_boxes(answer, row, column[row.name] - 1):
            found[len(found)] = box
    after = {row.name: tuple(s.name for s in spec.stages if row.name in s.inputs) for row in rows}
    for row in rows:
        found[row.name] = _stage_box(row, column[row.name], after[row.name])
    return found


def _detector_boxes(answer: Pipeline, row: StageRow, column: int) -> list[_Box]:
    spec = answer.spec
    own = spec.detectors_of(row.name)
    if len(own) > MOST_SEPARATE:
        each = [f"{d.name}: {text(detector_bytes_per_s(spec, d), 'bytes_per_s')}" for d in own[:20]]
        more = [f"and {len(own) - 20} more"] if len(own) > 20 else []
        rate = max(spec.rate_of(d) for d in own)
        total = sum(detector_bytes_per_s(spec, d) for d in own)
        return [_Box(f"{len(own)} detectors", column, "", "source", (*each, *more), rate, total, (row.name,))]
    found = []
    for d in own:
        sent, rate = detector_bytes_per_s(spec, d), spec.rate_of(d)
        about = (d.name, f"{text(rate, 'hz')}, {text(d.size_bytes.value, 'traffic_bytes')} an event", d.notes)
        under = f"{d.count:,} units" if d.count > 1 else "detector"
        found.append(_Box(d.name, column, under, "source", about, rate, sent, (row.name,)))
    return found


def _stage_box(row: StageRow, column: int, after: tuple[str, ...]) -> _Box:
    stage = row.rates
    load = _whole_percent(row.load) if math.isfinite(row.load) else ""
    under = f"{stage.kind}, {load}" if load else stage.kind
    style, warning = "", ""
    if row.loss_share > 0:
        style, warning = "lossy", f"loses {share_words(row.loss_share)}"
    if row.overloaded:
        style, warning = "over", "unstable"
    about = (
        row.name,
        f"in {text(stage.rate_in_hz.value, 'hz')}, out {text(stage.rate_out_hz.value, 'hz')}",
        f"event {text(stage.size_in_bytes.value, 'traffic_bytes')} in, "
        f"{text(stage.size_out_bytes.value, 'traffic_bytes')} out",
        f"load {percent(row.load)}" if load else "",
        f"lost {share_words(row.loss_share)}" if row.loss_share > 0 else "",
        "" if stage.unstable else f"latency {words(stage.latency_s.value, 's')}",
        f"power {text(row.power_w, 'w')}",
    )
    out = stage.throughput_bytes_per_s.value
    return _Box(
        row.name, column, under, style, about, stage.rate_out_hz.value, out, after, warning, row.load, row.link_load
    )


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else percent(share)


def _place(boxes: dict[Key, _Box], columns: int) -> int:
    """Give each box its slot: a column after its detectors' targets or its inputs; return the longest column."""
    feeds: dict[Key, list[Key]] = {key: [] for key in boxes}
    for key, box in boxes.items():
        for target in box.targets:
            feeds[target].append(key)
    levels = [[key for key, box in boxes.items() if box.column == c] for c in range(columns)]
    deepest = max(len(level) for level in levels)
    for level in levels:
        before = {
            key: sum(boxes[x].slot for x in feeds[key]) / len(feeds[key]) if feeds[key] else math.inf for key in level
        }
        for index, key in enumerate(sorted(level, key=lambda k: before[k])):
            boxes[key].slot = index + (deepest - len(level)) / 2
    return deepest


class _Drawing:
    """Coordinates and shapes."""

    def __init__(
        self, boxes: dict[Key, _Box], pitch: float, height: float, least: float, most: float, ends: bool
    ) -> None:  # fmt: skip
        self.boxes, self.pitch, self.ends = boxes, pitch, ends
        self.width = pitch - GAP
        self.least, self.most = math.log10(least), math.log10(max(most, least))

    def thickness(self, bytes_per_s: float) -> float:
        """Return the width of a link, from the logarithm of its bytes a second."""
        if bytes_per_s <= 0 or self.most <= self.least:
            return THINNEST if bytes_per_s <= 0 else (THINNEST + THICKEST) / 2
        share = (math.log10(bytes_per_s) - self.least) / (self.most - self.least)
        return THINNEST + (THICKEST - THINNEST) * share

    def left(self, box: _Box) -> float:
        return 1 + box.column * self.pitch

    def middle(self, box: _Box) -> float:
        return 2 + box.slot * ROW + ROW / 2

    def flows(self, box: _Box) -> str:
        """Return the links that leave a box, and once their rates."""
        x, y = self.left(box) + self.width, self.middle(box)
        wide = num(self.thickness(box.bytes_per_s))
        rate, sent = text(box.rate_hz, "hz"), text(box.bytes_per_s, "bytes_per_s")
        loaded = f"the link is loaded to {percent(box.link_load)}" if math.isfinite(box.link_load) else ""
        about = tip(f"{box.name}: {rate}, {sent}", loaded)
        style = "flow over" if box.link_load >= 1 else "flow high" if box.link_load >= 0.9 else "flow"
        parts = []
        for name in box.targets:
            other = self.boxes[name]
            end_x, end_y = self.left(other), self.middle(other)
            bend = (end_x - x) / 2
            curve = f"{num(x + bend)} {num(y)} {num(end_x - bend)} {num(end_y)} {num(end_x)} {num(end_y)}"
            path = f"M{num(x)} {num(y)}C{curve}"
            parts.append(f'<path class="{style}" stroke-width="{wide}" d="{path}">{about}</path>')
        if not box.targets:
            if not self.ends or "storage" in box.under:
                return ""
            parts.append(f'<path class="{style}" stroke-width="{wide}" d="M{num(x)} {num(y)}h{GAP - 6}">{about}</path>')
        lift = self.thickness(box.bytes_per_s) / 2
        middle = x + GAP / 2
        # where all links bend to one side, the labels stand on the other
        slopes = [self.middle(self.boxes[name]) - y for name in box.targets]
        above, below = all(s > 1 for s in slopes), all(s < -1 for s in slopes)
        places = (-lift - 18, -lift - 5) if above and slopes else (-lift - 4, lift + 12)
        places = (lift + 13, lift + 26) if below and slopes else places
        parts.append(svg_text(middle, y + places[0], rate, "rate", "middle"))
        parts.append(svg_text(middle, y + places[1], sent, "bytes", "middle"))
        return "".join(parts)

    def box(self, box: _Box) -> str:
        """Return the frame, the name in one or two lines, what it is, its load, and what is wrong with it."""
        x, y = self.left(box), self.middle(box) - BOX_HEIGHT / 2
        classes = f"box {box.style}".strip()
        place = f'x="{num(x)}" y="{num(y)}" width="{num(self.width)}" height="{BOX_HEIGHT}"'
        frame = f'<rect class="{classes}" {place} rx="7"/>'
        lines = [("boxname", line) for line in _broken(box.name, int(self.width / 8))]
        lines += [("", box.under)] if box.under else []
        lines += [("bad", box.warning)] if box.warning else []
        step = 14.5 if len(lines) < 4 else 13.0
        free = BOX_HEIGHT - (8 if math.isfinite(box.load) else 0)
        top = y + (free - step * len(lines)) / 2 + 11
        middle = x + self.width / 2
        words = "".join(
            svg_text(middle, top + step * i, line, style, "middle") for i, (style, line) in enumerate(lines)
        )
        return f"<g>{tip(*box.about)}{frame}{self._load(box, x, y)}{words}</g>"

    def _load(self, box: _Box, x: float, y: float) -> str:
        if not math.isfinite(box.load):
            return ""
        style = "load over" if box.load >= 1 else "load high" if box.load >= 0.9 else "load"
        whole = self.width - 14
        place = f'x="{num(x + 7)}" y="{num(y + BOX_HEIGHT - 7)}" height="3" rx="1.5"'
        return (
            f'<rect class="loadtrack" {place} width="{num(whole)}"/>'
            f'<rect class="{style}" {place} width="{num(whole * min(max(box.load, 0.0), 1.0))}"/>'
        )


def _broken(name: str, most: int) -> list[str]:
    """Return a name in one line or two of at most so many characters."""
    if len(name) <= most:
        return [name]
    cut = max(name.rfind(" ", 0, most + 1), name.rfind("-", 0, most) + 1, name.rfind("_", 0, most) + 1)
    if cut <= 2:  # no gap: between a small and a capital letter
        cut = max((i for i in range(3, min(most, len(name) - 1) + 1) if _humps(name, i)), default=most)
    first, second = name[:cut].rstrip(), name[cut:].lstrip()
    return [first, second if len(second) <= most else second[: most - 1] + "…"]


def _humps(name: str, at: int) -> bool:
    return name[at - 1].islower() and name[at].isupper()
