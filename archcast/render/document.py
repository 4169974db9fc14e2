"""The frame of every page that is written: one file without network, whose policy allows its own script and no other.

Names in a page may come from strangers' files. All text is escaped, and the content security policy allows the page's
own script (by its hash) and nothing else, so that even a mistake in escaping could not run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from archcast.render.markup import esc

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, style: str, body: str, script: str = "") -> str:
    """Return a whole page; `body` is HTML, `title` plain text."""
    policy, code = POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, code = f"{POLICY}; script-src 'sha256-{digest}'", f"<script>{script}</script>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{style}</style></head>\n<body>{body}{code}</body></html>\n"
    )


def report(title: str, style: str, parts: Iterable[str], version: str) -> str:
    """Return a page of sections in the house's style, `style` added to it, with its footer and the house's script."""
    folder = Path(__file__).parent
    house, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return document(title, house + style, f"<main>{''.join(parts)}{footer(version)}</main>", script)


def footer(version: str) -> str:
    """Return who wrote a page."""
    said = f"Written by archcast {esc(version)}. The page loads nothing and sends nothing."
    return f'<footer class="wide">{said}</footer>'
