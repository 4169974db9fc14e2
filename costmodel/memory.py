"""Peak memory of the fullest device: weights, state (KV cache), activations by liveness, optimizer, workspace, margin.

Activations are what is alive at once when the operators run in order: an output lives from its producer to its last
reader, a fused operator works in place. What fragmentation and allocator rounding cost is a range, not a number.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

import numpy as np

from costmodel.rates import Rates
from foundation.formats import number_format
from workloads.graph import BLOCK_INPUT, Operator, Workload
from workloads.lowering import Lowered, shard
from workloads.mapping import Mapping
from workloads.table import Array
from workloads.work import OpWork, count_work

GPU_WORKSPACE_BYTES = 32 * 2**20
"""cuBLAS keeps 32 MiB of workspace on Hopper (cuBLAS 12 library documentation, cublasSetWorkspace)."""
MARGIN = (0.02, 0.0, 0.10)
"""Share of state and activations lost to fragmentation and rounding (value, lo, hi): estimated."""


@dataclass(frozen=True)
class MemoryReport:
    """Bytes on the fullest device. Each part has shape (requests,).

    `parts` are weights, state, activations, optimizer, workspace and margin; `lo` and `hi` bound the total.
    `capacity_bytes` is what the device offers to a workload.
    """

    parts: Dict[str, Array]
    lo_bytes: Array
    hi_bytes: Array
    capacity_bytes: float
    total_bytes: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_bytes", np.asarray(sum(self.parts.values())))

    @property
    def shortfall_bytes(self) -> Array:
        """Bytes that are missing (0 where it fits)."""
        return np.maximum(self.total_bytes - self.capacity_bytes, 0.0)


def memory_of(
    workload: Workload, lowered: Lowered, mapping: Mapping, rates: Rates, work: OpWork | None = None
) -> MemoryReport:  # fmt: skip
    """Return what the fullest device of a mapping must hold; `work` is that of the rows, if a caller has it."""
    requests = workload.requests
    weights, state, optimizer = _stored(workload, mapping)
    activations = activation_bytes(workload, lowered, work)
    retained = np.broadcast_to(np.asarray(workload.retained_bytes(mapping), float), (requests,))
    activations = activations + retained
    workspace = np.full(requests, GPU_WORKSPACE_BYTES if rates.kind == "gpu" else 0.0)
    loose = state + activations
    parts = {
        "weights": np.full(requests, weights), "state": state, "activations": activations,
        "optimizer": np.full(requests, optimizer), "workspace": workspace, "margin": MARGIN[0] * loose,
    }  # fmt: skip
    fixed = weights + optimizer + workspace + loose
    return MemoryReport(parts, fixed + MARGIN[1] * loose, fixed + MARGIN[2] * loose, rates.usable_bytes)


def _stored(workload: Workload, mapping: Mapping) -> tuple[float, Array, float]:
    """Return (weights, state, optimizer) bytes of the fullest pipeline stage.

    Repeated blocks are dealt over the stages; blocks that stand once before them (embedding) sit on the first stage,
    those after them (head) on the last. Blocks of the same name in several passes are the same parameters.
    """
    blocks = workload.distinct_blocks()
    repeated = [i for i, block in enumerate(blocks) if block.count > 1]
    first, last = (repeated[0], repeated[-1]) if repeated and mapping.pp > 1 else (0, len(blocks))
    weights, optimizer, state = np.zeros(3), np.zeros(3), np.zeros(workload.requests)  # before, among and after repeats
    for i, block in enumerate(blocks):
        local = [part for o in block.operators for part in shard(o, mapping)]
        layers = -(-block.count // mapping.pp)
        stored, at = min(layers, block.copies), (i >= first) + (i > last)
        weights[at] += stored * sum(o.parameter_bytes for o in local)
        optimizer[at] += stored * sum(workload.optimizer_bytes(o) for o in local)
        state = state + _state(local, workload.requests) * layers
    end = 0 if (weights + optimizer)[0] >= (weights + optimizer)[2] else 2
    return float(weights[1] + weights[end]), state, float(optimizer[1] + optimizer[end])


def _state(operators: list[Operator], requests: int) -> Array:
    total = np.zeros(requests)
    for o in operators:
        if np.any(o.state_elements):
            bits = number_format(o.state_dtype or o.kv_dtype or o.dtype).weight_bits
            total = total + np.asarray(o.state_elements, float) * bits / 8
    return total


def activation_bytes(workload: Workload, lowered: Lowered, work: OpWork | None = None) -> Array:
    """Return the largest sum of live outputs over all passes and blocks, shape (requests,)."""
    table = lowered.table
    work = count_work(table) if work is None else work
    outputs = np.broadcast_to(work.output_bytes, (table.rows,))
    inputs = np.broadcast_to(work.input_bytes, (table.rows,))
    best = np.zeros(workload.requests)
    starts = _row_starts(lowered)
    for p, blocks in enumerate(lowered.operators):
        run = workload.passes[p]
        if workload.training is not None and run.name.endswith("optimizer"):
            continue  # it works in place on gradients, moments and weights
        owner = workload.owners.get(run.name)
        entering: Array = np.zeros(1)
        for b, operators in enumerate(blocks):
            rows = [starts.get((p, b, i)) for i in range(len(operators))]
            first = next((own for own in rows if own is not None), None)
            if first is None:
                continue
            sizes = [_output(workload, o, outputs, own) for o, own in zip(operators, rows, strict=True)]
            if not np.any(entering):
                entering = inputs[first]
            peak, leaving = live_peak(operators, sizes, entering)
            if b < len(run.graph.blocks) and run.graph.blocks[b].count > 1 and np.any(leaving > entering):
                peak, leaving = live_peak(operators, sizes, leaving)  # the second repeat reads what the first one left
            entering = leaving
            best = np.maximum(best, _per_request(peak, owner, workload.requests))
    return best


def _output(workload: Workload, o: Operator, outputs: Array, rows: slice | None) -> Array | None:
    """Return the bytes that an operator adds: None in place, 0 for a weight gradient (the optimizer's share has it)."""
    if rows is None:
        return None
    return outputs[rows] * float(workload.training is None or ".wgrad" not in o.name)


def _row_starts(lowered: Lowered) -> dict[tuple[int, int, int], slice]:
    """Return the rows of each lowered operator (they stand together, one a scenario)."""
    place = np.stack((lowered.pass_index, lowered.block_index, lowered.operator_index), axis=1)
    if not len(place):
        return {}
    edges = np.flatnonzero(np.any(place[1:] != place[:-1], axis=1)) + 1
    bounds = [0, *edges.tolist(), len(place)]
    keys = place[bounds[:-1]].tolist()
    return {(k[0], k[1], k[2]): slice(a, z) for k, a, z in zip(keys, bounds[:-1], bounds[1:], strict=True)}


def live_peak(operators: tuple[Operator, ...], sizes: list[Array | None], entering: Array) -> tuple[Array, Array]:
    """Return (peak, leaving) bytes of a block run in order.

    `sizes[i]` is the output of operator i, None where it works in place (fused). `entering` is what the block reads.
    The block's last output leaves it. Time is linear in operators plus edges.
    """
    home: dict[str, str] = {BLOCK_INPUT: BLOCK_INPUT}
    held: dict[str, Array] = {BLOCK_INPUT: entering}
    last_use: dict[str, int] = {}
    for i, o in enumerate(operators):
        in_place = sizes[i] is None
        home[o.name] = home[o.inputs[0]] if in_place and o.inputs else o.name
        for source in o.inputs:
            last_use[home[source]] = i
    last_use[home[operators[-1].name]] = len(operators)
    live = entering
    peak = live
    for i, o in enumerate(operators):
        size = sizes[i]
        if size is not None:
            held[o.name] = size
            live = live + size
            peak = np.maximum(peak, live)
        for source in {home[s] for s in (*o.inputs, o.name)}:
            if last_use.get(source, i) <= i and source in held:
                live = live - held.pop(source)
    leaving = home[operators[-1].name]
    return peak, held.get(leaving, entering)


def _per_request(values: Array, owner: Array | None, requests: int) -> Array:
    """Reduce scenario values to the largest of each request."""
    if values.size == 1 or owner is None or len(owner) != values.size:
        return np.broadcast_to(values, (requests,)) if values.size in (1, requests) else np.full(requests, values.max())
    best = np.zeros(requests)
    np.maximum.at(best, owner, values)
    return best
