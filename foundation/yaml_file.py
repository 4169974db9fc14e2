"""Reading of YAML files that strangers wrote: bounded, without aliases, and with the line of every key.

A document becomes plain dicts, lists, strings and numbers. Aliases are refused (they are how a small file
becomes a large structure), and so are duplicate keys, tags, deep nesting and large files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError
from foundation.files import plain_file

MAX_BYTES = 4_000_000
MAX_DEPTH = 40

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlDocument:
    """A parsed file: its data, and the line (from 1) at which each key or list item stands."""

    path: Path
    data: Any
    lines: dict[Path_, int] = field(repr=False, default_factory=dict)

    def fault(self, at: Path_, problem: str, hint: str = "") -> BadFileError:
        """Return the error to raise for a fault at key path `at`; the nearest known line is named."""
        place = at
        while place not in self.lines and place:
            place = place[:-1]
        return BadFileError(self.path, problem, line=self.lines.get(place), key=key_text(at), hint=hint)


def key_text(at: Path_) -> str:
    """Return a key path as people write it, e.g. `memory[0].bandwidth`."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def read_text(path: str | Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a file of at most `max_bytes` bytes.

    Raises:
        BadFileError: it is absent, a folder, too large, or not UTF-8.
    """
    file = plain_file(path, max_bytes)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadFileError(path, "this is not a UTF-8 text file.") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None


def load_yaml(path: str | Path) -> YamlDocument:
    """Parse a YAML file into a `YamlDocument`.

    Raises:
        BadFileError: it is absent, too large, too deep, has aliases, tags, duplicate keys, NaN, or is not YAML.
    """
    return parse_yaml(read_text(path), Path(path))


def parse_yaml(text: str, path: Path) -> YamlDocument:
    """Parse YAML text; `path` is only named in errors. Raises as `load_yaml`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            line = event.start_mark.line + 1 if event.start_mark else None
            if isinstance(event, yaml.AliasEvent):
                raise BadFileError(path, "YAML aliases are not accepted.", line=line, hint="Write the value out.")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise BadFileError(path, f"nested deeper than {MAX_DEPTH} levels.", line=line)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise BadFileError(path, f"not valid YAML: {problem}.", line=mark.line + 1 if mark else None) from None
    if root is None:
        raise BadFileError(path, "the file is empty.")
    builder = _Builder(path)
    data = builder.build(root, ())
    return YamlDocument(path, data, builder.lines)


class _Builder:
    """Turns a composed node tree into plain data, noting the line of every key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Path_, int] = {}

    def build(self, node: Any, at: Path_) -> Any:
        import yaml

        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*at, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, at)

    def _mapping(self, node: Any, at: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                raise BadFileError(self.path, "a key must be a plain word.", line=line)
            if key in result:
                raise BadFileError(self.path, "the key stands twice.", line=line, key=key_text((*at, key)))
            self.lines[(*at, key)] = line
            result[key] = self.build(value_node, (*at, key))
        return result

    def _scalar(self, node: Any, at: Path_) -> Any:
        text, tag = node.value, node.tag.rsplit(":", 1)[-1]
        line = node.start_mark.line + 1
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        if tag in ("int", "float", "str"):
            return text if node.style in ("'", '"') else self._number(text, line, at)
        if tag == "timestamp":
            return text
        raise BadFileError(self.path, f"the YAML tag '{node.tag}' is not accepted.", line=line, key=key_text(at))

    def _number(self, text: str, line: int, at: Path_) -> Any:
        """Plain scalars that read as numbers are numbers (`1e9` too, which YAML 1.1 calls a string)."""
        plain = text.replace("_", "")
        try:
            return int(plain, 0) if not plain.lstrip("+-").startswith("0") or plain in ("0", "-0") else _zero_led(plain)
        except ValueError:
            pass
        try:
            number = float(plain.replace(".", "") if plain.lower().lstrip("+-") in (".nan", ".inf") else plain)
        except ValueError:
            return text
        if not math.isfinite(number):
            raise BadFileError(self.path, f"{text} is not a usable number.", line=line, key=key_text(at))
        return number


def _zero_led(text: str) -> int | float:
    """Read `007`, `0x1f` and `0.5`; YAML 1.1 octals are not guessed at."""
    if text.lower().startswith(("0x", "0b", "0o")):
        return int(text, 0)
    return float(text) if any(c in text for c in ".eE") else int(text)
