"""What the parts of a running service share: settings, answers, kept answers, counts, log, helper process, jobs."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import msgspec
import orjson
from starlette.responses import Response

from archcast.service.answers import Query
from archcast.service.cache import AnswerCache
from archcast.service.logs import RequestLog
from archcast.service.metrics import Metrics
from archcast.service.names import built_in_models
from archcast.service.own_models import OwnAnswers, OwnModels
from archcast.service.settings import Settings, SideLimits
from archcast.service.side import Side
from archcast.service.together import Together
from archcast.service.versions import versions
from archcast.service.watch import Watch

LONG_BODY_BYTES = 200_000
"""A body of operators above this is priced beside the event loop, so that small ones do not wait for it."""

PASSED_ON = (
    "/", "/static/{name:path}", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/devices", "/v1/devices/{name}",
    "/v1/workloads", "/v1/workloads/{name}", "/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/result",
    "/v1/jobs/{job}/events", "/v1/uploads", "/v1/uploads/{name}",
)  # fmt: skip


def store_file(data: Path) -> Path:
    """Return the file of the jobs in a service's folder."""
    return data / "jobs.sqlite"


class _Weight(msgspec.Struct):
    """What decides how long a question takes."""

    workload: msgspec.Raw = msgspec.Raw(b"")
    on: msgspec.Raw = msgspec.Raw(b"")
    count: msgspec.Raw = msgspec.Raw(b"null")
    concurrency: msgspec.Raw = msgspec.Raw(b"null")
    knobs: msgspec.Raw = msgspec.Raw(b"{}")
    model: str = ""


_READ_WEIGHT = msgspec.json.Decoder(_Weight)


class Service:
    """One process of a service."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.answers = OwnAnswers(settings.limits, OwnModels(lambda: self.jobs))
        self.together = Together(self.answers)
        self.cache = AnswerCache(settings.limits.cache_bytes, built_in_models())
        self.metrics = Metrics((*self.answers.routes, *PASSED_ON), settings.metrics)
        self.log = RequestLog(settings.log)
        self.watch = Watch(settings.limits.request_s)
        store = "" if settings.data is None else str(store_file(settings.data))
        self.side = Side(SideLimits(**vars(settings.limits), store=store), self.log) if settings.side else None
        self.id_prefix = os.urandom(6).hex().encode()
        self.headers = [
            (b"x-archcast-version", versions()["service"].encode()), (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]  # fmt: skip
        self.ready = False
        self.jobs: Any = None

    def is_long(self, route: str, body: bytes, query: Query) -> bool:
        """Tell whether a question may take longer than others should wait: it is answered beside the event loop.

        One at a model of one's own may, as that has to be loaded.
        """
        if route == "/v1/predict_ops":
            return len(body) > LONG_BODY_BYTES or query.get("model", "") not in ("", *built_in_models())
        if route not in ("/v1/predict", "/v1/report"):
            return True
        try:
            weight = _READ_WEIGHT.decode(body)
        except (ValueError, RecursionError):
            return False  # it will be refused at once
        plain = all(bytes(raw)[:1] == b'"' for raw in (weight.workload, weight.on))
        alone = bytes(weight.count) in (b"null", b"1") and bytes(weight.concurrency) == b"null"
        return not (plain and alone and bytes(weight.knobs) == b"{}" and weight.model in ("", *built_in_models()))

    def fault_body(self, found: dict[str, Any], request_id: bytes) -> bytes:
        """Return the body of an answer that is an error."""
        status = found.pop("status")
        document: dict[str, Any] = {"error": found, "request_id": request_id.decode()}
        if status != 401:
            document["versions"] = versions()
        return orjson.dumps(document)


def json_answer(document: dict[str, Any], status: int = 200) -> Response:
    """Return a document as an answer of the app."""
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def place_of(error: Exception) -> str:
    """Return what failed and where, for the log: never for an answer."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error}"[:500] + f" at {where}"
