"""Answers that are kept, counts for Prometheus, request ids and the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from service_server import Server, ask, post

from archcast.service.answers import Encoded
from archcast.service.app import Application, create_app
from archcast.service.cache import AnswerCache
from archcast.service.metrics import BUCKETS_S, Metrics
from archcast.service.settings import Limits, Settings

OPS = {"op": "gemm", "m": [64, 128], "n": 64, "k": 64, "on": "h100-sxm"}


@pytest.fixture
def app() -> Application:
    return create_app(Settings(side=False, log=False))


def counts(app: Application) -> dict[tuple[str, ...], float]:
    found = {}
    for family in text_string_to_metric_families(ask(app, "GET", "/metrics").text):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_the_second_answer_is_kept_and_equal(app: Application) -> None:
    first, second = post(app, "/v1/predict_ops", OPS), post(app, "/v1/predict_ops", OPS)
    assert (first.headers["x-archcast-cache"], second.headers["x-archcast-cache"]) == ("miss", "hit")
    assert first.content == second.content
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_another_model_route_or_body_is_another_question(app: Application) -> None:
    learned = post(app, "/v1/predict_ops", OPS)
    physics = post(app, "/v1/predict_ops?model=physics", OPS)
    assert physics.headers["x-archcast-cache"] == "miss"
    assert learned.json()["columns"]["latency_s"] != physics.json()["columns"]["latency_s"]
    assert post(app, "/v1/predict_ops", {**OPS, "m": [64, 129]}).headers["x-archcast-cache"] == "miss"


def test_an_error_is_not_kept(app: Application) -> None:
    for _ in range(2):
        answer = post(app, "/v1/predict_ops", {**OPS, "on": "nope"})
        assert answer.status_code == 422
        assert "x-archcast-cache" not in answer.headers


def test_without_room_nothing_is_kept() -> None:
    app = create_app(Settings(side=False, log=False, limits=Limits(cache_bytes=0)))
    assert [post(app, "/v1/predict_ops", OPS).headers["x-archcast-cache"] for _ in range(2)] == ["miss", "miss"]


def test_an_answer_names_the_cost_model_that_gave_it(app: Application) -> None:
    question = {"workload": "resnet-50", "on": "h100-sxm"}
    found = [
        post(app, "/v1/predict_ops?model=physics", OPS), post(app, "/v1/predict_batch?model=physics", question),
        post(app, "/v1/predict", {**question, "model": "physics"}),
    ]  # fmt: skip
    assert all(answer.json()["versions"]["cost_model"].startswith("physics") for answer in found)
    assert post(app, "/v1/predict_ops", OPS).json()["versions"]["cost_model"].startswith("learned")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000)), max_size=60))
def test_kept_answers_never_take_more_than_their_room(asked: list[tuple[int, int]]) -> None:
    cache = AnswerCache(20_000)
    last: dict[bytes, int] = {}
    for name, size in asked:
        key = ("/v1/x", b"", b"%d" % name)
        cache.put(key, Encoded(b"x" * size))
        last[key[2]] = size
        assert 0 <= cache.bytes <= 20_000
        found = cache.get(key)
        assert found is not None
        assert len(found.body) == size
    kept = sum(len(key) + size + 500 for key, size in last.items() if cache.get(("/v1/x", b"", key)) is not None)
    assert cache.bytes == kept


def test_the_longest_unasked_answer_leaves_first() -> None:
    cache = AnswerCache(4 * 1600)
    for name in (b"a", b"b", b"c"):
        cache.put(("r", b"", name), Encoded(b"x" * 1000))
    cache.get(("r", b"", b"a"))
    for name in (b"d", b"e"):
        cache.put(("r", b"", name), Encoded(b"x" * 1000))
    assert cache.get(("r", b"", b"a")) is not None
    assert cache.get(("r", b"", b"b")) is None


def test_requests_rows_times_and_kept_answers_are_counted(app: Application) -> None:
    for _ in range(3):
        post(app, "/v1/predict_ops", OPS)
    post(app, "/v1/predict_ops", {**OPS, "on": "nope"})
    ask(app, "GET", "/wp-login.php")
    found = counts(app)
    assert found["archcast_requests_total", "/v1/predict_ops", "200"] == 3
    assert found["archcast_requests_total", "/v1/predict_ops", "422"] == 1
    assert found["archcast_requests_total", "other", "404"] == 1
    assert found["archcast_rows_total", "/v1/predict_ops"] == 6
    assert found["archcast_cache_total", "hit", "/v1/predict_ops"] == 2
    assert found["archcast_cache_total", "miss", "/v1/predict_ops"] == 1
    assert found["archcast_request_seconds_count", "/v1/predict_ops"] == 4
    heights = [
        v for key, v in found.items() if key[0] == "archcast_request_seconds_bucket" and "/v1/predict_ops" in key
    ]
    assert heights == sorted(heights)
    assert len(heights) == len(BUCKETS_S) + 1
    assert not any("wp-login" in word for key in found for word in key)


def test_processes_add_up_and_one_that_ended_still_counts(tmp_path: Path) -> None:
    first, second = Metrics(("/a", "/b"), tmp_path), Metrics(("/a", "/b"), tmp_path)
    first.add("/a", 200, 0.001, 5, True)
    second.add("/a", 200, 0.001, 7, False)
    second.add("/elsewhere", 418, 100.0)
    del second
    alone = Metrics(("/a", "/b"))
    alone.add("/a", 200, 0.001, 5, True)
    alone.add("/a", 200, 0.001, 7, False)
    alone.add("/elsewhere", 418, 100.0)
    assert (first.whole() == alone.whole()).all()
    assert first.whole().sum() > 0


@pytest.mark.parametrize("given_id", ["abc-1.2_X", "a" * 64])
def test_a_sane_request_id_is_taken(app: Application, given_id: str) -> None:
    assert ask(app, "GET", "/healthz", headers={"x-request-id": given_id}).headers["x-request-id"] == given_id


@pytest.mark.parametrize("given_id", ["a" * 65, "a b", "a\tb", "<script>", ""])
def test_any_other_request_id_is_replaced(app: Application, given_id: str) -> None:
    found = ask(app, "GET", "/healthz", headers={"x-request-id": given_id}).headers["x-request-id"]
    assert found != given_id
    assert found.isalnum()


def test_every_answer_says_which_archcast_gave_it(app: Application) -> None:
    answers = [ask(app, "GET", path) for path in ("/healthz", "/metrics", "/", "/nothing", "/v1/devices")]
    answers.append(post(app, "/v1/predict_ops", OPS))
    assert len({answer.headers["x-archcast-version"] for answer in answers}) == 1
    versions = answers[-1].json()["versions"]
    assert versions["service"] == answers[0].headers["x-archcast-version"]
    assert {"archcast", "cost_model", "catalogue"} <= set(versions)


def test_the_log_has_one_line_a_request_without_secrets_and_the_processes_end_well() -> None:
    token = "a-secret-of-more-than-16"
    server = Server("--workers", "2", "--job-workers", "0", token=token)
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        for _ in range(3):
            assert client.post("/v1/predict_ops", json={**OPS, "m": [7_654_321]}).status_code == 200
        assert client.get("/v1/devices?kind=my-word").status_code == 422
        assert httpx.get(f"{server.url}/v1/jobs/my-word").status_code == 401
        ids = [client.get("/healthz", headers={"x-request-id": f"mine-{i}"}).headers["x-request-id"] for i in range(3)]
        metrics = client.get("/metrics").text
    text = _ended(server)
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert 'archcast_requests_total{route="/v1/predict_ops",status="200"} 3.0' in metrics
    assert [line["id"] for line in lines if line["route"] == "/healthz"] == ids
    priced = [line for line in lines if line["route"] == "/v1/predict_ops"]
    assert len(priced) == 3
    assert all(line["status"] == 200 and line["rows"] == 1 and line["ms"] > 0 for line in priced)
    assert [line["status"] for line in lines if line["route"] == "/v1/devices"] == [422]
    for secret in (token, "7654321", "my-word"):
        assert secret not in text


def _ended(server: Server) -> str:
    server.process.terminate()
    assert server.process.wait(timeout=30) == 0
    text = server.log.read_text()
    server.stop()
    return text
