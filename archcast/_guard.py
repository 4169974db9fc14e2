"""The start-up check that archcast's packages are archcast's own.

The five packages beside `archcast` have plain names, and Python takes the first folder of that name on its path:
a user's own `workloads/__init__.py` in the working folder would answer `import workloads`, and archcast would die
far from the cause. `archcast/__init__.py` calls `check_siblings()` before it imports any of them.

Standard library only, and nothing is imported that could itself be shadowed. Cost: about 0.2 ms.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from itertools import pairwise

SIBLINGS: tuple[str, ...] = ("foundation", "hardware_specs", "workloads", "costmodel", "simulator")
"""The packages that must lie in the folder that holds `archcast`."""

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder that holds `archcast`: the checkout, or site-packages."""


class ShadowedPackageError(ImportError):
    """Something else answers to the name of one of archcast's packages, or the package is absent.

    Not an `ArchcastError`: those are in `foundation`, which may be the very package that is shadowed.
    """


def check_siblings(names: Iterable[str] = SIBLINGS, home: str = HOME) -> None:
    """Do nothing where every package in `names` lies in the folder `home`.

    Raises:
        ShadowedPackageError: one does not; the message names the folder in the way, or the missing one.
        SystemExit: the same, but archcast runs as a command: the message is on stderr, the exit code 2.
    """
    for name in names:
        place = _place_of(name)
        expected = os.path.join(home, name)
        if place is not None and _same(place, expected):
            continue
        fault = _fault(name, place, expected)
        if _runs_as_command():
            print(f"Error: {fault}", file=sys.stderr)
            raise SystemExit(2)
        raise ShadowedPackageError(fault, name=name, path=place)


def _place_of(name: str) -> str | None:
    """Return the folder (or the file of a plain module) that `import name` would use, without running its code."""
    loaded = sys.modules.get(name)
    file: str | None
    folders: list[str]
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        folders = list(getattr(loaded, "__path__", ()))
    else:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        file, folders = spec.origin, list(spec.submodule_search_locations or ())
    if folders:
        return os.path.abspath(folders[0])
    return os.path.abspath(file) if file else None


def _same(one: str, other: str) -> bool:
    """Return whether two paths are one folder; links are followed only where the texts differ."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _fault(name: str, place: str | None, expected: str) -> str:
    if place is None:
        return (
            f"archcast is incomplete: its package '{name}' is not in {expected}. "
            "Install archcast again (pip install --force-reinstall archcast)."
        )
    kind = "folder" if os.path.isdir(place) else "file"
    return (
        f"The {kind} {place} has the name of archcast's own package '{name}' and is found before it. "
        f"Rename that {kind}, or start Python from another folder."
    )


def _runs_as_command() -> bool:
    """Return whether this process is the `archcast` command (script or `python -m archcast`), not a library user."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    if script == "-m":  # what Python puts there while it imports the package of `python -m PACKAGE`
        return any(a == "-m" and b.split(".")[0] == "archcast" for a, b in pairwise(sys.orig_argv))
    return os.path.splitext(script)[0] in ("archcast", "archcast-script")
