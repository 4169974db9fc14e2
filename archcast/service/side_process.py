"""The other end of `side.py`: a loop that answers one question after the other until its pipe ends."""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import IO, TYPE_CHECKING, Any

import orjson

from archcast.service.answers import Answers, Encoded, too_much_memory
from archcast.service.faults import fault
from archcast.service.freed import Freed
from archcast.service.own_models import OwnAnswers, OwnModels
from archcast.service.settings import SideLimits
from archcast.service.side import LENGTHS
from archcast.service.versions import versions
from foundation.errors import ArchcastError

if TYPE_CHECKING:
    from archcast.service.jobs import JobStore


def main() -> None:
    """Serve until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends it
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    header, _ = _read(source)
    limits = SideLimits(**header["limits"])
    _bound_memory(limits.memory_bytes)
    answers = OwnAnswers(limits, OwnModels(cache(lambda: _jobs(limits.store))))
    _ = answers.routes, versions()
    freed = Freed(every_s=1.0)
    _write(sink, {"ready": True}, b"")
    while True:
        try:
            header, body = _read(source)
        except EOFError:
            return
        found, answer = _answered(answers, header, body)
        _write(sink, found, answer)
        freed.between()


def _jobs(file: str) -> JobStore | None:
    """Return the jobs whose models may be asked, opened when the first is."""
    if not file:
        return None
    from archcast.service.jobs import JobStore

    return JobStore(file)


def _answered(answers: Answers, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        found: Encoded = answers.routes[header["route"]](body, header["query"])
    except MemoryError:
        return {"fault": fault(too_much_memory())}, b""
    except ArchcastError as error:
        document = fault(error)
        return ({"failed": str(error)} if document["status"] == 500 else {"fault": document}), b""
    except Exception as error:
        from archcast.service.service import place_of

        return {"failed": place_of(error)}, b""
    return {"rows": found.rows}, found.body


def _bound_memory(most_bytes: int) -> None:
    """Let allocations beyond a limit fail as MemoryError here, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _read(source: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    lengths = source.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        raise EOFError
    head, body = LENGTHS.unpack(lengths)
    return orjson.loads(source.read(head)), source.read(body)


def _write(sink: IO[bytes], header: dict[str, Any], body: bytes) -> None:
    head = orjson.dumps(header)
    sink.write(LENGTHS.pack(len(head), len(body)) + head + body)
    sink.flush()


if __name__ == "__main__":
    main()
