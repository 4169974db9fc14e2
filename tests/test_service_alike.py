"""What is refused is refused alike in process and over HTTP; queries, methods and busy services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, cast

import httpx
import pytest
from service_server import ask, post, shared_server

from archcast.service.app import Application, create_app
from archcast.service.client import Client
from archcast.service.settings import Settings
from foundation.errors import ArchcastError, BadValueError

REFUSED: dict[str, Callable[[Client], Any]] = {
    "filter": lambda c: c.devices(foo="x"),
    "filter of networks": lambda c: c.workloads(vendor="nvidia"),
    "long filter": lambda c: c.devices(kind="x" * 101),
    "limit": lambda c: c.jobs(limit=-1),
    "path": lambda c: c.workload("../x"),
    "dots": lambda c: c.workload(".."),
    "no name": lambda c: c.device(""),
    "verb": lambda c: c.oracle("nope"),
    "job": lambda c: c.job("../x"),
    "long name": lambda c: c.workload("x" * 300),
    "long workload": lambda c: c.predict("x" * 150, on="h100-sxm"),
    "batch of nothing": lambda c: c.predict_batch(workload="resnet-50", on="h100-sxm", batch=[1, 0]),
}


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[Client, Client]]:
    with Client() as here, Client(shared_server().url) as there:
        yield here, there


@pytest.fixture(scope="module")
def app() -> Application:
    return cast(Application, create_app(Settings(side=False, log=False)))


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_the_same_both_ways(clients: tuple[Client, Client], what: str) -> None:
    told = []
    for client in clients:
        with pytest.raises(ArchcastError) as found:
            REFUSED[what](client)
        told.append((type(found.value), str(found.value)))
    assert told[0] == told[1]


@pytest.mark.parametrize("path", ["/v1/devices?foo=bar", "/v1/devices?kind=gpu&kind=npu", "/v1/devices/h100-sxm?x=1"])
def test_queries_that_a_route_does_not_take_are_refused(app: Application, path: str) -> None:
    assert ask(app, "GET", path).status_code == 422
    assert ask(app, "GET", "/v1/devices?kind=gpu").status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_head_is_get_without_a_body(path: str) -> None:
    answer, whole = httpx.head(shared_server().url + path), httpx.get(shared_server().url + path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-length"] == whole.headers["content-length"]


def test_a_method_that_a_path_does_not_take_is_answered_with_all_that_it_takes() -> None:
    answer = httpx.put(f"{shared_server().url}/v1/jobs")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_compressed_bodies_and_two_hosts_are_refused(app: Application) -> None:
    answer = post(app, "/v1/predict", b"\x1f\x8b", {"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert "uncompressed" in answer.json()["error"]["message"]
    connection = HTTPConnection(shared_server().url.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", "/healthz", skip_host=True)
    connection.putheader("Host", "127.0.0.1")
    connection.putheader("Host", "localhost")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_an_upload_that_is_not_there_cannot_be_deleted() -> None:
    assert httpx.delete(f"{shared_server().url}/v1/uploads/nope.csv").status_code == 404


def test_an_address_without_a_scheme_is_answered_with_how_to_write_it() -> None:
    with pytest.raises(BadValueError, match=r"write http://127\.0\.0\.1:8000"):
        Client("127.0.0.1:8000")


class Busy:
    """Stands for a service that is busy at first."""

    def __init__(self, times: int) -> None:
        self.left, self.asked = times, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked, self.left = self.asked + 1, self.left - 1
        if self.left >= 0:
            return httpx.Response(503, json={"error": {"message": "busy"}}, headers={"retry-after": "0"})
        return httpx.Response(200, json={"devices": [], "id": "x", "state": "done"})


def client_of(busy: Busy, retry_s: float) -> Client:
    client = Client("http://127.0.0.1:1", retry_s=retry_s)
    transport: Any = client.transport
    transport.http = httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(busy))
    return client


def test_a_busy_service_is_asked_again_for_a_while() -> None:
    busy = Busy(2)
    assert client_of(busy, 10.0).devices() == []
    assert busy.asked == 3
    always, start = Busy(10**9), time.monotonic()
    with pytest.raises(ArchcastError, match="busy"):
        client_of(always, 1.0).devices()
    assert time.monotonic() - start < 1.5
    assert always.asked > 1


def test_a_submission_is_sent_again_only_with_a_key() -> None:
    once, keyed = Busy(1), Busy(1)
    with pytest.raises(ArchcastError, match="busy"):
        client_of(once, 10.0).submit("simulate", {"file": "overlap"})
    assert once.asked == 1
    assert client_of(keyed, 10.0).submit("simulate", {"file": "overlap"}, key="mine")["id"] == "x"
