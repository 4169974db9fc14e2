"""YAML text as the JSON document that a job's request takes, read as strictly as files are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, BadValueError
from foundation.yaml_file import parse_yaml

MOST_BYTES = 500_000
"""Longer texts than people paste are sent as JSON, which takes no parsing here."""
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
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise BadValueError(f"'text' is longer than {MOST_BYTES:,} bytes.")
    data = parse_yaml(text, NAME).data
    if not isinstance(data, dict):
        raise BadFileError(NAME, "a mapping of keys is needed, as in the examples.")
    plain: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))  # keys that are numbers become text
    return plain
