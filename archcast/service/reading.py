"""Bodies of requests: decoded strictly into the shape of the route, or refused with one sentence."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from archcast.service.faults import ShapeError
from archcast.service.shapes import COLUMNAR
from foundation.errors import nearest_names

Shape = TypeVar("Shape", bound=msgspec.Struct)

MAX_INTEGER = 2**63
MAX_TEXT = 10_000
"""Characters of one text in a document whose shape the caller chooses."""

_AT = re.compile(r"(?P<what>.*) - at `(?P<at>[^`]*)`", re.DOTALL)
_FIELD = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")


def read(decoder: msgspec.json.Decoder[Shape], body: bytes) -> Shape:
    """Return a body as the struct of a route.

    Raises:
        ShapeError: it is no JSON (status 400), or not of that shape (422); the place is named. A key twice in one
        object, columns apart: looking for it would cost more there than decoding, and the last one counts.
    """
    try:
        found = decoder.decode(body)
        if decoder.type not in COLUMNAR:
            check_keys(body)
        return found
    except msgspec.ValidationError as error:
        raise _of_shape(str(error), decoder.type) from None
    except msgspec.DecodeError as error:
        raise ShapeError(f"The body is not JSON: {_reason(error, body)}.", status=400) from None
    except UnicodeDecodeError:
        raise ShapeError("The body is not UTF-8 text.", status=400) from None
    except RecursionError:
        raise ShapeError("The body is nested too deeply.") from None


def check_keys(body: bytes) -> None:
    """Refuse a key that stands twice in one object of a body that is JSON. Raises ShapeError, RecursionError."""
    with suppress(json.JSONDecodeError):  # what was decoded is JSON, by the stricter reader
        _SCANNER.decode(body.decode())


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ShapeError(f"The key '{twice[:100]}' stands twice in one object.", twice[:100])


_SCANNER = json.JSONDecoder(object_pairs_hook=_once, parse_int=len, parse_float=len)
"""Looks at keys only; numbers are not made, whatever their length."""


def _reason(error: Exception, body: bytes) -> str:
    if not body.strip():
        return "it is empty"
    text = str(error).removeprefix("JSON is malformed: ")
    return "it ends too early" if "truncated" in text else text


def _of_shape(message: str, shape: Any) -> ShapeError:
    """Return msgspec's complaint as a sentence that names the key first."""
    found = _AT.fullmatch(message)
    what, at = (found["what"], found["at"]) if found else (message, "")
    at = at.removeprefix("$").lstrip(".")
    fields = [field.name for field in msgspec.structs.fields(shape)]
    if (unknown := _FIELD.fullmatch(what)) and not at:
        name = unknown["name"]
        near = nearest_names(name[:100], fields)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        return ShapeError(f"Unknown key '{name[:100]}'.{hint}", name[:100])
    if missing := _MISSING.fullmatch(what):
        place = f"{at}.{missing['name']}" if at else missing["name"]
        return ShapeError(f"The key '{place}' is missing.", place)
    plain = what.replace("`", "")
    return ShapeError(f"{at[:100]}: {plain[0].lower()}{plain[1:]}." if at else f"The body: {plain}.", at[:200])


def check_document(name: str, root: Any, *, depth: int, values: int) -> None:
    """Refuse a document that is too deep or too large, or holds numbers that are not finite or texts too long.

    Raises:
        ShapeError: one sentence, with the key at which the document stands.
    """
    level, count = [root], 0
    for _ in range(depth):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
                below += item.keys()
            elif isinstance(item, list):
                below += item
            else:
                _check_value(name, item)
        count += len(below)
        if count > values:
            raise ShapeError(f"{name} holds more than {values:,} values.", name)
        if not below:
            return
        level = below
    raise ShapeError(f"{name} is nested deeper than {depth} levels.", name)


def _check_value(name: str, item: Any) -> None:
    if isinstance(item, str):
        if len(item) > MAX_TEXT:
            raise ShapeError(f"{name} holds a text of more than {MAX_TEXT:,} characters.", name)
        if "\x00" in item:
            raise ShapeError(f"{name} holds a text with a NUL in it.", name)
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise ShapeError(f"{name} holds a number that is not finite.", name)
    elif isinstance(item, int) and not -MAX_INTEGER <= item < MAX_INTEGER:
        raise ShapeError(f"{name} holds a number of too many digits.", name)
