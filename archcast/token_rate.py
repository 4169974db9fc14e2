"""Language models under llama.cpp: seconds of a token from measured small systems, divided among the operators.

What a pass takes comes from `costmodel.edge_llm` with the coefficients that come along; the cost model's seconds only
divide it among the rows. It applies to each token that is generated, and on processors to the prompt too: weights in
blocks are multiplied with activations of 8 bits there, and unpacking them takes more than the products, so that the
peak of the arithmetic says little. Energy grows with the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.costs import NUMERIC, SOURCES, OpCosts
from costmodel.edge_llm import DENSE_KERNELS, EXPERT_KERNELS, Token
from costmodel.edge_llm_shipped import card_link, half_width, has_class, known_tokens, seconds_of
from foundation.formats import FORMATS
from hardware_specs import DeviceSpec
from workloads.graph import Pass, Workload
from workloads.lowering import Lowered
from workloads.table import OP_CODES, Array
from workloads.work import count_work

ENGINE = "llama.cpp"
PASSES = ("prefill", "decode")
LEARNED, EXTRAPOLATED = SOURCES.index("learned"), SOURCES.index("extrapolated")
MEASURED_BITS = (4.0, 5.0)
"""Bits of a weight in the formats that were measured: Q4_K_M, and MXFP4 with wider rest."""
MOST_BITS = 12.0
"""Networks with more bits a weight in the mean are not in blocks."""
FURTHER = 0.4
"""Work of a weight for each further token that meets it in a pass, over that for the first (estimated, 0.3 to 1).

So that prompts take what was published: Llama 2 7B on a Raspberry Pi 5 8.1 tokens/s (ggml-org/llama.cpp, 6928), Llama
3.1 8B on a Ryzen 7950X 123 (ikawrakow/ik_llama.cpp, 54), Llama 3.2 3B on a Cix P1 81 (geerlingguy/ai-benchmarks, 51):
these say 8.3, 116 and 80."""
WIDER = 1.5
"""Factor of the log interval of what was not measured: prompts, batches, other formats (estimated, 1 to 2.5)."""


@dataclass(frozen=True)
class _Pass:
    """Rows of one pass over a language model: `rows` of the table, how often each runs in a pass, and its graph."""

    lowered: Lowered
    rows: Array
    repeats: Array
    run: Pass

    def total(self, column: Array, where: Array | bool = True) -> Array:
        """Return sums over the rows of a pass by scenario."""
        values = np.broadcast_to(column, self.lowered.pass_index.shape)[self.rows] * self.repeats
        return np.asarray(np.bincount(self.lowered.scenario[self.rows], weights=np.where(where, values, 0.0)))

    def of(self, op: str) -> Array:
        """Say which rows are of an operator family."""
        return np.asarray(self.lowered.table.full("op")[self.rows] == OP_CODES[op])

    @cached_property
    def head(self) -> Array:
        """The product that makes the logits."""
        last = self.lowered.block_index[self.rows] == len(self.run.graph.blocks) - 1
        return np.asarray(last & self.of("gemm"))

    @cached_property
    def sequences(self) -> Array:
        """Sequences of which the pass yields a token."""
        return self.total(self.lowered.table.full("m"), self.head)

    def bits(self) -> tuple[float, float]:
        """Return the bits of most weights, and the mean bits of a weight, of the products of the pass."""
        table, products = self.lowered.table.take(self.rows), self.of("gemm") | self.of("moe")
        of_format = np.array([f.weight_bits for f in FORMATS.values()])
        codes, held = table.full("dtype")[products], np.broadcast_to(count_work(table).weight_bytes, (len(self.rows),))
        weights = held[products] * 8 / of_format[codes] * self.repeats[products]
        by_format = np.bincount(codes, weights=weights, minlength=len(of_format))
        return float(of_format[by_format.argmax()]), float((by_format * of_format).sum() / max(by_format.sum(), 1.0))

    def token(self, cores: bool) -> Token:
        """Return what the pass does; cores have work with a weight for every token that meets it."""
        work, table = count_work(self.lowered.table), self.lowered.table
        kernels = EXPERT_KERNELS if self.of("moe").any() else DENSE_KERNELS
        weights = self.total(work.matrix_flop) / 2
        tokens = np.ones(len(weights))
        np.maximum.at(
            tokens, self.lowered.scenario[self.rows], np.where(self.of("gemm"), table.full("m")[self.rows], 1)
        )
        work_share = (1 + FURTHER * (tokens - 1)) / tokens if cores else 1 / self.sequences
        return Token(
            self.total(work.weight_bytes), weights * work_share,
            float(sum(block.count for block in self.run.graph.blocks[1:-1])),
            self.total(table.full("m") * table.full("n"), self.head), 0.0, 0.0, kernels,
        )  # fmt: skip


def with_token_rate(
    costs: OpCosts, workload: Workload, lowered: Lowered, spec: DeviceSpec, software: str
) -> tuple[OpCosts, tuple[str, ...]]:  # fmt: skip
    """Return costs whose passes take what measured tokens say, and a note; as they are where nothing is known.

    On a graphics unit a batch takes no less than the cost model says.
    """
    if not has_class(spec) or not any(run.name == "decode" for run in workload.passes):
        return costs, ()
    factor, half = np.ones(len(costs.latency_s)), np.full(len(costs.latency_s), np.nan)
    source, cores, known_to = costs.source.copy(), spec.kind == "cpu", False
    for part in _passes(workload, lowered):
        main, mean = part.bits() if part.head.any() else (0.0, np.inf)
        plain = part.total(costs.latency_s)
        if mean >= MOST_BITS or not (plain > 0).all() or (part.run.name != "decode" and not cores):
            continue
        seconds = seconds_of(part.token(cores), spec, ollama=software.lower().startswith("ollama"))
        alone = part.sequences == 1
        seconds = seconds if cores else np.where(alone, seconds, np.maximum(seconds, plain))
        measured = alone & (part.run.name == "decode") & (MEASURED_BITS[0] <= main < MEASURED_BITS[1])
        at, known_to = lowered.scenario[part.rows], known_to or bool(measured.any())
        factor[part.rows] = (seconds / plain)[at]
        half[part.rows] = half_width(spec) * np.where(measured, 1.0, WIDER)[at]
        source[part.rows] = np.where(measured, LEARNED, EXTRAPOLATED)[at]
    if np.isnan(half).all():
        return costs, ()
    return _scaled(costs, factor, half, source, spec.power.limit_w.value), (_note(spec, known_to),)


def _scaled(costs: OpCosts, factor: Array, half: Array, source: Array, limit_w: float) -> OpCosts:
    """Return costs times a factor a row, with intervals of their own where there is a half width."""
    columns: dict[str, Any] = {name: getattr(costs, name) * factor for name in NUMERIC if name != "dram_bytes"}
    for name, sign in (("latency_lo_s", -1.0), ("latency_hi_s", 1.0)):
        columns[name] = np.where(np.isnan(half), columns[name], columns["latency_s"] * np.exp(sign * half))
    most_j = np.minimum(columns["energy_hi_j"], limit_w * columns["latency_hi_s"])
    columns["energy_hi_j"] = np.maximum(most_j, columns["energy_j"])
    return replace(costs, **columns, source=source, shared_log_error=1.0)


def _passes(workload: Workload, lowered: Lowered) -> Iterator[_Pass]:
    """Yield the passes that read a prompt or generate; those that never run are left out."""
    for p, run in enumerate(workload.passes):
        rows = np.flatnonzero(lowered.pass_index == p)
        if run.name not in PASSES or not len(rows):
            continue
        times = np.broadcast_to(np.asarray(run.times, float), (int(lowered.scenario[rows].max()) + 1,))
        if (times > 0).all():
            yield _Pass(lowered, rows, lowered.table.full("count")[rows] / times[lowered.scenario[rows]], run)


def _note(spec: DeviceSpec, measured: bool) -> str:
    known, what = known_tokens(), "prompt and further tokens" if spec.kind == "cpu" else "further tokens"
    asked = "" if measured else " This format or batch was not measured."
    asked += " The card is taken to stand in a PC." if card_link(spec) else ""
    return (
        f"{ENGINE}: {what} as fitted on {known.rows} rates of small systems (docs/edge.md). With each system left out "
        f"the median error is {known.median_error:.0%}; the interval of a token in 4-bit blocks held 90 %.{asked}"
    )
