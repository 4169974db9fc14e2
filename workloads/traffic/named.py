"""Traffic with a name: one YAML file each in `named/`, in the words of `traffic:`, with where its numbers are from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from foundation.errors import UnknownNameError
from foundation.yaml_file import load_yaml

FOLDER = Path(__file__).with_name("named")
NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def named_specification(name: str) -> dict[str, Any]:
    """Return the mapping of a named traffic. A file with `like` takes what it does not say from another.

    Raises:
        UnknownNameError: there is none of this name; the nearest are named.
    """
    if name not in NAMES:
        raise UnknownNameError("traffic", name, NAMES, hint=f"Known are {', '.join(NAMES)}.")
    data = dict(load_yaml(FOLDER / f"{name}.yaml").data)
    like = data.pop("like", None)
    return {**named_specification(like), **data} if like else data
