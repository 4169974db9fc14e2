"""Reading of JSON files that strangers wrote: bounded in size and depth, keys once, numbers finite, values checked."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from foundation.errors import BadFileError
from foundation.yaml_file import read_text

MAX_BYTES = 1_000_000
MAX_DEPTH = 40


@dataclass
class JsonObject:
    """The top-level object of a file; it notes which keys were asked for, and names file, line and key of a fault."""

    path: Path
    text: str = field(repr=False)
    data: dict[str, Any]
    asked: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value as it stands; null counts as absent."""
        self.asked.add(key)
        value = self.data.get(key)
        return default if value is None else value

    def size(self, *keys: str, default: int | None = None, low: int = 1) -> int:
        """Return the first of `keys` that is present, a whole number of at least `low`.

        Raises:
            BadFileError: it is absent and has no default, or is not such a number.
        """
        present = [key for key in keys if self.get(key) is not None]
        if not present:
            if default is None:
                self.fault(keys[0], "this size is needed and missing.")
            return default
        value = self.data[present[0]]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < low:
            self.fault(present[0], f"this must be a whole number of at least {low}, not {json.dumps(value)[:60]}.")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean. Raises BadFileError."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fault(key, f"this must be true or false, not {json.dumps(value)[:60]}.")
        return value

    def word(self, key: str, default: str = "") -> str:
        """Return a string. Raises BadFileError."""
        value = self.get(key, default)
        if not isinstance(value, str):
            self.fault(key, f"this must be a string, not {json.dumps(value)[:60]}.")
        return value

    def fault(self, key: str, problem: str, hint: str = "") -> NoReturn:
        """Raise BadFileError with the line on which the key stands."""
        found = re.search(rf'"{re.escape(key)}"\s*:', self.text)
        line = self.text.count("\n", 0, found.start()) + 1 if found else None
        raise BadFileError(self.path, problem, line=line, key=key, hint=hint)


def load_json(path: Path) -> JsonObject:
    """Read a JSON file whose top level is an object.

    `NaN` and `Infinity`, which Python writes but JSON does not have, are kept as words: what needs a number there
    refuses them, and the rest of the file can be used.

    Raises:
        BadFileError: it is absent, too large or deep, not JSON, or has a key twice.
    """
    text = read_text(path, max_bytes=MAX_BYTES)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise BadFileError(path, "the key stands twice.", key=key)
            result[key] = value
        return result

    try:
        data = json.loads(text, parse_constant=str, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadFileError(path, f"not valid JSON: {error.msg}.", line=error.lineno) from None
    except RecursionError:
        raise BadFileError(path, f"nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:  # an integer of thousands of digits
        raise BadFileError(path, "holds a number of too many digits.") from None
    if not isinstance(data, dict):
        raise BadFileError(path, "the top level must be an object.", line=1)
    _check(path, data)
    return JsonObject(path, text, data)


def _check(path: Path, root: Any) -> None:
    """Refuse structures too deep and numbers that overflowed to infinity."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadFileError(path, f"nested deeper than {MAX_DEPTH} levels.")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise BadFileError(path, "holds a number that is not finite.")
        level = below
