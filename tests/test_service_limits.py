"""Bodies, rows, times and numbers of requests are bounded before work starts, and the service goes on."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import httpx
import pytest
from service_server import ask, blocks, post, shared_server

from archcast.service.app import Application, create_app
from archcast.service.settings import Limits, Settings

GOOD = {"workload": "resnet-50", "on": "h100-sxm"}
OPS = {"op": "gemm", "m": 64, "n": 64, "k": 64, "on": "h100-sxm"}
JSON = {"content-type": "application/json"}


def small(**limits: Any) -> Application:
    return create_app(Settings(side=False, log=False, limits=replace(Limits(), **limits)))


@pytest.mark.parametrize("path", ["/v1/predict_ops", "/v1/predict", "/healthz", "/nothing"])
def test_a_body_of_100_mb_is_refused_without_being_held(path: str) -> None:
    app = small(body_bytes=1_000_000)
    block = b" " * 65_536
    tracemalloc.start()
    answer = ask(app, "POST", path, content=blocks(100_000_000, block), headers=JSON)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code in (413, 405, 404)
    assert answer.status_code == 413 or path not in ("/v1/predict_ops", "/v1/predict")
    assert peak_bytes < 8_000_000


def test_a_body_that_lies_about_its_length_is_refused_by_what_comes() -> None:
    app = small(body_bytes=100_000)
    headers = {**JSON, "content-length": "10"}
    answer = ask(app, "POST", "/v1/predict_ops", content=blocks(500_000, b"x" * 10_000), headers=headers)
    assert answer.status_code == 413
    assert "100,000 bytes" in answer.json()["error"]["message"]


def test_a_sender_that_waits_to_hear_is_told_before_it_sends() -> None:
    app = small(body_bytes=100_000)
    told: list[int] = []

    async def never() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        told.append(message.get("status", 0))

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"99999999"),
               (b"expect", b"100-continue")]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, never, send))
    assert told[0] == 413


def test_a_body_that_does_not_come_is_given_up() -> None:
    app = small(request_s=0.2)
    told: list[int] = []

    async def late() -> Any:
        await asyncio.sleep(30)

    async def send(message: Any) -> None:
        told.append(message.get("status", 0))

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, late, send))
    assert told[0] == 408


def test_rows_beyond_the_limit_are_refused_and_the_last_allowed_is_answered() -> None:
    app = small(rows=50, questions=3)
    sizes = list(range(1, 51))
    assert post(app, "/v1/predict_ops", {**OPS, "m": sizes}).json()["rows"] == 50
    assert post(app, "/v1/predict_ops", {**OPS, "m": [*sizes, 51]}).status_code == 422
    assert post(app, "/v1/predict_batch", {**GOOD, "batch": [1, 2, 3]}).status_code == 200
    assert post(app, "/v1/predict_batch", {**GOOD, "batch": [1, 2, 3, 4]}).status_code == 422


def test_a_document_of_too_many_values_is_refused_before_it_is_read() -> None:
    app = small(values=1000)
    answer = post(app, "/v1/predict", {**GOOD, "workload": {"family": "decoder", "notes": ["x"] * 2000}})
    assert answer.status_code == 422
    assert "1,000 values" in answer.json()["error"]["message"]


def test_requests_beyond_the_limit_are_told_to_come_again() -> None:
    app = small(concurrent=2, request_s=5.0)

    async def slow(name: str) -> Any:
        async def body() -> Any:
            yield b"{"
            await asyncio.sleep(0.5)
            yield b"}"

        return body()

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            asked = [client.post("/v1/predict", content=await slow(str(i)), headers=JSON) for i in range(4)]
            return list(await asyncio.gather(*asked, client.get("/healthz")))

    *answers, health = asyncio.run(all_of_them())
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [422, 422, 503, 503]
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert health.status_code == 200


def test_a_question_that_takes_too_long_is_stopped_and_the_next_is_answered() -> None:
    from archcast.service.service import Service

    async def both() -> tuple[Any, Any]:
        service = Service(Settings(log=False))
        side = service.side
        assert side is not None
        await side.start()
        body = json.dumps({**GOOD, "count": 1, "knobs": {"classes": 10}}).encode()
        first = await side.ask("/v1/predict", body, {})
        side.limits = replace(side.limits, request_s=0.05)
        hard = json.dumps({**OPS, "m": list(range(1, 90_001))}).encode()
        try:
            await side.ask("/v1/predict_ops", hard, {})
            stopped: Any = None
        except Exception as error:
            stopped = error
        side.limits = replace(side.limits, request_s=60.0)
        again = await side.ask("/v1/predict", body, {})
        await side.close()
        return stopped, first == again

    stopped, same = asyncio.run(both())
    assert "longer than the 0.05 s" in str(stopped)
    assert stopped.status == 422
    assert same


def test_100_mb_over_a_socket_leave_the_server_up() -> None:
    server = shared_server()

    def large() -> Any:
        block = b"[" * 1_000_000
        for _ in range(100):
            yield block

    try:
        status = httpx.post(f"{server.url}/v1/predict_ops", content=large(), headers=JSON, timeout=60).status_code
    except (httpx.WriteError, httpx.ReadError):
        status = 413  # it closed the connection while we went on sending
    assert status == 413
    assert httpx.post(f"{server.url}/v1/predict_ops", json=OPS).status_code == 200
