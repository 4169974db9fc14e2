"""Slow, waiting and leaving clients cost the others nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from service_server import ask

from archcast.service.app import Application, create_app
from archcast.service.settings import Limits, Settings

JOB = b'{"kind": "simulate", "request": {"file": "overlap"}, "wait_s": 1.5}'
JSON = {"content-type": "application/json", "host": "127.0.0.1"}


def small(data: Path, **limits: Any) -> Application:
    return cast(Application, create_app(Settings(side=False, log=False, data=data, limits=replace(Limits(), **limits))))


def told(app: Application, path: str, receive: Any) -> list[int]:
    """Return the statuses that an application answers a sender with."""
    found: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    headers = [(name.encode(), value.encode()) for name, value in JSON.items()]
    if path == "/v1/uploads":
        headers[0] = (b"content-type", b"text/csv")
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "root_path": "", "http_version": "1.1", "scheme": "http"}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return found


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/uploads", "/v1/yaml", "/v1/predict"])
def test_a_body_of_a_byte_now_and_then_has_one_deadline(tmp_path: Path, path: str) -> None:
    app = small(tmp_path, request_s=0.3)
    start = time.monotonic()

    async def trickle() -> Any:
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b" ", "more_body": time.monotonic() - start < 10}

    assert told(app, path, trickle) == [408]
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/uploads", "/v1/yaml", "/v1/predict"])
def test_a_sender_that_hangs_up_is_counted_as_its_own_fault(tmp_path: Path, path: str) -> None:
    app = small(tmp_path)
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def leaves() -> Any:
        return next(messages)

    assert told(app, path, leaves) == [400]
    counts = ask(app, "GET", "/metrics").text
    assert 'status="400"' in counts
    assert 'status="500"' not in counts


def test_requests_that_wait_for_jobs_leave_the_others_their_places(tmp_path: Path) -> None:
    app = small(tmp_path, concurrent=2, watching=3)

    async def all_of_them() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            waiting = []
            for _ in range(5):
                waiting.append(asyncio.create_task(client.post("/v1/jobs", content=JOB, headers=JSON)))
                await asyncio.sleep(0.1)
            meanwhile = await client.get("/v1/devices")
            return list(await asyncio.gather(*waiting)), meanwhile

    answers, meanwhile = asyncio.run(all_of_them())
    assert meanwhile.status_code == 200
    assert [answer.status_code for answer in answers] == [202, 202, 202, 503, 503]
    assert answers[-1].headers["retry-after"] == "5"
    assert "wait for jobs" in answers[-1].json()["error"]["message"]
    assert app.frame.running == app.frame.waiting == 0
    assert len(ask(app, "GET", "/v1/jobs").json()["jobs"]) == 3


def test_a_stream_of_progress_beyond_the_limit_is_told_to_come_again(tmp_path: Path) -> None:
    app = small(tmp_path, watching=0)
    job = ask(app, "POST", "/v1/jobs", content=JOB.replace(b"1.5", b"0"), headers=JSON).json()["id"]
    answer = ask(app, "GET", f"/v1/jobs/{job}/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
