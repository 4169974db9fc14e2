"""Optimizers: what they keep for each parameter, what an update does, and the gradients' way over the replicas."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from foundation.errors import BadValueError, UnknownNameError
from foundation.formats import number_format
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.training.gradients import is_learnable

MUON_ITERATIONS = 5
"""Newton-Schulz iterations of a Muon update (Jordan et al. 2024, "Muon: an optimizer for hidden layers")."""
ANY_RANKS = float("inf")


@dataclass(frozen=True)
class Optimizer:
    """Bytes and FLOP for each trainable parameter.

    `moment_bytes` are what the optimizer remembers. Weights below 32 bits have a float32 master copy where `master`
    is set, and gradients of 16 bits (of 32 with `wide_gradients`, as Megatron-LM accumulates them); float32 weights
    are their own master and have float32 gradients.
    """

    name: str
    moment_bytes: float
    flop_per_parameter: float
    master: bool = True
    matrices: bool = False
    wide_gradients: bool = False

    def gradient_bytes(self, dtype: str) -> float:
        return 4.0 if self.wide_gradients or _is_float32(dtype) else 2.0

    def master_bytes(self, dtype: str) -> float:
        return 4.0 if self.master and not _is_float32(dtype) else 0.0

    def state_bytes(self, dtype: str) -> float:
        """Return bytes kept beside the weight itself: gradient, master copy, moments."""
        return self.gradient_bytes(dtype) + self.master_bytes(dtype) + self.moment_bytes

    def traffic_bytes(self, dtype: str) -> tuple[float, float]:
        """Return (read, written) bytes of one update.

        Read: gradient, moments, and the master copy (the weight where there is none). Written: moments, master copy,
        and the weight.
        """
        weight, master = weight_bytes(dtype), self.master_bytes(dtype)
        return self.gradient_bytes(dtype) + self.moment_bytes + (master or weight), self.moment_bytes + master + weight


OPTIMIZERS: dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer("adamw", 8.0, 12.0),
        Optimizer("adamw_wide_gradients", 8.0, 12.0, wide_gradients=True),
        Optimizer("adamw_8bit", 2 * (1 + 4 / 2048), 20.0),
        Optimizer("sgd", 0.0, 2.0, master=False),
        Optimizer("sgd_momentum", 4.0, 4.0),
        Optimizer("muon", 4.0, 8.0, matrices=True),
    )
}
"""FLOP are estimated (a range of half to double): moments 3 + 4, bias corrections 2, step and decay 3 for AdamW; 8-bit
adds 2 x 4 to unpack and pack. Two float32 moments for AdamW (Rajbhandari et al. 2020, section 3.1: 2 + 2 + 12 bytes),
one byte each and a float32 scale per 2048 for 8-bit AdamW (Dettmers et al. 2022, section 2)."""


def optimizer_named(name: str) -> Optimizer:
    """Return a built-in optimizer. Raises UnknownNameError."""
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS, f"It is one of {', '.join(OPTIMIZERS)}.")
    return OPTIMIZERS[name]


def weight_bytes(dtype: str) -> float:
    """Return the bytes of one stored weight."""
    return number_format(dtype).weight_bits / 8


def _is_float32(dtype: str) -> bool:
    return number_format(dtype).weight_bits >= 32


def gradient_collective(name: str, size_bytes: float, *, kind: str = "all_reduce", sharded: bool = True) -> Operator:
    """Return a collective of `size_bytes` over the data-parallel replicas; lowering drops it where there is one.

    `sharded`: the bytes are those of parameters that tensor parallelism divides.
    """
    shape = {"kind": kind, "bytes": size_bytes}
    shards = ANY_RANKS if sharded else 1.0
    return Operator(name, "collective", shape, inputs=(), shard="gradients", state_shards=shards)


def optimizer_graph(graph: WorkloadGraph, optimizer: Optimizer, zero_stage: int = 0) -> WorkloadGraph:
    """Return one update of all trainable parameters: for each block gradients over the replicas, then the update.

    Raises:
        BadValueError: nothing in the graph is trainable.
    """
    blocks: list[Block] = []
    for block in graph.blocks:
        groups = trainable_groups(block)
        copied = {key: size for key, size in groups.items() if key[0] != "experts"}
        sync = [o for key, size in copied.items() for o in _sync(key, size, optimizer, zero_stage)]
        update = [_update(key, size, optimizer, zero_stage) for key, size in groups.items()]
        for suffix, operators in (("gradients", sync), ("update", update)):
            if operators:
                blocks.append(Block(f"{block.name}.{suffix}", tuple(operators), block.copies))
        if optimizer.matrices and (products := _newton_schulz(block)):
            blocks.append(Block(f"{block.name}.muon", tuple(products), MUON_ITERATIONS * block.copies))
    if not blocks:
        raise BadValueError(f"'{graph.name}' has nothing to train: every operator is frozen or has no parameters.")
    return WorkloadGraph(f"{graph.name}.optimizer", tuple(blocks))


def parallel_class(o: Operator) -> str:
    """Return how an operator's parameters are held: `experts` over all ranks, `sharded` over tp, or `replicated`."""
    return "experts" if o.shard == "experts" else "sharded" if o.shard else "replicated"


def trainable_groups(block: Block) -> dict[tuple[str, str], float]:
    """Return trainable parameters of a block by (how they are held, number format)."""
    groups: dict[tuple[str, str], float] = defaultdict(float)
    for o in block.operators:
        if is_learnable(o) and o.parameters:
            groups[(parallel_class(o), o.dtype)] += o.parameters
    return dict(groups)


def _sync(key: tuple[str, str], parameters: float, optimizer: Optimizer, zero_stage: int) -> list[Operator]:
    """Gradients over the replicas: one all-reduce, or (ZeRO) a reduce-scatter, and weights gathered after the update.

    Stage 3 gathers weights where they are used instead. Experts are divided over all ranks and have no replica.
    """
    held, dtype = key
    gradients, name = parameters * optimizer.gradient_bytes(dtype), f"{held}.{dtype}"
    sharded = held == "sharded"
    if zero_stage == 0:
        return [gradient_collective(f"{name}.all_reduce", gradients, sharded=sharded)]
    parts = [gradient_collective(f"{name}.reduce_scatter", gradients, kind="reduce_scatter", sharded=sharded)]
    if zero_stage < 3:
        size = parameters * weight_bytes(dtype)
        parts.append(gradient_collective(f"{name}.all_gather", size, kind="all_gather", sharded=sharded))
    return parts


def _update(key: tuple[str, str], parameters: float, optimizer: Optimizer, zero_stage: int) -> Operator:
    """Return the update as a float32 elementwise operator with exactly its reads, writes and FLOP."""
    held, dtype = key
    reads, writes = optimizer.traffic_bytes(dtype)
    shape = {
        "rows": writes / 4, "hidden": parameters, "operands": reads / writes,
        "flop_per_element": optimizer.flop_per_parameter / (writes / 4),
    }  # fmt: skip
    name, shards = f"{held}.{dtype}.update", 1.0 if held == "replicated" else ANY_RANKS
    if zero_stage or held == "experts":
        return Operator(name, "elementwise", shape, dtype="fp32", shard="ranks", state_shards=shards)
    return Operator(name, "elementwise", shape, dtype="fp32", shard="hidden" if held == "sharded" else "")


def _newton_schulz(block: Block) -> list[Operator]:
    """Return one iteration over every weight matrix: A = X X', B = b A + c A A, X = a X + B X, in bf16.

    4 s^2 l + 2 s^3 FLOP for sides s <= l. Embeddings and the output head take AdamW, as the authors do. Each rank
    works on whole matrices; only those of experts are divided over the ranks.
    """
    products = []
    for o in block.operators:
        sides = _matrix(o)
        if sides is None or not is_learnable(o):
            continue
        (s, l), batch = sorted(sides[:2]), sides[2]
        for name, (m, n, k) in (("gram", (s, s, l)), ("square", (s, s, s)), ("apply", (s, l, s))):
            shape = {"m": m, "n": n, "k": k, "batch": batch}
            divided = o.shard == "experts"
            products.append(
                Operator(f"{o.name}.{name}", "gemm", shape, inputs=(), shard="ranks" if divided else "",
                         state_shards=ANY_RANKS)
            )  # fmt: skip
    return products


def _matrix(o: Operator) -> tuple[float, float, float] | None:
    """Return (side, side, how many) of an operator's weight matrices, or None."""
    if not o.parameters or o.shard == "logits":
        return None
    if o.op == "gemm":
        return float(o.shape["n"]), float(o.shape["k"]), float(o.shape.get("batch", 1))
    if o.op == "moe":
        matrices = 3.0 if o.shape.get("gated", 1) else 2.0
        return float(o.shape["hidden"]), float(o.shape["inter"]), float(o.shape["experts"]) * matrices
    if o.op == "conv2d":
        groups = float(o.shape.get("groups", 1))
        depth = float(o.shape["c_in"]) / groups * float(o.shape["kh"]) * float(o.shape["kw"])
        return float(o.shape["c_out"]) / groups, depth, groups
    return None
