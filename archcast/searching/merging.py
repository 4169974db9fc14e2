"""`merge`: JSON answers of shards of a search to the answer of the whole."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.answer import SearchAnswer
from archcast.searching.grid import Refused, Tally
from archcast.searching.run import MAX_SEED, answer_of, read_shard
from archcast.searching.search_file import Shard, Study, read_search
from foundation.checks import whole_number
from foundation.errors import BadFileError
from foundation.yaml_file import read_text

MAX_SHARD_BYTES = 1_000_000_000


def merge(file: str | Path | Mapping[str, Any], shards: Sequence[str | Path | Mapping[str, Any]]) -> SearchAnswer:
    """Return the answer of a whole space from the JSON answers of its shards (files or documents).

    Raises:
        BadFileError: one is no answer of a shard of this search, stands twice, or one is missing.
    """
    started = time.perf_counter()
    documents = [_document(shard) for shard in shards]
    number = len(documents)
    study = read_search(file, Shard(1, max(number, 1)))
    tally, seen, seed = Tally.of(study.problem.space, study.problem.objectives), set(), 0
    for name, document in documents:
        part = _checked(name, document, study)
        if part.of != number or part.number in seen:
            text = f"it is shard {part.number}/{part.of}, and {number} files were given"
            raise BadFileError(name, f"{text}{', it twice' if part.number in seen else ''}.", hint="Give each once.")
        seen.add(part.number)
        found = _tally(name, document, study)
        first, last = part.bounds(study.problem.space.size)
        if (
            found.designs != last - first
            or found.feasible + sum(r.designs for r in found.refused.values()) != last - first
        ):
            raise BadFileError(name, f"its counts are not those of {last - first:,} designs.", key="designs")
        tally.merge(found)
        seed = document.get("seed", 0)
    return answer_of(study, tally, Shard(), whole_number("seed", seed, low=0, high=MAX_SEED), started)


def _document(shard: str | Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(shard, Mapping):
        return "shard", shard
    try:
        found = json.loads(read_text(shard, max_bytes=MAX_SHARD_BYTES))
    except ValueError as error:
        raise BadFileError(shard, f"not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise BadFileError(shard, "it holds no answer of archcast search.")
    return str(shard), found


def _checked(name: str, document: Mapping[str, Any], study: Study) -> Shard:
    """Return which shard a document answers. Raises BadFileError."""
    if document.get("kind") != "search" or not isinstance(document.get("shard"), (str, type(None))):
        raise BadFileError(name, "it holds no answer of archcast search.", hint="Write one with --shard i/n --json.")
    if document.get("digest") != study.digest:
        raise BadFileError(name, "it answers another search than this file asks for.", key="digest")
    return read_shard(document.get("shard") or "1/1")


def _tally(name: str, document: Mapping[str, Any], study: Study) -> Tally:
    """Return the tally that a shard's answer was made from."""
    tally = Tally.of(study.problem.space, study.problem.objectives)
    try:
        tally.designs, tally.feasible = int(document["designs"]), int(document["feasible_designs"])
        for one in document["infeasible"]:
            lacking = one.get("shortfall_bytes", {"least": 0.0, "most": 0.0})
            known = tally.refused.setdefault(str(one["reason"]), Refused())
            known.add(int(one["designs"]), float(lacking["least"]), float(lacking["most"]))
        for knob, best in zip(study.problem.space.knobs, tally.best, strict=True):
            for code, row in enumerate(document["sensitivity"].get(knob.name, [])):
                best[code] = [np.inf if row[o] is None else row[o] for o in tally.objectives]
        index = np.array([one["design"] for one in document["front"]], dtype=np.int64)
        values = [[one[o]["value"] for o in tally.objectives] for one in document["front"]]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        raise BadFileError(name, "it is no whole answer of a shard.") from None
    if len(index):
        table = np.array(values, dtype=float)
        if index.min() < 0 or index.max() >= study.problem.space.size or not np.isfinite(table).all():
            raise BadFileError(name, "its designs are not those of the space.", key="front")
        tally.archive.add(index, table)
    return tally
