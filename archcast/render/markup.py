"""Text into HTML and SVG: everything that comes from a file is escaped here, and numbers are written short."""

from __future__ import annotations

from html import escape

from archcast.render.human import printable

LONGEST_NAME = 120


def esc(value: object, limit: int = 1000) -> str:
    """Return text that is safe between tags and inside quoted attributes."""
    return escape(printable(value, limit), quote=True)


def tip(*lines: object) -> str:
    """Return a `<title>` of several lines: what the pointer shows, with the page's script or without it."""
    return f"<title>{'&#10;'.join(esc(line) for line in lines if str(line))}</title>"


def num(value: float) -> str:
    """Return a coordinate: two decimals at most, `0` for what is not finite."""
    if not -1e7 < value < 1e7:
        return "0"
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def svg_text(x: float, y: float, words: object, style: str = "", anchor: str = "start", extra: str = "") -> str:
    """Return an SVG text element; `style` is a CSS class."""
    classes = f' class="{style}"' if style else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{num(x)}" y="{num(y)}"{classes}{place}{extra}>{esc(words)}</text>'


def section(title: str, body: str, *, lead: str = "", wide: bool = True, name: str = "") -> str:
    """Return one card of the page; `lead` is HTML that says how to read it."""
    size = " wide" if wide else ""
    note = f'<p class="lead">{lead}</p>' if lead else ""
    anchor = f' id="{name}"' if name else ""
    return f'<section class="card{size}"{anchor}><h2>{esc(title)}</h2>{note}{body}</section>'
