"""The process that answers long questions, so that the event loop never waits and a question can be stopped.

Frames on its pipes: two lengths (4 bytes each, big endian), a JSON header, a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from archcast.service.answers import Encoded
from archcast.service.faults import RefusedError, ShapeError, error_of
from archcast.service.logs import RequestLog
from archcast.service.settings import Limits

LENGTHS = struct.Struct(">II")
START_S = 120.0
"""Longest that the process may take to load its models."""


class Side:
    """One helper process; questions wait in line for it. It is started when first needed, and again after a kill."""

    def __init__(self, limits: Limits, log: RequestLog) -> None:
        self.limits, self.log = limits, log
        self.waiting = 0
        self._lock: asyncio.Lock | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, route: str, body: bytes, query: Mapping[str, str]) -> Encoded:
        """Return the answer to a question.

        Raises:
            RefusedError: too many wait (503), or it took too long (422).
            ArchcastError: what the answer's function raised.
        """
        if self.waiting >= self.limits.waiting:
            raise RefusedError(503, "Too many long questions wait; send the same request again later.", retry_s=2)
        self._lock = self._lock or asyncio.Lock()
        self.waiting += 1
        try:
            try:
                async with asyncio.timeout(self.limits.request_s):
                    await self._lock.acquire()
            except TimeoutError:
                raise RefusedError(
                    503, "Longer questions are before this one; send it again later.", retry_s=5
                ) from None
            try:
                return await self._exchange(route, body, query)
            finally:
                self._lock.release()
        finally:
            self.waiting -= 1

    async def start(self) -> None:
        """Start the process and wait until its models are loaded."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            await self._started()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "archcast.service.side_process", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, env=environment, limit=2**20,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_S):
                await self._write(process, {"limits": _plain_limits(self.limits)}, b"")
                await self._read(process)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        self._process = process
        return process

    async def _exchange(self, route: str, body: bytes, query: Mapping[str, str]) -> Encoded:
        process = await self._started()
        try:
            async with asyncio.timeout(self.limits.request_s):
                await self._write(process, {"route": route, "query": dict(query)}, body)
                header, answer = await self._read(process)
        except TimeoutError:
            await self.close()
            limit = f"{self.limits.request_s:g} s"
            raise RefusedError(
                422, f"The answer takes longer than the {limit} that this service gives to one; ask for less at once."
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.close()
            self.log.add({"route": route, "error": "the helper process ended while it answered"})
            raise ShapeError("The question needs more than the service has; ask for less at once.") from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if found := header.get("fault"):
            raise error_of(found)
        if failed := header.get("failed"):
            raise RuntimeError(str(failed))
        return Encoded(answer, int(header["rows"]))

    @staticmethod
    async def _write(process: asyncio.subprocess.Process, header: Mapping[str, Any], body: bytes) -> None:
        assert process.stdin is not None
        head = orjson.dumps(header)
        process.stdin.write(LENGTHS.pack(len(head), len(body)) + head + body)
        await process.stdin.drain()

    @staticmethod
    async def _read(process: asyncio.subprocess.Process) -> tuple[dict[str, Any], bytes]:
        assert process.stdout is not None
        head, body = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
        header: dict[str, Any] = orjson.loads(await process.stdout.readexactly(head))
        return header, await process.stdout.readexactly(body) if body else b""


def _plain_limits(limits: Limits) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(limits)
