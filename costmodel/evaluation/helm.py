"""HELM's idealised runtimes: prompt and token times of large language models, one curve left out at a time.

Terms per curve and prompt: launches (layers), launches under tensor parallelism (layers x all-reduces), the least
launch-bound step, what a prompt costs once, arithmetic in whole tiles of tokens (one token is a matrix-vector product
and has no tile), attention, weights read, and what stages in a row add. Their positive coefficients are fitted on the
other curves; the larger of issuing and executing counts. Values are
rounded to 1 ms, so 2.5 % of the shortest are noise. Baseline: the roofline on the devices that hold the weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.evaluation.scores import Score, score
from workloads.catalogue import load_model
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

TILE_TOKENS, NODE = 128.0, 8.0
"""Rows of a product are executed in tiles of 128 (cuBLAS on the A100); tensor parallelism stays within a node of 8."""
FLOP_PER_S, BYTES_PER_S, LINK_BYTES_PER_S = 312e12, 2.039e12, 300e9
"""Of one A100 80GB SXM: fp16 matrix peak, device memory, and NVLink one way (NVIDIA's data sheet, 2021)."""
MEMORY_BYTES, ROOM = 80e9, 0.8
"""Memory of one device, and the share that weights may take (estimated, 0.7 to 0.9: the rest holds activations; OPT-66B
ran faster than the peak of the two devices that hold its bare weights)."""
SHARPNESS = 4.0
ROUNDS = 200
START = (7e-4, 1e-4, 1e-2, 1e-3, 2e-3, 2.0, 2.0, 2.0, 1.2, 1e-4)
"""Where coefficients start: seconds a layer, a layer's all-reduce, a further node, a step, a prompt; then inverse
efficiencies of arithmetic, attention, messages and reads, and seconds a layer (estimated, each within a factor of
5)."""
DRAWN = 0.05
"""Weight of one log unit of distance from the start, against one squared log error of a row."""


@dataclass(frozen=True)
class Curves:
    """Prompt rows of all curves: what issuing and executing a step consist of, seconds, and the curve."""

    issued: Array
    executed: Array
    latency_s: Array
    curve: Array
    roofline_s: Array


def curves_of(tables: Iterable[WorkloadMeasurements]) -> tuple[Curves, Curves]:
    """Return the rows of prompts, and those of one token each (one a curve)."""
    rows = [(t, i) for t in tables for i in range(t.rows)]
    prompt = [_terms(t, i, t.size("prompt")[i], 1.0) for t, i in rows]
    token = [_terms(t, i, 1.0, 0.0) for t, i in rows]
    curve = np.array([str(t.groups()[i]) for t, i in rows])
    first = np.unique(curve, return_index=True)[1]
    ttft, tpot = (np.array([t.value(n)[i] for t, i in rows]) for n in ("ttft_s", "tpot_s"))
    return _curves(prompt, ttft, curve), _curves([token[i] for i in first], tpot[first], curve[first])


def _curves(terms: list[tuple[list[float], list[float], float]], latency_s: Array, curve: Array) -> Curves:
    issued, executed, roofline = zip(*terms, strict=True)
    return Curves(np.array(issued), np.array(executed), latency_s, curve, np.array(roofline))


def _terms(
    table: WorkloadMeasurements, row: int, tokens: float, prompts: float
) -> tuple[list[float], list[float], float]:  # fmt: skip
    model = load_model(str(table.workload[row]))
    knobs = model.knobs()
    layers, hidden = float(knobs["layers"]), float(knobs["hidden"])
    weights = float(model.summary()["parameters"])
    devices = max(1.0, float(table.size("count", 1.0)[row]))
    if 2 * weights > ROOM * MEMORY_BYTES * devices:
        devices *= 2
    tp = min(devices, NODE)
    tiled = np.ceil(tokens / TILE_TOKENS) * TILE_TOKENS if tokens > 1 else tokens
    arithmetic, read = 2 * weights / tp / FLOP_PER_S, 2 * weights / tp / BYTES_PER_S
    sends = layers * (tp > 1)
    attention = 4 * layers * tokens**2 * hidden / tp / FLOP_PER_S
    moved = sends * tokens * hidden * 2 / LINK_BYTES_PER_S
    issued = [layers, sends, np.ceil(devices / NODE) - 1, 1.0, prompts]
    executed = [arithmetic * tiled, attention, moved, read, layers]
    return issued, executed, float(max(arithmetic * tokens, read))


def fit_steps(issued: Array, executed: Array, latency_s: Array) -> tuple[Array, Array]:
    """Return positive coefficients of issuing and executing; the soft maximum of both is the step.

    Damped Gauss-Newton on the log coefficients (Levenberg-Marquardt), drawn weakly to `START`.
    """
    terms, begin = np.column_stack([issued, executed]), np.log(np.array(START))
    theta, damping, split = begin.copy(), 1.0, issued.shape[1]

    def slopes(at: Array) -> tuple[Array, Array]:
        parts = terms * np.exp(at)
        sides = np.column_stack([parts[:, :split].sum(axis=1), parts[:, split:].sum(axis=1)])
        sharp = sides**SHARPNESS
        share = sharp / sharp.sum(axis=1, keepdims=True) / sides
        jacobian = np.column_stack([parts[:, :split] * share[:, :1], parts[:, split:] * share[:, 1:]])
        return np.log(sharp.sum(axis=1)) / SHARPNESS - np.log(latency_s), jacobian

    def loss(error: Array, at: Array) -> float:
        return float((error**2).sum() + DRAWN * ((at - begin) ** 2).sum())

    error, jacobian = slopes(theta)
    for _ in range(ROUNDS):
        slope = jacobian.T @ error + DRAWN * (theta - begin)
        curved = jacobian.T @ jacobian + (DRAWN + damping) * np.eye(len(theta))
        moved = theta - np.linalg.solve(curved, slope)
        new_error, new_jacobian = slopes(moved)
        if loss(new_error, moved) < loss(error, theta):
            theta, error, jacobian, damping = moved, new_error, new_jacobian, damping / 3
        else:
            damping *= 3
    return np.exp(theta[:split]), np.exp(theta[split:])


def predict_steps(issued: Array, executed: Array, costs: tuple[Array, Array]) -> Array:
    """Return seconds: the soft maximum of issuing and executing."""
    sides = np.stack([issued @ costs[0], executed @ costs[1]])
    return np.asarray(((np.maximum(sides, 1e-9) ** SHARPNESS).sum(axis=0)) ** (1 / SHARPNESS))


def evaluate_helm(prompts: Curves, tokens: Curves) -> list[Score]:
    """Return the scores of prompts and of tokens, each curve predicted from the others."""
    scores = []
    value, token = np.zeros(len(prompts.curve)), np.zeros(len(tokens.curve))
    for name in np.unique(prompts.curve):
        train, test = prompts.curve != name, prompts.curve == name
        both = [np.concatenate([getattr(prompts, n)[train], getattr(tokens, n)[tokens.curve != name]])
                for n in ("issued", "executed", "latency_s")]  # fmt: skip
        costs = fit_steps(*both)
        value[test] = predict_steps(prompts.issued[test], prompts.executed[test], costs)
        out = tokens.curve == name
        token[out] = predict_steps(tokens.issued[out], tokens.executed[out], costs)
    for what, rows, found in (("prompt", prompts, value), ("token", tokens, token)):
        ends = _ends(found, rows)
        scores.append(score(("HELM idealised", "a100", f"curve out, {what}", "steps", 0), rows.latency_s, found,
                            ends=ends, baseline=("roofline", rows.roofline_s)))  # fmt: skip
    return scores


def _ends(found: Array, rows: Curves) -> tuple[Array, Array]:
    """Return the ends of intervals: the errors of the other curves set the width of each (kind conformal)."""
    errors = np.abs(np.log(found / rows.latency_s))
    half = np.zeros(len(found))
    for name in np.unique(rows.curve):
        mine = rows.curve == name
        half[mine] = conformal_half(errors[~mine])
    return found * np.exp(-half), found * np.exp(half)
