"""What people are told of a job: its sender's name, what it is about, and what it was asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs_kinds import KINDS
from service_server import shared_server

from archcast.service.client import Client
from archcast.service.jobs import JobStore
from archcast.service.jobs.requests import about_of
from archcast.service.jobs.schema import TABLES
from foundation.errors import ArchcastError, BadValueError


@pytest.fixture(scope="module", params=["in process", "over http"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(shared_server().url if request.param == "over http" else "") as found:
        yield found


def test_a_job_tells_its_name_what_it_is_about_and_what_it_was_asked(client: Client) -> None:
    request = {"file": "overlap", "seed": 3}
    job = client.submit("simulate", request, name="  the first try ")
    assert (job["name"], job["about"]) == ("the first try", "overlap")
    assert "request" not in job
    found = client.job(job["id"])
    assert found["request"] == request
    assert found["request_bytes"] == len(b'{"file":"overlap","seed":3}')
    listed = next(one for one in client.jobs() if one["id"] == job["id"])
    assert (listed["name"], listed["about"]) == ("the first try", "overlap")
    assert client.submit("simulate", request)["name"] == ""


def test_a_name_is_short_and_one_line(client: Client) -> None:
    refused: list[Any] = ["x" * 81, "two\nlines", "a\x00b", "‮reversed"]
    for name in refused:
        with pytest.raises(BadValueError, match="name must be text of up to 80 characters in one line"):
            client.submit("simulate", {"file": "overlap"}, name=name)
    with pytest.raises(ArchcastError):
        client.submit("simulate", {"file": "overlap"}, name=7)  # type: ignore[arg-type]


def test_a_long_request_is_not_told_again(client: Client) -> None:
    file = {"kind": "graph", "notes": ["x" * 9_000] * 10}
    found = client.job(client.submit("simulate", {"file": file})["id"])
    assert found["request"] is None
    assert found["request_bytes"] > 90_000


def test_the_same_key_is_the_same_job_whatever_its_name(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite", kinds=KINDS)
    first = store.submit("echo", {"a": 1}, key="k", name="first")
    assert store.submit("echo", {"a": 1}, key="k", name="second") == first
    store.close()


@pytest.mark.parametrize(
    ("request_", "about"),
    [
        ({"file": "cms-run5-pu200"}, "cms-run5-pu200"),
        ({"file": {"kind": "allocate", "name": "thinking under a budget"}}, "thinking under a budget"),
        ({"file": {"kind": "serving", "model": "llama-3.1-8b"}}, "llama-3.1-8b"),
        ({"file": {"kind": "edge", "name": "a\nb"}}, "a b"),
        ({"file": {"kind": "edge", "name": ["no", "text"]}}, "edge"),
        ({"uploads": ["2ce4ebe465c635b4-mine.csv", "3ce4ebe465c635b4-more.csv"]}, "mine.csv, more.csv"),
        ({"file": {"name": "x" * 100}}, "x" * 79 + "…"),
        ({}, ""),
        ({"file": 7, "uploads": 8}, ""),
    ],
)
def test_what_a_request_is_about_is_said_in_a_word(request_: dict[str, Any], about: str) -> None:
    assert about_of(request_) == about


def test_a_store_of_the_version_before_keeps_its_jobs(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "jobs.sqlite")
    before = TABLES.replace("    name TEXT NOT NULL DEFAULT '', about TEXT NOT NULL DEFAULT '',\n", "")
    assert before != TABLES
    old.executescript(before)
    old.execute(
        "INSERT INTO jobs (id, kind, state, digest, request, created_s) VALUES ('a', 'echo', 'queued', '', '{}', 1)"
    )
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    store = JobStore(tmp_path / "jobs.sqlite", kinds=KINDS)
    assert (store.get("a").name, store.get("a").state) == ("", "queued")
    assert store.submit("echo", {}, name="new").name == "new"
    store.close()
    assert JobStore(tmp_path / "jobs.sqlite", kinds=KINDS).get("a").about == ""
