"""One self-contained page about one answer: no network, fonts or libraries; inline styles, drawings and one script."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archcast.render.document import document, footer
from archcast.render.header import answer_section, header
from archcast.render.human import text
from archcast.render.markup import section
from archcast.render.paths import paths_section
from archcast.render.sections import (
    energy_section,
    limits_section,
    memory_section,
    operators_section,
    roofline_section,
    time_section,
    waterfall_section,
)
from archcast.render.sources import provenance_section
from archcast.render.waterline import waterline_section
from costmodel.estimate import Estimate
from foundation.files import write_text_whole

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec

MAX_TIMELINE_BYTES = 700_000
"""A larger drawing is left out with a note, so that the page stays one that can be sent by mail."""

TIMELINE_PX = 1088
"""Width of a card's inside on a wide screen."""


class Drawable(Protocol):
    """What can draw itself, such as `simulator.Timeline`; the drawing escapes its own names."""

    def to_svg(self, *, width_px: int = ..., title: str = ...) -> str: ...


def write_html(
    estimate: Estimate, path: str | Path, timeline: Drawable | None = None, *, device: DeviceSpec | None = None
) -> None:
    """Write the page whole or not at all.

    Args:
        timeline: drawn on the page where it is given.
        device: the device's description, for its sources; None takes the catalogue's of that name.

    Raises:
        BadFileError: the folder does not exist or cannot be written.
    """
    write_text_whole(path, page(estimate, timeline, device=device))


def page(estimate: Estimate, timeline: Drawable | None = None, *, device: DeviceSpec | None = None) -> str:
    """Return the page as text."""
    style, script = _assets()
    title = f"{estimate.workload} on {estimate.device} - archcast"
    return document(title, style, f"<main>{''.join(_sections(estimate, timeline, device))}</main>", script)


def _sections(estimate: Estimate, timeline: Drawable | None, device: DeviceSpec | None) -> list[str]:
    parts = [header(estimate), answer_section(estimate)]
    detail = estimate.detail
    if detail is not None and estimate.latency_s is not None:
        explanation = estimate.explain()
        parts += [
            paths_section(estimate),
            limits_section(estimate),
            roofline_section(detail, explanation.operators),
            waterfall_section(explanation.steps),
            waterline_section(detail),
            time_section(detail, explanation.operators),
            energy_section(estimate),
            memory_section(estimate),
            _timeline_section(timeline, f"{estimate.workload} on {estimate.device}"),
            operators_section(explanation.operators),
        ]
    else:
        parts.append(memory_section(estimate))
    parts.append(provenance_section(estimate, device))
    return [*parts, footer(estimate.versions.get("archcast", ""))]


def _timeline_section(timeline: Drawable | None, title: str) -> str:
    if timeline is None:
        return ""
    drawing = timeline.to_svg(width_px=TIMELINE_PX, title=title)
    if len(drawing) > MAX_TIMELINE_BYTES:
        size = text(len(drawing), "bytes")
        body = f'<p class="note">Left out: the drawing has {size}, too much for a page.</p>'
    else:
        body = f'<div class="scroll timeline">{drawing}</div>'
    lead = "Each pass once, operator after operator, on the engines of the device; the underlined chain sets the end."
    return section("Timeline", body, lead=lead, name="timeline")


@cache
def _assets() -> tuple[str, str]:
    """Return (style sheet, script)."""
    folder = Path(__file__).parent
    return (folder / "page.css").read_text(encoding="utf-8"), (folder / "page.js").read_text(encoding="utf-8")
