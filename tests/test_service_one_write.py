"""The head and the body of an answer go out in one piece, in order, and a head alone does not wait for long."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

pytest.importorskip("httptools")
from archcast.service.one_write import MOST_BODY, MOST_HEAD, Joined

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Pipe:
    """What is written, write by write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def written(*parts: bytes, close: bool = False) -> list[bytes]:
    async def run() -> list[bytes]:
        pipe: Any = Pipe()
        joined = Joined(pipe, asyncio.get_running_loop())
        for part in parts:
            joined.write(part)
        if close:
            joined.close()
            assert joined.is_closing()
            return list(pipe.written)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return list(pipe.written)

    return asyncio.run(run())


def test_head_and_body_are_one_write() -> None:
    assert written(HEAD, b"{}") == [HEAD + b"{}"]


def test_pieces_of_a_stream_are_written_as_they_come() -> None:
    assert written(HEAD, b"2\r\n{}\r\n", b"0\r\n\r\n") == [HEAD + b"2\r\n{}\r\n", b"0\r\n\r\n"]


def test_a_head_without_a_body_goes_out_by_itself() -> None:
    assert written(HEAD) == [HEAD]
    assert written(HEAD, b"") == [HEAD]


def test_what_is_held_goes_out_before_the_connection_closes() -> None:
    assert written(HEAD, close=True) == [HEAD]
    assert written(HEAD, b"{}", close=True) == [HEAD + b"{}"]


def test_a_go_ahead_and_an_answer_keep_their_order() -> None:
    go_ahead = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"".join(written(go_ahead, HEAD, b"{}")) == go_ahead + HEAD + b"{}"
    assert b"".join(written(HEAD, b"{}", HEAD, b"[]")) == HEAD + b"{}" + HEAD + b"[]"


def test_a_large_head_is_not_copied() -> None:
    large = b"HTTP/1.1 200 OK\r\nx: " + b"x" * MOST_HEAD + b"\r\n\r\n"
    assert written(large, b"{}") == [large, b"{}"]


def test_a_large_body_is_not_copied() -> None:
    large = b"x" * (MOST_BODY + 1)
    assert written(HEAD, large) == [HEAD, large]


def test_a_body_that_reads_like_a_head_is_not_lost() -> None:
    assert b"".join(written(HEAD, b"HTTP/1.1 is text", b"end")) == HEAD + b"HTTP/1.1 is textend"
    assert b"".join(written(b"2\r\n", b"HTTP/1.1 is text", b"end")) == b"2\r\nHTTP/1.1 is textend"


def test_a_served_answer_comes_whole() -> None:
    import uvicorn

    from archcast.service.one_write import OneWrite

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = (b"content-length", b"2")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"{}"})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=OneWrite, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.create_connection(listening.getsockname(), timeout=10) as asking:
            for _ in range(3):
                asking.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                answer = asking.recv(65_536)  # one write over loopback arrives as one piece
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert answer.endswith(b"\r\n\r\n{}")
    finally:
        server.should_exit = True
        thread.join(timeout=10)
    assert not thread.is_alive()
