"""Who may ask: the token, the machine itself, and nobody through another site's page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from service_server import HOME, ask, post

from archcast.service.app import Application, create_app
from archcast.service.settings import Settings, is_loopback, read_token
from foundation.errors import BadFileError, BadValueError

TOKEN = "correct-horse-battery-staple"
OPEN = ["/healthz", "/", "/openapi.json", "/static/house.css"]
CLOSED = ["/v1/devices", "/v1/devices/h100-sxm", "/v1/devices/none", "/v1/jobs", "/v1/jobs/AAAA",
          "/v1/jobs/BBBB/result", "/v1/uploads", "/v1/none", "/metrics", "/nothing"]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Application:
    return create_app(Settings(side=False, log=False, token=TOKEN, data=tmp_path_factory.mktemp("data")))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", OPEN)
def test_what_says_nothing_needs_no_token(app: Application, path: str) -> None:
    assert ask(app, "GET", path).status_code == 200


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer(TOKEN[:-1]), bearer(""), {"authorization": TOKEN},
                                     {"authorization": f"Basic {TOKEN}"}])  # fmt: skip
def test_without_the_token_every_path_gives_the_same_answer(app: Application, headers: dict[str, str]) -> None:
    from archcast.service.job_routes import open_store

    store = open_store(app.state.service.settings)
    job = store.submit("simulate", {"file": "overlap"})
    store.close()
    answers = [ask(app, "GET", path, headers=headers) for path in [*CLOSED, f"/v1/jobs/{job.id}"]]
    answers += [post(app, "/v1/predict", {"workload": w, "on": "h100-sxm"}, headers) for w in ("resnet-50", "none")]
    assert {answer.status_code for answer in answers} == {401}
    bodies = {answer.text.replace(answer.headers["x-request-id"], "") for answer in answers}
    assert len(bodies) == 1
    kept = {name for answer in answers for name in answer.headers}
    assert kept == {*answers[0].headers}
    assert answers[0].headers["www-authenticate"] == "Bearer"


def test_with_the_token_answers_come(app: Application) -> None:
    assert ask(app, "GET", "/v1/devices", headers=bearer(TOKEN)).status_code == 200
    assert ask(app, "GET", "/v1/jobs/AAAA", headers=bearer(TOKEN)).status_code == 404
    good = {"workload": "resnet-50", "on": "h100-sxm"}
    assert post(app, "/v1/predict", good, {"authorization": f"bearer  {TOKEN} "}).status_code == 200


def test_two_clients_of_which_one_has_a_wrong_token_do_not_share_answers(app: Application) -> None:
    good = {"workload": "resnet-18", "on": "h100-sxm"}
    assert post(app, "/v1/predict", good, bearer(TOKEN)).headers["x-archcast-cache"] == "miss"
    other = post(app, "/v1/predict", good, bearer("wrong"))
    assert other.status_code == 401
    assert "latency" not in other.text
    assert "x-archcast-cache" not in other.headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "my-machine", "10.0.0.1"])
def test_listening_beyond_this_machine_without_a_token_is_refused(host: str) -> None:
    with pytest.raises(BadValueError, match="lets others ask; give --token-file"):
        Settings(host=host)
    assert Settings(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "[::1]"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).local


def test_the_command_ends_with_2_and_one_sentence() -> None:
    command = [sys.executable, "-m", "archcast", "serve", "--host", "0.0.0.0"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=HOME, check=False, timeout=60)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert "--token-file" in found.stderr


def test_a_token_that_is_too_short_or_a_file_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="16 to 1000"):
        Settings(token="short")
    empty = tmp_path / "token"
    empty.write_text("\n")
    with pytest.raises(BadFileError, match="holds no token"):
        read_token(empty)
    empty.write_text(f"  {TOKEN}\n")
    assert read_token(empty) == TOKEN


def test_settings_do_not_show_the_token() -> None:
    assert TOKEN not in repr(Settings(token=TOKEN))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.1.2.3:8000"])
def test_a_name_that_leads_here_from_elsewhere_is_refused(host: str) -> None:
    app = create_app(Settings(side=False, log=False))
    assert ask(app, "GET", "/v1/devices", headers={"host": host}).status_code == 421
    assert ask(app, "GET", "/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "localhost:9", "[::1]:8000", "[::1]"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    app = create_app(Settings(side=False, log=False))
    assert ask(app, "GET", "/healthz", headers={"host": host}).status_code == 200


def test_beyond_this_machine_any_name_is_answered(app: Any) -> None:
    open_app = create_app(Settings(host="0.0.0.0", token=TOKEN, side=False, log=False))
    assert ask(open_app, "GET", "/healthz", headers={"host": "oracle.example"}).status_code == 200


def test_no_other_site_may_read_or_frame_the_page(app: Application) -> None:
    page = ask(app, "GET", "/", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in page.headers
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http:" not in policy
    assert "https:" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert ask(app, "OPTIONS", "/v1/predict", headers={**preflight, **bearer(TOKEN)}).status_code == 405
