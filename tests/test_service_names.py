"""What a client names is looked up in the catalogues; no file of the server is opened, looked at or betrayed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_server import ask, post

from archcast.service.app import Application, create_app
from archcast.service.names import device_name, looks_like_path, workload_name
from archcast.service.settings import Settings
from foundation.errors import InputError

HERE = str(Path(__file__).resolve())
HOSTILE = [
    "/etc/passwd", "../../etc/passwd", "..\\..\\secret.yaml", "~/.ssh/id_rsa", "x.yaml", "X.YAML", "device.yml",
    "config.json", "model.onnx", "file:///etc/passwd", "/dev/stdin", "/proc/self/environ", ".", "..", "./resnet-50",
    "resnet-50/", "resnet-50\x00.yaml", "pyproject.toml", "README.md", HERE, "//server/share", "C:\\boot.ini", "",
    "h100-sxm:../../x", "h100-sxm/../a100-sxm", "résnet-50", "%2e%2e%2fetc%2fpasswd", "a" * 200,
]  # fmt: skip


@pytest.fixture(scope="module")
def app() -> Application:
    return create_app(Settings(side=False, log=False))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that are opened or looked at from now on."""
    seen: list[str] = []

    def watched(function: Any) -> Any:
        def call(path: Any, *given: Any, **more: Any) -> Any:
            if isinstance(path, (str, bytes, os.PathLike)):
                seen.append(os.fsdecode(path))
            return function(path, *given, **more)

        return call

    for name in ("stat", "open", "listdir", "scandir", "lstat"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    monkeypatch.setattr("builtins.open", watched(open))
    monkeypatch.setattr("io.open", watched(open))
    return seen


def asked_with(name: str) -> list[tuple[str, dict[str, Any]]]:
    question = {"workload": "resnet-50", "on": "h100-sxm"}
    return [
        ("/v1/predict", {**question, "workload": name}),
        ("/v1/predict", {**question, "on": name}),
        ("/v1/predict", {**question, "model": name or "/"}),
        ("/v1/report", {**question, "on": name}),
        ("/v1/predict_ops", {"op": "gemm", "m": 1, "n": 1, "k": 1, "device": name or "/"}),
        ("/v1/predict_ops", {"op": "gemm", "m": [1, 1], "n": 1, "k": 1, "device": ["h100-sxm", name or "/"]}),
        ("/v1/predict_batch", {"workload": [name], "on": ["h100-sxm"]}),
        ("/v1/predict_batch", {"workload": ["resnet-50"], "on": [name]}),
        ("/v1/oracle/curve", {"question": {**question, "on": name}, "knob": "batch", "values": [1]}),
        ("/v1/oracle/cost_table", {"items": [{"workload": name}], "options": [{"device": "h100-sxm"}]}),
    ]


def meant(path: str, name: str) -> bool:
    """Tell whether a path that was looked at is that of a name (Python itself looks at the folder it runs in)."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return path == name or (len(last) > 2 and path.lower().endswith(f"/{last.lower()}"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_and_no_file_of_that_name_is_looked_at(
    app: Application, name: str, looked_at: list[str]
) -> None:
    for route, body in asked_with(name):
        del looked_at[:]
        answer = post(app, route, body)
        assert answer.status_code in (422, 400), (route, answer.text)
        assert not [path for path in looked_at if meant(path, name)], route


def test_a_file_that_exists_gets_the_same_answer_as_one_that_does_not(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for route, body in asked_with("@"):
        for ending in ("toml", "yaml"):
            texts = []
            file = tmp_path / f"there.{ending}"
            for there in (False, True):
                if there:
                    file.write_text("x: 1")
                else:
                    file.unlink(missing_ok=True)
                answer = post(app, route, eval(repr(body).replace("@", file.name)))
                texts.append((answer.status_code, answer.json()["error"]["message"]))
            assert texts[0] == texts[1], route


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "x.yaml", "a%00b", "~root", "%5c%5cs"])
def test_a_hostile_name_in_a_path_is_a_404(app: Application, name: str) -> None:
    for kind in ("devices", "workloads"):
        assert ask(app, "GET", f"/v1/{kind}/{name}").status_code == 404
    assert ask(app, "GET", f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "report.py", "__init__.py", "/etc/passwd"]
)
def test_only_files_of_the_page_are_served(app: Application, name: str) -> None:
    assert ask(app, "GET", f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "composite", "name": "a", "parts": [{"name": "b", "workload": "../../etc/passwd"}]},
        {"kind": "composite", "name": "a", "parts": [{"name": "b", "workload": "pyproject.toml"}]},
        {"kind": "composite", "name": "a", "parts": [{"name": "b", "workload": "there.yaml"}]},
        {"kind": "workload", "family": "/etc/passwd"},
    ],
)
def test_a_document_that_names_a_file_is_refused(
    app: Application, document: dict[str, Any], looked_at: list[str]
) -> None:
    answer = post(app, "/v1/predict", {"workload": document, "on": "h100-sxm"})
    assert answer.status_code == 422
    assert not [path for path in looked_at if path.endswith(("passwd", "pyproject.toml", "there.yaml"))]


@pytest.mark.parametrize("key", ["like", "host"])
def test_a_device_that_names_a_file_is_refused(app: Application, key: str) -> None:
    document = {"id": "mine", key: "/etc/passwd" if key == "like" else {"device": "/etc/passwd"}}
    answer = post(app, "/v1/predict", {"workload": "resnet-50", "on": document})
    assert answer.status_code == 422
    assert "looks like a path" in answer.json()["error"]["message"]


@pytest.mark.parametrize("id_", ["../etc", "", "<script>", "x/y", "mine.yaml", "a" * 101])
def test_the_id_of_an_inline_device_is_a_name(app: Application, id_: str) -> None:
    known = ask(app, "GET", "/v1/devices/h100-sxm").json()
    asked = {"workload": "resnet-50", "on": {**known, "id": id_}}
    answer = post(app, "/v1/predict", asked)
    assert answer.status_code == 422
    assert "is no name" in answer.json()["error"]["message"]
    mine = post(app, "/v1/predict", {**asked, "on": {**known, "id": "our board (rev. 2)"}})
    assert mine.json()["device"] == "our board (rev. 2)"


def test_an_inline_config_is_the_same_as_its_file(app: Application, tmp_path: Path) -> None:
    import json

    import archcast as ac

    config = {"model_type": "llama", "_name_or_path": "meta/Llama", "hidden_size": 512, "intermediate_size": 1024,
              "num_attention_heads": 8, "num_key_value_heads": 8, "num_hidden_layers": 4, "vocab_size": 1000,
              "torch_dtype": "bfloat16"}  # fmt: skip
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    mine = post(app, "/v1/predict", {"workload": config, "on": "h100-sxm", "prompt": 64, "generate": 8}).json()
    known = ac.predict(str(file), on="h100-sxm", prompt=64, generate=8)
    assert known.latency_s is not None
    assert mine["latency_s"]["value"] == known.latency_s.value


def test_a_message_about_a_document_names_no_folder_of_the_server(app: Application) -> None:
    answer = post(app, "/v1/predict", {"workload": {"family": "decoder", "knobs": {"layers": -1}}, "on": "h100-sxm"})
    assert answer.status_code == 422
    assert "/tmp" not in answer.text
    assert "archcast-" not in answer.json()["error"]["message"]


@given(st.text(max_size=40))
def test_no_text_is_a_name_unless_the_catalogue_has_it(text: str) -> None:
    for find in (workload_name, device_name):
        try:
            found = find(text)
        except InputError:
            continue
        assert not looks_like_path(found)
