"""Decode rates of language models on boards, PCs and Macs, each system predicted from the others, and their power.

The coefficients (`llm_edge_terms`) belong to classes (all cards, one vendor's driver, cores with integer dot products
and without), never to a device. Each is drawn to a value that stands beside its reason, and is fitted on the rows of
all other systems, under a loss that bounds what a wild row does. Intervals: the errors of the other systems set the
width. Baseline: bytes of the weights over the memory's bandwidth.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.edge_llm import COEFFICIENTS, Bounds, Terms
from costmodel.edge_llm_shipped import ShippedTokens, write_tokens
from costmodel.evaluation.llm_edge_terms import fit_drawn, terms_of
from costmodel.evaluation.scores import Score, score
from costmodel.measured.llm_edge import EdgeRow, read_edge_rows
from hardware_specs import load_device
from workloads.table import Array

BASELINE = "data-sheet bound"
"""Bytes of the weights over the bandwidth, the power limit, and the product of both."""
EVERY = "all"
POWER: dict[str, Bounds] = {
    "card_share": (0.9, 0.4, 1.2),
    "desk_w": (100.0, 30.0, 200.0),
    "board_w": (15.0, 4.0, 40.0),
    "whole_share": (1.1, 0.6, 1.8),
    "whole_w": (4.0, 1.0, 15.0),
}  # fmt: skip
"""Peak power at the wall -> (start, least, most), estimated: a card draws a share of its limit beside a PC or a board;
other systems a share of the limit that the catalogue gives, and what stands around the chip. Losses of the power supply
are in the shares."""


def left_out(groups: Array, terms: Terms, token_s: Array) -> Array:
    """Return seconds a token of each row, from coefficients of the rows of other groups."""
    found = np.zeros(len(groups))
    for name in np.unique(groups):
        mine = groups == name
        values = fit_drawn(terms.take(~mine).seconds, token_s[~mine], COEFFICIENTS)
        found[mine] = terms.take(mine).seconds(values)
    return found


def watts_of(rows: Sequence[EdgeRow]) -> Array:
    """Return the terms of the power at the wall, a column a coefficient of `POWER`."""
    out = np.zeros((len(rows), len(POWER)))
    for terms, row in zip(out, rows, strict=True):
        limit_w = load_device(row.device).power.limit_w.value * row.nodes
        if row.link:
            terms[:] = limit_w, float(not row.board), float(row.board), 0.0, 0.0
        else:
            terms[3:] = limit_w, row.nodes
    return out


def evaluate_llm_edge(rows: Sequence[EdgeRow]) -> list[Score]:
    """Return the scores of rates, each system and then each device left out, and of the energy a token at the wall."""
    terms, token_s = terms_of(rows), np.array([1 / row.tokens_per_s for row in rows])
    system, device = (np.array([getattr(row, name) for row in rows]) for name in ("system", "device"))
    scores = []
    for split, groups in (("a system out", system), ("a device out", device)):
        found = left_out(groups, terms, token_s)
        scores.append(_score(f"rate, {split}", 1 / token_s, 1 / found, groups, 1 / terms.baseline_s))
    found = left_out(system, terms, token_s)
    watts = np.array([row.power_peak_w for row in rows])
    known = np.isfinite(watts)
    power = watts_of(rows)
    predicted = np.zeros(len(rows))
    for name in np.unique(system[known]):
        mine, other = (system == name) & known, (system != name) & known
        values = fit_drawn(lambda at, part=power[other]: part @ at, watts[other], POWER)  # type: ignore[misc]
        predicted[mine] = power[mine] @ values
    limits = np.array([load_device(row.device).power.limit_w.value * row.nodes for row in rows])
    plain = (limits * terms.baseline_s)[known]
    scores.append(_score("power at the wall", watts[known], predicted[known], system[known], limits[known]))
    scores.append(_score("energy a token", (watts * token_s)[known], (predicted * found)[known], system[known], plain))
    return scores


def _score(split: str, measured: Array, predicted: Array, groups: Array, plain: Array) -> Score:
    labels = ("llm_edge", EVERY, split, "terms of a token", 0)
    return score(labels, measured, predicted, ends=_ends(predicted, measured, groups), baseline=(BASELINE, plain))


def _ends(predicted: Array, measured: Array, groups: Array) -> tuple[Array, Array]:
    """Return the ends of intervals: the errors of the other groups set the width of each (kind conformal)."""
    errors, half = np.abs(np.log(predicted / measured)), np.zeros(len(predicted))
    for name in np.unique(groups):
        half[groups == name] = conformal_half(errors[groups != name])
    return predicted * np.exp(-half), predicted * np.exp(half)


def evaluate_files(root: Path) -> list[Score]:
    """Return the scores of the data under a root folder. Raises BadFileError."""
    return evaluate_llm_edge(read_edge_rows(root))


def fit_shipped(rows: Sequence[EdgeRow]) -> ShippedTokens:
    """Return coefficients of all rows, and the half widths that systems left out ask for, on cores and elsewhere."""
    return fits_without(rows, ("",))[""]


def fits_without(rows: Sequence[EdgeRow], systems: Sequence[str]) -> dict[str, ShippedTokens]:
    """Return coefficients and half widths by system, each from the rows of the others ("": from all)."""
    terms, token_s = terms_of(rows), np.array([1 / row.tokens_per_s for row in rows])
    system, cores = np.array([row.system for row in rows]), np.array([row.on_cpu for row in rows])
    ratio = token_s / left_out(system, terms, token_s)
    error = np.abs(np.log(ratio))
    found = {}
    for name in systems:
        other = system != name
        values = fit_drawn(terms.take(other).seconds, token_s[other], COEFFICIENTS)
        halves = (conformal_half(error[cores & other]), conformal_half(error[~cores & other]))
        found[name] = ShippedTokens(values, *halves, int(other.sum()), float(np.median(np.abs(ratio - 1))))
    return found


if __name__ == "__main__":
    write_tokens(fit_shipped(read_edge_rows(Path(sys.argv[1]))))
