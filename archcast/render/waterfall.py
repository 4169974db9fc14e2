"""The waterfall: the time at the peak, what each loss adds to it, and the rate that is left after each."""

from __future__ import annotations

from collections.abc import Sequence

from archcast.render.bars import bar_svg
from archcast.render.human import percent, shown_s, text
from archcast.render.markup import esc
from costmodel.explain import Step

STEP_BOUND: dict[str, str] = {
    "peak": "ideal", "shape": "compute", "fill and drain": "compute", "efficiency": "compute",
    "on-chip memory": "memory", "device memory": "memory", "network": "network", "power": "overhead",
    "launch": "overhead",
}  # fmt: skip
"""Which colour a step has: that of the bound that it belongs to."""
_HEADINGS = ("step", ""), ("", ""), ("time", "n"), ("rate left", "n")
HEAD = (
    '<div class="fall head">' + "".join(f'<span class="{style}">{word}</span>' for word, style in _HEADINGS) + "</div>"
)


def waterfall_html(steps: Sequence[Step]) -> str:
    """Return the ladder as rows; the bars lie end to end, so that together they are the whole time."""
    whole = sum(step.added_s for step in steps)
    if not steps or whole <= 0:
        return '<p class="note">There is no time to divide.</p>'
    extent = max(whole, *_running(steps))
    peak = steps[0].rate_flop_per_s
    rows, before = [], 0.0
    for step in steps:
        begin, end = sorted((before, before + step.added_s))
        colour = STEP_BOUND.get(step.name, "overhead")
        sign = "" if step is steps[0] or step.added_s < 0 else "+"
        name = "at the peak rate" if step is steps[0] else step.name
        bar = bar_svg(
            [
                (
                    begin / extent,
                    (end - begin) / extent,
                    f"b-{colour}",
                    f"{name}: {text(shown_s(step.added_s, whole), 's')}",
                )
            ]
        )
        faint = abs(step.added_s) < 5e-4 * whole
        rows.append(
            _row(
                name,
                f"{step.meaning}: mostly {step.mostly}" if step.mostly and not faint else step.meaning,
                bar,
                f"{sign}{text(shown_s(step.added_s, whole), 's')}",
                step.rate_flop_per_s,
                peak,
                "faint" if faint else "",
            )
        )
        before += step.added_s
    bar = bar_svg([(0.0, whole / extent, "b-total", f"achieved: {text(whole, 's')}")])
    rows.append(
        _row("achieved", "sum of all rows above", bar, text(whole, "s"), steps[-1].rate_flop_per_s, peak, "total")
    )
    return f'<div class="falls">{HEAD}{"".join(rows)}</div>'


def _running(steps: Sequence[Step]) -> list[float]:
    total, sums = 0.0, []
    for step in steps:
        total += step.added_s
        sums.append(total)
    return sums


def _row(name: str, meaning: str, bar: str, time: str, rate: float, peak: float, style: str) -> str:
    share = percent(rate / peak) if peak > 0 else ""
    return (
        f'<div class="fall {style}"><span class="what"><b>{esc(name)}</b><small>{esc(meaning)}</small></span>'
        f'<span class="barcell">{bar}</span><span class="n">{esc(time)}</span>'
        f'<span class="n">{esc(text(rate, "flop_per_s"))}<small>{share}</small></span></div>'
    )
