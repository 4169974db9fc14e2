"""How a client asks: the functions of this process, or a service over HTTP. Both give the same documents."""

from __future__ import annotations

import contextlib
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from archcast.service.answers import NUMPY
from archcast.service.faults import RefusedError, ShapeError, error_of, fault
from archcast.service.own_models import OwnAnswers, OwnModels
from archcast.service.settings import Limits
from archcast.service.versions import versions
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError

if TYPE_CHECKING:
    from archcast.service.jobs import JobStore

TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
"""Ending of an upload -> its media type."""
FILTERS = {"devices": ("kind", "vendor", "has"), "workloads": ("kind", "has")}
"""Filters of the lists, as the routes take them."""
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Transport(Protocol):
    """What a client needs."""

    def answer(self, route: str, document: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]: ...
    def listed(self, what: str, filters: Mapping[str, str]) -> dict[str, Any]: ...
    def entry(self, what: str, name: str) -> dict[str, Any]: ...
    def submit(self, document: Mapping[str, Any]) -> dict[str, Any]: ...
    def job(self, id: str) -> dict[str, Any]: ...
    def jobs(self, state: str, limit: int) -> list[dict[str, Any]]: ...
    def result(self, id: str) -> dict[str, Any]: ...
    def cancel(self, id: str) -> dict[str, Any]: ...
    def forget(self, id: str) -> None: ...
    def upload(self, file: Path) -> dict[str, Any]: ...
    def close(self) -> None: ...


def sent(document: Mapping[str, Any]) -> bytes:
    """Return what a client sends: arrays as lists; NaN, which JSON lacks, as null; whole numbers as keys are text.

    Raises:
        BadValueError: a value or a key that JSON has no form for.
    """
    try:
        return orjson.dumps(document, default=_plain, option=NUMPY)
    except TypeError as error:
        if "Dict key" not in str(error):
            raise BadValueError(f"This cannot be sent: {error.__cause__ or error}.") from None
    try:
        return orjson.dumps(_with_text_keys(document), default=_plain, option=NUMPY)
    except (TypeError, RecursionError) as error:
        raise BadValueError(f"This cannot be sent: {error.__cause__ or error}.") from None


def _with_text_keys(value: Any) -> Any:
    """Return a document whose keys are text, as YAML 1.2 reads them. Raises BadValueError."""
    if isinstance(value, Mapping):
        found = {_key(key): _with_text_keys(one) for key, one in value.items()}
        if len(found) != len(value):
            raise BadValueError(f"Two keys are the same once they are text, among {', '.join(found)[:100]}.")
        return found
    return [_with_text_keys(one) for one in value] if isinstance(value, (list, tuple)) else value


def _key(key: object) -> str:
    if isinstance(key, str):
        return str(key)
    if key is True:  # PyYAML reads the key `on:` so
        return "on"
    if isinstance(key, Integral) and not isinstance(key, bool):
        return str(int(key))
    raise BadValueError(f"A key of a document must be text or a whole number, not {str(key)[:80]!r}; put it in quotes.")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


@contextlib.contextmanager
def as_answered() -> Iterator[None]:
    """Raise what is refused as it comes out of an answer."""
    try:
        yield
    except ArchcastError as error:
        raise error_of(fault(error)) from None


class OverHttp:
    """A service at an address; one connection is kept."""

    def __init__(self, url: str, token: str, timeout_s: float, retry_s: float = 0.0) -> None:
        import httpx

        if not url.lower().startswith(("http://", "https://")):
            raise BadValueError(f"The address of a service begins with http:// or https://: write http://{url[:200]}.")
        self.retry_s = retry_s
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s, follow_redirects=False)
        self.failed = httpx.HTTPError, httpx.InvalidURL

    def _ask(self, method: str, path: str, *, content: bytes = b"", kind: str = "application/json",
             query: Mapping[str, Any] | None = None, again: bool = True) -> dict[str, Any]:  # fmt: skip
        """Return an answer. One that is too busy is asked `again`, where that is safe, when it says."""
        headers = {"content-type": kind} if content else {}
        last = time.monotonic() + self.retry_s
        while True:
            try:
                response = self.http.request(
                    method, path, content=content or None, headers=headers, params=query or None
                )
            except self.failed as error:
                raise RefusedError(
                    503, f"The service at {self.url} does not answer ({error}); is it running?"
                ) from None
            wait_s = _wait_s(response.headers.get("retry-after", ""))
            if response.status_code != 503 or not again or wait_s is None or time.monotonic() + wait_s > last:
                break
            time.sleep(wait_s)
        try:
            document = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise RefusedError(502, f"What answers at {self.url} is no archcast service ({response.status_code}).")
        if response.status_code >= 400:
            raise error_of({**document.get("error", {}), "status": response.status_code})
        return document

    def answer(self, route: str, document: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        return self._ask("POST", route, content=sent(document), query=query)

    def listed(self, what: str, filters: Mapping[str, str]) -> dict[str, Any]:
        return self._ask("GET", f"/v1/{what}", query=filters)

    def entry(self, what: str, name: str) -> dict[str, Any]:
        return self._ask("GET", f"/v1/{what}/{_quoted(name)}")

    def submit(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "/v1/jobs", content=sent(document), again=bool(document.get("key")))

    def job(self, id: str) -> dict[str, Any]:
        return self._ask("GET", f"/v1/jobs/{_id(id)}")

    def jobs(self, state: str, limit: int) -> list[dict[str, Any]]:
        query = {"limit": limit, **({"state": state} if state else {})}
        found: list[dict[str, Any]] = self._ask("GET", "/v1/jobs", query=query)["jobs"]
        return found

    def result(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/v1/jobs/{_id(id)}/result")["result"]
        return found

    def cancel(self, id: str) -> dict[str, Any]:
        return self._ask("DELETE", f"/v1/jobs/{_id(id)}")

    def forget(self, id: str) -> None:
        self._ask("DELETE", f"/v1/jobs/{_id(id)}", query={"forget": "true"})

    def upload(self, file: Path) -> dict[str, Any]:
        kind = TYPES.get(file.suffix.lower(), "application/octet-stream")
        return self._ask("POST", "/v1/uploads", content=_content(file), kind=kind, query={"name": file.name})

    def close(self) -> None:
        self.http.close()


def _wait_s(header: str) -> float | None:
    """Return the seconds of a Retry-After, with some chance so that not all come back at once; None: there is none."""
    return int(header) + random.uniform(0.0, 0.5) if header.isdecimal() and len(header) < 6 else None


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="").replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")


def _id(id: str) -> str:
    """Return an id as part of an address. Raises NoSuchJobError: no job has such an id."""
    if not (isinstance(id, str) and _JOB_ID.fullmatch(id)):
        from archcast.service.jobs.store import absent

        raise absent(id)
    return id


class InProcess:
    """The functions behind the routes, called with what would be sent and answered with what would come back."""

    def __init__(self, data: str | Path | None) -> None:
        self.answers = OwnAnswers(Limits(), OwnModels(self._known_jobs))
        self.data = data
        self._stack = contextlib.ExitStack()
        self._open: JobStore | None = None

    def answer(self, route: str, document: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        with as_answered():
            found = self.answers.routes.get(route)
            if found is None:
                raise UnknownNameError("route", route, self.answers.routes)
            document = orjson.loads(found(sent(document), query).body)
        return dict(document)

    def listed(self, what: str, filters: Mapping[str, str]) -> dict[str, Any]:
        from archcast.service.catalogue_answers import listed

        with as_answered():
            for name, value in filters.items():
                if name not in FILTERS[what]:
                    raise UnknownNameError("query parameter", name[:100], FILTERS[what])
                if len(value) > 100:
                    raise ShapeError(f"{name}: string should have at most 100 characters.", name)
            return _decoded(listed(what, **filters))

    def entry(self, what: str, name: str) -> dict[str, Any]:
        from archcast.service.catalogue_answers import entry

        with as_answered():
            return _decoded(entry(what, name))

    def submit(self, document: Mapping[str, Any]) -> dict[str, Any]:
        with as_answered():
            asked = orjson.loads(sent(document))
            store = self._store()
            job = store.submit(asked["kind"], asked["request"], asked["key"], asked.get("name", ""))
            if asked["wait_s"]:
                job = store.wait(job.id, asked["wait_s"])
        return _decoded(job.to_json())

    def job(self, id: str) -> dict[str, Any]:
        with as_answered():
            return _decoded(self._store().shown(id))

    def jobs(self, state: str, limit: int) -> list[dict[str, Any]]:
        with as_answered():
            return [job.to_json() for job in self._store().list([state] if state else [], limit)]

    def result(self, id: str) -> dict[str, Any]:
        with as_answered():
            return dict(self._store().result(id))

    def cancel(self, id: str) -> dict[str, Any]:
        with as_answered():
            return _decoded(self._store().cancel(id).to_json())

    def forget(self, id: str) -> None:
        with as_answered():
            self._store().delete(id)

    def upload(self, file: Path) -> dict[str, Any]:
        import io

        with as_answered():
            return _decoded(self._store().uploads.store(file.name, io.BytesIO(_content(file))).to_json())

    def close(self) -> None:
        self._stack.close()
        self._open = None

    def _known_jobs(self) -> JobStore | None:
        """Return the jobs that there may be: none before the first where the folder is a temporary one."""
        return self._store() if self._open is not None or self.data is not None else None

    def _store(self) -> JobStore:
        """Return the store of jobs, opened and worked through from the first on."""
        if self._open is None:
            from archcast.service.jobs import JobStore, Runner

            folder = self.data or self._stack.enter_context(tempfile.TemporaryDirectory(prefix="archcast-jobs-"))
            store = JobStore(Path(folder) / "jobs.sqlite")
            self._stack.callback(store.close)
            self._stack.enter_context(Runner(store))
            self._open = store
        return self._open


def _decoded(document: Mapping[str, Any]) -> dict[str, Any]:
    return dict(orjson.loads(sent({**document, "versions": versions()})))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadFileError(file, f"cannot be read ({error.strerror}).") from None
