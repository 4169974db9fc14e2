"""The page at `/`, from memory: no path of a request reaches the file system."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache

from fastapi import FastAPI, Request
from fastapi.responses import Response

from archcast.service.answers import read_document
from archcast.service.faults import RefusedError, ShapeError
from archcast.service.service import Service, json_answer
from archcast.service.versions import versions


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

    @app.post("/v1/yaml", include_in_schema=False)
    async def yaml(request: Request) -> Response:
        """Answer the YAML text that the page's form has with the document that a job takes."""
        from archcast.service.page import document

        asked = read_document(await request.body(), service.settings.limits)
        for name in asked:
            if name != "text":
                raise ShapeError(f"Unknown key '{name[:100]}'; this route takes 'text'.", name[:100])
        found = await asyncio.to_thread(document, asked.get("text"))
        return json_answer({"document": found, "versions": versions()})


def _file(request: Request, name: str) -> Response:
    from archcast.service.page import POLICY, assets

    if name not in assets():  # before the cache: names that strangers make up are not to be kept
        raise RefusedError(404, "The page has no such file.")
    body, kind, tag = _asset(name)
    headers = {"etag": tag, "content-security-policy": POLICY, "referrer-policy": "no-referrer",
               "x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin",
               "cross-origin-resource-policy": "same-origin"}  # fmt: skip
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


@lru_cache(maxsize=256)
def _asset(name: str) -> tuple[bytes, str, str]:
    from archcast.service.page import asset

    found = asset(name)
    assert found is not None, name
    return *found, f'"{hashlib.sha256(found[0]).hexdigest()[:16]}"'
