"""The page at `/`, from memory: no path of a request reaches the file system."""

from __future__ import annotations

import hashlib
from functools import cache

from fastapi import FastAPI, Request
from fastapi.responses import Response

from archcast.service.faults import RefusedError
from archcast.service.service import Service


def page_routes(app: FastAPI, service: Service) -> None:
    """Add the page and its files."""

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return _file(request, "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request) -> Response:
        return _file(request, "icon.svg")

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return _file(request, name)


def _file(request: Request, name: str) -> Response:
    from archcast.service.page import POLICY

    found = _asset(name)
    if found is None:
        raise RefusedError(404, "The page has no such file.")
    body, kind, tag = found
    headers = {"etag": tag, "content-security-policy": POLICY, "referrer-policy": "no-referrer",
               "x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin",
               "cross-origin-resource-policy": "same-origin"}  # fmt: skip
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


@cache
def _asset(name: str) -> tuple[bytes, str, str] | None:
    from archcast.service.page import asset, assets

    if name not in assets():
        return None
    found = asset(name)
    return None if found is None else (*found, f'"{hashlib.sha256(found[0]).hexdigest()[:16]}"')
