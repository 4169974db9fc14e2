"""Proxies as files: .npz of plain arrays and one JSON text, read without pickle, all of it checked first."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.proxy.boosting import Boosted
from archcast.searching.proxy.conformal import Interval
from archcast.searching.proxy.domain import CELLS, MOST_LEVELS, Domain
from archcast.searching.proxy.encoding import Encoding, Guess
from archcast.searching.proxy.kriging import Kriging
from archcast.searching.proxy.model import MOST_TABLE, Member, Output, Proxy
from archcast.searching.space import DesignSpace
from costmodel.trees import MAX_DEPTH, MAX_TREES, FlatTrees
from foundation.errors import BadFileError, BadValueError
from foundation.files import written_whole
from workloads.table import Array

FORMAT = "archcast proxy 1"
MOST_BYTES = 2**30
"""Of all arrays of a file together."""
MOST_REACH = 1e30
"""Of the sum over trees: 32-bit sums of them stay finite."""
MOST_KNOBS, MOST_VALUES, MOST_OUTPUTS, MOST_GUESSES, MOST_KRIGED = 500, 100_000, 64, 256, 50_000


def save(proxy: Proxy, path: str | Path) -> None:
    """Write a proxy whole or not at all. Raises BadFileError: it cannot be written."""
    arrays: dict[str, Array] = {}
    outputs = []
    for k, one in enumerate(proxy.outputs):
        members = []
        for number, member in enumerate(one.members):
            name = f"{k}.{number}"
            arrays |= _model_arrays(name, member.model)
            members.append([isinstance(member.model, Boosted), member.residual, member.weight, _about(member.model)])
        arrays |= _model_arrays(f"{k}.scale", one.interval.scale)
        ends = [one.interval.low, one.interval.high, _about(one.interval.scale)]
        bounds = [one.interval.least, one.interval.most, one.least, one.most]
        outputs.append({"name": one.name, "log": one.log, "guess": one.guess, "members": members, "interval": ends,
                        "bounds": [end if math.isfinite(end) else None for end in bounds]})  # fmt: skip
    domain = proxy.domain
    arrays |= {"middle": proxy.middle, "spread": proxy.spread, "seen": domain.seen, "span_ends": domain.span_ends,
               "low": domain.low, "high": domain.high}  # fmt: skip
    if proxy.table is not None and proxy.unlike is not None:
        arrays |= {"table": proxy.table, "unlike": proxy.unlike}
    text = json.dumps({
        "format": FORMAT, "space": _space_json(proxy.space), "guesses": proxy.encoding.guesses,
        "cells": domain.cells, "outputs": outputs, "card": dict(proxy.card),
    })  # fmt: skip
    arrays["about"] = np.frombuffer(text.encode(), dtype=np.uint8)
    try:
        with written_whole(Path(path)) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise BadFileError(path, f"cannot be written ({error.strerror}).") from None


def load(path: str | Path, closed_form: Guess | None = None) -> Proxy:
    """Return the proxy of a file (see `Proxy.load`). Raises BadFileError, BadValueError."""
    try:
        with zipfile.ZipFile(path) as packed:  # sizes before anything is unpacked
            if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
                raise BadFileError(path, f"it unpacks to more than {MOST_BYTES:,} bytes.")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays["about"].astype(np.uint8).tobytes())
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise ValueError("its format")
        proxy = _read(about, arrays)
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror or 'no proxy'}).") from None
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, MemoryError, RecursionError,
            NotImplementedError, EOFError, zipfile.BadZipFile, BadValueError) as error:  # fmt: skip
        raise BadFileError(path, f"it holds no sound proxy ({type(error).__name__}: {str(error)[:80]}).",
                           hint="Make one with ac.fit_proxy and save().") from None  # fmt: skip
    if proxy.encoding.guesses and closed_form is None and proxy.table is None:
        raise BadValueError(f"the proxy '{path}' corrects a closed form: give the one that it was made with.")
    return Proxy(**{**proxy.__dict__, "guess": closed_form})


def _read(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Proxy:
    """Return a proxy without its closed form. Raises ValueError, KeyError, TypeError: something is not sound."""
    space = _space_of(about["space"])
    guesses = tuple(str(name) for name in about["guesses"])
    _sound(len(guesses) <= MOST_GUESSES and len(about["outputs"]) <= MOST_OUTPUTS, "its size")
    encoding = Encoding(space, guesses)
    features = len(space.knobs) + sum(len(knob.values) for knob in space.knobs if knob.category) + len(guesses)
    outputs = tuple(_output(k, one, arrays, features, encoding.width, len(guesses))
                    for k, one in enumerate(about["outputs"]))  # fmt: skip
    middle, spread, low, high = (_array(arrays[name], (len(guesses),)) for name in ("middle", "spread", "low", "high"))
    _sound(bool((spread > 0).all()) and np.isfinite(middle).all() and len(outputs) > 0, "its closed form")
    cells = tuple(int(one) for one in about["cells"])
    expected = tuple(CELLS if knob.count > MOST_LEVELS else int(knob.count) for knob in space.knobs)
    _sound(cells == expected, "its domain")
    seen = arrays["seen"]
    _sound(seen.dtype == bool and seen.shape == (len(cells),) * 2 + (max(cells),) * 2, "its domain")
    domain = Domain(cells, seen, _array(arrays["span_ends"], (len(cells), 2)), low, high)
    card = about["card"]
    _sound(isinstance(card, dict), "its card")
    table = unlike = None
    if "table" in arrays:
        table, unlike = arrays["table"], arrays["unlike"]
        _sound(space.listed and 0 < space.size <= MOST_TABLE, "its table")
        _sound(table.dtype == np.float64 and table.shape == (len(outputs), 3, space.size), "its table")
        _sound(unlike.dtype == bool and unlike.shape == (space.size,), "its table")
        _sound(bool(np.isfinite(table[:, 0]).all()), "its table")
    return Proxy(encoding, None, middle, spread, outputs, domain, card, table, unlike)


def _output(
    k: int, one: Mapping[str, Any], arrays: Mapping[str, Array], features: int, width: int, guesses: int
) -> Output:  # fmt: skip
    members = []
    for number, (trees, residual, weight, about) in enumerate(one["members"]):
        name = f"{k}.{number}"
        _sound(0 <= weight <= 1 and isinstance(residual, bool), "a member")
        model = _trees(name, arrays, about, features) if trees else _kriging(name, arrays, about, width)
        members.append(Member(model, residual, float(weight)))
    guess = int(one["guess"])
    _sound(-1 <= guess < guesses and (guess >= 0 or not any(member.residual for member in members)), "a member")
    low, high, about = one["interval"]
    _sound(math.isfinite(low) and math.isfinite(high) and low <= 0 <= high, "an interval")
    empty = (-math.inf, math.inf, -math.inf, math.inf)  # files of earlier versions have no bounds
    bounds = [float(blank if end is None else end) for end, blank in zip(one.get("bounds", empty), empty, strict=True)]
    _sound(bounds[0] <= 0 <= bounds[1] and bounds[2] < bounds[3], "an interval")
    interval = Interval(_trees(f"{k}.scale", arrays, about, features), float(low), float(high), *bounds[:2])
    return Output(str(one["name"]), bool(one["log"]), guess, tuple(members), interval, *bounds[2:])


def _about(model: Boosted | Kriging) -> list[float]:
    if isinstance(model, Kriging):
        return [model.offset]
    return [float(model.trees.base), model.trees.width, model.trees.depth]


def _model_arrays(name: str, model: Boosted | Kriging) -> dict[str, Array]:
    if isinstance(model, Kriging):
        parts = {"columns": model.columns, "lengths": model.lengths, "points": model.points, "weights": model.weights}
        return {f"{name}.{part}": array for part, array in parts.items()}
    levels = zip(model.trees.features, model.trees.thresholds, strict=True)
    found = {f"{name}.leaves": model.trees.leaves}
    for level, (feature, threshold) in enumerate(levels):
        found |= {f"{name}.f{level}": feature.astype(np.uint16), f"{name}.t{level}": threshold}
    return found


def _trees(name: str, arrays: Mapping[str, Array], about: Any, features: int) -> Boosted:
    base, width, depth = about
    leaves = _array(arrays[f"{name}.leaves"], None, np.float32)
    depth = int(depth)
    _sound(0 <= depth <= MAX_DEPTH and int(width) == features and math.isfinite(base), "a forest")
    count = len(leaves) >> depth
    _sound(0 < count <= MAX_TREES and leaves.shape == (count << depth,), "a forest")
    _sound(bool(np.abs(leaves.reshape(count, -1)).max(axis=1).sum(dtype=float) <= MOST_REACH), "a forest")
    split, limit = [], []
    for level in range(depth):
        feature, threshold = arrays[f"{name}.f{level}"], arrays[f"{name}.t{level}"]
        _sound(feature.dtype == np.uint16 and threshold.dtype == np.float32, "a split")
        _sound(feature.shape == threshold.shape == (count << level,) and int(feature.max()) < features, "a split")
        _sound(not np.isnan(threshold).any(), "a split")
        split.append(feature.astype(np.intp))
        limit.append(threshold)
    return Boosted(FlatTrees(tuple(split), tuple(limit), leaves, np.float32(base), features))


def _kriging(name: str, arrays: Mapping[str, Array], about: Any, width: int) -> Kriging:
    columns = arrays[f"{name}.columns"]
    _sound(columns.dtype.kind == "i" and columns.ndim == 1 and len(columns) <= width, "a process")
    _sound(len(columns) == 0 or (int(columns.min()) >= 0 and int(columns.max()) < width), "a process")
    lengths = _array(arrays[f"{name}.lengths"], (len(columns),))
    weights = _array(arrays[f"{name}.weights"], None, np.float32)
    _sound(weights.ndim == 1 and len(weights) <= MOST_KRIGED and bool((lengths > 0).all()), "a process")
    points = _array(arrays[f"{name}.points"], (len(columns), len(weights)), np.float32)
    _sound(math.isfinite(about[0]) and bool(np.isfinite(weights).all() and np.isfinite(points).all()), "a process")
    return Kriging(columns, lengths, points, weights, float(about[0]))


def _array(found: Array, shape: tuple[int, ...] | None, kind: Any = np.float64) -> Array:
    """Return an array of numbers without NaN. Raises ValueError."""
    _sound(found.dtype == kind and (shape is None or found.shape == shape) and not np.isnan(found).any(), "an array")
    return found


def _sound(good: bool | np.bool_, what: str) -> None:
    if not good:
        raise ValueError(what)


def _space_json(space: DesignSpace) -> dict[str, Any]:
    knobs = [
        {"name": knob.name, "values": knob.values} if knob.span is None
        else {"name": knob.name, "span": [knob.span.low, knob.span.high, knob.span.log, knob.span.whole]}
        for knob in space.knobs
    ]  # fmt: skip
    return {"knobs": knobs, "conditions": [[one.knob, one.by, one.codes] for one in space.conditions]}


def _space_of(said: Mapping[str, Any]) -> DesignSpace:
    """Return the space that a file describes. Raises ValueError, TypeError, BadValueError, UnknownNameError."""
    from archcast.searching.ranges import Choice, Real, Whole, made_conditions, made_knob

    _sound(0 < len(said["knobs"]) <= MOST_KNOBS, "its space")
    knobs = []
    for one in said["knobs"]:
        if "span" in one:
            low, high, log, whole = one["span"]
            knobs.append(made_knob(str(one["name"]), (Whole if whole else Real)(low, high, bool(log))))
            continue
        values = one["values"]
        _sound(isinstance(values, list) and 0 < len(values) <= MOST_VALUES, "a knob")
        knob = made_knob(str(one["name"]), Choice(values))
        _sound(list(knob.values) == [v if knob.category else float(v) for v in values], "a knob")
        knobs.append(knob)
    _sound(len({knob.name for knob in knobs}) == len(knobs), "its space")
    by_name = {knob.name: knob for knob in knobs}
    asked: dict[str, dict[str, Any]] = {}
    for name, by, codes in said["conditions"]:
        _sound(name in by_name and by in by_name and all(0 <= c < by_name[by].count for c in codes), "a condition")
        asked.setdefault(str(name), {})[str(by)] = [by_name[by].values[int(c)] for c in codes]
    return DesignSpace(tuple(knobs), made_conditions(tuple(knobs), asked))
