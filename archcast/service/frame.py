"""What surrounds every answer: who may ask, how much, how long, and what is noted of it. Plain ASGI, for speed.

The routes of `answers.py` are answered here without a router; everything else goes on to the FastAPI app.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

from archcast.service.answers import too_much_memory
from archcast.service.faults import RefusedError, fault, status_of
from archcast.service.freed import Freed
from archcast.service.metrics import OTHER
from archcast.service.service import Service, place_of
from archcast.service.settings import is_loopback
from foundation.errors import ArchcastError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"
OPERATORS = "/v1/predict_ops"
OPEN = frozenset({"/healthz", "/readyz", "/", "/openapi.json", "/favicon.ico"})
"""Paths that need no token: they say nothing of what is asked or held."""
DRAIN = 4
"""A body that is too large is read on, and thrown away, up to so many times the limit, so that its sender hears why."""
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NONE: dict[str, str] = {}


class Frame:
    """What is asked first: the ASGI application around another one."""

    def __init__(self, app: App, service: Service) -> None:
        self.app, self.service = app, service
        self.routes = service.answers.routes
        self.limits = service.settings.limits
        self.token = service.settings.token.encode()
        self.hosts: set[bytes] | None = {b""} if service.settings.local else None
        self.count, self.running, self.waiting = 0, 0, 0
        self.prefix = service.id_prefix
        self.freed = Freed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        start = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path = scope["path"]
        self.count += 1
        given = headers.get(b"x-request-id")
        request_id = given if given and _SANE_ID.fullmatch(given) else b"%s%08x" % (self.prefix, self.count)
        call = Call(self.service, scope["method"], path, request_id, headers, receive, send)
        call.frame = self
        self.running += 1
        try:
            if len(headers) != len(scope["headers"]):
                _one_host(scope["headers"])
            self._admit(call)
            if path in self.routes:
                await self._answer(call, scope)
            else:
                await self._pass_on(call, scope)
        except ArchcastError as error:
            await call.refuse(error)
        except asyncio.CancelledError:
            if not self.service.watch.expired():
                raise
            await call.refuse(call.too_slow())
        except Exception as error:
            await call.our_fault(error)
        finally:
            if call.waits:
                self.waiting -= 1
            else:
                self.running -= 1
            call.note(perf_counter() - start)
            self.freed.soon()

    def _admit(self, call: Call) -> None:
        """Refuse who may not ask. Raises RefusedError."""
        headers = call.headers
        if self.hosts is not None and (host := headers.get(b"host", b"")) not in self.hosts:
            name = host.rsplit(b":", 1)[0] if not host.endswith(b"]") else host
            if not is_loopback(name.decode("latin-1")):
                raise RefusedError(421, "This service answers for this machine only, under localhost or 127.0.0.1.")
            if len(self.hosts) < 100:
                self.hosts.add(host)
        if self.token and call.path not in OPEN and not call.path.startswith("/static/"):
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token):
                raise RefusedError(401, "This service wants its token: send the header 'Authorization: Bearer TOKEN'.")
        if self.running > self.limits.concurrent and call.path not in OPEN:
            raise RefusedError(503, "The service is busy; send the same request again in a second.", retry_s=1)
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise RefusedError(415, "A body with a Content-Encoding is not read; send it uncompressed.")

    async def _answer(self, call: Call, scope: Scope) -> None:
        """Answer one of the routes that take JSON and give JSON."""
        call.route = route = call.path
        if call.method != "POST":
            call.more = [(b"allow", b"POST")]
            raise RefusedError(405, f"{route} takes POST with a JSON body, not {call.method[:20]}.")
        if not _is_json(call.headers.get(b"content-type", b"")):
            raise RefusedError(415, "The body must be JSON: send the header 'Content-Type: application/json'.")
        body = await call.body(self.limits.body_bytes)
        service, query = self.service, scope["query_string"]
        key = (route, query, body)
        found = service.cache.get(key)
        call.hit = found is not None
        if found is None:
            asked = _NONE if not query else _known_query(query) if len(query) <= 100 else _query(query)
            if service.side is not None and service.is_long(route, body, asked):
                found = await service.side.ask(route, body, asked)
            elif route == OPERATORS:
                found = await service.together.ask(body, asked)
            else:
                try:
                    found = self.routes[route](body, asked)
                except MemoryError:
                    raise too_much_memory() from None
            service.cache.put(key, found)
        call.rows = found.rows
        await call.reply(200, found.body)

    async def _pass_on(self, call: Call, scope: Scope) -> None:
        """Let the FastAPI app answer, with the body counted and the headers of every answer added."""
        scope["archcast"] = call
        if call.method == "HEAD" and not call.path.endswith("/events"):
            scope = {**scope, "method": "GET"}  # a copy: the server's own knows that no body goes out
        upload = call.path == "/v1/uploads"
        most = self.limits.upload_bytes if upload else self.limits.body_bytes
        call.check_length(most)
        try:
            await self.app(scope, call.counted(most), call.with_headers)
        finally:
            route = scope.get("route")
            call.route = getattr(route, "path", None) or OTHER


def _one_host(headers: Any) -> None:
    """Refuse two Host headers: a proxy may have looked at the other one. Raises RefusedError."""
    if sum(name == b"host" for name, _ in headers) > 1:
        raise RefusedError(400, "The request has more than one Host header.")


def _is_json(kind: bytes) -> bool:
    return kind == JSON or kind.split(b";", 1)[0].strip().lower() == JSON


@lru_cache(maxsize=64)
def _known_query(text: bytes) -> Mapping[str, str]:
    return _query(text)


def _query(text: bytes) -> dict[str, str]:
    """Return a query string as a dict. Raises RefusedError: a name twice, too many, or bytes that are no text."""
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise RefusedError(422, "The query string cannot be read.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError(422, "A query parameter stands twice.")
    return found


class Call:
    """One request and its answer."""

    __slots__ = ("failed", "frame", "headers", "hit", "method", "more", "path", "receive", "request_id", "route",
                 "rows", "send", "service", "started", "status", "waits")  # fmt: skip
    frame: Frame

    def __init__(self, service: Service, method: str, path: str, request_id: bytes, headers: dict[bytes, bytes],
                 receive: Receive, send: Send) -> None:  # fmt: skip
        self.service, self.method, self.path, self.request_id = service, method, path, request_id
        self.headers, self.receive, self.send = headers, receive, send
        self.route, self.rows, self.status = OTHER, 0, 0
        self.hit: bool | None = None
        self.started = self.failed = self.waits = False
        self.more: list[tuple[bytes, bytes]] = []

    def begin_waiting(self) -> None:
        """Count this request from here on among those that only wait, which have a limit of their own.

        Raises RefusedError: too many wait.
        """
        most = self.frame.limits.watching
        if self.frame.waiting >= most:
            raise RefusedError(
                503, f"{most} requests already wait for jobs; ask for the job's state instead, or try again.", retry_s=5
            )
        self.waits = True
        self.frame.running -= 1
        self.frame.waiting += 1

    def check_length(self, most: int) -> None:
        """Refuse a body that says itself that it is too large, where its sender waits to hear. Raises RefusedError."""
        declared = self.headers.get(b"content-length", b"0")
        if len(declared) > 18 or (int(declared) > most and b"expect" in self.headers):
            raise self._too_large(most)

    def _too_large(self, most: int) -> RefusedError:
        self.more = [(b"connection", b"close")]
        return RefusedError(413, f"The body is larger than the {most:,} bytes that this route takes.")

    def too_slow(self) -> RefusedError:
        self.more = [(b"connection", b"close")]
        return RefusedError(408, "The body did not come in time.")

    async def body(self, most: int) -> bytes:
        """Return the whole body. Raises RefusedError: too large, too slow, or its sender left."""
        self.check_length(most)
        task = self.service.watch.begin()
        try:
            message = await self.receive()
        finally:
            self.service.watch.end(task)
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(body) <= most and message["type"] == "http.request":
            return body
        parts, size = [body], len(body)
        try:
            async with asyncio.timeout(self.service.settings.limits.request_s):
                while message.get("more_body", False) and size <= most * DRAIN:
                    message = await self.receive()
                    body = message.get("body", b"")
                    size += len(body)
                    if size <= most:
                        parts.append(body)
                    else:
                        parts.clear()
        except TimeoutError:
            raise self.too_slow() from None
        if message["type"] != "http.request":
            raise RefusedError(400, "The sender left before the body was whole.")
        if size > most:
            raise self._too_large(most)
        return b"".join(parts)

    def counted(self, most: int) -> Receive:
        """Return a `receive` that ends in an error where a body is too large, too slow, or its sender leaves.

        The whole body has one deadline, so that a byte now and then does not hold a place for ever.
        """
        size, whole = 0, False
        deadline_s: float | None = None

        async def receive() -> Message:
            nonlocal size, whole, deadline_s
            if self.started or whole:  # a long answer waits here for its reader to leave
                return await self.receive()
            if deadline_s is None:
                deadline_s = asyncio.get_running_loop().time() + self.service.settings.limits.request_s
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await self.receive()
                    size += len(message.get("body", b""))
                    while size > most and message.get("more_body", False) and size <= most * DRAIN:
                        message = await self.receive()
                        size += len(message.get("body", b""))
            except TimeoutError:
                raise self.too_slow() from None
            if message["type"] != "http.request":
                raise RefusedError(400, "The sender left before the body was whole.")
            if size > most:
                raise self._too_large(most)
            whole = not message.get("more_body", False)
            return message

        return receive

    async def with_headers(self, message: Message) -> None:
        """Send a message of the app, with the headers of every answer."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = [
                *message.get("headers", ()), *self.service.headers, (b"x-request-id", self.request_id), *self.more
            ]  # fmt: skip
        elif self.method == "HEAD":
            message["body"] = b""
        await self.send(message)

    async def reply(self, status: int, body: bytes) -> None:
        """Send a whole JSON answer."""
        self.started, self.status = True, status
        headers = [
            (b"content-type", JSON), (b"content-length", b"%d" % len(body)), *self.service.headers,
            (b"x-request-id", self.request_id), *self.more,
        ]  # fmt: skip
        if self.hit is not None:
            headers.append((b"x-archcast-cache", b"hit" if self.hit else b"miss"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, error: ArchcastError) -> None:
        """Answer with an error that has a sentence for who asked; our own faults keep theirs."""
        status = status_of(error)
        if status == 500:
            await self.our_fault(error)
            return
        if self.started:
            return
        self.hit = None
        if status == 401:
            self.more.append((b"www-authenticate", b"Bearer"))
        if status == 503:
            self.more.append((b"retry-after", b"%d" % (getattr(error, "retry_s", 0) or 1)))
        await self.reply(status, self.service.fault_body(fault(error, status=status), self.request_id))

    async def our_fault(self, error: Exception) -> None:
        """Answer 500 with the request's id; what happened is in the log."""
        if self.failed:  # it was answered by the app
            return
        body = self.failure(error)
        if self.started:
            raise error
        self.hit = None
        await self.reply(500, body)

    def failure(self, error: Exception) -> bytes:
        """Log what happened, and return the body of an answer that does not say it."""
        self.failed = True
        self.service.log.add({"id": self.request_id.decode(), "route": self.route, "error": place_of(error)})
        found = {
            "message": "The service failed, and it is not your fault; its log has the cause under this request's id.",
            "kind": "ArchcastError", "at": "", "hint": "", "status": 500,
        }  # fmt: skip
        return self.service.fault_body(found, self.request_id)

    def note(self, seconds: float) -> None:
        """Count and log the request."""
        self.service.metrics.add(self.route, self.status, seconds, self.rows, self.hit)
        if self.service.log.on:
            self.service.log.request(
                self.request_id.decode(), self.method[:20], self.route, self.status, seconds, self.rows, self.hit
            )
