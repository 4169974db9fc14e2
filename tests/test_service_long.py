"""Which questions are answered beside the event loop, so that others need not wait for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("msgspec")
from archcast.service.service import Service

JOB = "A" * 22
QUESTION: dict[str, Any] = {"workload": "resnet-50", "on": "h100-sxm"}
OPS = b'{"op": "gemm", "m": 8, "n": 8, "k": 8, "dtype": "bf16"}'


def is_long(route: str, body: bytes, query: dict[str, str] | None = None) -> bool:
    return Service.is_long(object.__new__(Service), route, body, query or {})


@pytest.mark.parametrize("model", ["", "physics"])
def test_a_small_table_at_a_model_that_is_there_is_answered_at_once(model: str) -> None:
    assert not is_long("/v1/predict_ops", OPS, {"model": model} if model else {})


def test_a_model_of_ones_own_is_loaded_beside_the_loop() -> None:
    assert is_long("/v1/predict_ops", OPS, {"model": JOB})
    assert is_long("/v1/predict", json.dumps({**QUESTION, "model": JOB}).encode())


def test_a_question_by_names_is_answered_at_once_and_a_search_for_a_mapping_is_not() -> None:
    assert not is_long("/v1/predict", json.dumps(QUESTION).encode())
    assert is_long("/v1/predict", json.dumps({**QUESTION, "count": 8}).encode())
    assert is_long("/v1/predict", json.dumps({**QUESTION, "concurrency": 8}).encode())
    assert is_long("/v1/predict_batch", b"{}")


def test_what_is_no_json_is_refused_at_once() -> None:
    assert not is_long("/v1/predict", b"{")
