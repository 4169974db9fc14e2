"""The figure: predicted against measured time of held-out rows, one panel a device. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from archcast.validation.run import Validation
from archcast.validation.scoring import points
from foundation.errors import UnsupportedError
from workloads.table import Array

COLUMNS, PANELS = 4, 12
MOST_POINTS = 1300
"""Points of the whole figure; more would make a file that no page should carry."""
KINDS: tuple[tuple[str, str, str], ...] = (
    ("operators, trees", "#0b6e99", "o"), ("whole models, one factor", "#d1495b", "s"),
    ("closed form alone", "#8a8f98", "^"),
)  # fmt: skip
SECONDS = ("latency_s", "tpot_s", "ttft_s")

Points = dict[str, list[tuple[int, Array, Array]]]
"""By device: kind (an index into `KINDS`), measured and predicted seconds."""


def collected(found: Validation) -> Points:
    """Return the points to draw: an equal share of them for each device that has a panel."""
    parts: Points = {device: [] for device in _chosen(found)}
    for outcome in found.scored:
        if outcome.found is None or outcome.case.quantity not in SECONDS:
            continue
        kind = 0 if outcome.fitted in ("trees", "the artefact") else 1 if outcome.fitted.startswith("one factor") else 2
        for device, measured, predicted in points(outcome.found, MOST_POINTS):
            if device in parts:
                parts[device].append((kind, measured, predicted))
    return {device: _thinned(series, MOST_POINTS // len(parts)) for device, series in parts.items()}


def _chosen(found: Validation) -> list[str]:
    """Return the devices that get a panel: those with the most rows of operators, and as many of whole models."""
    rows: dict[str, dict[str, int]] = {"operators": {}, "workloads": {}}
    for outcome in found.scored:
        if outcome.found is not None and outcome.case.quantity in SECONDS:
            mine = rows["workloads" if outcome.case.scorer == "workloads" else "operators"]
            for device in outcome.found.device.tolist():
                mine[device] = mine.get(device, 0) + 1
    ranked = [sorted(mine, key=lambda device: (-mine[device], device)) for mine in rows.values()]
    first = ranked[0][: PANELS // 2]
    order = [*first, *(d for d in ranked[1] if d not in first), *ranked[0][PANELS // 2 :]]
    return list(dict.fromkeys(order))[:PANELS]


def _thinned(series: list[tuple[int, Array, Array]], most: int) -> list[tuple[int, Array, Array]]:
    """Return the series of one panel with at most `most` points in all, as many of each, spread over their sizes."""
    out, left = [], most
    for i, (kind, measured, predicted) in enumerate(sorted(series, key=lambda part: len(part[1]))):
        size = min(len(measured), left // (len(series) - i))
        chosen = np.unique(np.linspace(0, len(measured) - 1, max(size, 1)).astype(np.intp))
        out.append((kind, measured[chosen], predicted[chosen]))
        left -= len(chosen)
    return out


def svg(found: Validation) -> str:
    """Return the figure as SVG text, the same for the same scores.

    Raises:
        UnsupportedError: matplotlib is not installed, or there is nothing to draw.
    """
    figure = drawn(collected(found))
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "archcast", "svg.fonttype": "none"}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", out.getvalue())


def drawn(parts: Points) -> Any:
    """Return the matplotlib figure. Raises UnsupportedError."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnsupportedError("The figure needs matplotlib; run `pip install archcast[plot]`.") from None
    if not parts:
        raise UnsupportedError("There is nothing to draw: no case with times was scored.")
    columns = min(COLUMNS, len(parts))
    lines = -(-len(parts) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.8 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (device, series) in zip(axes, parts.items(), strict=False):
        _panel(axis, device, series)
    for axis in axes[len(parts) :]:
        axis.axis("off")
    used = sorted({kind for series in parts.values() for kind, _, _ in series})
    handles = [_mark(axes[0], kind) for kind in used]
    figure.legend(handles, [KINDS[kind][0] for kind in used], loc="outside upper center", ncols=3, frameon=False)
    figure.supxlabel("measured, s", fontsize=10)
    figure.supylabel("predicted, s", fontsize=10)
    return figure


def _panel(axis: Any, device: str, series: list[tuple[int, Array, Array]]) -> None:
    every = np.concatenate([values for _, measured, predicted in series for values in (measured, predicted)])
    low, high = float(every.min()) / 2, float(every.max()) * 2
    ends = np.array([low, high])
    axis.fill_between(ends, ends / 2, ends * 2, color="#e8ecf1", linewidth=0)
    axis.plot(ends, ends, color="#5c6570", linewidth=0.8)
    for kind, measured, predicted in sorted(series, key=lambda part: -part[0]):
        _, colour, marker = KINDS[kind]
        size = 2.4 if len(every) > 120 else 4.0
        axis.plot(measured, predicted, marker, color=colour, markersize=size, markeredgewidth=0, alpha=0.7)
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axis.set_title(device, fontsize=9)
    axis.set_aspect("equal")
    axis.minorticks_off()
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _mark(axis: Any, kind: int) -> Any:
    _, colour, marker = KINDS[kind]
    return axis.plot([], [], marker, color=colour, markersize=5, markeredgewidth=0)[0]
