"""Step costs of a language model on a device: what its passes cost, taken apart into what a step is made of.

The rows of a prefill of one request give the work of so many tokens; those of decode steps what a token more costs to
sample; attention is priced over a grid of (decodes, cached tokens) and of (chunk, tokens before it). Operators are
priced as they run in a network: started from a queue, with weights that come from memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from costmodel.cold import from_memory
from costmodel.collectives import Fabric, fabric_of
from costmodel.costs import OpCosts
from costmodel.in_network import costs_of_queue
from costmodel.memory import memory_of
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from foundation.errors import BadValueError, UnsupportedError
from hardware_specs import DeviceSpec
from simulator.serving.step_costs import StepCosts, Table, grid
from workloads.graph import Pass, Workload
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Model, Request
from workloads.table import OP_CODES, Array, OpTable

ATTENTION: Array = np.array([OP_CODES["attention"], OP_CODES["mla"]])
"""Operators whose cost grows with what is cached; all others see the tokens of the step only."""
LONGEST = 131_072
HOST_S = 0.0
"""Seconds that the engine's host adds to every step; stacks differ (estimated, 0 to 3e-3)."""


@dataclass(frozen=True)
class Engine:
    """What an engine runs on: a model in a format, a device, a mapping, a stack, and the cost model that prices it.

    `known_weights_bytes`: of the fullest device, where the caller has counted them already.
    """

    model: Model
    spec: DeviceSpec
    rates: Rates
    mapping: Mapping
    cost_model: CostModel
    dtype: str = ""
    kv_dtype: str = ""
    known_weights_bytes: float | None = None

    @cached_property
    def weights_bytes(self) -> float:
        """The weights on the fullest device."""
        if self.known_weights_bytes is not None:
            return self.known_weights_bytes
        request = Request(batch=1, prompt=1, generate=2, dtype=self.dtype, kv_dtype=self.kv_dtype)
        workload = self.model.workload(request)
        report = memory_of(workload, lower(workload.passes, self.mapping), self.mapping, self.rates)
        return float(report.parts["weights"][0])

    @cached_property
    def fabric(self) -> Fabric | None:
        """What joins the devices; none where they are replicas that send each other nothing."""
        divided = self.mapping.devices > self.mapping.dp or self.mapping.ep > 1
        return fabric_of(self.spec, self.mapping.devices if divided else 1)

    def price(self, table: OpTable) -> OpCosts:
        """Return the costs of operators of this network. Raises UnsupportedError: no unit can compute one of them."""
        return from_memory(self.price_of_queue(table), table, self.rates, self.weights_bytes)

    def price_of_queue(self, table: OpTable) -> OpCosts:
        """Return the costs of operators that start from a queue, whatever else the network holds.

        Raises:
            UnsupportedError: an operator that no unit of the device can compute.
        """
        return costs_of_queue(self.cost_model, table, self.rates, self.fabric, self.mapping.software)

    def run(self, name: str, batch: Array | int, prompt: Array) -> tuple[Pass, Array]:
        """Return a pass of requests of given sizes, and the request that each of its scenarios belongs to.

        Raises:
            BadValueError: the model has no such pass.
            UnsupportedError: it computes more than tokens before its first one.
        """
        request = Request(batch=batch, prompt=prompt, generate=2, dtype=self.dtype, kv_dtype=self.kv_dtype)
        workload = self._of_any_size.workload(request)
        found = {run.name: run for run in workload.passes}
        if name not in found:
            raise BadValueError(f"'{self.model.name}' generates no tokens one by one, so it cannot be served in steps.")
        more = beyond_tokens(workload)
        if more:
            raise UnsupportedError(
                f"'{self.model.name}' computes more than tokens before its first one ({', '.join(more[:3])}), so steps "
                "of tokens do not describe how it is served; ask `predict` for a batch."
            )
        return found[name], np.asarray(workload.owners.get(name, np.arange(len(prompt))))

    @cached_property
    def _of_any_size(self) -> Model:
        """The model with a table of positions that no step exceeds: a prefill stands for tokens of several requests."""
        if self.model.knobs().get("position") != "table":
            return self.model
        return self.model.with_knobs({"max_context": 2 * LONGEST})

    def require_length(self, longest: int) -> None:
        """Refuse requests of `longest` tokens, prompt and output together, that the model has no positions for.

        Raises:
            BadValueError: they end before.
        """
        if self.model.knobs().get("position") == "table":
            self.model.workload(Request(batch=1, prompt=max(longest - 1, 1), generate=1))

    def costs(self, run: tuple[Pass, Array], requests: int, attention: bool) -> tuple[Array, Array]:
        """Return (seconds, joules) of a pass, of attention or of all the rest, shape (requests,)."""
        lowered, owner = lower([run[0]], self.mapping), run[1]
        count = lowered.table.full("count")
        keep = np.flatnonzero((np.isin(lowered.table.full("op"), ATTENTION) == attention) & (count > 0))
        if not len(keep):
            return np.zeros(requests), np.zeros(requests)
        found, mine = self.price(lowered.table.take(keep)), owner[lowered.scenario[keep]]
        seconds, joules = (
            np.bincount(mine, weights=column * count[keep], minlength=requests)
            for column in (found.latency_s, found.energy_j)
        )
        return seconds, joules


def beyond_tokens(workload: Workload) -> list[str]:
    """Return the blocks that come before the first token and in no decode step: encoders of images, sound or text."""
    blocks = {run.name: [block.name for block in run.graph.blocks] for run in workload.passes}
    steps = set(blocks.get("decode", ()))
    first = [name for run, names in blocks.items() if run != "decode" for name in names]
    return [name for name in dict.fromkeys(first) if name not in steps] if steps else []


def step_costs(
    engine: Engine, most_tokens: int, most_requests: int, longest: int, host_s: float = HOST_S, *, exact: bool = True
) -> StepCosts:  # fmt: skip
    """Return the step costs of an engine.

    Args:
        most_tokens, most_requests: of one step. longest: tokens of the longest request, prompt and output together.
        host_s: seconds that the host adds to every step.
        exact: price every number of tokens and of decodes; else those of a sparse profile, linear between them.

    Raises:
        BadValueError: a model that does not generate tokens, or so many.
    """
    engine.require_length(longest)
    if not exact:
        from simulator.serving.profile import profile_of

        return profile_of(engine, most_tokens, most_requests, longest, host_s).step_costs(most_tokens, most_requests)
    tokens = np.arange(1, most_tokens + 1)
    decodes = np.arange(1, most_requests + 1)
    contexts, chunks, before = grid(longest), _two(grid(most_tokens)), _two(np.append(0, grid(longest)))
    work, work_j = engine.costs(engine.run("prefill", 1, tokens), len(tokens), attention=False)
    steps = engine.run("decode", decodes, np.ones_like(decodes))
    whole, whole_j = engine.costs(steps, len(decodes), attention=False)
    attention, attention_j = _decode_attention(engine, decodes, contexts)
    chunk, chunk_j = _chunk_attention(engine, chunks, before)
    host_j = host_s * engine.rates.idle_w[0]
    return StepCosts(
        _table(work, whole, attention, chunk, host_s), _table(work_j, whole_j, attention_j, chunk_j, host_j),
        contexts, chunks, before,
    )  # fmt: skip


def _two(points: Array) -> Array:
    return points if len(points) > 1 else np.append(points, points[-1] + 1)


def _table(work: Array, whole: Array, attention: Array, chunk: Array, host: float) -> Table:
    """Put the parts together: a prefill samples one token, a decode step as many as it has decodes.

    What a single decode takes beyond a prompt of one token (absorbed products of latent attention) stays with it.
    """
    sampling = np.maximum(whole - work[: len(whole)], 0.0)
    padded = np.concatenate([[0.0], sampling, np.full(max(len(work) - len(sampling), 0), sampling[-1])])
    floor = np.concatenate([[0.0], work])
    return Table(floor + host, padded, np.vstack([np.zeros(attention.shape[1]), attention]), chunk)


def _decode_attention(engine: Engine, decodes: Array, contexts: Array) -> tuple[Array, Array]:
    """Return (seconds, joules) of one step's attention, shape (decodes, contexts); contexts count the new token."""
    batch, attended = (a.ravel() for a in np.meshgrid(decodes, contexts, indexing="ij"))
    steps = engine.run("decode", batch, np.maximum(attended - 1, 1))
    seconds, joules = engine.costs(steps, len(batch), attention=True)
    shape = (len(decodes), len(contexts))
    return seconds.reshape(shape), joules.reshape(shape)


def _chunk_attention(engine: Engine, chunks: Array, before: Array) -> tuple[Array, Array]:
    """Return (seconds, joules) of a chunk's attention, shape (chunks, before)."""
    lowered = lower([engine.run("prefill", 1, chunks)[0]], engine.mapping)
    rows = np.flatnonzero(np.isin(lowered.table.full("op"), ATTENTION))
    shape = (len(chunks), len(before))
    if not len(rows):
        return np.zeros(shape), np.zeros(shape)
    index = np.repeat(rows, len(before))
    table = lowered.table.take(index)
    earlier = np.tile(before, len(rows)).astype(float)
    columns = {**table.columns, "kv_len": table.full("kv_len") + earlier}
    table = OpTable(table.rows, columns)
    costs, count = engine.price(table), table.full("count")
    place = lowered.scenario[index] * len(before) + np.tile(np.arange(len(before)), len(rows))
    seconds, joules = (
        np.bincount(place, weights=column * count, minlength=len(chunks) * len(before))
        for column in (costs.latency_s, costs.energy_j)
    )
    return seconds.reshape(shape), joules.reshape(shape)
