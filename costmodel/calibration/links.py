"""Collectives learned as curves: a Gaussian process over (device, links, stack, version, format, kind, ranks) x size.

What is learned is log(measured / closed form) on a grid of octaves. Curves resemble each other by what they share,
sizes by their distance: covariances are sums of (curves x sizes) Kronecker products (Rasmussen and Williams 2006,
sections 2.2 and 4.2; Saatci 2011, chapter 5), so that conjugate gradients solve all curves at once. Faulty
measurements count less: their noise is that of a Student-t. A curve of a device also follows its own points, straight
from one size to the next; the answer is the mean of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from costmodel.calibration.rows import Rows
from costmodel.collectives import fabric_of
from costmodel.features import FRAMEWORKS, LAYOUTS, stack_of
from costmodel.knowledge import LIBRARIES
from hardware_specs import load_device
from workloads.table import Array

PRIOR: dict[str, float] = {
    "all": 0.107, "links": 0.713, "links_kernel": 0.299, "links_ranks": 0.0296, "links_group": 0.0768,
    "links_curve": 0.0303, "device": 0.0701, "device_stack": 0.111, "device_kernel": 0.0636, "device_versions":
    0.231, "device_curve": 0.0687, "curve": 0.0276, "noise": 0.0491, "open": 8.14, "kind": 0.962, "framework":
    0.0802, "dtype": 0.573, "version": 0.384, "versions": 0.734, "library": 0.171, "rate": 0.657, "ranks_far": 3.58,
    "ranks_wide": 1.57, "steady": 0.395, "level": 1.21, "level_own": 0.236, "all_octaves": 5.46, "links_octaves":
    10.6, "kernel_octaves": 8.94, "curve_octaves": 3.06,
}  # fmt: skip
"""Standard deviations of the parts of the log factor (`all` to `noise`), how much more links without a switch differ
(`open`), covariances of curves of other kinds, frameworks ... (`kind` to `library`, `steady`: of other ranks of a
device), and reaches: of the log rate, of log2 of the ranks, of versions, of octaves. Found by search on held-out sizes
and links of aiconfigurator-core 0.12 (seeds 0 to 3 of benchmarks/learned_accuracy.py); estimated elsewhere."""
ROUNDS, STEPS, CLOSE = 2, 300, 1e-2
"""Rounds of weights against outliers, most steps of conjugate gradients, and the residual at which they end."""
FREEDOM = 3.0
"""Degrees of freedom of the Student-t of measurement noise (estimated, 2 to 5)."""
LEVELS = (
    ("all",), ("links", "device", "links_kernel"),
    ("device_stack", "device_kernel", "links_ranks", "links_group"),
    ("curve", "device_curve", "links_curve", "device_versions"),
)  # fmt: skip
"""Parts of the covariance of curves by the reach in octaves that goes with them."""
COLUMNS = ("device", "stack", "dtype", "kind", "log_ranks", "framework", "order", "switched", "log_rate", "library")
NONE = -1.0
"""Device or stack of a curve that stands for links in general."""


@dataclass(frozen=True)
class Observed:
    """Measured curves: `who` (curves, COLUMNS), `values` (curves, sizes; NaN where not measured), log2 bytes of the
    sizes, and of each row its curve and its log2 bytes."""

    who: Array
    values: Array
    octaves: Array
    curve: Array
    size: Array

    @property
    def cell(self) -> Array:
        return np.asarray(np.clip(np.round(self.size - self.octaves[0]).astype(int), 0, len(self.octaves) - 1))

    def without(self, rows: Array) -> Observed:
        """Return the same curves without the points of some rows (a mask)."""
        values = self.values.copy()
        values[self.curve[rows], self.cell[rows]] = np.nan
        return replace(self, values=values)

    def at_rows(self, values: Array) -> Array:
        """Return (curves, sizes) values at the rows, straight between sizes."""
        return between(values, self.curve, self.size - self.octaves[0])


def between(values: Array, curve: Array, position: Array) -> Array:
    """Return values of curves at positions of the grid (parts of an octave), level beyond its ends."""
    cells = values.shape[1]
    position = np.clip(position, 0, cells - 1)
    cell = np.minimum(position.astype(int), max(cells - 2, 0))
    right = np.minimum(cell + 1, cells - 1)
    return np.asarray(values[curve, cell] + (position - cell) * (values[curve, right] - values[curve, cell]))


def observed(rows: Rows) -> Observed:
    """Return the curves of measured collectives."""
    names = LAYOUTS["collective"].names
    kind, ranks, size = (rows.matrix[:, names.index(n)].astype(float) for n in ("kind", "ranks", "bytes"))
    log_ranks, size = np.round(ranks / np.log(2), 4), np.round(size / np.log(2), 4)
    keys = np.stack([rows.device, rows.software, rows.dtype, kind, log_ranks], axis=1)
    who, curve = np.unique(keys, axis=0, return_inverse=True)
    octaves = np.arange(np.floor(size.min()), np.ceil(size.max()) + 1)
    target = rows.log_error
    values = np.full((len(who), len(octaves)), np.nan)
    for i in range(len(who)):  # a few hundred curves
        mine = np.flatnonzero(curve.ravel() == i)
        sizes, at = np.unique(size[mine], return_inverse=True)
        typical = np.array([np.median(target[mine[at.ravel() == j]]) for j in range(len(sizes))])
        near = np.abs(sizes[:, None] - octaves).min(axis=0) <= 0.5
        values[i, near] = np.interp(octaves[near], sizes, typical)
    return Observed(_described(who, rows), values, octaves, curve.ravel(), size)


def _described(who: Array, rows: Rows) -> Array:
    """Return `who` with the framework, the order of its version, and the links of each curve."""
    stacks = [stack_of(rows.words.softwares[int(code)]) for code in who[:, 1]]
    order = {stack: i for i, stack in enumerate(sorted(set(stacks)))}
    links = {code: links_of(rows.words.devices[int(code)]) for code in np.unique(who[:, 0])}
    own = {code: {FRAMEWORKS[int(s[0])] for s, c in zip(stacks, who[:, 0], strict=True) if c == code} for code in links}
    extra = [
        (stack[0], order[stack], *links[code], float("oneccl" in own[code]))
        for stack, code in zip(stacks, who[:, 0], strict=True)
    ]
    return np.column_stack([who, np.array(extra)])


def links_of(device: str) -> tuple[float, float]:
    """Return (switched, log of the bytes per second) of a device's links."""
    fabric = fabric_of(load_device(device), 2)
    assert fabric is not None  # its collectives were priced
    return float(fabric.switched), float(np.log(fabric.local_bytes_per_s))


@dataclass(frozen=True)
class Fitted:
    """Curves fitted together: `weights` (curves, sizes) of the points of the curves `who`."""

    who: Array
    weights: Array
    between_sizes: list[Array]

    def at(self, wanted: Array) -> Array:
        """Return the curves of `wanted` (their COLUMNS), shape (curves, sizes)."""
        return _applied(_covariances(wanted, self.who), self.between_sizes, self.weights).astype(np.float64)


def fit(found: Observed) -> Fitted:
    """Return all curves that have points, fitted together."""
    known = np.isfinite(found.values)
    used = np.flatnonzero(known.any(axis=1))
    who, known = found.who[used], known[used]
    target, variance = np.where(known, found.values[used], 0.0), PRIOR["noise"] ** 2
    covariance, between_sizes = _covariances(who, who), _sizes(found.octaves)
    weights = _solved(covariance, between_sizes, target, known, np.full(target.shape, variance))
    for _ in range(ROUNDS - 1):
        off = np.where(known, target - _applied(covariance, between_sizes, weights), 0.0)
        strange = (FREEDOM + off**2 / variance) / (FREEDOM + 1)
        weights = _solved(covariance, between_sizes, target, known, variance * np.maximum(strange, 1.0))
    return Fitted(who, weights, between_sizes)


def straight(values: Array) -> Array:
    """Return each curve straight between its own points and level beyond them; NaN without two points."""
    found = np.full(values.shape, np.nan)
    for i in range(len(values)):
        at = np.flatnonzero(np.isfinite(values[i]))
        if len(at) > 1:
            found[i] = np.interp(np.arange(values.shape[1]), at, values[i, at])
    return found


def blended(found: Observed, fitted: Fitted) -> Array:
    """Return the measured curves at all sizes: the mean of what all curves say and of their own points."""
    shared, own = fitted.at(found.who), straight(found.values)
    return np.where(np.isfinite(own), (shared + own) / 2, shared)


def _near(a: Array, b: Array, column: str, reach: float) -> Array:
    i = COLUMNS.index(column)
    return np.asarray(np.exp(-np.abs(a[:, i, None] - b[None, :, i]) / reach))


def _same(a: Array, b: Array, column: str, least: float = 0.0) -> Array:
    i = COLUMNS.index(column)
    return np.asarray(np.where(a[:, i, None] == b[None, :, i], 1.0, least))


def _covariances(a: Array, b: Array) -> list[Array]:
    """Return the four covariances of curves: of all, of links and devices, of their kernels, and of single curves.

    Curves of links that have no switch differ more from each other, by `open`.
    """
    p = PRIOR
    switched = COLUMNS.index("switched")
    scale = np.where(a[:, switched, None] > 0, 1.0, p["open"]) * np.where(b[None, :, switched] > 0, 1.0, p["open"])
    device = _same(a, b, "device") * (a[:, :1] != NONE)
    kind, framework, ranks = (_same(a, b, name) for name in ("kind", "framework", "log_ranks"))
    far, wide = (_near(a, b, "log_ranks", p[name]) for name in ("ranks_far", "ranks_wide"))
    general = _same(a, b, "kind", p["kind"]) * _same(a, b, "framework", p["framework"])
    rate = COLUMNS.index("log_rate")
    away = (a[:, rate, None] - b[None, :, rate]) ** 2 + 4 * (1 - _same(a, b, "switched"))
    alike = np.exp(-away / (2 * p["rate"] ** 2)) * _same(a, b, "library", p["library"])
    version = p["version"] + (1 - p["version"]) * _near(a, b, "order", p["versions"]) * framework
    single = ranks * _same(a, b, "dtype", p["dtype"]) * version
    own = _same(a, b, "stack") * _same(a, b, "dtype") * device * kind * ranks
    library, i = np.isin(FRAMEWORKS, LIBRARIES), COLUMNS.index("framework")
    group = library[a[:, i].astype(int)][:, None] == library[b[:, i].astype(int)][None]
    kernel, steady = framework * kind, p["steady"] + (1 - p["steady"]) * far
    parts = {
        "all": general * far, "links": scale * general * far * alike, "device": scale * general * steady * device,
        "links_kernel": scale * alike * kernel * wide, "links_group": alike * kind * group * wide,
        "device_stack": scale * device * framework * _same(a, b, "kind", p["kind"]) * wide,
        "device_kernel": scale * device * kernel * wide, "links_ranks": alike * kernel * ranks,
        "curve": np.sqrt(scale) * own, "device_curve": np.sqrt(scale) * device * kernel * single,
        "links_curve": alike * kernel * single, "device_versions": scale * device * kernel * version * wide,
    }  # fmt: skip
    return [sum((p[name] ** 2 * parts[name] for name in names), np.zeros_like(kind)) for names in LEVELS]


def _sizes(octaves: Array) -> list[Array]:
    """Return the covariances of sizes that go with those of curves."""
    away = np.abs(octaves[:, None] - octaves[None])
    return [
        PRIOR[level] + np.exp(-away / PRIOR[reach])
        for level, reach in (("level", "all_octaves"), ("level", "links_octaves"), ("level_own", "kernel_octaves"),
                             ("level_own", "curve_octaves"))
    ]  # fmt: skip


def _applied(covariance: list[Array], between_sizes: list[Array], weights: Array) -> Array:
    return np.asarray(sum(c.astype(np.float32) @ (weights @ s.astype(np.float32))
                          for c, s in zip(covariance, between_sizes, strict=True)))  # fmt: skip


def _solved(
    covariance: list[Array], between_sizes: list[Array], target: Array, known: Array, noise: Array
) -> Array:  # fmt: skip
    """Return the weights of the known points, by conjugate gradients preconditioned with each curve's own block."""
    mask, noise = known.astype(np.float32), noise.astype(np.float32)
    curves, sizes = [c.astype(np.float32) for c in covariance], [s.astype(np.float32) for s in between_sizes]
    block = sum(np.diag(c)[:, None, None] * s[None] for c, s in zip(covariance, between_sizes, strict=True))
    block = np.asarray(block) * mask[:, :, None] * mask[:, None, :]
    i = np.arange(target.shape[1])
    block[:, i, i] += noise * mask + (1 - mask)
    inverse = np.linalg.inv(block).astype(np.float32)
    found, left = np.zeros_like(mask), target.astype(np.float32)
    size = float(np.linalg.norm(left))
    better = np.matmul(inverse, left[:, :, None])[:, :, 0] * mask
    way, slope = better.copy(), float((left * better).sum())
    for _ in range(STEPS):
        if np.linalg.norm(left) <= CLOSE * size:
            break
        change = mask * _applied(curves, sizes, way) + noise * way
        step = slope / float((way * change).sum())
        found += step * way
        left -= step * change
        better = np.matmul(inverse, left[:, :, None])[:, :, 0] * mask
        before, slope = slope, float((left * better).sum())
        way = better + slope / before * way
    return found


def groups_of_links(found: Observed) -> Array:
    """Return a number for each curve: its (device, kind, ranks)."""
    columns = [COLUMNS.index(name) for name in ("device", "kind", "log_ranks")]
    return np.asarray(np.unique(found.who[:, columns], axis=0, return_inverse=True)[1]).ravel()


def devices_in_turn(found: Observed) -> Iterator[tuple[float, Array]]:
    """Yield each device and the curves of it."""
    for device in np.unique(found.who[:, 0]):
        yield float(device), np.flatnonzero(found.who[:, 0] == device)
