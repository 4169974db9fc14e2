"""The timeline as a matplotlib figure, for papers and notebooks (matplotlib is an extra, imported only here)."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import UnsupportedError
from simulator.lanes import blocks, categories, lanes
from simulator.time_axis import axis_unit, time_text
from simulator.timeline import Timeline
from simulator.timeline_svg import colours

_LEAST_INCH = 0.01


def timeline_figure(timeline: Timeline, path: Path, *, title: str = "Timeline") -> Path:
    """Draw `timeline` into `path` (png, pdf or svg by its suffix) and return the path.

    Raises:
        UnsupportedError: matplotlib is absent, or it cannot write this kind of file.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise UnsupportedError(
            "Figures need matplotlib, which is not installed. Install the extra (pip install 'archcast[plot]'), or use "
            "to_svg(), which needs nothing."
        ) from None
    unit, seconds = axis_unit(timeline.makespan_s)
    scale = 1 / timeline.graph.ticks_per_second / seconds
    rows = lanes(timeline)
    names, paint = categories(timeline), colours(categories(timeline))
    figure = Figure(figsize=(11, 1.4 + 0.34 * len(rows)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if path.suffix.lstrip(".").lower() not in canvas.get_supported_filetypes():
        raise UnsupportedError(f"{path}: matplotlib cannot write '{path.suffix}' files. Use .png, .pdf or .svg.")
    axes = figure.add_subplot()
    span = max(timeline.makespan_ticks * scale, 1e-30)
    for at, lane in enumerate(rows):
        shapes = blocks(timeline, lane, scale, span * _LEAST_INCH / 9)
        axes.broken_barh(
            [(s.x0, s.x1 - s.x0) for s in shapes],
            (at - 0.4, 0.8),
            facecolors=[paint[s.category] for s in shapes],
            edgecolors="white",
            linewidths=[0.0 if s.merged else 0.6 for s in shapes],
        )
    engines = timeline.graph.engines
    axes.set_yticks(range(len(rows)), [engines[r.engine].name if not r.row else "" for r in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, span)
    axes.set_xlabel(f"time ({unit})")
    axes.set_title(f"{title}: {time_text(timeline.makespan_s)}, {len(timeline):,} tasks, {timeline.policy}", loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if names:
        figure.legend([Patch(color=paint[n]) for n in names], names, loc="outside lower left", ncols=6, frameon=False)
    figure.savefig(path, dpi=150)
    return path
