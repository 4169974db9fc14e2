"""Many tree models in one small file: two bytes a split, two a leaf, unpacked one model at a time when it is asked for.

A split names its feature and which of that feature's thresholds it compares with (a histogram has at most 256); leaves
are half floats, whose rounding (5e-4 of a leaf) is far below a leaf's own error. Trees are stored level by level, so
numpy unpacks all trees of a model together. Numbers that are alike stand together (thresholds by feature, each byte of
the floats in a plane of its own): they pack a tenth smaller. Both evaluators, flat and XGBoost's, are made from this.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from costmodel.trees import MAX_DEPTH, MAX_TREES, FlatTrees
from foundation.errors import BadValueError
from workloads.table import Array

MAGIC = b"archcast forest 3\n"
MAX_HEADER, MAX_MODEL_BYTES, MAX_MODELS = 4_000_000, 50_000_000, 10_000
DROPPED = 4
"""Bits of a leaf's mantissa (of ten) that are not kept."""
LEAF = 255
"""Feature byte of a leaf; a model has fewer features than this."""


@dataclass(frozen=True)
class Forest:
    """Packed models by name. `sections` maps a name to (compressed bytes, width, trees, depth, base).

    `tables` are small matrices (float32, kept as half floats) that stand beside the models.
    """

    sections: Mapping[str, tuple[bytes, int, int, int, float]]
    tables: Mapping[str, Array] = field(default_factory=dict)
    _unpacked: dict[str, FlatTrees] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sections)

    def __contains__(self, name: str) -> bool:
        return name in self.sections

    def trees(self, name: str) -> FlatTrees:
        """Return one model. Raises BadValueError where its bytes are not sound."""
        found = self._unpacked.get(name)
        if found is None:
            packed, width, trees, depth, base = self.sections[name]
            try:
                raw, rest = _inflate(packed)
                found = replace(_unpack(raw, width, trees, depth, np.float32(base)), anchor=_anchor(rest))
                self._unpacked[name] = found
            except (zlib.error, ValueError, IndexError) as error:
                raise BadValueError(f"The trees '{name}' are damaged ({error}).") from None
        return found

    def to_bytes(self) -> bytes:
        """Return all models as one block: magic, length of the header, header (JSON), sections."""
        models = {
            name: [len(part), width, trees, depth, base]
            for name, (part, width, trees, depth, base) in self.sections.items()
        }
        flat = {
            name: zlib.compress(_planes(np.ascontiguousarray(table.T.astype("<f2"))).tobytes(), 9)
            for name, table in self.tables.items()
        }
        tables = {name: [len(flat[name]), *table.shape] for name, table in self.tables.items()}
        text = json.dumps({"models": models, "tables": tables}).encode()
        parts = [*(section[0] for section in self.sections.values()), *flat.values()]
        return b"".join([MAGIC, struct.pack("<I", len(text)), text, *parts])

    @staticmethod
    def from_bytes(data: bytes) -> Forest:
        """Read what `to_bytes` wrote. Raises BadValueError where it is something else."""
        start = len(MAGIC) + 4
        try:
            if data[: len(MAGIC)] != MAGIC:
                raise ValueError("another kind of file")
            (length,) = struct.unpack("<I", data[len(MAGIC) : start])
            if length > MAX_HEADER:
                raise ValueError("the header is too long")
            header = json.loads(data[start : start + length])
            at, sections, tables = start + length, {}, {}
            if len(header["models"]) + len(header["tables"]) > MAX_MODELS:
                raise ValueError("too many models")
            for name, (size, width, trees, depth, base) in header["models"].items():
                if not (0 < size <= len(data) - at and 0 < width < LEAF and 0 < trees <= MAX_TREES):
                    raise ValueError(f"the entry of '{name}'")
                if not (0 <= depth <= MAX_DEPTH and np.isfinite(base)) or trees << depth > 1 << 24:
                    raise ValueError(f"the entry of '{name}'")
                sections[str(name)] = (data[at : at + size], int(width), int(trees), int(depth), float(base))
                at += size
            for name, (size, rows, columns) in header["tables"].items():
                raw, _ = _inflate(data[at : at + size])
                tables[str(name)] = _joined(raw, "<f2").astype(np.float32).reshape(columns, rows).T.copy()
                at += size
            if at != len(data) or not (sections or tables):
                raise ValueError("its length")
        except (ValueError, TypeError, KeyError, AttributeError, struct.error, zlib.error, RecursionError) as error:
            raise BadValueError(f"These are not the trees of an artefact ({error}).") from None
        return Forest(sections, tables)


def packed(models: Mapping[str, FlatTrees]) -> Forest:
    """Return models as a forest, in the order of their names."""
    return Forest({name: _section(models[name]) for name in sorted(models)})


def _section(model: FlatTrees) -> tuple[bytes, int, int, int, float]:
    """Return a model as its section: per level the feature bytes, then all threshold numbers, cuts and leaves."""
    if model.width >= LEAF:
        raise BadValueError(f"A model of {model.width} features is too wide to pack.")
    shapes, features, thresholds, leaves = [], [], [], []
    alive = np.ones(model.trees, dtype=bool)
    position = np.arange(model.trees) << model.depth  # of the leftmost leaf below each place
    for level in range(model.depth):
        inner = alive & np.isfinite(model.thresholds[level])
        shapes.append(np.where(inner, model.features[level], LEAF)[alive].astype(np.uint8))
        features.append(model.features[level][inner])
        thresholds.append(model.thresholds[level][inner])
        ended = alive & ~inner
        leaves.append(model.leaves[position[ended]])
        step = 1 << (model.depth - level - 1)
        position = np.stack((position, position + step), axis=1).ravel()
        alive = np.repeat(inner, 2)
    leaves.append(model.leaves[position[alive]])
    feature = np.concatenate([np.zeros(0, np.intp), *features])
    threshold = np.concatenate([np.zeros(0, np.float32), *thresholds])
    cuts = [np.unique(threshold[feature == f]) for f in range(model.width)]
    if max(len(c) for c in cuts) > 256:
        raise BadValueError("A feature has more than 256 thresholds; train with at most 256 bins.")
    number = np.zeros(len(feature), dtype=np.uint8)
    for f, own in enumerate(cuts):
        mine = feature == f
        number[mine] = np.searchsorted(own, threshold[mine])
    parts = [np.array([len(s) for s in shapes], dtype="<u4"), *shapes, np.array([len(c) for c in cuts], dtype="<u2"),
             _planes(_steps(np.concatenate(cuts))), number[np.argsort(feature, kind="stable")],
             _planes(_short(np.concatenate(leaves)))]  # fmt: skip
    raw = b"".join(part.tobytes() for part in parts)
    tail = b""
    if model.anchor is not None:
        tail = struct.pack("<II", *model.anchor.shape) + model.anchor.astype("<f4").tobytes()
    return zlib.compress(raw, 9) + tail, model.width, model.trees, model.depth, float(model.base)


def _short(leaves: Array) -> Array:
    """Return leaves as half floats whose last `DROPPED` bits are 0: they pack to two thirds.

    Of a sum over hundreds of leaves, each off by at most 0.8 %, the errors cancel: 0.06 % of a prediction (rms).
    """
    halves = leaves.astype("<f2").view("<u2").astype(np.uint32)
    kept = (halves + (1 << (DROPPED - 1))) >> DROPPED << DROPPED
    return kept.astype("<u2").view("<f2")


def _planes(numbers: Array) -> Array:
    """Return the bytes of numbers, the first of each, then the second of each, ..."""
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, numbers.itemsize).T)


def _joined(data: bytes, kind: str) -> Array:
    """Return the numbers of which `_planes` gave the bytes."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(np.dtype(kind).itemsize, -1).T).view(kind)[:, 0]


def _steps(cuts: Array) -> Array:
    """Return thresholds as the differences, modulo 2^32, of whole numbers that are in the order of the floats."""
    bits = cuts.astype("<f4").view("<u4")
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return np.diff(ordered, prepend=np.uint32(0)).astype("<u4")


def _from_steps(steps: Array) -> Array:
    """Undo `_steps`."""
    ordered = np.cumsum(steps, dtype=np.uint32)
    return np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered).astype("<u4").view("<f4")


def _anchor(data: bytes) -> Array | None:
    """Return the weights that stand behind a packed model, if there are any."""
    if not data:
        return None
    if len(data) < 8:
        raise ValueError("an anchor")
    rows, columns = struct.unpack("<II", data[:8])
    if rows < 1 or len(data) != 8 + 4 * rows * columns:
        raise ValueError("an anchor")
    found = np.frombuffer(data, dtype="<f4", offset=8).astype(np.float32).reshape(rows, columns)
    if not np.isfinite(found).all():
        raise ValueError("an anchor")
    return found


def _inflate(data: bytes) -> tuple[bytes, bytes]:
    """Return what was compressed, and what stands behind it."""
    worker = zlib.decompressobj()
    raw = worker.decompress(data, MAX_MODEL_BYTES)
    if worker.unconsumed_tail or not worker.eof:
        raise ValueError("its size")
    return raw, worker.unused_data


def _unpack(raw: bytes, width: int, trees: int, depth: int, base: np.float32) -> FlatTrees:
    """Return the heap layout of a packed model: leaves above the last level send every row to the left."""
    at = 0

    def read(kind: str, count: int) -> Array:
        nonlocal at
        found = np.frombuffer(raw, dtype=kind, count=count, offset=at)
        at += found.nbytes
        return found

    def joined(kind: str, count: int) -> Array:
        return _joined(read("u1", np.dtype(kind).itemsize * count).tobytes(), kind)

    shapes = [read("u1", int(count)) for count in read("<u4", depth).copy()]
    counts = read("<u2", width).astype(np.intp)
    cuts = _from_steps(joined("<u4", int(counts.sum())))
    used_features = np.concatenate([np.zeros(0, np.uint8), *(s[s != LEAF] for s in shapes)])
    numbers = np.empty(len(used_features), dtype=np.uint8)
    numbers[np.argsort(used_features, kind="stable")] = read("u1", len(used_features))
    stored = joined("<f2", (len(raw) - at) // 2).astype(np.float32)
    if not (np.isfinite(stored).all() and np.isfinite(cuts).all()):
        raise ValueError("a leaf")
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    leaves = np.zeros(trees << depth, dtype=np.float32)
    heap_features, heap_thresholds = [], []
    place, used, leaf_at = np.arange(trees), 0, 0  # places of the level that hold a node
    for level, shape in enumerate(shapes):
        if len(shape) != len(place):
            raise ValueError("a level")
        inner = shape != LEAF
        feature = shape[inner].astype(np.intp)
        number = numbers[used : used + len(feature)].astype(np.intp)
        if (feature >= width).any() or (number >= counts[feature]).any():
            raise ValueError("a split")
        features = np.zeros(trees << level, dtype=np.intp)
        thresholds = np.full(trees << level, np.inf, dtype=np.float32)
        features[place[inner]] = feature
        thresholds[place[inner]] = cuts[first[feature] + number]
        heap_features.append(features)
        heap_thresholds.append(thresholds)
        ended = place[~inner] << (depth - level)
        leaves[ended] = stored[leaf_at : leaf_at + len(ended)]
        used, leaf_at = used + len(feature), leaf_at + len(ended)
        place = np.stack((2 * place[inner], 2 * place[inner] + 1), axis=1).ravel()
    leaves[place] = stored[leaf_at : leaf_at + len(place)]
    if leaf_at + len(place) != len(stored):
        raise ValueError("its leaves")
    return FlatTrees(tuple(heap_features), tuple(heap_thresholds), leaves, base, width)


def xgboost_json(model: FlatTrees) -> bytes:
    """Return the model in XGBoost's text format, so that its compiled code can answer large requests."""
    trees = [_tree_json(model, i) for i in range(model.trees)]
    count = str(len(trees))
    return json.dumps({
        "learner": {
            "attributes": {}, "feature_names": [], "feature_types": [],
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": count},
                    "iteration_indptr": list(range(len(trees) + 1)), "tree_info": [0] * len(trees), "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": f"{float(model.base):.9E}", "boost_from_average": "1", "num_class": "0",
                "num_feature": str(model.width), "num_target": "1",
            },
            "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": [2, 0, 0],
    }).encode()  # fmt: skip


@lru_cache(maxsize=16)
def _levels(depth: int) -> Array:
    return np.repeat(np.arange(depth + 1), 1 << np.arange(depth + 1))


def _tree_json(model: FlatTrees, tree: int) -> dict[str, object]:
    """Return one tree with its nodes in the order of their levels; places below a leaf are dropped."""
    depth = model.depth
    parts = [slice(tree << level, (tree + 1) << level) for level in range(depth)]
    features = np.concatenate([*(model.features[i][p] for i, p in enumerate(parts)), np.zeros(1 << depth, np.intp)])
    cuts = [*(model.thresholds[i][p] for i, p in enumerate(parts)), np.full(1 << depth, np.inf, np.float32)]
    thresholds = np.concatenate(cuts)
    inner = np.isfinite(thresholds)
    level, places = _levels(depth), np.arange(len(thresholds))
    alive = np.zeros(len(thresholds), dtype=bool)
    alive[0] = True
    for at in range(depth):
        mine = places[(level == at) & alive & inner]
        alive[2 * mine + 1] = alive[2 * mine + 2] = True
    inner &= alive
    number = np.cumsum(alive) - 1
    leftmost = ((places + 1) << (depth - level)) - (1 << depth)
    values = np.where(inner, thresholds, model.leaves[(tree << depth) + leftmost])[alive]
    left, right = (
        np.where(inner, number[np.minimum(2 * places + side, len(places) - 1)], -1)[alive] for side in (1, 2)
    )
    parents = number[np.maximum(places - 1, 0) // 2]
    parents[0] = 2147483647
    nodes = int(alive.sum())
    zeros = [0] * nodes
    return {
        "base_weights": [0.0] * nodes, "categories": [], "categories_nodes": [], "categories_segments": [],
        "categories_sizes": [], "default_left": zeros, "id": tree, "left_children": left.tolist(),
        "loss_changes": [0.0] * nodes, "parents": parents[alive].tolist(), "right_children": right.tolist(),
        "split_conditions": [float(v) for v in values], "split_indices": np.where(inner, features, 0)[alive].tolist(),
        "split_type": zeros, "sum_hessian": [1.0] * nodes,
        "tree_param": {
            "num_deleted": "0", "num_feature": str(model.width), "num_nodes": str(nodes), "size_leaf_vector": "1",
        },
    }  # fmt: skip
