"""YAML text as the JSON document that a job's request takes, read as strictly as files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, BadValueError
from foundation.yaml_file import MAX_BYTES, parse_yaml

NAME = Path("request.yaml")
"""What errors call the text."""


def document(text: object) -> dict[str, Any]:
    """Return the mapping that YAML (or JSON) text stands for.

    Raises:
        BadValueError: it is no text, or too long. BadFileError: not YAML, no mapping, aliases, tags, duplicate keys;
        with the line.
    """
    if not isinstance(text, str):
        raise BadValueError("'text' must be the text of a YAML file.")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadValueError(f"'text' is longer than {MAX_BYTES:,} bytes.")
    data = parse_yaml(text, NAME).data
    if not isinstance(data, dict):
        raise BadFileError(NAME, "a mapping of keys is needed, as in the examples.")
    return data
