"""Long questions as jobs, and uploads of measurements: thin routes over `archcast.service.jobs`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse

from archcast.service.faults import RefusedError
from archcast.service.jobs import Job, JobStore
from archcast.service.reading import check_document, read
from archcast.service.service import Service, json_answer, store_file
from archcast.service.settings import UPLOADS, Settings
from archcast.service.shapes import JobRequest
from archcast.service.versions import versions
from foundation.errors import UnknownNameError

POLL_S = 0.25
STREAM_S = 900.0
"""Longest that one stream of progress lasts; its reader asks again."""
_READ_JOB = msgspec.json.Decoder(JobRequest)
_SPOOL_BYTES = 1_000_000
Found = TypeVar("Found")


def open_store(settings: Settings) -> JobStore:
    """Return the store of a service's folder. Raises StoreError, BadFileError."""
    assert settings.data is not None
    return JobStore(store_file(settings.data))


def job_routes(app: FastAPI, service: Service) -> None:
    """Add /v1/jobs and /v1/uploads."""
    store = service.jobs = open_store(service.settings)
    _submitting(app, service, store)
    _watching(app, store)
    _uploads(app, store)


async def _aside(function: Callable[..., Found], *given: Any) -> Found:
    """Run what waits for a disk in a thread."""
    return await asyncio.to_thread(function, *given)


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    return json_answer({**document, "versions": versions()}, status)


def _submitting(app: FastAPI, service: Service, store: JobStore) -> None:
    limits = service.settings.limits

    @app.post("/v1/jobs", tags=["jobs"], summary="Submit a long question", status_code=202)
    async def submit(request: Request) -> Response:
        _want_json(request)
        asked = read(_READ_JOB, await request.body())
        check_document("request", asked.request, depth=limits.depth, values=limits.values)
        if asked.wait_s > 0:
            request.scope["archcast"].begin_waiting()
        job = await _aside(store.submit, asked.kind, asked.request, asked.key, asked.name)
        last, pause_s = monotonic() + min(asked.wait_s, limits.wait_s), 0.05
        while not job.ended and monotonic() < last:
            await asyncio.sleep(pause_s)
            pause_s = min(1.2 * pause_s, POLL_S)
            job = await _aside(store.get, job.id)
        if job.state == "done" and asked.wait_s > 0:
            return _answer({**job.to_json(), "result": await _aside(store.result, job.id)})
        return _answer(job.to_json(), 202)

    @app.get("/v1/jobs", tags=["jobs"], summary="Jobs, the newest first")
    async def jobs(
        state: Annotated[list[str] | None, Query(max_length=10)] = None,
        limit: int = 100,
        before: Annotated[str, Query(max_length=100)] = "",
    ) -> Response:
        found = await _aside(store.list, state or (), limit, before)
        return _answer({"jobs": [job.to_json() for job in found], "counts": await _aside(store.counts)})

    @app.get("/v1/jobs/{job}", tags=["jobs"], summary="One job, and what it was asked")
    async def get(job: str) -> Response:
        return _answer(await _aside(store.shown, job))

    @app.get("/v1/jobs/{job}/result", tags=["jobs"], summary="The answer of a job that is done")
    async def result(job: str) -> Response:
        return _answer({"id": job, "result": await _aside(store.result, job)})

    @app.delete("/v1/jobs/{job}", tags=["jobs"], summary="Cancel a job, or forget one that has ended")
    async def cancel(job: str, forget: bool = False) -> Response:
        if forget:
            await _aside(store.delete, job)
            return _answer({"id": job, "state": "deleted"})
        return _answer((await _aside(store.cancel, job)).to_json())


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


def _watching(app: FastAPI, store: JobStore) -> None:
    @app.get(
        "/v1/jobs/{job}/events", tags=["jobs"], summary="Progress as server-sent events", response_class=EventStream
    )
    async def events(request: Request, job: str) -> Response:
        first = await _aside(store.get, job)
        request.scope["archcast"].begin_waiting()
        return EventStream(_events(store, first))


async def _events(store: JobStore, job: Job) -> AsyncIterator[bytes]:
    """Yield an event for each change of a job, and a comment now and then so that nobody thinks the line dead."""
    last, spoken, version = monotonic() + STREAM_S, monotonic(), -1
    while True:
        if job.version != version:
            version, spoken = job.version, monotonic()
            yield b"event: %s\ndata: %s\n\n" % (b"end" if job.ended else b"progress", orjson.dumps(job.to_json()))
        elif monotonic() - spoken > 10:
            spoken = monotonic()
            yield b": still here\n\n"
        if job.ended or monotonic() > last:
            return
        await asyncio.sleep(POLL_S)
        job = await _aside(store.get, job.id)


def _uploads(app: FastAPI, store: JobStore) -> None:
    uploads = store.uploads

    @app.post("/v1/uploads", tags=["jobs"], summary="Send a file: its bytes are the body", status_code=201)
    async def upload(request: Request, name: Annotated[str, Query(max_length=200)] = "") -> Response:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind not in UPLOADS:
            raise RefusedError(415, f"An upload has a Content-Type of {', '.join(UPLOADS)}.")
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            async for block in request.stream():
                file.write(block)
            file.seek(0)
            found = await _aside(uploads.store, name or UPLOADS[kind], file)
        return _answer(found.to_json(), 201)

    @app.get("/v1/uploads", tags=["jobs"], summary="Uploads")
    async def listed() -> Response:
        return _answer({"uploads": [one.to_json() for one in await _aside(uploads.list)]})

    @app.delete("/v1/uploads/{name}", tags=["jobs"], summary="Delete an upload")
    async def delete(name: str) -> Response:
        try:
            await _aside(uploads.delete, name)
        except UnknownNameError as error:
            error.status = 404  # type: ignore[attr-defined]
            raise
        return _answer({"name": name, "state": "deleted"})


def _want_json(request: Request) -> None:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "The body must be JSON: send the header 'Content-Type: application/json'.")
