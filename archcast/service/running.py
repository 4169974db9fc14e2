"""Running a service: the socket is bound before anything is loaded, one process or several share it."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

from archcast.service.settings import Settings
from foundation.errors import BadValueError

STOP_S = 10
"""Longest that requests in service may take once the service is told to end."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        BadValueError: the address cannot be used, or the extra is not installed.
    """
    try:
        import uvicorn
        from uvicorn.supervisors import Multiprocess
    except ImportError:
        raise BadValueError("Serving needs more packages: pip install 'archcast[service]'.") from None
    listening = bound(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="archcast-service-") as folder:
        if settings.workers > 1:
            settings = replace(settings, metrics=Path(folder))
        from archcast.service.app import create_app

        config = uvicorn.Config(
            partial(create_app, settings), factory=True, loop="auto", http=_protocol(), ws="none", access_log=False,
            log_level="warning", server_header=False, date_header=True, proxy_headers=False, lifespan="on",
            workers=settings.workers, timeout_graceful_shutdown=STOP_S, backlog=1024, timeout_keep_alive=30,
        )  # fmt: skip
        server = uvicorn.Server(config)
        signal.signal(signal.SIGTERM, _leave)  # uvicorn raises it again once it has ended, so that blocks are left
        with _jobs(settings), contextlib.suppress(KeyboardInterrupt):
            _say(settings)
            if settings.workers > 1:
                target = {"target": server.run} if "target" in signature(Multiprocess).parameters else {}  # before 0.50
                Multiprocess(config, sockets=[listening], **target).run()
            else:
                server.run(sockets=[listening])


def _protocol() -> Any:
    """Return what speaks HTTP: the fast one, where its parser is installed."""
    try:
        from archcast.service.one_write import OneWrite
    except ImportError:
        return "auto"
    return OneWrite


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


@contextlib.contextmanager
def _jobs(settings: Settings) -> Iterator[None]:
    """Work through the jobs meanwhile: in this process, which is the only one or the parent of those that answer."""
    if settings.data is None or not settings.job_workers:
        yield
        return
    from archcast.service.job_routes import open_store
    from archcast.service.jobs import Runner

    store = open_store(settings)
    try:
        with Runner(store, settings.job_workers):
            yield
    finally:
        store.close()


def bound(settings: Settings) -> socket.socket:
    """Return the socket to listen on. Raises BadValueError: the address is taken, or is not this machine's."""
    try:
        found: Any = socket.getaddrinfo(settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise BadValueError(f"Cannot listen on {where} ({error.strerror or error}); choose another --port.") from None
    listening.set_inheritable(True)
    return listening


def _say(settings: Settings) -> None:
    import sys

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    many = f", {settings.workers} processes" if settings.workers > 1 else ""
    print(f"archcast serves http://{host}:{settings.port}/ (Ctrl-C ends it{many})", file=sys.stderr, flush=True)
