"""Frames a second of a dataflow chip: a pipeline of all layers at once, or contexts that are swapped.

A network that fits runs as one context: every layer has its piece of the chip, and the rate is set by the sum of what
the pieces can do. One that does not is cut into contexts; a frame passes through all of them, and what a switch costs
(weights loaded again, every layer set up) is shared by the frames of a batch:

    1 / rate = frame_s                          one context
    1 / rate = frame_s + switch_s / batch       several

Both are sums of a few non-negative costs: seconds for each unit of work (`costmodel.dataflow_work`). Costs are
fitted in relative error, first for all chips together with one speed a chip, then for each chip, drawn to that. Whether
a network fits is a logistic function of the logs of its weights, layers and activations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.dataflow_work import AMOUNTS
from foundation.errors import BadValueError
from workloads.table import Array

FRAME = (
    "frame", "dense_op", "staged_op", "depthwise_op", "grouped_op", "attention_op", "thin_op", "output_elements",
    "largest_output_elements", "norm_elements", "attention_elements", "pointwise_elements", "input_elements", "layers",
    "sequence_weights",
)  # fmt: skip
"""What a frame costs. Staged: operations as the slowest stage has them. Sequence: an input of one row leaves no rows
to pipeline, so that each layer waits for the one before and its weights pass by once for each frame."""
SWITCH = (
    "switch", "weights", "layers", "norms", "softmaxes", "attention_products", "activations", "sums", "joins",
    "depthwise_layers", "grouped_layers", "output_elements",
)  # fmt: skip
GATE = (
    "weights", "layers", "output_elements", "all_op", "norms", "attention_products", "depthwise_layers", "activations",
    "grouped_layers", "largest_output_elements", "pointwise_elements",
)  # fmt: skip
SCALE = 1e6
"""Amounts are taken in millions, so that costs are near seconds of a millionth."""
FITS = (0.9, 1.06)
"""A network whose rate of batch 8 over batch 1 lies between these runs without switching (rounding of the tables)."""
FEWEST = 10
SWEEPS, REWEIGHTED = 4, 6


@dataclass(frozen=True)
class Settings:
    """Pull of all chips' costs on those of one; ridge of the former; relative error beyond which rows weigh less;
    and penalties of the gate's weights, shared and of one chip.

    Chosen on Hailo's table with seeds 0 and 1; its median error moves by less than a point when any of the first three
    is 3 times more or less.
    """

    pull: float = 0.3
    ridge: float = 0.003
    robust: float = 0.4
    gate: float = 0.005
    gate_chip: float = 0.02


@dataclass(frozen=True)
class DataflowChips:
    """Costs of chips: `one` and `many` (chips, frame columns) in seconds a unit, `switch` (chips, switch columns).

    The gate's weights are (chips, 1 + gate columns), of features less `centre` over `spread`.
    """

    chips: tuple[str, ...]
    one: Array
    many: Array
    switch: Array
    gate: Array
    centre: Array
    spread: Array

    def place(self, chip: Array) -> Array:
        """Return indices of chips. Raises BadValueError: one that was not fitted."""
        known = {name: i for i, name in enumerate(self.chips)}
        missing = sorted(set(np.asarray(chip).tolist()) - set(known))
        if missing:
            raise BadValueError(
                f"No costs are known of the dataflow chip '{missing[0]}'; known are {list(self.chips)}."
            )
        return np.array([known[name] for name in np.asarray(chip).tolist()])


@dataclass(frozen=True)
class Throughput:
    """Frames a second, shape (rows,): as one context, as several, and the probability of several."""

    one_hz: Array
    several_hz: Array
    several: Array

    @property
    def rate_hz(self) -> Array:
        """The rate of the likelier of the two."""
        return np.where(self.several > 0.5, self.several_hz, self.one_hz)


def frame_work(amounts: Array) -> Array:
    """Return the columns `FRAME` of amounts (rows, amounts)."""
    own = _named(amounts) | {
        "frame": np.full(len(amounts), SCALE / 10),
        "staged_op": amounts[:, :5].sum(axis=1) * amounts[:, AMOUNTS.index("imbalance_ratio")],
    }
    own["layers"] = own["layers"] * SCALE / 100
    own["sequence_weights"] = np.where(own["input_rows"] <= 1, own["weights"], 0.0)
    return np.stack([own[name] for name in FRAME], axis=1) / SCALE


def switch_work(amounts: Array) -> Array:
    """Return the columns `SWITCH` of amounts (rows, amounts)."""
    own = _named(amounts) | {"switch": np.ones(len(amounts)) * SCALE}
    counted = ("layers", "norms", "softmaxes", "attention_products", "activations", "sums", "joins",
               "depthwise_layers", "grouped_layers")  # fmt: skip
    own |= {name: own[name] * SCALE / 10 for name in counted}
    return np.stack([own[name] for name in SWITCH], axis=1) / SCALE


def gate_features(amounts: Array) -> Array:
    """Return the features that say whether a network fits, shape (rows, gate columns)."""
    own = _named(amounts) | {"all_op": amounts[:, :5].sum(axis=1)}
    return np.stack([np.log1p(own[name]) for name in GATE], axis=1)


def _named(amounts: Array) -> dict[str, Array]:
    return {name: amounts[:, i] for i, name in enumerate(AMOUNTS)}


def switches(rate_1_hz: Array, rate_8_hz: Array) -> Array:
    """Tell which networks run in several contexts: a batch makes them faster (NaN counts as yes)."""
    ratio = np.asarray(rate_8_hz, float) / np.maximum(np.asarray(rate_1_hz, float), 1e-9)
    return np.asarray(~((ratio > FITS[0]) & (ratio < FITS[1])))


def fit_dataflow(
    amounts: Array, chip: Array, batch: Array, several: Array, rate_hz: Array, settings: Settings = Settings()
) -> DataflowChips:
    """Return costs of chips.

    Args:
        amounts: of the network of each row, shape (rows, amounts).
        chip, batch, several, rate_hz: name, frames a batch, whether it ran in several contexts, and measured frames a
            second; shape (rows,).

    Raises:
        BadValueError: too few rows of one or of several contexts, or a rate that is not positive.
    """
    names, place = np.unique(np.asarray(chip).astype(str), return_inverse=True)
    rate, many = np.asarray(rate_hz, float), np.asarray(several, bool)
    if not (np.isfinite(rate).all() and (rate > 0).all()):
        raise BadValueError("Measured rates of a dataflow chip must be positive and finite.")
    seconds = 1.0 / rate
    if min(many.sum(), (~many).sum()) < FEWEST:
        raise BadValueError(f"Costs of a dataflow chip need {FEWEST} rows of one context and of several.")
    frame = frame_work(amounts)
    whole = np.column_stack([frame, switch_work(amounts) / np.asarray(batch, float)[:, None]])
    one = fit_costs(frame[~many], seconds[~many], place[~many], len(names), settings)
    both = fit_costs(whole[many], seconds[many], place[many], len(names), settings)
    unseen = ~frame[~many].any(axis=0)
    one[:, unseen] = both[:, : frame.shape[1]][:, unseen]  # attention, where no network with it fits
    gate, centre, spread = _gate(gate_features(amounts), place, len(names), many, settings)
    return DataflowChips(
        tuple(names.tolist()), one, both[:, : frame.shape[1]], both[:, frame.shape[1] :], gate, centre, spread
    )


def predict_dataflow(model: DataflowChips, amounts: Array, chip: Array, batch: Array) -> Throughput:
    """Return rates of rows. Raises BadValueError: a chip that the model lacks."""
    at = model.place(chip)
    frame, switch = frame_work(amounts), switch_work(amounts)
    one_s = (frame * model.one[at]).sum(axis=1)
    many_s = (frame * model.many[at]).sum(axis=1) + (switch * model.switch[at]).sum(axis=1) / batch
    features = (gate_features(amounts) - model.centre) / model.spread
    score = model.gate[at, 0] + (features * model.gate[at, 1:]).sum(axis=1)
    return Throughput(1 / np.maximum(one_s, 1e-9), 1 / np.maximum(many_s, 1e-9), _logistic(score))


def _logistic(score: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(score, -30, 30))))


def fit_costs(work: Array, seconds: Array, place: Array, chips: int, settings: Settings) -> Array:
    """Return non-negative costs of each chip (chips, columns), drawn to those of all chips times the chip's speed.

    `work` has shape (rows, columns), `seconds` and the chip's index `place` (rows,).
    """
    slow = np.ones(chips)
    nothing = np.zeros(work.shape[1])
    common = nothing
    for _ in range(SWEEPS):
        common = _robust(work, seconds / slow[place], nothing, settings.ridge, settings.robust)
        for i in range(chips):
            if (place == i).any():
                ratio = seconds[place == i] / np.maximum(work[place == i] @ common, 1e-12)
                slow[i] = float(np.median(ratio))
    out = np.outer(slow, common)
    for i in range(chips):
        own = place == i
        if own.sum() > FEWEST:
            out[i] = _robust(work[own], seconds[own], out[i], settings.pull, settings.robust)
    return out


def _robust(work: Array, seconds: Array, start: Array, pull: float, robust: float) -> Array:
    """Return non-negative costs of least relative error; rows that err by more than `robust` weigh less."""
    weight, costs = np.ones(len(seconds)), start
    for _ in range(REWEIGHTED):
        costs = _drawn(work, seconds, start, pull, weight)
        error = np.abs(np.log(np.maximum(work @ costs, 1e-12) / seconds))
        weight = 1 / np.maximum(error, robust)
        weight /= weight.mean()
    return costs


def _drawn(work: Array, seconds: Array, start: Array, pull: float, weight: Array) -> Array:
    """Minimise the weighted mean square of work @ costs / seconds - 1, plus pull times the distance from the start.

    Work that no row has keeps the cost it starts from.
    """
    from scipy.optimize import nnls

    shares = work / seconds[:, None]
    scale = np.sqrt((weight[:, None] * shares**2).mean(axis=0))
    seen = scale > 0
    shares, scale, costs = shares[:, seen] / scale[seen], scale[seen], start.copy()
    gram = (shares * weight[:, None]).T @ shares / len(shares) + (pull + 1e-5) * np.eye(len(scale))
    aim = (weight[:, None] * shares).mean(axis=0) + pull * start[seen] * scale
    lower = np.linalg.cholesky(gram)
    found, _ = nnls(lower.T, np.linalg.solve(lower, aim), maxiter=10_000)
    costs[seen] = found / scale
    return np.asarray(costs)


def _gate(features: Array, place: Array, chips: int, many: Array, settings: Settings) -> tuple[Array, Array, Array]:
    """Fit a logistic regression with weights that chips share, and small ones of each, by Newton's steps."""
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    z, own = (features - centre) / spread, np.eye(chips)[place]
    width = z.shape[1]
    matrix = np.column_stack([own, z, *(z * own[:, [i]] for i in range(chips))])
    penalty = np.diag(np.concatenate([
        np.full(chips, 0.001), np.full(width, settings.gate), np.full(chips * width, settings.gate_chip)
    ]))  # fmt: skip
    weights = np.zeros(matrix.shape[1])
    for _ in range(25):
        value = _logistic(matrix @ weights)
        slope = value * (1 - value) + 1e-4
        left = (matrix * slope[:, None]).T @ matrix / len(matrix) + penalty
        weights = np.linalg.solve(left, matrix.T @ (slope * (matrix @ weights) + many - value) / len(matrix))
    shared = weights[chips : chips + width]
    each = weights[chips + width :].reshape(chips, width) + shared
    return np.column_stack([weights[:chips], each]), centre, spread
