"""What the tests of the service share: a server in a process of its own, and an application that is asked directly."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx

HOME = Path(__file__).parents[1]
START_S = 60.0


class Server:
    """A running `archcast serve`; its log stands in a file."""

    def __init__(self, *options: str, token: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="archcast-test-")
        self.log = Path(self.folder.name) / "log"
        environment = {**os.environ, "PYTHONPATH": str(HOME), "OPENBLAS_NUM_THREADS": "1", "ARCHCAST_TOKEN": token}
        command = [sys.executable, "-m", "archcast", "serve", "--port", "0", "--data", self.folder.name, *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, cwd=HOME)
        atexit.register(self.stop)
        self.url = self._address()
        self.wait_ready()

    def _address(self) -> str:
        last = time.monotonic() + START_S
        while time.monotonic() < last and self.process.poll() is None:
            found = [word for word in self.log.read_text().split() if word.startswith("http://")]
            if found:
                return found[0].rstrip("/")
            time.sleep(0.05)
        raise AssertionError(f"the service did not start: {self.log.read_text()}")

    def wait_ready(self) -> None:
        last = time.monotonic() + START_S
        while time.monotonic() < last:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service is not ready: {self.log.read_text()}")

    def stop(self) -> int:
        """End it as a system would, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.folder.cleanup()
        return code


@cache
def shared_server() -> Server:
    """Return one server for all tests of this process that change nothing of it."""
    return Server()


def ask(app: Any, method: str, path: str, **given: Any) -> httpx.Response:
    """Ask an application without a server."""
    given["headers"] = {"host": "127.0.0.1", **given.get("headers", {})}

    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **given)

    return asyncio.run(one())


def post(app: Any, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Post bytes or a document as JSON."""
    kind = {"content-type": "application/json", **(headers or {})}
    if isinstance(body, bytes):
        return ask(app, "POST", path, content=body, headers=kind)
    return ask(app, "POST", path, json=body, headers=kind)


async def blocks(size: int, block: bytes) -> AsyncIterator[bytes]:
    """Yield a body of a size in blocks, none of which is kept."""
    for _ in range(size // len(block)):
        yield block
