"""Requests of strangers: plain JSON within bounds, without the name of any file of the server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from archcast.service.jobs.job import TooLargeError
from foundation.errors import BadValueError
from foundation.yaml_file import MAX_DEPTH, key_text

MOST_VALUES = 200_000
MOST_NAME = 80
_UPLOAD = re.compile(r"^[0-9a-f]{16}-")
"""The hash before an upload's label."""
_OUTSIDE = re.compile(r"^\s*[/~]|\\|://|^\s*[A-Za-z]:[/\\]|(^|[/=,\s])\.\.([/\s]|$)|[\x00-\x08\x0b-\x1f\x7f]")
"""What leads out of a folder: an absolute path, a home, a drive, a URL, `..`; and control characters."""


def plain_request(request: object, most_bytes: int) -> tuple[str, str]:
    """Return a request as JSON text with its keys in their order, and the digest of it whatever their order.

    Raises:
        BadValueError: it is no mapping, too deep, too many values, or holds what is no JSON (NaN, objects).
        TooLargeError: it has more than `most_bytes` bytes.
    """
    if not isinstance(request, Mapping):
        raise BadValueError("A request must be a mapping of names to values.")
    bounded(request)
    request = _with_on(request)
    try:
        text = json.dumps(request, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
        sorted_text = json.dumps(json.loads(text), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValueError(f"A request must be plain JSON with finite numbers ({_first(error)}).") from None
    if size > most_bytes:
        raise TooLargeError(
            f"The request has {size:,} bytes; at most {most_bytes:,} are taken. Send tables as uploads instead."
        )
    return text, hashlib.sha256(sorted_text.encode()).hexdigest()


def _with_on(value: Any) -> Any:
    """Return a document, bounded in depth, in which the key `on` stands where a reader of YAML 1.1 left true."""
    if isinstance(value, Mapping):
        return {
            "on" if key is True or (key == "true" and "on" not in value) else key: _with_on(one)
            for key, one in value.items()
        }
    return [_with_on(one) for one in value] if isinstance(value, (list, tuple)) else value


def bounded(document: object) -> None:
    """Refuse a document deeper than YAML files may be, or of too many values. Raises BadValueError."""
    level, values = [document], 0
    for _ in range(MAX_DEPTH + 1):
        values += len(level)
        if values > MOST_VALUES:
            raise BadValueError(f"A request may hold at most {MOST_VALUES:,} values.")
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise BadValueError(f"A request may be nested at most {MAX_DEPTH} levels deep.")


def _children(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def checked_name(name: object) -> str:
    """Return what a sender calls a job. Raises BadValueError: no text, too long, or more than a line."""
    plain = name.strip() if isinstance(name, str) else None
    if plain is None or len(plain) > MOST_NAME or not plain.isprintable():
        raise BadValueError(f"name must be text of up to {MOST_NAME} characters in one line.")
    return plain


def about_of(request: Mapping[str, Any]) -> str:
    """Return what a request is about, in up to `MOST_NAME` characters: a name in its file, its model, its tables."""
    file, uploads = request.get("file"), request.get("uploads")
    found: object = file
    if isinstance(file, Mapping):
        named = [file.get(key) for key in ("name", "title", "model", "workload", "pipeline", "kind")]
        found = next((one for one in named if isinstance(one, str) and one.strip()), "")
    elif isinstance(uploads, list):
        found = ", ".join(_UPLOAD.sub("", one) for one in uploads if isinstance(one, str))
    words = "".join(c if c.isprintable() else " " for c in found).strip() if isinstance(found, str) else ""
    return words if len(words) <= MOST_NAME else f"{words[: MOST_NAME - 1]}…"


def words_of(document: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield each text of a document with its place, keys too."""
    if isinstance(document, str):
        yield at, document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield at, str(key)
            yield from words_of(value, (*at, str(key)))
    elif isinstance(document, (list, tuple)):
        for place, value in enumerate(document):
            yield from words_of(value, (*at, place))


def no_paths(document: object) -> None:
    """Refuse text that names a place outside a job's own folder. Raises BadValueError with the key."""
    for at, word in words_of(document):
        if _OUTSIDE.search(word):
            where = f"key '{key_text(at)}': " if at else ""
            raise BadValueError(
                f"{where}{word[:80]!r} looks like a path or an address; a request names catalogue entries and uploads "
                "only: send the file as an upload and give its name."
            )


def _first(error: Exception) -> str:
    return (str(error).split("\n", 1)[0] or type(error).__name__)[:120]
