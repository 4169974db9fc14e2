"""Simulation files of kind `run`: a workload on a device, run in time. The same question as `predict`, in a file.

kind: run
workload: llama-3.1-8b          # a name, or a path relative to this file
on: h100-sxm
batch: 8
tp: 2
policy: in-order                # or critical-path
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costmodel.estimate import Estimate
from foundation.errors import BadFileError, InputError, UnknownNameError
from foundation.yaml_file import YamlDocument

SIZES = ("batch", "prompt", "generate", "concurrency", "count", "tp", "pp", "ep", "dp", "cp")
WORDS = ("workload", "on", "dtype", "kv_dtype", "software", "mode", "policy")
KEYS = ("kind", *WORDS, *SIZES, "knobs")
POLICIES = ("in-order", "critical-path")


def predict_file(document: YamlDocument, settings: Mapping[str, Any] | None = None) -> tuple[Estimate, str]:
    """Return the estimate that a `kind: run` file asks for, and the scheduling policy; `settings` override its keys.

    Raises:
        BadFileError: with file, line and key: an unknown key, a missing one, or a question that cannot be answered.
    """
    from archcast.prediction import predict

    for key in settings or {}:
        if key not in KEYS:
            raise UnknownNameError("key to --set", str(key), KEYS)
    for key in document.data:
        if key not in KEYS:
            raise document.fault((key,), str(UnknownNameError("key", str(key), KEYS)))
    keys = {**document.data, **dict(settings or {})}
    for key in ("workload", "on"):
        if key not in keys:
            raise document.fault((), f"a file of kind 'run' needs the key '{key}'.")
    policy = str(keys.get("policy", POLICIES[0]))
    if policy not in POLICIES:
        raise document.fault(("policy",), str(UnknownNameError("policy", policy, POLICIES)))
    knobs = keys.get("knobs") or {}
    if not isinstance(knobs, dict):
        raise document.fault(("knobs",), "this must be a mapping of knobs to values.")
    words: dict[str, Any] = {
        name: str(keys[name]) for name in WORDS if name in keys and name not in ("workload", "on", "policy")
    }
    sizes: dict[str, Any] = {name: keys[name] for name in SIZES if name in keys}
    try:
        estimate = predict(
            _near(document.path, str(keys["workload"])),
            on=_near(document.path, str(keys["on"])),
            knobs=knobs,
            **words,
            **sizes,
        )
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(document.path, str(error)) from None
    return estimate, policy


def _near(file: Path, name: str) -> str:
    """Resolve a path relative to the file that names it; names of the catalogue stay as they are."""
    beside = file.parent / name
    return str(beside) if Path(name).suffix and beside.is_file() else name
