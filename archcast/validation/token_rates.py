"""Decode rates of `predict --software llama.cpp` on small systems, nothing of a system's own rows in its answers.

Clusters and networks divided between card and host are not asked; a card is predicted as in a PC, on whatever host it
ran. The baseline is the closed form on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from archcast.prediction import predict
from costmodel.edge_llm_shipped import ShippedTokens, others_instead
from costmodel.estimate import Quantity
from costmodel.evaluation.llm_edge import fits_without
from costmodel.evaluation.scores import Score, score
from costmodel.measured.llm_edge import EdgeRow, read_edge_rows
from workloads.table import Array

CLOSED = "closed form"
PROMPT, GENERATE = 64, 128
"""Tokens of a question: the table does not say; some hundred tokens of cache change a rate by 2 %."""
GROUPS: dict[str, Callable[[EdgeRow], bool]] = {
    "all that predict expresses": lambda row: True,
    "no card": lambda row: not row.link,
    "cores": lambda row: row.on_cpu,
    "card in a PC": lambda row: bool(row.link) and not row.board,
    "card on a board": lambda row: bool(row.link) and row.board,
}


def evaluate_token_rates(root: Path) -> list[Score]:
    """Return the scores of rates under a root folder, each system left out. Raises BadFileError."""
    rows = read_edge_rows(root)
    others = fits_without(rows, sorted({row.system for row in rows}))
    asked = [row for row in rows if row.nodes == 1 and not row.host_memory]
    found = [(row, *pair) for row in asked if (pair := _tokens(row, others[row.system])) is not None]
    rates = np.array([[row.tokens_per_s, 1 / q.value, 1 / q.hi, 1 / q.lo, 1 / p.value] for row, q, p in found])
    return [_score(name, rates[mine]) for name, of in GROUPS.items()
            if (mine := np.array([of(row) for row, _, _ in found])).any()]  # fmt: skip


def _tokens(row: EdgeRow, tokens: ShippedTokens) -> tuple[Quantity, Quantity] | None:
    """Return seconds a token with other systems' coefficients, and by the closed form; None where it does not fit."""
    dtype = "" if row.workload.startswith("gpt-oss") else "q4_k_m"
    with others_instead(tokens):
        said, closed = (
            predict(row.workload, on=row.device, dtype=dtype, prompt=PROMPT, generate=GENERATE, software=row.engine,
                    model=model).tpot_s
            for model in (None, "physics")
        )  # fmt: skip
    return (said, closed) if said is not None and closed is not None else None


def _score(split: str, rates: Array) -> Score:
    measured, value, lo, hi, closed = rates.T
    labels = ("llm_edge", "all", split, "predict, a system out", 0)
    return score(labels, measured, value, ends=(lo, hi), baseline=(CLOSED, closed))
