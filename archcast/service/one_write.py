"""The head and the body of an answer go out in one piece.

uvicorn writes them one after the other: two system calls, and each wakes whoever waits at the other end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 16_384
"""A larger head goes out by itself, in place of being copied."""
MOST_BODY = 65_536
"""So does what follows a head, where it is larger."""


class Joined:
    """A transport that holds the head of an answer until what follows it, or until the event loop's next turn."""

    __slots__ = ("_held", "_inner", "_loop")

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop, self._held = inner, loop, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        """Write what is held and this; or hold it, where it is a head."""
        held = self._held
        if held:
            self._held = b""
            if len(data) <= MOST_BODY:
                self._inner.write(held + data)
            else:
                self._inner.write(held)
                self._inner.write(data)
        elif data.startswith(b"HTTP/1.") and len(data) <= MOST_HEAD:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._inner.write(data)

    def close(self) -> None:
        """Write what is held, and close."""
        self._flush()
        self._inner.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._inner.write(held)


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol over such a transport."""

    def connection_made(self, transport: Any) -> None:
        """Begin with a connection."""
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
