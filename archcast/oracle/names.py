"""Stable names of cells, and random numbers that depend on the name alone (and on seed and place of the draw)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from archcast.batches import DEFAULTS
from archcast.oracle.questions import KNOBS, NAME, SAMPLES, Questions
from archcast.question import find_target
from foundation.errors import InputError
from workloads.model import Model
from workloads.table import Array

STEP = np.uint64(0x9E3779B97F4A7C15)
PLAIN = {**DEFAULTS, SAMPLES: 1, KNOBS: {}}
"""What a question says that says nothing."""


def device_names(questions: Questions, software: bool) -> Array:
    """Return the device (and software) of each row as text, aliases as the id that they stand for; shape (rows,)."""
    on = _words(questions.columns["on"], _device_id)
    stack = questions.columns.get("software")
    if not software or stack is None:
        return on
    return np.array([f"{a}/{b}" if b else a for a, b in zip(on.tolist(), _words(stack, str).tolist(), strict=True)])


def cell_words(questions: Questions, purpose: str, seed: int) -> Array:
    """Return 64 bits a row that depend on what is asked, the purpose and the seed alone, shape (rows,)."""
    state = np.full(questions.rows, np.uint64(_hashed(f"{seed}/{purpose}")))
    for name in sorted(questions.columns):
        if name == NAME:
            continue
        column = questions.columns[name]
        words, back = np.unique(_words(column, _device_id if name == "on" else _plain), return_inverse=True)
        usual = {"", "nan", _plain(PLAIN.get(name, ""))}
        # a column that says what is meant without it changes nothing
        state ^= np.array([0 if w in usual else _hashed(f"{name}={w}") for w in words.tolist()], np.uint64)[back]
    return state


def cell_normals(words: Array, n: int) -> Array:
    """Return standard normal numbers, shape (n, cells): splitmix64 (Steele, Lea and Flood 2014) of word and place."""
    from scipy.special import ndtri

    out = np.empty((n, len(words)))
    block = max(1, 2_000_000 // max(len(words), 1))
    for start in range(0, n, block):
        place = np.arange(start + 1, min(start + block, n) + 1, dtype=np.uint64)[:, None]
        bits = _mixed(_mixed(words)[None, :] + place * STEP)
        out[start : start + block] = ndtri(((bits >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)
    return out


def _mixed(z: Array) -> Array:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _words(column: Array, as_text: Any) -> Array:
    """Return a column as text; each distinct value is put into words once."""
    if column.dtype.kind == "f":
        distinct, back = np.unique(column, return_inverse=True)
        return np.array([f"{value:g}" for value in distinct.tolist()])[np.ravel(back)]
    known: dict[Any, str] = {}
    found = []
    for value in column.tolist():
        key = value if isinstance(value, str) else id(value)
        if key not in known:
            known[key] = as_text(value) if value is not None else ""
        found.append(known[key])
    return np.array(found)


def _device_id(value: Any) -> str:
    try:
        target = find_target(value)
    except InputError:
        return str(value)
    return target.spec.id


def _plain(value: Any) -> str:
    if isinstance(value, Model):
        return f"{value.name} {sorted((k, str(v)) for k, v in value.knobs().items())}"
    if isinstance(value, Mapping):
        return str(sorted((str(k), str(v)) for k, v in value.items())) if value else ""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
