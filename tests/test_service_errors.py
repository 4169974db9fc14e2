"""Every refusal is one sentence in one shape, with the status that says whose turn it is."""

from __future__ import annotations

from typing import Any

import pytest
from service_server import ask, post

from archcast.service.app import Application, create_app
from archcast.service.faults import error_of, fault
from archcast.service.settings import Settings
from foundation.errors import BadFileError, BadValueError, UnknownNameError

GOOD = {"workload": "resnet-50", "on": "h100-sxm"}
OPS = {"op": "gemm", "m": 64, "n": 64, "k": 64, "on": "h100-sxm"}


@pytest.fixture(scope="module")
def app() -> Application:
    return create_app(Settings(side=False, log=False))


def refused(answer: Any, status: int) -> str:
    """Hold that an answer is a refusal in its shape, and return its sentence."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    error = document["error"]
    assert {"message", "kind", "at", "hint"} <= set(error)
    assert document["request_id"] == answer.headers["x-request-id"]
    sentence: str = error["message"]
    assert sentence
    assert "\n" not in sentence
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    return sentence


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "it is empty"),
        (b"{", 400, "ends too early"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"op": "gemm\xff"}', 400, "not"),
        (b"NaN", 400, "not JSON"),
        (b'{"op": "gemm", "m": NaN}', 400, "not JSON"),
        (b'{"op": "gemm", "m": Infinity}', 400, "not JSON"),
        (b'{"op": "gemm", "m": 1e400}', 422, "out of range"),
        (b'{"op": "gemm", "m": 1' + b"0" * 400 + b"}", 422, "m: "),
        (b"[]", 422, "expected object"),
        (b'"text"', 422, "expected object"),
        (b"{}", 422, "'op' is missing"),
        (b'{"op": "gemm", "widht": 1}', 422, "Unknown key 'widht'"),
        (b'{"op": "gemm", "m": -1}', 422, "m: "),
        (b'{"op": "gemm", "m": [1, -1]}', 422, "m[1]: "),
        (b'{"op": "gemm", "m": true}', 422, "m: "),
        (b'{"op": "gemm", "m": {"a": 1}}', 422, "m: "),
        (b'{"op": "gemm", "m": [1, 2], "n": [1, 2, 3], "k": 1, "on": "h100-sxm"}', 422, "lengths"),
        (b'{"op": "gemm", "m": 1, "n": 1, "k": 1}', 422, "no device is named"),
        (b'{"op": "gem", "m": 1, "n": 1, "k": 1, "on": "h100-sxm"}', 422, "gemm"),
        (b'{"op": "gemm", "m": 1, "n": 1, "k": 1, "on": "h1000"}', 422, "h100"),
        (b'{"op": "gemm", "m": 0, "n": 1, "k": 1, "on": "h100-sxm"}', 422, "m above 0"),
        (b'{"op": "gemm", "m": ' + b"[" * 100_000, 422, "m[0]: "),
        (b'{"op": ' * 100_000, 422, "op: "),
    ],
)
def test_operators_that_cannot_be_priced_get_one_sentence(
    app: Application, body: bytes, status: int, words: str
) -> None:
    answer = post(app, "/v1/predict_ops", body)
    assert words.lower() in refused(answer, status).lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workload": "resnet-51"}, "resnet-50"),
        ({"on": "h100-smx"}, "h100-sxm"),
        ({"batch": 0}, "batch"),
        ({"batch": 1.5}, "batch"),
        ({"batch": "8"}, "batch"),
        ({"batch": 10**30}, "batch"),
        ({"prompt": -4}, "prompt"),
        ({"dtype": "fp1"}, "number format"),
        ({"mode": "dream"}, "mode"),
        ({"knobs": {"layerz": 3}}, "layer"),
        ({"knobs": [1]}, "knobs"),
        ({"knobs": {"classes": {"a": 1}}}, "knobs"),
        ({"software": "no-such-runtime 3", "tp": 0}, "tp"),
        ({"model": "../artefact"}, "cost model"),
        ({"tp": 3, "workload": "llama-3.1-8b"}, "heads"),
        ({"workload": {"family": "decoder", "nonsense": 1}}, "nonsense"),
        ({"workload": {"model_type": "llama"}}, "config.json"),
        ({"on": {"id": "mine"}}, "device.yaml"),
        ({"workload": None}, "workload"),
    ],
)
def test_a_question_that_cannot_be_answered_gets_one_sentence(
    app: Application, change: dict[str, Any], words: str
) -> None:
    assert words in refused(post(app, "/v1/predict", {**GOOD, **change}), 422)


CHAT = {"workload": "llama-3.1-8b", "on": "h100-sxm"}


def test_sensitivities_take_the_closed_form_by_its_name_and_no_other_model(app: Application) -> None:
    asked = {"question": CHAT, "knobs": ["limit_w"]}
    for model in ("physics", ""):
        assert post(app, "/v1/oracle/sensitivities", {**asked, "model": model}).status_code == 200
    for model in ("shipped", "AAAAAAAAAAAAAAAAAAAAAA"):
        assert "closed form" in refused(post(app, "/v1/oracle/sensitivities", {**asked, "model": model}), 422)


@pytest.mark.parametrize("verb", ["marginal", "sensitivities"])
def test_a_model_within_a_question_of_the_oracle_is_sent_to_its_place(app: Application, verb: str) -> None:
    answer = post(app, f"/v1/oracle/{verb}", {"question": [CHAT, {**CHAT, "model": "physics"}]})
    assert "model stands beside question, not in it" in refused(answer, 422)
    assert answer.json()["error"]["at"] == "question.model"


def test_what_does_not_fit_is_an_answer_and_no_error(app: Application) -> None:
    answer = post(app, "/v1/predict", {"workload": "llama-3.1-70b", "on": "rtx-4090"})
    assert answer.status_code == 200
    assert answer.json()["verdict"] == "infeasible"
    assert answer.json()["shortfall_bytes"] > 0


def test_a_document_that_is_nested_too_deeply_is_refused(app: Application) -> None:
    deep = b'{"workload": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b'}, "on": "h100-sxm"}'
    assert "nested too deeply" in refused(post(app, "/v1/predict", deep), 422)
    less = b'{"workload": {"a": ' + b"[" * 60 + b"]" * 60 + b'}, "on": "h100-sxm"}'
    assert "nested deeper than 32" in refused(post(app, "/v1/predict", less), 422)


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/nothing", "/v1/predict/", "/v1/oracle/nothing", "/static/nothing.js"]
)
def test_a_path_without_anything_is_a_404_in_the_same_shape(app: Application, path: str) -> None:
    refused(ask(app, "GET", path), 404)


@pytest.mark.parametrize("kind", ["devices", "workloads"])
def test_an_unknown_entry_is_a_404_with_the_nearest_names(app: Application, kind: str) -> None:
    assert "Nearest" in refused(ask(app, "GET", f"/v1/{kind}/resnet-5"), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/predict"), ("PUT", "/v1/predict_ops"), ("DELETE", "/healthz")]
)
def test_another_method_is_a_405_that_names_the_right_one(app: Application, method: str, path: str) -> None:
    answer = ask(app, method, path)
    refused(answer, 405)
    assert answer.headers["allow"] in ("POST", "GET, HEAD")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_a_415(app: Application, kind: str) -> None:
    assert "Content-Type" in refused(post(app, "/v1/predict", b"{}", {"content-type": kind}), 415)


@pytest.mark.parametrize(
    "query", ["?modle=physics", "?model=physics&model=physics", "?model=%ff", "?model=/etc/passwd"]
)
def test_a_query_that_no_route_takes_is_refused(app: Application, query: str) -> None:
    refused(post(app, f"/v1/predict_ops{query}", OPS), 422)


def test_a_filter_of_a_list_is_checked(app: Application) -> None:
    assert "gpu" in refused(ask(app, "GET", "/v1/devices?kind=gpus"), 422)
    refused(ask(app, "GET", f"/v1/devices?kind={'x' * 200}"), 422)


def test_a_row_in_error_leaves_the_others_answered(app: Application) -> None:
    rows = post(app, "/v1/predict_rows", {"rows": [GOOD, {**GOOD, "on": "nope"}, GOOD]}).json()["rows"]
    assert rows[0]["latency_s"] == rows[2]["latency_s"]
    assert rows[1]["error"]["kind"] == "UnknownNameError"


def test_a_fault_of_ours_says_nothing_but_an_id_that_the_log_has(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings(side=False))
    service = app.state.service
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(service.log, "add", seen.append)

    def broken(body: bytes, query: Any) -> None:
        raise KeyError("a secret of the inside")

    monkeypatch.setitem(service.answers.routes, "/v1/predict", broken)
    answer = post(app, "/v1/predict", GOOD)
    refused(answer, 500)
    assert "secret" not in answer.text
    (line,) = [one for one in seen if "error" in one]
    assert line["id"] == answer.json()["request_id"]
    assert "secret" in line["error"]


@pytest.mark.parametrize(
    "error",
    [
        BadValueError("A value."), BadFileError("a.yaml", "it is bad.", line=3, key="x.y"),
        UnknownNameError("device", "h10", ["h100-sxm", "a100"]),
    ],
)  # fmt: skip
def test_an_error_that_was_sent_comes_back_as_itself(error: Any) -> None:
    back = error_of(fault(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert getattr(back, "key", "") == getattr(error, "key", "")
    assert getattr(back, "nearest", []) == getattr(error, "nearest", [])
