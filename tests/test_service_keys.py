"""A key that stands twice in one object is refused, where looking for it costs little."""

from __future__ import annotations

from typing import cast

import httpx
import pytest
from service_server import ask, post, shared_server

from archcast.service.app import Application, create_app
from archcast.service.faults import ShapeError
from archcast.service.reading import check_keys
from archcast.service.settings import Settings

QUESTION = '"workload": "resnet-50", "on": "h100-sxm"'


@pytest.fixture(scope="module")
def app() -> Application:
    return cast(Application, create_app(Settings(side=False, log=False)))


@pytest.mark.parametrize(
    ("route", "body", "key"),
    [
        ("/v1/predict", '{%s, "batch": 1, "batch": 2}', "batch"),
        ("/v1/predict", '{%s, "b\\u0061tch": 1, "batch": 1}', "batch"),
        ("/v1/predict", '{%s, "knobs": {"x": 1, "x": 1}}', "x"),
        ("/v1/report", '{%s, "on": "l40s"}', "on"),
        ("/v1/predict_rows", '{"rows": [{%s}, {%s, "count": 1, "count": 8}]}', "count"),
        ("/v1/oracle/curve", '{"question": {%s}, "knob": "batch", "values": [1], "values": [2]}', "values"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_name(app: Application, route: str, body: str, key: str) -> None:
    answer = post(app, route, body.replace("%s", QUESTION).encode())
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["message"], error["at"]) == (f"The key '{key}' stands twice in one object.", key)


def test_a_job_with_a_key_twice_is_refused() -> None:
    body = b'{"kind": "simulate", "request": {"file": {"kind": "edge", "users": 1, "users": 2}}}'
    kind = {"content-type": "application/json"}
    answer = httpx.post(f"{shared_server().url}/v1/jobs", content=body, headers=kind)
    assert answer.status_code == 422
    assert "'users' stands twice" in answer.json()["error"]["message"]


def test_the_same_key_in_two_objects_is_none_twice(app: Application) -> None:
    body = '{"rows": [{%s}, {%s}]}'.replace("%s", QUESTION).encode()
    assert post(app, "/v1/predict_rows", body).status_code == 200
    assert ask(app, "GET", "/healthz").status_code == 200


def test_columns_take_the_last_as_the_documentation_says(app: Application) -> None:
    answer = post(app, "/v1/predict_ops", b'{"op": "gemm", "on": "h100-sxm", "m": [1, 2], "n": 64, "k": 64, "m": 64}')
    assert (answer.status_code, answer.json()["rows"]) == (200, 1)


@pytest.mark.parametrize("body", [b"[1e999, -0, 12345678901234567890123456789012345678901234567890]", b'"\xc3\xbc"'])
def test_numbers_and_texts_of_any_kind_are_only_looked_over(body: bytes) -> None:
    check_keys(body)
    with pytest.raises(ShapeError):
        check_keys(b'{"a": %s, "a": 1}' % body)
