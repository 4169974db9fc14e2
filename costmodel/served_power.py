"""Power and energy of a served language model: a step's time and its watts, each corrected by a few coefficients.

    step = sum of coefficient x term;   watts of a device = limit x exp(offset + sum of weight x signal)
    joules of a token = watts x devices x step / tokens of the step

Terms are the seconds of `served_work` (a coefficient of 1 believes them) and what no operator shows: the host's time of
a step, of each request in flight, of each prompt, of each layer of experts. Signals say how busy a device then is.
Watts lie between the device's idle power and its limit. Coefficients lean on what is believed without any measurement,
and are fitted to relative errors with weights that fall with the error, so that no outlier decides.

`python -m costmodel.served_power DATA` fits what ships, `served_power.json`, on ML.ENERGY (docs/served-energy.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.served_work import KINDS, PARTS, Work, taken
from foundation.errors import BadFileError, BadValueError
from workloads.table import Array

SCHEMA = 1
SHIPPED = Path(__file__).with_name("served_power.json")
COVERAGE = 0.9
REQUEST_S, LAYER_S, PROMPT_S, STEP_S, ROUTED_S = 1e-5, 1e-5, 1e-3, 1e-3, 1e-7
"""Seconds that a coefficient of 1 stands for: of a request in flight, a layer of experts, a prompt, a step, a request
in a layer of experts."""
TERMS: tuple[str, ...] = (
    *KINDS, "prefill", "requests", "expert_layers", "prompts", "step", "eight_bit_expert_layers", "routed_requests",
    "uneven_experts",
)  # fmt: skip
PRIOR: Array = np.array([*(1.0,) * len(KINDS), 1.0, *(0.0,) * 7])
"""Operators take what the cost model says, the host nothing."""
PRIOR_SPREAD: Array = np.array([*(0.3,) * len(KINDS), 0.5, 6.0, 12.0, 12.0, 3.0, 12.0, 12.0, 1.0])
"""How far a coefficient may be from that (estimated, half to twice)."""
SIGNALS: tuple[str, ...] = ("dram", "flop", "requests", "ranks", "routed", "uneven", "narrow")
"""Shares of the step in which memory and arithmetic work at their peaks; logarithms of requests in flight and of tensor
ranks; whether there are experts, and how unevenly ranks have them; how narrow weights are, which must be widened."""
STIFFNESS: tuple[float, ...] = (0.3, 1.0, 3.0)
SHRINKAGE: tuple[float, ...] = (10.0, 40.0)
"""What times and powers lean on their priors by, in rows: the one that meets left-out families best is taken."""
USUAL_ERROR = 0.05
"""Relative error from which on a row counts less, as one over its error."""
LEAST_STEP_SHARE = 0.2
"""A step is not believed to be shorter than this share of what the operators take (estimated, 0.1 to 0.5)."""
QUANTITIES: tuple[str, ...] = ("step_s", "power_w", "energy_per_token_j")
FEWEST_ROWS, FEWEST_FAMILIES = 20, 2
FEW_FAMILIES: tuple[float, ...] = (4.70, 2.05, 1.60, 1.42, 1.32, 1.26, 1.22, 1.19, 1.17)
"""What intervals are widened by, from 2 families on: a new family is one draw from few. It is the two-sided 90 % point
of Student's t with one degree of freedom less than families, times sqrt(1 + 1 / families), over that of the normal."""
FEWEST_OF_KIND = 30
"""Rows from which intervals of networks with experts, and of those without, rest on their own errors."""
MAX_TEXT = 100_000

Ends = tuple[Array, Array, Array]
"""(value, lo, hi), each of shape (rows,)."""


@dataclass(frozen=True)
class ServedAnswer:
    """Seconds of a step, watts of all devices of a replica, joules of an output token: value, lo, hi."""

    step_s: Ends
    power_w: Ends
    energy_per_token_j: Ends


@dataclass(frozen=True)
class Labels:
    """Measured rows, shape (rows,): seconds of a step (requests in flight over tokens a second), watts of one device,
    and the family of networks that each is of."""

    step_s: Array
    device_w: Array
    family: Array

    def take(self, index: Array) -> Labels:
        return Labels(self.step_s[index], self.device_w[index], self.family[index])


@dataclass(frozen=True)
class ServedPower:
    """A fitted model. `spreads` holds for each quantity the log quantiles (lo, hi) of measured over predicted of
    families left out, without and with experts. Signals are held inside what was trained, `least` to `most`."""

    times: Array
    offset: float
    weights: Array
    centre: Array
    scale: Array
    least: Array
    most: Array
    spreads: Mapping[str, Array]
    rows: int = 0
    families: tuple[str, ...] = ()
    source: str = ""

    def step_s(self, work: Work) -> Array:
        """Return the seconds of a step, shape (rows,)."""
        terms = terms_of(work)
        least = LEAST_STEP_SHARE * terms[:, : len(KINDS) + 1].sum(axis=1)
        return np.asarray(np.maximum(terms @ self.times, least))

    def device_w(self, work: Work, step_s: Array) -> Array:
        """Return the mean watts of one device over steps of so many seconds, shape (rows,)."""
        signals = np.clip(signals_of(work, step_s), self.least, self.most)
        share = np.exp(self.offset + ((signals - self.centre) / self.scale) @ self.weights)
        return np.asarray(np.clip(work["limit_w"] * share, work["idle_w"], work["limit_w"]))

    def device_ends_w(self, work: Work, step_s: Array, wider: Array | float = 1.0) -> Ends:
        """Return `device_w` with its 90 % interval; `wider` multiplies half widths of logarithms (1: as measured)."""
        watts = self.device_w(work, step_s)
        kind = (work["expert_layers"] > 0).astype(int)
        ends = (watts * np.exp(self.spreads["power_w"][kind, end] * wider) for end in (0, 1))
        low, high = (np.clip(end, work["idle_w"], work["limit_w"]) for end in ends)
        return watts, low, high

    def answer(self, work: Work) -> ServedAnswer:
        """Return step, power and energy with their 90 % intervals; energy is a replica's over its tokens."""
        step = self.step_s(work)
        devices, batch = work["devices"], work["batch"]
        watts = self.device_w(work, step) * devices
        low, high = work["idle_w"] * devices, work["limit_w"] * devices
        kind = (work["expert_layers"] > 0).astype(int)
        down, up = (np.exp(np.stack([self.spreads[name][kind, end] for name in QUANTITIES])) for end in (0, 1))
        steps = (step, step * down[0], step * up[0])
        powers = (watts, np.maximum(watts * down[1], low), np.minimum(watts * up[1], high))
        joules = watts * step / batch
        energies = (joules, np.maximum(joules * down[2], low * steps[1] / batch),
                    np.minimum(joules * up[2], high * steps[2] / batch))  # fmt: skip
        return ServedAnswer(steps, powers, energies)

    def to_json(self) -> str:
        """Return the model as text; `from_json` reads it back, the same to the last bit."""
        doc = {
            "schema": SCHEMA, "source": self.source, "rows": self.rows, "families": list(self.families),
            "times": dict(zip(TERMS, self.times.tolist(), strict=True)), "offset": self.offset,
            "signals": {name: dict(zip(_OF_SIGNAL, column, strict=True)) for name, column in zip(
                SIGNALS, np.stack([getattr(self, part) for part in _OF_SIGNAL], axis=1).tolist(), strict=True)},
            "spreads": {name: self.spreads[name].tolist() for name in QUANTITIES},
        }  # fmt: skip
        return json.dumps(doc, indent=1) + "\n"

    @staticmethod
    def from_json(text: str, path: str | Path = "served power") -> ServedPower:
        """Return a model from its text. Raises BadFileError where it is not one."""
        try:
            if len(text) > MAX_TEXT:
                raise ValueError("too long")
            doc: dict[str, Any] = json.loads(text)
            if doc["schema"] != SCHEMA or tuple(doc["times"]) != TERMS or tuple(doc["signals"]) != SIGNALS:
                raise ValueError("made by another version")
            parts = {part: np.array([float(doc["signals"][name][part]) for name in SIGNALS]) for part in _OF_SIGNAL}
            spreads = {name: np.array(doc["spreads"][name], dtype=float).reshape(2, 2) for name in QUANTITIES}
            found = ServedPower(
                np.array([float(doc["times"][name]) for name in TERMS]), float(doc["offset"]), **parts,
                spreads=spreads, rows=int(doc["rows"]), families=tuple(str(name) for name in doc["families"]),
                source=str(doc["source"]),
            )  # fmt: skip
            numbers = np.concatenate([found.times, *parts.values(), *(s.ravel() for s in spreads.values())])
            if not (np.isfinite(numbers).all() and np.isfinite(found.offset) and (found.scale > 0).all()):
                raise ValueError("not finite")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadFileError(path, f"this is no fitted power of served models ({error}).") from None
        return found


_OF_SIGNAL = ("weights", "centre", "scale", "least", "most")


def terms_of(work: Work) -> Array:
    """Return the terms of a step in seconds, shape (rows, terms)."""
    prefill = sum(work[f"{PARTS[1]}_{kind}_s"] for kind in KINDS)
    layers, batch = work["expert_layers"], work["batch"]
    columns = [
        *(work[f"{PARTS[0]}_{kind}_s"] for kind in KINDS), prefill, batch * REQUEST_S, layers * LAYER_S,
        work["prompts"] * PROMPT_S, np.full(len(batch), STEP_S), work["eight_bit_expert_layers"] * LAYER_S,
        layers * batch * ROUTED_S, work[f"{PARTS[0]}_moe_s"] * work["uneven"],
    ]  # fmt: skip
    return np.stack([np.asarray(column, float) for column in columns], axis=1)


def signals_of(work: Work, step_s: Array) -> Array:
    """Return the signals of a device, shape (rows, signals), where a step takes `step_s` seconds."""
    dram, flop = (sum(work[f"{part}_{what}_s"] for part in PARTS) / step_s for what in ("dram", "flop"))
    return np.stack(
        [
            dram,
            flop,
            np.log(work["batch"]),
            np.log(work["ranks"]),
            work["expert_layers"] > 0,
            work["uneven"],
            work["narrow"],
        ],
        axis=1,
    )


@lru_cache(maxsize=1)
def shipped_served_power() -> ServedPower:
    """Return the model that comes with the package, read once. Raises BadFileError."""
    try:
        return ServedPower.from_json(SHIPPED.read_text(encoding="utf-8"), SHIPPED)
    except OSError as error:
        raise BadFileError(SHIPPED, f"it cannot be read ({error}).") from None


def served_energy(work: Work, model: ServedPower | None = None) -> Ends:
    """Return joules of an output token (value, lo, hi), each of shape (rows,), of the columns of `served_work`."""
    return (model or shipped_served_power()).answer(work).energy_per_token_j


def fit_served_power(work: Work, labels: Labels, source: str = "") -> ServedPower:
    """Return the model fitted to measured rows; the same rows give the same model.

    How much it leans on its priors is what meets each family best when that family is left out; intervals are the
    errors of those same left-out families, each family weighing the same.

    Raises:
        BadValueError: fewer than 20 rows or 2 families, or labels that are not above 0.
    """
    families = np.unique(labels.family.astype(str))
    good = np.isfinite(labels.step_s) & (labels.step_s > 0) & np.isfinite(labels.device_w) & (labels.device_w > 0)
    if len(good) < FEWEST_ROWS or len(families) < FEWEST_FAMILIES or not good.all():
        raise BadValueError(
            f"Power of served models is fitted to {FEWEST_ROWS} rows of {FEWEST_FAMILIES} families or more with times "
            f"and watts above 0, not to {int(good.sum())} of {len(families)}."
        )
    parts = [labels.family.astype(str) == family for family in families]
    stiffness, steps = _best(STIFFNESS, labels.step_s, lambda one: _left_out_steps(work, labels, parts, one))
    shrinkage, watts = _best(SHRINKAGE, labels.device_w, lambda one: _left_out_watts(work, labels, parts, steps, one))
    times = _fit_times(terms_of(work), labels.step_s, stiffness)
    powers = _fit_power(work, labels, steps, shrinkage)
    errors = {
        "step_s": np.log(labels.step_s / steps), "power_w": np.log(labels.device_w / watts),
        "energy_per_token_j": np.log(labels.step_s * labels.device_w / (steps * watts)),
    }  # fmt: skip
    kind = (work["expert_layers"] > 0).astype(int)
    spreads = {name: _spread(error, labels.family.astype(str), kind) for name, error in errors.items()}
    return ServedPower(times, *powers, spreads, len(good), tuple(families.tolist()), source)


def _best(options: tuple[float, ...], measured: Array, answer: Any) -> tuple[float, Array]:
    """Return the option whose answers have the least mean relative error, and those answers."""
    answers = [answer(option) for option in options]
    place = int(np.argmin([np.mean(np.abs(found / measured - 1)) for found in answers]))
    return options[place], answers[place]


def _left_out_steps(work: Work, labels: Labels, parts: list[Array], stiffness: float) -> Array:
    """Return the steps of each family as fitted to the others."""
    terms, found = terms_of(work), np.empty(len(labels.step_s))
    for out in parts:
        times = _fit_times(terms[~out], labels.step_s[~out], stiffness)
        found[out] = _with_times(times).step_s(taken(work, out))
    return found


def _left_out_watts(work: Work, labels: Labels, parts: list[Array], steps: Array, shrinkage: float) -> Array:
    """Return the watts of each family as fitted to the others, over the steps given."""
    found = np.empty(len(steps))
    for out in parts:
        powers = _fit_power(taken(work, ~out), labels.take(~out), steps[~out], shrinkage)
        found[out] = ServedPower(PRIOR, *powers, {}).device_w(taken(work, out), steps[out])
    return found


def _with_times(times: Array) -> ServedPower:
    none = np.zeros(len(SIGNALS))
    return ServedPower(times, 0.0, none, none, none + 1, none, none, {})


def _fit_times(terms: Array, step_s: Array, stiffness: float) -> Array:
    """Return coefficients >= 0 by iterated reweighting of relative errors."""
    from scipy.optimize import nnls

    shares, weight = terms / step_s[:, None], np.ones(len(step_s))
    lean = np.sqrt(stiffness) / PRIOR_SPREAD
    times = PRIOR
    for _ in range(12):
        root = np.sqrt(weight)[:, None]
        left = np.vstack([shares * root, np.diag(lean)])
        times = nnls(left, np.concatenate([root[:, 0], lean * PRIOR]))[0]
        weight = USUAL_ERROR / np.maximum(np.abs(shares @ times - 1), USUAL_ERROR)
    return np.asarray(times)


def _fit_power(
    work: Work, labels: Labels, steps: Array, shrinkage: float
) -> tuple[float, Array, Array, Array, Array, Array]:
    """Return (offset, weights, centre, scale, least, most): a robust ridge on the log share of the limit."""
    signals, target = signals_of(work, steps), np.log(labels.device_w / work["limit_w"])
    centre, scale = signals.mean(axis=0), np.maximum(signals.std(axis=0), 1e-3)
    standard, offset, weight = (signals - centre) / scale, float(np.median(target)), np.ones(len(target))
    weights = np.zeros(len(SIGNALS))
    for _ in range(12):
        curvature = (standard * weight[:, None]).T @ standard + shrinkage * np.eye(len(SIGNALS))
        weights = np.linalg.solve(curvature, (standard * weight[:, None]).T @ (target - offset))
        error = target - offset - standard @ weights
        offset += float((weight * error).sum() / weight.sum())
        weight = USUAL_ERROR / np.maximum(np.abs(error), USUAL_ERROR)
    return offset, weights, centre, scale, signals.min(axis=0), signals.max(axis=0)


def _spread(error: Array, family: Array, kind: Array) -> Array:
    """Return quantiles (lo, hi) of log errors without and with experts, shape (2, 2), each family weighing the same."""
    found = np.empty((2, 2))
    for one in (0, 1):
        mine = kind == one
        mine = mine if mine.sum() >= FEWEST_OF_KIND else np.ones(len(error), dtype=bool)
        names, inverse, counts = np.unique(family[mine], return_inverse=True, return_counts=True)
        weight = 1.0 / (len(names) * counts[inverse.ravel()])
        order = np.argsort(error[mine], kind="stable")
        below = np.cumsum(weight[order])
        low, high = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
        ranked = error[mine][order]
        found[one] = (
            min(ranked[max(int(np.searchsorted(below, low)) - 1, 0)], 0.0),
            max(ranked[min(int(np.searchsorted(below, high)) + 1, len(ranked) - 1)], 0.0),
        )
    return found * FEW_FAMILIES[min(len(np.unique(family)), len(FEW_FAMILIES) + 1) - 2]


def main(arguments: list[str] | None = None) -> None:
    """Fit what ships to the data in a folder and write it beside this file."""
    import argparse

    from costmodel.evaluation.served_energy import SOURCE, read_served

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder of data sets, or that of ml_energy")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args(arguments)
    rows = read_served(given.data, "v3")
    model = fit_served_power(rows.work, rows.labels, SOURCE)
    given.out.write_text(model.to_json(), encoding="utf-8")
    print(f"{given.out}: {model.rows} rows of {', '.join(model.families)}")


if __name__ == "__main__":
    main()
