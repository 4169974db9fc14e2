"""One self-contained page about one answer: no network, no fonts, no libraries; inline styles, drawings and one script.

Names in it may come from strangers' files. All text is escaped, and a content security policy allows the page's own
script (by its hash) and nothing else, so that even a mistake in escaping could not run anything or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archcast.render.header import answer_section, header
from archcast.render.human import text
from archcast.render.markup import esc, section
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
from costmodel.estimate import Estimate
from foundation.files import write_text_whole

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec

MAX_TIMELINE_BYTES = 700_000
"""A larger drawing is left out with a note, so that the page stays one that can be sent by mail."""

TIMELINE_PX = 1088
"""Width of a card's inside on a wide screen."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


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
    style, script, digest = _assets()
    policy = f"{POLICY}; script-src 'sha256-{digest}'"
    title = f"{estimate.workload} on {estimate.device} - archcast"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{style}</style></head>\n<body><main>"
        f"{''.join(_sections(estimate, timeline, device))}</main><script>{script}</script></body></html>\n"
    )


def _sections(estimate: Estimate, timeline: Drawable | None, device: DeviceSpec | None) -> list[str]:
    parts = [header(estimate), answer_section(estimate)]
    detail = estimate.detail
    if detail is not None and estimate.latency_s is not None:
        explanation = estimate.explain()
        parts += [
            limits_section(estimate),
            roofline_section(detail, explanation.operators),
            waterfall_section(explanation.steps),
            time_section(detail, explanation.operators),
            energy_section(estimate),
            memory_section(estimate),
            _timeline_section(timeline, f"{estimate.workload} on {estimate.device}"),
            operators_section(explanation.operators),
        ]
    else:
        parts.append(memory_section(estimate))
    parts.append(provenance_section(estimate, device))
    version = esc(estimate.versions.get("archcast", ""))
    parts.append(
        f'<footer class="wide">Written by archcast {version}. The page loads nothing and sends nothing.</footer>'
    )
    return parts


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
def _assets() -> tuple[str, str, str]:
    """Return (style sheet, script, hash of the script for the policy)."""
    folder = Path(__file__).parent
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (folder / "page.css").read_text(encoding="utf-8"), script, digest
