"""What the tests of the page share: two services and one browser for all of them, ended with the last of the folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "a-token-of-thirty-characters!!"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Service:
    """`archcast serve` on a free port, in a process of its own."""

    def __init__(self, folder: Path, repository: Path, token: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": str(repository), "ARCHCAST_TOKEN": token}
        command = [sys.executable, "-m", "archcast", "serve", "--port", "0", "--data", str(folder), "--no-log"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.url = ""

    def wait(self) -> Service:
        """Wait until it answers /readyz."""
        assert self.process.stdout is not None
        while not self.url:
            line = self.process.stdout.readline()
            assert line, "archcast serve ended before it said where it listens"
            found = re.search(r"http://\S+?(?=/?\s|/?$)", line)
            self.url = found.group().rstrip("/") if found else ""
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("archcast serve is not ready after 30 s")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="package")
def services(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a service that is open and of one that wants a token; they start side by side."""
    started = [
        Service(tmp_path_factory.mktemp("open"), repository),
        Service(tmp_path_factory.mktemp("closed"), repository, TOKEN),
    ]
    try:
        yield started[0].wait().url, started[1].wait().url
    finally:
        for service in started:
            service.end()


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What must not happen on any page: errors, words on the console, requests to elsewhere."""
    faults: list[str] = []
    yield faults
    assert faults == []


@pytest.fixture
def page(browser: Browser, services: tuple[str, str], watched: list[str]) -> Iterator[Page]:
    from browser_page.pages import opened

    yield from opened(browser, services[0], watched)


@pytest.fixture
def phone(browser: Browser, services: tuple[str, str], watched: list[str]) -> Iterator[Page]:
    from browser_page.pages import opened

    yield from opened(browser, services[0], watched, viewport={"width": 360, "height": 740}, has_touch=True)
