"""Reading of JSON traces that strangers wrote: plain or gzip, item by item, so that memory stays bounded.

A trace is one large array of small objects. Each is decoded alone from the text, checked, and forgotten; nothing else
of the file is ever a Python structure. What a field holds is taken only where it has the type and range that it needs.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.checks import MAX_SIZE
from foundation.errors import BadFileError
from foundation.files import plain_file

MAX_BYTES = 400_000_000
"""Bytes of a trace, unpacked."""
MAX_ITEM = 2_000_000
"""Characters of one item."""
MAX_ITEMS = 6_000_000
MAX_META, MAX_META_LENGTH = 50, 65_536
MAX_DIMS, MAX_INPUTS, MAX_TENSORS = 16, 128, 4096
CHUNK_BYTES = 1 << 20

Dims = tuple[int, ...]

_SPACE = re.compile(r"[ \t\r\n]*")
_FIRST_TRIES = (4096, 65_536, MAX_ITEM)


def read_trace(path: Path) -> str:
    """Return the text of a trace, unpacked where it is gzip (by its first bytes).

    Raises:
        BadFileError: absent, too large, damaged, or not UTF-8.
    """
    file = plain_file(path, MAX_BYTES)
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        data = _unpacked(file) if packed else file.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFileError(path, "this is not a UTF-8 text file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadFileError(path, f"cannot be read ({str(error)[:80]}).") from None


def _unpacked(file: Path) -> bytes:
    pieces, total = [], 0
    with gzip.open(file, "rb") as source:
        while piece := source.read(CHUNK_BYTES):
            total += len(piece)
            if total > MAX_BYTES:
                raise BadFileError(file, f"it unpacks to more than {MAX_BYTES:,} bytes.")
            pieces.append(piece)
    return b"".join(pieces)


@dataclass
class JsonItems:
    """The items of a trace; `meta` gains the other keys of its top level as they are passed.

    `key` names the array; a file that is an array itself has its items taken as they are. With `loose`, objects that
    follow one another without commas (one a line, say) are items too.
    """

    path: Path
    key: str
    loose: bool = False
    meta: dict[str, Any] = field(default_factory=dict)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of the array; other values in it are passed over.

        Raises:
            BadFileError: the file cannot be read, is not JSON of that form, is too deep or too large, or ends early.
        """
        cursor = _Cursor(self.path, read_trace(self.path))
        first = cursor.look()
        found = 0
        if first == "[":
            for item in cursor.array():
                found += isinstance(item, dict)
                if isinstance(item, dict):
                    yield item
        elif first == "{" and self.loose and cursor.several_objects():
            for item in cursor.objects():
                found += 1
                yield item
        elif first == "{":
            found = yield from self._object(cursor)
        else:
            raise cursor.fault("a JSON trace begins with { or [")
        if not found:
            raise BadFileError(self.path, f"the trace has no '{self.key}': no events to read.")

    def _object(self, cursor: _Cursor) -> Generator[dict[str, Any], None, int]:
        found = 0
        for name in cursor.names():
            if name == self.key and cursor.look() == "[":
                for item in cursor.array():
                    found += isinstance(item, dict)
                    if isinstance(item, dict):
                        yield item
            else:
                start, value = cursor.at, cursor.value()
                if len(self.meta) < MAX_META and cursor.at - start <= MAX_META_LENGTH:
                    self.meta[name] = value
        return found


class _Cursor:
    """A place in a JSON text."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.at = path, text, 0
        self.decoder = json.JSONDecoder(parse_constant=str)

    def fault(self, problem: str) -> BadFileError:
        line = self.text.count("\n", 0, self.at) + 1
        problem = "the file ends in the middle of the trace" if self.at >= len(self.text) else problem
        return BadFileError(self.path, f"not a readable trace: {problem}.", line=line)

    def look(self) -> str:
        """Return the next character that is no space, '' at the end."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> None:
        if self.look() != wanted:
            raise self.fault(f"'{wanted}' is missing")
        self.at += 1

    def value(self) -> Any:
        """Decode one value of bounded length. Raises BadFileError."""
        self.look()
        left = len(self.text) - self.at
        for width in _FIRST_TRIES:
            piece = self.text[self.at : self.at + width]
            try:
                value, used = self.decoder.raw_decode(piece)
            except RecursionError:
                raise self.fault("it is nested too deep") from None
            except json.JSONDecodeError as error:
                if width < left and width < MAX_ITEM:
                    continue
                if left > MAX_ITEM and error.pos > MAX_ITEM - 64:
                    raise self.fault(f"a value is longer than {MAX_ITEM:,} characters") from None
                self.at += error.pos
                raise self.fault(error.msg[:1].lower() + error.msg[1:]) from None
            except ValueError:
                raise self.fault("a number has too many digits") from None
            if used == len(piece) and width < left and piece[-1] not in ']}"':
                continue  # a number or word cut in two
            self.at += used
            return value
        raise self.fault(f"a value is longer than {MAX_ITEM:,} characters")

    def array(self) -> Iterator[Any]:
        """Yield the values of an array that begins here."""
        self.take("[")
        if self.look() == "]":
            self.at += 1
            return
        for count in range(MAX_ITEMS + 1):
            if count == MAX_ITEMS:
                raise self.fault(f"more than {MAX_ITEMS:,} events; profile a shorter run")
            yield self.value()
            if self.look() == "]":
                self.at += 1
                return
            self.take(",")
            if self.look() == "]":  # writers that are interrupted leave a comma behind
                self.at += 1
                return

    def names(self) -> Iterator[str]:
        """Yield the keys of an object that begins here; the caller passes over each value."""
        self.take("{")
        while self.look() != "}":
            name = self.value()
            if not isinstance(name, str):
                raise self.fault("a key must be text")
            self.take(":")
            yield name
            if self.look() == "}":
                break
            self.take(",")
        self.at += 1

    def several_objects(self) -> bool:
        """Tell whether a small object stands here and another follows it."""
        start = self.at
        try:
            first = self.value()
            return isinstance(first, dict) and self.look() == "{"
        except BadFileError:
            return False
        finally:
            self.at = start

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield objects that follow one another."""
        while self.look():
            item = self.value()
            if not isinstance(item, dict):
                raise self.fault("an object must stand here")
            yield item


def number(value: object, *, high: float = 1e18) -> float:
    """Return a finite number of at most `high` in size, NaN where the value is none (numbers in text are taken)."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if -high <= value <= high else math.nan


def whole(value: object, *, high: int = 10**18) -> int:
    """Return a whole number from 0 to `high`, -1 where the value is none (numbers in text are taken)."""
    found = number(value, high=high)
    return int(value) if isinstance(value, int) and found >= 0 else int(found) if found >= 0 and found % 1 == 0 else -1


def text(value: object, most: int = 500) -> str:
    """Return a text, cut at `most` characters; '' where the value is none."""
    return value[:most] if isinstance(value, str) else ""


def sizes(value: object) -> Dims | None:
    """Return the sizes of one tensor, None where the value is no list of sizes."""
    if not isinstance(value, list) or len(value) > MAX_DIMS:
        return None
    for size in value:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            return None
    return tuple(value)


def input_sizes(value: object) -> list[Dims | list[Dims]] | None:
    """Return the sizes of each input, () for one that is no tensor, a list of sizes for a list of tensors.

    None where the value is nothing of the kind.
    """
    if not isinstance(value, list) or len(value) > MAX_INPUTS:
        return None
    found: list[Dims | list[Dims]] = []
    for item in value:
        one = sizes(item)
        if one is not None:
            found.append(one)
        elif isinstance(item, list) and len(item) <= MAX_TENSORS:
            found.append([part for part in map(sizes, item) if part is not None])
        else:
            found.append(())
    return found
