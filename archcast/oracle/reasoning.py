"""`reasoning_cost`: tokens and samples turned into seconds, joules and dollars.

k samples in parallel read the prompt once and decode together as a batch; k in sequence come one after the other from
the same cached prompt. A verifier reads each answer with its prompt, `passes` times. Truncated answers stop at a number
of tokens. Whether an answer is right is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.batches import QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, combined, pick_quantities, price, versions_of
from archcast.oracle.checks import check_effect, check_one, check_reads
from archcast.oracle.curves import knob_values
from archcast.oracle.marginals import said_values
from archcast.oracle.names import device_names
from archcast.oracle.questions import SAMPLES, Question, Questions, as_questions, limited
from archcast.oracle.words import quantity_text, text_table
from costmodel.protocol import CostModel
from foundation.checks import whole_number
from foundation.errors import BadValueError
from workloads.table import Array

MEMORY = QUANTITIES.index("memory_bytes")


@dataclass(frozen=True)
class ReasoningCost:
    """Costs of `tokens` x `samples`: `value`, `lo`, `hi` have shape (tokens, samples, quantities).

    `generated` is the tokens of each answer after truncation, `truncated` where answers stop early (tokens,).
    `memory_bytes` is the larger of the model's and the verifier's, each on devices of its own.
    """

    tokens: Array
    samples: Array
    generated: Array
    truncated: Array
    quantities: tuple[str, ...]
    value: Array
    lo: Array
    hi: Array
    feasible: Array
    reason: Array
    parallel: bool
    versions: dict[str, Any]

    def of(self, quantity: str, side: str = "value") -> Array:
        """Return one quantity, shape (tokens, samples); side: value, lo or hi."""
        return np.asarray(getattr(self, side)[:, :, self.quantities.index(quantity)])

    def to_json(self) -> dict[str, Any]:
        costs = {
            name: {s: [[None if np.isnan(v) else float(v) for v in row] for row in self.of(name, s)]
                   for s in ("value", "lo", "hi")}
            for name in self.quantities
        }  # fmt: skip
        return {"tokens": self.tokens.tolist(), "samples": self.samples.tolist(), "generated": self.generated.tolist(),
                "parallel": self.parallel, **costs, "feasible": self.feasible.tolist(), "reason": self.reason.tolist(),
                "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        lines = []
        for i, tokens in enumerate(self.tokens.tolist()):
            for j, samples in enumerate(self.samples.tolist()):
                ends = zip(self.quantities, self.value[i, j], self.lo[i, j], self.hi[i, j], strict=True)
                cut = f" cut at {self.generated[i]:g}" if self.truncated[i] else ""
                lines.append([f"{tokens:g}{cut}", f"{samples:g}", *(quantity_text(n, *e) for n, *e in ends),
                              str(self.reason[i, j])])  # fmt: skip
        return text_table(["tokens", "samples", *self.quantities, ""], lines)


def reasoning_cost(
    question: Question, tokens: Sequence[float] | float | Array, samples: Sequence[float] | float | Array = 1,
    parallel: bool = True, verifier: Question | None = None, passes: int = 1, truncate: int | None = None,
    quantities: Sequence[str] = ("latency_s", "energy_j", "memory_bytes", "cost_usd"), model: AnyModel = None,
) -> ReasoningCost:  # fmt: skip
    """Return what answers of so many thinking tokens and samples cost.

    Args:
        question: the model, its device and its prompt; `batch` requests are answered at once. What `tokens` and
            `samples` say holds over it.
        parallel: samples of a request share its cached prompt and decode together; else one after the other.
        verifier: a model with its device that reads prompt and answer (a reward model: generate=1 unless said).
        passes: how often it reads each answer.
        truncate: tokens at which an answer is stopped.

    Raises:
        InputError: sizes that cannot be, or a question that is not one.
    """
    names = pick_quantities(quantities)
    base = as_questions(question)
    if base.rows != 1:
        raise BadValueError(f"One question at a time, not {base.rows}; tokens and samples may be lists.")
    check_one(base)
    check_effect(base, "generate")
    thought, tries = knob_values("generate", tokens), knob_values(SAMPLES, samples)
    passes = whole_number("passes", passes, high=10**6)
    if verifier is None and passes != 1:
        raise BadValueError(f"passes={passes} is how often a verifier reads each answer, and there is no verifier.")
    cap = float(whole_number("truncate", truncate, high=10**9)) if truncate is not None else np.inf
    written = np.minimum(thought, cap)
    shape = (len(thought), len(tries))
    limited(shape[0] * shape[1])
    length, many = (grid.ravel() for grid in np.meshgrid(written, tries, indexing="ij"))
    asked = base.take(np.zeros(len(length), dtype=int)).with_columns(generate=length)
    cells, cost_model = _answers(asked, many, parallel, model)
    if verifier is not None:
        prompt = float(said_values(base, "prompt", False)[0])
        reads, there = _verified(verifier, asked, prompt + length, many if parallel else np.ones_like(many), model)
        here = device_names(asked, software=True)[0]
        cells = _with_verifier(cells, reads, passes * (np.ones_like(many) if parallel else many), here == there)
    pick = [QUANTITIES.index(name) for name in names]
    ends = [getattr(cells, side)[:, pick].reshape(*shape, -1) for side in ("value", "lo", "hi")]
    feasible, reason = cells.feasible.reshape(shape), cells.reason.reshape(shape)
    return ReasoningCost(thought, tries, written, thought > cap, names, ends[0], ends[1], ends[2], feasible, reason,
                         parallel, versions_of(cost_model, asked))  # fmt: skip


def _answers(asked: Questions, many: Array, parallel: bool, model: AnyModel) -> tuple[Cells, CostModel]:
    if parallel:
        return price(asked.with_columns(samples=many), model)
    one, cost_model = price(asked, model)
    prompt, _ = price(asked.with_columns(generate=1.0), model)
    decode = combined([(1.0, one), (-1.0, prompt)])
    cells = combined([(1.0, prompt), (many[:, None], decode)], nested=False)
    return _keeping(cells, one, ("ttft_s", "tpot_s", "memory_bytes")), cost_model


def _verified(
    verifier: Question, asked: Questions, length: Array, many: Array, model: AnyModel
) -> tuple[Cells, str]:  # fmt: skip
    """Return what it costs to read `many` answers of each request in one batch, and where."""
    base = as_questions(verifier, "verifier")
    if base.rows != 1:
        raise BadValueError("There is one verifier; ask for several in turn.")
    check_one(base)
    check_reads(base)
    reads = base.take(np.zeros(asked.rows, dtype=int))
    said = {name for name in ("prompt", "generate") if name in base.columns}
    changes = {"prompt": length, "generate": np.ones(asked.rows)}
    batch = asked.numbers("batch", 1.0)
    sizes = {name: value for name, value in changes.items() if name not in said}
    cells, _ = price(reads.with_columns(**sizes, batch=batch * many), model)
    return cells, str(device_names(reads, software=True)[0])


def _with_verifier(cells: Cells, reads: Cells, times: Array, same: bool) -> Cells:
    """Return the costs of answering and then reading so many times, on the `same` kind of device or another."""
    both = combined([(1.0, cells), (times[:, None], reads)], nested=False, together=same)
    both = _keeping(both, cells, ("ttft_s", "tpot_s"))
    for side in ("value", "lo", "hi"):
        larger = np.maximum(getattr(cells, side)[:, MEMORY], getattr(reads, side)[:, MEMORY])
        getattr(both, side)[:, MEMORY] = larger
    return both


def _keeping(cells: Cells, of: Cells, names: Sequence[str]) -> Cells:
    """Return costs with some quantities as they are of others."""
    found: Any = {}
    for side in ("value", "lo", "hi", "shared"):
        found[side] = getattr(cells, side).copy()
        for name in names:
            found[side][:, QUANTITIES.index(name)] = getattr(of, side)[:, QUANTITIES.index(name)]
    return replace(cells, **found)
