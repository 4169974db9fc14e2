"""`Profile`: the step costs of engines on sparse grids, linear between them, so that an engine is a thousand rows.

All engines of a profile share their grids, and all their operators are priced together. Where `StepCosts` has an entry
for every number of tokens, a profile has a few for each doubling: kernels are about linear in between.
Every entry has six columns: time (value, lo, hi) in seconds and energy (value, lo, hi) of one rank in joules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from costmodel.cold import from_memory
from costmodel.costs import OpCosts
from simulator.serving.pricing import ATTENTION, LONGEST, Engine
from simulator.serving.step_costs import StepCosts, Table
from workloads.graph import BLOCK_INPUT, Block, Operator, Pass, WorkloadGraph
from workloads.lowering import lower
from workloads.table import OPS, Array, OpTable

COLUMNS = ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "energy_lo_j", "energy_hi_j")
TIMES, ENERGIES = slice(0, 3), slice(3, 6)
ATTENTION_OPS = tuple(OPS[code] for code in ATTENTION)
TILE = 16
"""Tokens up to which a product costs the same (the smallest tile of tensor cores): the grid is coarser below."""
FEW = 8
"""Decodes up to which attention kernels share a request among units in ways of their own: each has its entry."""
BLOCK, STEPS = 128, 8
"""Rows of a thread block's tile: a token more than a multiple costs a wave more, seen up to so many multiples."""


@dataclass(frozen=True)
class Axes:
    """Where a profile has entries, whole numbers that rise.

    tokens of a step; decodes (with 0 first) x contexts; chunks x tokens before them.
    """

    tokens: Array
    decodes: Array
    contexts: Array
    chunks: Array
    before: Array

    @staticmethod
    def reach(most_tokens: int, most_requests: int, longest: int) -> Axes:
        """Return axes for steps of so many tokens and requests, and requests of so many tokens."""
        most_requests, longest = min(most_requests, most_tokens), max(longest, 512)
        least = min(TILE, most_tokens)
        edges = np.arange(BLOCK, min(most_tokens - 1, STEPS * BLOCK) + 1, BLOCK)
        decodes = np.unique(np.concatenate([np.arange(min(FEW, most_requests) + 1), _octaves(1, most_requests, 2)]))
        tokens = [_octaves(1, least, 2), decodes[1:], edges, edges + 1, _octaves(least, most_tokens, 4)]
        cached = _octaves(64, longest, 1)
        return Axes(
            np.unique(np.concatenate(tokens)), decodes, np.unique(np.append([1, 16], cached)),
            np.unique(np.append(1, _octaves(least, max(most_tokens, 2), 2))), np.append(0, cached),
        )  # fmt: skip

    @staticmethod
    def near(prompt: int, generate: int, users: int, most_tokens: int) -> Axes:
        """Return the few points that one load needs: so many rows that no forest has to be compiled for them."""
        users = min(max(users, 1), most_tokens)
        chunk = min(prompt, most_tokens - users + 1)
        last = prompt - chunk * (-(-prompt // chunk) - 1)
        mixed = users - 1 + np.array([chunk, last])
        decodes = np.unique([0, 1, max(users - 1, 1), users])
        between = mixed.max() * (most_tokens / mixed.max()) ** np.array([1 / 3, 2 / 3])  # for prompts that meet
        tokens = np.unique([*decodes[1:], *mixed, *np.round(between).astype(int), most_tokens])
        contexts = np.unique([1, prompt + 1, prompt + generate // 2 + 1, prompt + generate])
        chunks = np.unique([1, last, chunk, min(prompt, most_tokens) + 1])
        return Axes(tokens, decodes, contexts, chunks, np.unique([0, chunk, max(prompt, chunk + 1)]))


def _octaves(first: int, last: int, an_octave: int) -> Array:
    """Return whole numbers from first to last, so many for each doubling."""
    points = first * np.exp2(np.arange(int(np.log2(max(last / first, 1)) * an_octave) + 1) / an_octave)
    return np.unique(np.append(np.round(points).astype(np.int64), [first, last]))


@dataclass(frozen=True)
class Place:
    """Between which two points of an axis values lie, and how far from the lower one (beyond the ends: the slope)."""

    index: Array
    share: Array

    @staticmethod
    def on(axis: Array, values: Array) -> Place:
        index = np.clip(np.searchsorted(axis, values, side="right") - 1, 0, max(len(axis) - 2, 0))
        width = axis[np.minimum(index + 1, len(axis) - 1)] - axis[index]
        return Place(index, (values - axis[index]) / np.maximum(width, 1))


@dataclass(frozen=True)
class Profile:
    """Step costs of engines: work (engines, tokens, 6), sampling (engines, decodes, 6), decode attention (engines,
    decodes, contexts, 6), chunk attention (engines, chunks, before, 6).

    `ranks`, `lanes` and `devices` of each engine: tensor-parallel ranks that a lane's step keeps busy, pipeline lanes
    times replicas, and all devices. `idle_w` (engines, 3) and `limit_w` are those of one device.
    """

    axes: Axes
    work: Array
    sampling: Array
    decode: Array
    chunk: Array
    ranks: Array
    lanes: Array
    devices: Array
    idle_w: Array
    limit_w: Array

    @property
    def engines(self) -> int:
        return len(self.work)

    def work_of(self, engine: Array, tokens: Array) -> Array:
        """Return the costs of steps of so many tokens (at least 1), attention apart: the shape of `tokens`, and 6."""
        return _along(self.work, engine, Place.on(self.axes.tokens, np.maximum(tokens, 1.0)))

    def sampling_of(self, engine: Array, outputs: Array) -> Array:
        """Return what so many outputs cost beyond that of one prompt; no more than of the most decodes."""
        decodes = self.axes.decodes
        return _along(self.sampling, engine, Place.on(decodes, np.minimum(outputs, decodes[-1])))

    def attention_of(self, engine: Array, decodes: Array, start: Array, steps: Array) -> Array:
        """Return the mean attention of `steps` decode steps that attend to start + 1, start + 2, ... tokens each."""
        row = Place.on(self.axes.decodes, decodes)
        until, since = (Place.on(self.axes.contexts, n) for n in (start + steps, start))
        total: Array = np.zeros(())
        for shift, share in ((0, 1.0 - row.share), (1, row.share)):
            at = np.minimum(row.index + shift, len(self.axes.decodes) - 1)
            part = self._attended(engine, at, until, start + steps) - self._attended(engine, at, since, start)
            total = total + share[..., None] * part
        return np.asarray(total / np.maximum(steps, 1e-9)[..., None])

    def chunk_of(self, engine: Array, tokens: Array, before: Array) -> Array:
        """Return the attention of chunks of so many tokens after so many: their broadcast shape, and 6."""
        tokens, before = np.broadcast_arrays(tokens, before)
        row, column = Place.on(self.axes.chunks, tokens), Place.on(self.axes.before, before)
        count = len(self.axes.before)
        flat = self.chunk.reshape(-1, self.work.shape[-1])
        first = (np.broadcast_to(engine, tokens.shape) * len(self.axes.chunks) + row.index) * count + column.index
        u, v = row.share[..., None], column.share[..., None]
        low = flat[first] * (1 - v) + flat[first + 1] * v
        high = flat[first + count] * (1 - v) + flat[first + count + 1] * v
        return np.asarray(low * (1 - u) + high * u)

    @cached_property
    def _sums(self) -> Array:
        """Sums of the attention over contexts 1, 2, ... up to each point, of single steps: linear in between."""
        knots, level = self.axes.contexts, self.decode
        width = np.diff(knots)[:, None]
        rise = np.diff(level, axis=2)
        pieces = width * (level[:, :, 1:] + level[:, :, :-1]) / 2 + rise / 2
        return np.concatenate([level[:, :, :1], level[:, :, :1] + np.cumsum(pieces, axis=2)], axis=2)

    def _attended(self, engine: Array, row: Array, place: Place, tokens: Array) -> Array:
        """Return the sum of the attention over contexts 1, ..., tokens (less than 1: 0)."""
        knots = self.axes.contexts
        at = (np.broadcast_to(engine, row.shape) * len(self.axes.decodes) + row) * len(knots) + place.index
        sums, level = self._sums.reshape(-1, self.work.shape[-1]), self.decode.reshape(-1, self.work.shape[-1])
        more = (tokens - knots[place.index])[..., None]
        slope = (level[at + 1] - level[at]) / (knots[place.index + 1] - knots[place.index])[..., None]
        found = sums[at] + more * level[at] + slope * more * (more + 1) / 2
        return np.where(tokens[..., None] >= 1, found, 0.0)

    def with_host(self, host_s: Array | float) -> Profile:
        """Return the profile with seconds of the host added to every step, in which devices idle. Shape (engines,)."""
        host = np.broadcast_to(np.asarray(host_s, float), (self.engines,))[:, None]
        added = np.concatenate([np.broadcast_to(host, (self.engines, 3)), host * self.idle_w], axis=1)
        return replace(self, work=self.work + added[:, None])

    def value_only(self) -> Profile:
        """Return the profile with the first column alone, the value of time."""
        tables = {name: getattr(self, name)[..., :1] for name in ("work", "sampling", "decode", "chunk")}
        return replace(self, **tables)

    def step_costs(self, most_tokens: int, most_requests: int, engine: int = 0) -> StepCosts:
        """Return the costs of an engine for simulation, with an entry for every number of tokens and decodes."""
        axes, one = self.axes, np.full(1, engine)
        work = self.work_of(one, np.arange(1, most_tokens + 1))
        sampling = self.sampling_of(one, np.arange(most_tokens + 1))
        row = Place.on(axes.decodes, np.arange(most_requests + 1))
        level, share = self.decode[engine], row.share[:, None, None]
        decode = level[row.index] * (1 - share) + level[row.index + 1] * share
        work = np.concatenate([work[:1] * 0.0 + (work[:1] - self.work_of(one, np.ones(1))), work])
        time_s, energy_j = (
            Table(work[:, at], sampling[:, at], decode[:, :, at], self.chunk[engine, :, :, at]) for at in (0, 3)
        )  # fmt: skip
        return StepCosts(time_s, energy_j, axes.contexts, axes.chunks, axes.before)


def _along(table: Array, engine: Array, place: Place) -> Array:
    """Return entries of a table (engines, points, 6) between two points."""
    flat = table.reshape(-1, table.shape[-1])
    first = np.broadcast_to(engine, place.index.shape) * table.shape[1] + place.index
    share = place.share[..., None]
    if table.shape[1] == 1:
        return np.asarray(flat[first])
    return np.asarray(flat[first] * (1.0 - share) + flat[first + 1] * share)


def profile_of(
    engines: Engine | Sequence[Engine], most_tokens: int, most_requests: int, longest: int = LONGEST,
    host_s: Array | float = 0.0, axes: Axes | None = None,
) -> Profile:  # fmt: skip
    """Return the step costs of engines on sparse grids.

    Args:
        engines: each with its model, device, mapping and formats; those that one cost model prices go together.
        most_tokens, most_requests: of one step. longest: tokens of the longest request, prompt and output together.
        host_s: seconds that the host adds to every step, of all engines or of each.
        axes: where the profile has entries (None: a grid up to those sizes).

    Raises:
        BadValueError: a model that does not generate tokens, or so many. MappingError: a mapping that a model cannot
            have.
        UnsupportedError: a format that a device cannot compute in.
    """
    several = [engines] if isinstance(engines, Engine) else list(engines)
    for engine in several:
        engine.require_length(longest)
    axes = Axes.reach(most_tokens, most_requests, longest) if axes is None else axes
    sizes = [len(axes.tokens), len(axes.decodes) - 1]
    sizes += [sizes[1] * len(axes.contexts), len(axes.chunks) * len(axes.before)]
    work, whole, attention, chunk = np.split(_priced(several, axes, sizes), np.cumsum(sizes)[:-1], axis=1)
    shape = (len(several), len(axes.decodes) - 1, len(axes.contexts), len(COLUMNS))
    attention = np.maximum.accumulate(attention.reshape(shape), axis=2)  # as in `StepCosts`: more is never faster
    beyond = np.maximum(whole - work[:, np.searchsorted(axes.tokens, axes.decodes[1:])], 0.0)
    found = Profile(
        axes, work, np.pad(beyond, ((0, 0), (1, 0), (0, 0))),
        np.pad(attention, ((0, 0), (1, 0), (0, 0), (0, 0))),
        chunk.reshape(len(several), len(axes.chunks), len(axes.before), len(COLUMNS)),
        np.array([e.mapping.tp for e in several]), np.array([e.mapping.pp * e.mapping.dp for e in several]),
        np.array([e.mapping.devices for e in several]),
        np.array([e.rates.idle_w for e in several]), np.array([e.rates.limit_w for e in several]),
    )  # fmt: skip
    return found.with_host(host_s) if np.any(host_s) else found


def _priced(engines: list[Engine], axes: Axes, sizes: list[int]) -> Array:
    """Return the costs of all cells of all engines, shape (engines, cells, 6)."""
    cells = sum(sizes)
    passes: dict[tuple[int, str, str], list[_Part]] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    rows: list[tuple[OpTable, Array]] = []
    for i, engine in enumerate(engines):
        key = (id(engine.model), engine.dtype, engine.kv_dtype)
        parts = passes[key] if key in passes else passes.setdefault(key, _parts(engine, axes))
        rows.append(_rows(engine, parts, axes, np.cumsum([0, *sizes])))
        fabric = hash((engine.fabric, engine.mapping.software))
        groups.setdefault((id(engine.cost_model), id(engine.rates), fabric), []).append(i)
    out = np.zeros((len(engines), cells, len(COLUMNS)))
    for members in groups.values():
        table = OpTable.concat([rows[i][0] for i in members])
        costs = engines[members[0]].price_of_queue(table)
        start = 0
        for i in members:
            stop = start + rows[i][0].rows
            mine = from_memory(costs.take(slice(start, stop)), rows[i][0], engines[i].rates, engines[i].weights_bytes)
            out[i] = _summed(mine, rows[i][0].full("count"), rows[i][1], cells)
            start = stop
    return out


@dataclass(frozen=True)
class _Part:
    """A pass of which only attention, or only the rest, is priced; `cell` says where each of its scenarios belongs."""

    run: Pass
    cell: Array


def _parts(engine: Engine, axes: Axes) -> list[_Part]:
    """Return the four passes of a profile: work by tokens, decode steps without attention, with it alone, chunks."""
    decodes, contexts = axes.decodes[1:], axes.contexts
    batch, attended = (a.ravel() for a in np.meshgrid(decodes, contexts, indexing="ij"))
    return [
        _only(engine.run("prefill", 1, axes.tokens), attention=False),
        _only(engine.run("decode", decodes, np.ones_like(decodes)), attention=False),
        _only(engine.run("decode", batch, np.maximum(attended - 1, 1)), attention=True),
        _only(engine.run("prefill", 1, axes.chunks), attention=True),
    ]


def _only(found: tuple[Pass, Array], attention: bool) -> _Part:
    """Return a pass with its attention, or all else, of the scenarios that run at all."""
    run, owner = found
    times = np.asarray(run.times, float)
    keep = np.flatnonzero(times > 0) if times.ndim else np.arange(len(owner))

    def part(o: Operator) -> Operator:
        shape = {k: v[keep] if isinstance(v, np.ndarray) and v.size == len(owner) else v for k, v in o.shape.items()}
        return replace(o, shape=shape, inputs=(BLOCK_INPUT,))

    graph, blocks = run.graph, []
    for block in graph.blocks:
        mine = tuple(part(o) for o in block.operators if (o.op in ATTENTION_OPS) == attention and not o.fused)
        if mine:
            blocks.append(Block(block.name, mine, block.count))
    sent = np.asarray(graph.boundary_elements)
    sent = np.zeros(()) if attention else sent[keep] if sent.ndim else sent
    return _Part(Pass(run.name, WorkloadGraph(graph.name, tuple(blocks), sent), 1.0), owner[keep])


def _rows(engine: Engine, parts: list[_Part], axes: Axes, starts: Array) -> tuple[OpTable, Array]:
    """Return the rows of an engine, and the cell that each belongs to."""
    lowered = lower([part.run for part in parts], engine.mapping)
    table = OpTable(lowered.table.rows, lowered.table.columns)
    cell = np.zeros(table.rows, dtype=np.intp)
    wide = np.ones(table.rows, dtype=np.intp)
    for p, part in enumerate(parts):
        mine = lowered.pass_index == p
        cell[mine] = part.cell[lowered.scenario[mine]] * (len(axes.before) if p == 3 else 1) + starts[p]
        wide[mine] = len(axes.before) if p == 3 else 1
    chunks = wide > 1
    if not chunks.any():
        return table, cell
    index = np.repeat(np.arange(table.rows), wide)
    place = np.arange(len(index)) - np.repeat(np.cumsum(wide) - wide, wide)
    table = table.take(index)
    earlier = np.where(chunks[index], axes.before[place], 0)
    table = OpTable(table.rows, {**table.columns, "kv_len": table.full("kv_len") + earlier})
    return table, cell[index] + place


def _summed(costs: OpCosts, count: Array, cell: Array, cells: int) -> Array:
    """Return the sums of the rows of each cell, shape (cells, 6); intervals add up as `costmodel.estimate` says."""
    shared, out = costs.shared_log_error, np.empty((cells, len(COLUMNS)))
    for first in (0, 3):
        column = getattr(costs, COLUMNS[first])
        value = out[:, first] = np.bincount(cell, weights=column * count, minlength=cells)
        for at, sign in ((first + 1, -1.0), (first + 2, 1.0)):
            apart = np.abs(getattr(costs, COLUMNS[at]) - column) * count
            spread = np.bincount(cell, weights=apart, minlength=cells)
            if shared < 1:
                own = np.bincount(cell, weights=apart**2, minlength=cells)
                spread = np.sqrt(shared * spread**2 + (1 - shared) * own)
            out[:, at] = np.maximum(value + sign * spread, 0.0)
    return out
