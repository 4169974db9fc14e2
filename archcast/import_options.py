"""`--import NAME[=PATH][,KEY=VALUE...]`: what is read, from where, and options of the importer."""

from __future__ import annotations

import re
from pathlib import Path

from foundation.errors import BadValueError

OPTION = re.compile(r"[a-z_]+=")
"""How a part behind a comma begins that is an option; any other part belongs to the value (or path) before it."""


def asked_import(text: str) -> tuple[str, Path | None, dict[str, str]]:
    """Return (name, path, options) of an import as it is asked for on the command line.

    A path that exists as it stands is one, whatever it holds. A value may hold commas: `tables=gemm_perf,moe_perf`.

    Raises:
        BadValueError: no name, or an option twice or without a value.
    """
    name, equals, rest = text.partition("=")
    if "," in name:  # options without a path
        name, _, options = text.partition(",")
        equals, rest = "", f",{options}"
    if not name.strip():
        raise BadValueError(f"'{text[:60]}' names no import; its form is NAME, NAME=PATH or NAME=PATH,KEY=VALUE.")
    if equals and Path(rest).exists():
        return name, Path(rest), {}
    first, *parts = rest.split(",")
    path, options_found, last = first, dict[str, str](), ""
    for part in parts:
        if OPTION.match(part):
            last, _, value = part.partition("=")
            if last in options_found or not value:
                fault = "stands twice" if value else "has no value"
                raise BadValueError(f"The option '{last}' of the import '{name}' {fault}.")
            options_found[last] = value
        elif last:
            options_found[last] += f",{part}"
        else:
            path += f",{part}"
    return name, Path(path) if path else None, options_found
