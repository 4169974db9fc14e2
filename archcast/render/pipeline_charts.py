"""Pictures of a pipeline beside its chain: bars on a logarithmic axis, and lines with their quantiles over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from archcast.render.human import text
from archcast.render.markup import esc, num, tip
from archcast.render.pipeline_rows import servers_and_room
from archcast.render.pipeline_words import count_words, level_words
from archcast.render.serving_charts import Axis, Line, chart
from simulator.pipelines.events import DONE
from simulator.serving.series import thinned

if TYPE_CHECKING:
    from archcast.pipeline_services import ResolvedService
    from simulator.pipelines.window_run import StageEvents, WindowRun

STYLE = """
.logs{display:grid;gap:5px}
.logs .log{display:grid;grid-template-columns:minmax(80px,150px) minmax(0,1fr) 112px;gap:12px;align-items:center}
.logs .log .what b{display:block;line-height:1.25}
.logs .axis{position:relative;height:17px;font-size:11.5px;color:var(--soft)}
.logs .axis span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.logs .axis span:first-child{transform:none}.logs .axis span:last-child{transform:translateX(-100%)}
.tick{fill:var(--line)}
.b-in{fill:var(--rest);background:var(--rest)}.b-out{fill:var(--accent);background:var(--accent)}
.b-lost{fill:var(--bad);background:var(--bad)}
.levels{display:flex;flex-direction:column}.levels svg{margin-top:auto}
.levels .chart .l1,.levels .chart .l2,.levels .chart .l4{stroke-width:1.3;stroke-dasharray:5 4}
.levels .chart .l0,.levels .chart .l3{stroke-width:1.3}
.chain{width:100%;height:auto}
.chain text{fill:var(--soft);font-size:11.5px}
.chain .boxname{fill:var(--ink);font-size:12.5px;font-weight:600}
.chain .rate{fill:var(--ink)}
.chain .rate,.chain .bytes{paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.chain .flow{fill:none;stroke:var(--accent);stroke-opacity:.3}
.chain .flow.high{stroke:var(--memory);stroke-opacity:.5}.chain .flow.over{stroke:var(--bad);stroke-opacity:.7}
.chain .flow:hover{stroke-opacity:.6}
.chain .box{fill:var(--card);stroke:var(--faint);stroke-width:1.2}
.chain .box.source{stroke-dasharray:4 3}
.chain .box.lossy{stroke:var(--memory);stroke-width:2.2}
.chain .box.over{stroke:var(--bad);stroke-width:2.6;fill:var(--badbg)}
.chain .load{fill:var(--network)}.chain .load.high{fill:var(--memory)}.chain .load.over{fill:var(--bad)}
.chain .loadtrack{fill:var(--track)}
.chain .bad{fill:var(--bad);font-weight:600}
.scroll.drawn{overflow-y:hidden;padding-bottom:4px}
.legend .line-key{width:18px;height:0;border-top:2px dashed var(--bad);display:inline-block;align-self:center}
.matrix td,.matrix th{padding-right:22px}
table.plain td{white-space:nowrap}table.plain td.name{white-space:normal;overflow-wrap:normal}
table.plain td,table.plain th{padding-right:11px}
.dense table.plain{font-size:12px}.dense table.plain td,.dense table.plain th{padding-right:7px}
@media (min-width:901px){.stats.five{grid-template-columns:repeat(5,minmax(0,1fr))}}
@media (max-width:720px){.logs .log{grid-template-columns:minmax(0,1fr) auto;gap:1px 10px}
.logs .log .barcell{grid-column:1/-1;grid-row:2}.logs .log{padding-bottom:4px}}
"""

LEAST_DECADES = 2
SPANS = 30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LogRow:
    """A name with bars from top to bottom; a bar is (value, CSS class, what the pointer shows)."""

    name: str
    under: str
    bars: Sequence[tuple[float, str, str]]
    value: str
    value_under: str = ""


def log_bars(rows: Sequence[LogRow], kind: str, *, most: float | None = None, share: bool = False) -> str:
    """Return bars on one logarithmic axis of whole decades; what is 0 has no bar.

    most: the end of the axis, else the decade above the largest. share: ticks are percentages, not of a `kind`.
    """
    values = [value for row in rows for value, _, _ in row.bars if 0 < value < math.inf]
    if not values:
        return '<p class="note">Nothing to draw.</p>'
    high = math.ceil(math.log10(most or max(values)) - 1e-9)
    low = min(math.floor(math.log10(min(values)) - 1e-9), high - LEAST_DECADES)
    if math.log10(min(values)) - low < 0.08:
        low -= 1  # the shortest bar must be seen
    lines = [_axis_row(low, high, kind, share)]
    for row in rows:
        bars = _bars(row, low, high)
        lines.append(
            f'<div class="log"><span class="what"><b>{esc(row.name, 60)}</b><small>{esc(row.under, 60)}</small></span>'
            f'<span class="barcell">{bars}</span>'
            f'<span class="n">{esc(row.value)}<small>{esc(row.value_under)}</small></span></div>'
        )
    return f'<div class="logs">{"".join(lines)}</div>'


def _axis_row(low: int, high: int, kind: str, share: bool) -> str:
    labels = []
    for power in _decades(low, high):
        at = 100 * (power - low) / (high - low)
        label = f"{100 * 10.0**power:g} %" if share else text(10.0**power, kind).replace(".00", "").replace(".0", "")
        labels.append(f'<span style="left:{num(at)}%">{esc(label)}</span>')
    return f'<div class="log"><span></span><span class="axis barcell">{"".join(labels)}</span><span></span></div>'


def _decades(low: int, high: int) -> list[int]:
    step = max(1, math.ceil((high - low) / 3))
    found = list(range(high, low - 1, -step))[::-1]
    return found if found[0] == low else [low, *(x for x in found if x - low >= step)]


def _bars(row: LogRow, low: int, high: int) -> str:
    each = 9 if len(row.bars) > 1 else 13
    height = each * len(row.bars) + 1
    parts = [f'<rect class="track" width="100%" height="{height}"/>']
    parts += [
        f'<rect class="tick" x="{num(100 * (x - low) / (high - low))}%" width="1" height="{height}"/>'
        for x in _decades(low, high)[1:-1]
    ]
    for index, (value, style, about) in enumerate(row.bars):
        if value <= 0:
            continue
        width = 100 * min(1.0, (math.log10(value) - low) / (high - low))
        box = f'y="{index * each}" width="{num(max(width, 0.4))}%" height="{each}"'
        parts.append(f'<rect class="seg {style}" {box}>{tip(about)}</rect>')
    return f'<svg class="bar" height="{height}" aria-hidden="true">{"".join(parts)}</svg>'


def keys(*pairs: tuple[str, str]) -> str:
    """Return a legend of (CSS class, words)."""
    items = "".join(f'<li><i class="key {style}"></i>{esc(words)}</li>' for style, words in pairs)
    return f'<ul class="legend inline">{items}</ul>'


def occupancy(window: WindowRun, row: StageEvents) -> str:
    """Return two charts of a stage's line: waiting events with their quantiles and room, and busy servers."""
    at, waiting, busy = window.series(row.stage)
    servers, room = servers_and_room(window, row.stage)
    lines = [Line("waiting", at, waiting, 0, filled=True)]
    ends = np.array([at[0], at[-1]]) if len(at) else np.array([0.0, 1.0])
    for key, name, style in (("p50", "p50", 3), ("p99", "p99", 1), ("p999", "p99.9", 4)):
        level = row.waiting[key].value
        if math.isfinite(level):
            lines.append(Line(f"{name}: {level_words(level)}", ends, np.array([level, level]), style))
    limit = (room, f"room for {count_words(room)}") if math.isfinite(room) and room > 0 else None
    holds = "no limit" if math.isinf(room) else f"room for {count_words(room)}"
    drawn = chart(lines, Axis("time", "s"), Axis("waiting events", "count"), limit=limit)
    if row.waiting["most"].value == 0:
        drawn = '<p class="note">No event ever waits.</p>'
    most = f"at most {level_words(row.waiting['most'].value)}; {holds}"
    first = f'<div class="levels"><h3>{esc(row.stage, 60)}: waiting <small>{esc(most)}</small></h3>{drawn}</div>'
    if not servers:
        return first
    middle, share = _means(at, busy / servers)
    second = chart([Line("servers busy", middle, share, 3, filled=True)], Axis("time", "s"), Axis("share", "share"))
    load = f"{servers:,} {'servers' if servers > 1 else 'server'}; means of {len(at) // len(share)} samples"
    return f'{first}<div class="levels"><h3>{esc(row.stage, 60)}: servers busy <small>{load}</small></h3>{second}</div>'


def _means(at: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return (middle, mean) of samples in equal spans of time, each of some samples."""
    count = max(1, min(SPANS, len(at) // 6))
    parts = np.array_split(np.arange(len(at)), count)
    return np.array([at[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def sojourn_chart(window: WindowRun) -> str:
    """Return the share of events whose time through the window is at most that of the axis; first replication."""
    times = window.runs[0].sojourn_s(DONE)
    times = times[times > 0]
    if len(times) == 0:
        return '<p class="note">No event came through.</p>'
    values, share = thinned(times)
    log = float(values[-1]) > 20 * float(values[0])
    return chart([Line("share of events", values, share, 0)], Axis("time", "s", log=log), Axis("share", "share"))


def batch_charts(found: ResolvedService) -> str:
    """Return the time of a batch with its bounds, and the events a second of one server, by batch size."""
    times = found.times
    sizes = np.arange(1, len(times.time_s) + 1, dtype=float)
    value, low, high = (np.array(x) for x in (times.time_s, times.lo_s, times.hi_s))
    lines = [Line("time of a batch", sizes, value, 0), Line("least", sizes, low, 1), Line("most", sizes, high, 4)]
    first = chart(lines, Axis("events in a batch", ""), Axis("time of a batch", "s"))
    rates = [
        Line("events a second", sizes, sizes / value, 0), Line("least", sizes, sizes / high, 1),
        Line("most", sizes, sizes / low, 4),
    ]  # fmt: skip
    second = chart(rates, Axis("events in a batch", ""), Axis("events a second of one server", "hz"))
    return (
        f'<div class="levels"><h3>Time of a batch</h3>{first}</div>'
        f'<div class="levels"><h3>Events a second of one server</h3>{second}</div>'
    )
