"""The workload graph: operators with shapes and formats, repeated blocks kept as one block and a count.

Sizes are those of the whole model on one device; `workloads.lowering` divides them under a mapping. A size may be a
number or an array of shape (S,): the graph then stands for S scenarios (batch sizes, context lengths) at once, and
lowering yields operators x scenarios rows without a Python loop over scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from foundation.formats import number_format
from workloads.table import OPS, Array, OpTable

if TYPE_CHECKING:
    import networkx as nx

    from workloads.mapping import Mapping as Mapping_

Size = float | int | Array
Shard = Literal["", "column", "row", "heads", "experts", "vocab", "logits", "hidden", "gradients", "ranks"]
"""How tensor parallelism divides an operator: "" replicated; `column` output features; `row` input features, then an
all-reduce; `heads`; `experts`; `vocab` embedding rows, then an all-reduce; `logits` output features, then an
all-gather; `hidden` the columns of a pointwise operator. In training: `gradients` a collective over the data-parallel
replicas (none where there is one), `ranks` optimizer work that they divide; both also over `state_shards` tp ranks."""

BLOCK_INPUT = ""
"""The name under which an operator reads what flows into its block."""


@dataclass(frozen=True)
class Operator:
    """One operator of a block.

    Attributes:
        shape: numeric columns of `OpTable` (and `phase`, `kind` by name).
        inputs: operators of the same block that it reads; `BLOCK_INPUT` is what enters the block.
        parameters: stored elements (0 for a tied weight), of which `active_parameters` work for one token.
        state_elements: elements kept between steps (KV cache, recurrent state) at the request's final length, in
            `state_dtype`, divisible over at most `state_shards` tensor-parallel ranks.
        trainable: False for frozen parameters (LoRA bases): no weight gradient, no optimizer state.
        fused: computed inside its producer's kernel: no launch, no traffic of its own.
    """

    name: str
    op: str
    shape: Mapping[str, Any]
    dtype: str = "bf16"
    kv_dtype: str = ""
    inputs: tuple[str, ...] = (BLOCK_INPUT,)
    parameters: float = 0.0
    active_parameters: float | None = None
    state_elements: Size = 0.0
    state_dtype: str = ""
    state_shards: float = 1.0
    shard: Shard = ""
    trainable: bool = True
    fused: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise UnknownNameError("operator", self.op, OPS)
        number_format(self.dtype)

    @property
    def parameter_bytes(self) -> float:
        return self.parameters * number_format(self.dtype).weight_bits / 8


@dataclass(frozen=True)
class Block:
    """Operators in dependency order, run `count` times one after the other; the last operator's output leaves it.

    `shared`: the repeats use one set of parameters (recursion, weight sharing).
    """

    name: str
    operators: tuple[Operator, ...]
    count: int = 1
    shared: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadValueError(f"Block '{self.name}' has count {self.count}; it must be at least 1.")
        seen: set[str] = {BLOCK_INPUT}
        for operator in self.operators:
            for source in operator.inputs:
                if source not in seen:
                    raise UnknownNameError(f"input of operator '{operator.name}' in block '{self.name}',", source, seen)
            if operator.name in seen:
                raise BadValueError(f"Block '{self.name}' has two operators named '{operator.name}'.")
            seen.add(operator.name)

    @property
    def copies(self) -> int:
        """How many sets of parameters the block stores."""
        return 1 if self.shared else self.count


@dataclass(frozen=True)
class WorkloadGraph:
    """Blocks run one after the other; the output of one flows into the next.

    `boundary_elements` is what crosses from block to block (what pipeline parallelism must send).
    """

    name: str
    blocks: tuple[Block, ...]
    boundary_elements: Size = 0.0

    @property
    def parameters(self) -> float:
        """Stored parameters (elements)."""
        return sum(o.parameters * b.copies for b in self.blocks for o in b.operators)

    @property
    def active_parameters(self) -> float:
        """Parameters that work for one token (all but the experts not chosen)."""
        return _active(self.blocks)

    def macs(self) -> float:
        """Multiply-accumulates of one pass (first scenario)."""
        from workloads.lowering import lower
        from workloads.work import count_work

        lowered = lower((Pass("forward", self),))
        macs = np.broadcast_to(count_work(lowered.table).macs, lowered.table.rows) * lowered.table["count"]
        return float(macs[lowered.scenario == 0].sum())

    def unrolled(self) -> WorkloadGraph:
        """Return the same graph with every repeat written out as a block of its own (unless it shares parameters)."""
        blocks: list[Block] = []
        for block in self.blocks:
            repeats = 1 if block.shared else block.count
            blocks += (
                [block] if repeats == 1 else [replace(block, name=f"{block.name}.{i}", count=1) for i in range(repeats)]
            )
        return replace(self, blocks=tuple(blocks))

    def to_networkx(self, *, unroll: bool = False) -> nx.DiGraph[str]:
        """Return a DiGraph: a node `block/operator` with the operator's fields, an edge for each input."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph(name=self.name)
        entry: str | None = None
        for block in (self.unrolled() if unroll else self).blocks:
            for o in block.operators:
                node = f"{block.name}/{o.name}"
                graph.add_node(
                    node, op=o.op, dtype=o.dtype, count=block.count, parameters=o.parameters, **dict(o.shape)
                )
                for source in o.inputs:
                    origin = f"{block.name}/{source}" if source != BLOCK_INPUT else entry
                    if origin is not None:
                        graph.add_edge(origin, node)
            if block.operators:
                entry = f"{block.name}/{block.operators[-1].name}"
        return graph


@dataclass(frozen=True)
class Pass:
    """One run over a graph (prefill, one decode step, forward, backward, optimizer), done `times` times.

    `times` is a number or shape (S,), one a scenario.
    """

    name: str
    graph: WorkloadGraph
    times: Size = 1.0


@dataclass(frozen=True)
class Workload:
    """What one request (a batch) makes a device do: passes in order, and how to read their sum.

    `tokens_out` is generated tokens per sequence (0: not a generator), `requests` how many requests it stands for;
    row scenario s of pass p belongs to request `owners[p][s]` (decode steps of several lengths belong to one request).
    """

    name: str
    passes: tuple[Pass, ...]
    batch: Size = 1
    tokens_in: Size = 0
    tokens_out: Size = 0
    requests: int = 1
    owners: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    training: TrainingState | None = None
    stored: tuple[Block, ...] = ()
    """The blocks whose parameters and state must be held, where they are not those of the passes."""

    @property
    def graph(self) -> WorkloadGraph:
        """The graph that stands for the model (that of the first pass)."""
        return self.passes[0].graph

    def distinct_blocks(self) -> list[Block]:
        """Return the blocks whose parameters must be stored: of one name in several passes, the first."""
        if self.stored:
            return list(self.stored)
        found: dict[str, Block] = {}
        for run in self.passes:
            if self.training is None or run.name in ("forward", ""):
                for block in run.graph.blocks:
                    found.setdefault(block.name, block)
        return list(found.values())

    @property
    def parameters(self) -> float:
        """Stored parameters over all passes (elements)."""
        return sum(o.parameters * b.copies for b in self.distinct_blocks() for o in b.operators)

    @property
    def active_parameters(self) -> float:
        """Parameters that work for one token, over all passes."""
        return _active(self.distinct_blocks())

    def optimizer_bytes(self, operator: Operator) -> float:
        """Return what training keeps beside the weights of one operator: gradients, moments, master copy."""
        return self.training.bytes_per_parameter * operator.parameters if self.training and operator.trainable else 0.0

    def retained_bytes(self, mapping: Mapping_) -> Size:
        """Return the activations that training keeps for the backward pass, on one device."""
        return 0.0 if self.training is None else self.training.retained_bytes(self, mapping)


@dataclass(frozen=True)
class TrainingState:
    """What a training step keeps: bytes a trainable parameter beside its weight, and how to count kept activations."""

    bytes_per_parameter: float
    retained_bytes: Callable[[Workload, Mapping_], Size]


def _active(blocks: Iterable[Block]) -> float:
    used = (
        (o.parameters if o.active_parameters is None else o.active_parameters) * b.copies
        for b in blocks
        for o in b.operators
    )
    return sum(used)


def ordered(operators: Sequence[Operator], *, where: str = "the graph") -> tuple[Operator, ...]:
    """Return operators so that each stands after its inputs (stable).

    Raises:
        BadValueError: they form a cycle (the message names it).
        UnknownNameError: an input that no operator produces.
    """
    by_name = {o.name: o for o in operators}
    for o in operators:
        for source in o.inputs:
            if source != BLOCK_INPUT and source not in by_name:
                raise UnknownNameError(f"input of operator '{o.name}' in {where},", source, by_name)
    sorter = TopologicalSorter({o.name: [s for s in o.inputs if s != BLOCK_INPUT] for o in operators})
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise BadValueError(f"The operators of {where} form a cycle: {cycle}. A workload graph has none.") from None


def as_table(operators: Sequence[Operator]) -> OpTable:
    """Return operators as rows, one scenario each, for counting work outside a mapping; what they read is ignored."""
    from workloads.lowering import lower

    alone = tuple(replace(o, inputs=(BLOCK_INPUT,)) for o in operators)
    return lower((Pass("forward", WorkloadGraph("operators", (Block("block", alone),))),)).table
