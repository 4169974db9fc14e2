"""The page at `/`: static files without a build step, and the fragments of a report that it shows.

`asset("index.html")` gives a file's bytes and media type; every file of this folder that a browser may ask for is in
`assets()`, so that no path of a request ever reaches the file system. `house.css` is the style sheet of all archcast
pages (archcast/render/page.css), which `page.css` builds upon. `sections(estimate)` are the cards of `POST /v1/report`;
`document(text)` is what `POST /v1/yaml` answers, so that a file can be pasted as it stands and sent as a job.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from archcast.service.page.documents import document as document
from archcast.service.page.report import sections as sections

FOLDER = Path(__file__).parent

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Content security policy to send with the page: nothing from elsewhere, no inline script or style."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".yaml": "text/plain; charset=utf-8",
}
"""Ending -> media type; other files of the folder are not served."""


@cache
def assets() -> dict[str, Path]:
    """Return name as in `/static/NAME` -> file, for every file that may be served."""
    found = {
        path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES
    }  # fmt: skip
    found["house.css"] = FOLDER.parents[1] / "render" / "page.css"
    return found


def asset(name: str) -> tuple[bytes, str] | None:
    """Return (bytes, media type) of a file of the page, None where there is none of that name."""
    path = assets().get(name)
    return None if path is None else (path.read_bytes(), _TYPES[path.suffix])
