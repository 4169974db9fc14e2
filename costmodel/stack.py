"""What a serving stack adds to its kernels: fitted to served times, per framework, shrunk to what all have in common.

    time per output token = step x (that of the step costs)
    time to the first token = first x (that of the step costs) + seen_steps x (time per output token) + request_s

`seen_steps`: stacks hand tokens on in groups (`stream_interval`, detokenisation in a process of its own), so that the
first is seen some steps after it was computed. `request_s`: HTTP, tokenisation and scheduling of a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import BadFileError, BadValueError, nearest_names
from foundation.files import write_text_whole
from workloads.table import Array

STACKS = "stacks.json"
SHIPPED_STACKS = Path(__file__).parent / STACKS
"""Stacks fitted to all of aiconfigurator's silicon sample (Apache-2.0)."""
GENERAL = ""
"""Key of what all stacks have in common."""
KIN = 3.0
"""Groups (a model on a device) by which a framework's own step factor counts half (estimated, 2 to 6)."""
OWN = 1.0
"""Runs of one's own engine that count as much as all that is known of its framework (estimated, 1 to 5)."""
FEWEST = 21
"""Rows below which a framework keeps the general terms of its first token."""
HOLD = 0.3
"""How strongly terms of the first token are held to the general ones (ridge, estimated, 0.1 to 1)."""
COVERAGE = 0.9
LEAST_FIRST = 1.0
"""Of the step costs' time to the first token that users see at least: nothing of it is hidden from them. Where it may
be less (0.7), time to the first token in groups left out is off by 43 % in the mean and not by 46 %, but queues of
overloaded engines would be shown too short."""
ROUNDS = 15
TERMS = ("first_factor", "seen_steps", "request_s")


@dataclass(frozen=True)
class Stack:
    """One framework. `tpot_half`, `ttft_half`: half widths of 90 % intervals in logarithms, of groups left out."""

    software: str
    step_factor: float
    first_factor: float
    seen_steps: float
    request_s: float
    rows: int = 0
    groups: int = 0
    tpot_half: float = float("nan")
    ttft_half: float = float("nan")

    def tpot_s(self, tpot_s: Array) -> Array:
        """Return times per output token that users see, from those of the step costs."""
        return self.step_factor * np.asarray(tpot_s)

    def ttft_s(self, ttft_s: Array, tpot_s: Array) -> Array:
        """Return times to the first token that users see, from both times of the step costs."""
        return self.first_factor * np.asarray(ttft_s) + self.seen_steps * np.asarray(tpot_s) + self.request_s

    def shown_ttft_s(self, ttft_s: Array, tpot_s: Array) -> Array:
        """Return times to the first token that users see, from times of steps that take `step_factor` times as long."""
        return self.ttft_s(np.asarray(ttft_s) / self.step_factor, np.asarray(tpot_s) / self.step_factor)


PLAIN = Stack("", 1.0, 1.0, 0.0, 0.0)
"""Nothing added: the engine and its kernels alone."""


@dataclass(frozen=True)
class ServedTimes:
    """Columns of shape (rows,): the framework, the group that is left out together, times of the step costs, and those
    that were measured (NaN where one was not)."""

    software: Array
    group: Array
    ttft_s: Array
    tpot_s: Array
    seen_ttft_s: Array
    seen_tpot_s: Array

    def take(self, index: Array) -> ServedTimes:
        return ServedTimes(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def framework(software: str) -> str:
    """Return the framework of a stack and version: `vllm` of `vllm 0.19.0`."""
    return software.split()[0].lower() if software.split() else GENERAL


def fit_stacks(times: ServedTimes) -> dict[str, Stack]:
    """Return stacks by framework, and what they have in common under `GENERAL`. Deterministic.

    Errors count as logarithms, each group by the root of its rows: a model with many rows is not all there is.

    Raises:
        BadValueError: fewer than three rows.
    """
    if len(times.software) < 3:
        raise BadValueError(f"A stack is fitted to at least 3 measured runs, not {len(times.software)}.")
    groups, inverse, counts = np.unique(times.group.astype(str), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[inverse])
    ratio = np.log(times.seen_tpot_s / times.tpot_s)
    shared_step = _least_error(ratio)
    shared_first = _first_terms(times, weights, np.array([1.0, 0.0, 0.0]), 0.01)
    out = {GENERAL: Stack(GENERAL, float(np.exp(shared_step)), *shared_first, len(ratio), len(groups))}
    names = np.array([framework(str(name)) for name in times.software], dtype=object)
    for name in sorted(set(names) - {GENERAL}):
        mine = np.flatnonzero(names == name)
        kin = len(np.unique(inverse[mine]))
        own = _least_error(ratio[mine], shared_step)
        step = shared_step + (own - shared_step) * kin / (kin + KIN)
        terms = shared_first
        if len(mine) >= FEWEST:
            terms = _first_terms(times.take(mine), weights[mine], np.array(shared_first), HOLD)
        out[name] = Stack(name, float(np.exp(step)), *terms, len(mine), kin)
    return out


def adapt_stacks(known: Mapping[str, Stack], times: ServedTimes) -> dict[str, Stack]:
    """Return the stacks of the frameworks in `times`, moved from what is known to what these runs say.

    n runs move the step factor n / (n + `OWN`) of the way; terms of the first token are held to the known ones as by
    `HOLD`. Half widths of intervals stay the known ones: a user's few runs do not tell them.
    """
    names = np.array([framework(str(name)) for name in times.software], dtype=object)
    out = {}
    for name in sorted(set(names)):
        mine, prior = times.take(np.flatnonzero(names == name)), known.get(name, known[GENERAL])
        ratio = np.log(mine.seen_tpot_s / mine.tpot_s)
        count = int(np.isfinite(ratio).sum())
        own = _least_error(ratio, float(np.log(prior.step_factor)))
        step = np.exp((own * count + np.log(prior.step_factor) * OWN) / (count + OWN))
        held = np.array([prior.first_factor, prior.seen_steps, prior.request_s])
        terms = _first_terms(mine, np.ones(len(ratio)), held, HOLD)
        out[name] = replace(prior, software=name, step_factor=float(step), rows=len(ratio),
                            groups=len(set(mine.group)), **dict(zip(TERMS, terms, strict=True)))  # fmt: skip
    return out


def _least_error(ratio: Array, otherwise: float = 0.0) -> float:
    """Return the logarithm of the factor with the least mean of |predicted / measured - 1|.

    `ratio` is log(measured / unscaled): the minimum is its median weighted by unscaled / measured.
    """
    known = np.sort(ratio[np.isfinite(ratio)])
    if not len(known):
        return otherwise
    total = np.cumsum(np.exp(-known))
    return float(known[np.searchsorted(total, total[-1] / 2)])


def with_intervals(times: ServedTimes, folds: int = 5) -> dict[str, Stack]:
    """Return `fit_stacks` with half widths of intervals from groups that were left out in `folds` parts."""
    parts = fold_of(times.group, folds)
    errors = np.full((2, len(parts)), np.nan)
    for part in range(folds):
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        if len(train) < 3 or not len(test):
            continue
        held = times.take(test)
        said = answer(fit_stacks(times.take(train)), held)
        for row, seen in enumerate((held.seen_ttft_s, held.seen_tpot_s)):
            errors[row, test] = np.log(seen / said[row])
    names = np.array([framework(str(name)) for name in times.software], dtype=object)
    pooled = [half_width(row) for row in errors]
    out = {}
    for name, stack in fit_stacks(times).items():
        own = [half_width(row[names == name]) for row in errors] if name else pooled
        ttft, tpot = (mine if np.isfinite(mine) else all_ for mine, all_ in zip(own, pooled, strict=True))
        out[name] = replace(stack, ttft_half=ttft, tpot_half=tpot)
    return out


def fold_of(group: Array, folds: int, seed: int = 0) -> Array:
    """Return the fold of each row: whole groups in a random order, each to the fold with the fewest rows."""
    names, inverse, counts = np.unique(group.astype(str), return_inverse=True, return_counts=True)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    rows, where = np.zeros(folds), np.zeros(len(names), dtype=np.int64)
    for name in order:
        where[name] = int(np.argmin(rows))
        rows[where[name]] += counts[name]
    return where[inverse]


def _first_terms(times: ServedTimes, weights: Array, prior: Array, hold: float) -> tuple[float, float, float]:
    """Return the terms of the first token, none below its least: least errors in logarithms, by reweighted squares."""
    from scipy.optimize import nnls

    known = np.flatnonzero(np.isfinite(times.seen_ttft_s))
    if not len(known):
        return float(prior[0]), float(prior[1]), float(prior[2])
    seen = times.seen_ttft_s[known]
    columns = np.stack([times.ttft_s[known], times.tpot_s[known], np.ones(len(known))], axis=1) / seen[:, None]
    held = np.sqrt(hold * len(known) / 50) * (np.median(columns, axis=0) + 1e-3)
    least = np.array([LEAST_FIRST, 0.0, 0.0])
    terms = np.maximum(prior, least)
    for _ in range(ROUNDS):
        said = np.maximum(columns @ terms, 1e-3)
        weight = weights[known] / np.maximum(np.abs(np.log(said)), 0.1) / np.maximum(said, 1.0)
        root = np.sqrt(weight / weight.mean())
        rest = np.append(root * (1 - columns @ least), held * (prior - least))
        more, _ = nnls(np.vstack([columns * root[:, None], np.diag(held)]), rest)
        terms = least + more
    return float(terms[0]), float(terms[1]), float(terms[2])


def answer(stacks: Mapping[str, Stack], times: ServedTimes) -> tuple[Array, Array]:
    """Return (ttft_s, tpot_s) that users see, each of shape (rows,)."""
    ttft, tpot = np.full(len(times.software), np.nan), np.full(len(times.software), np.nan)
    names = np.array([framework(str(name)) for name in times.software], dtype=object)
    for name in set(names):
        mine = names == name
        stack = stacks.get(name, stacks[GENERAL])
        tpot[mine] = stack.tpot_s(times.tpot_s[mine])
        ttft[mine] = stack.ttft_s(times.ttft_s[mine], times.tpot_s[mine])
    return ttft, tpot


def half_width(errors: Array) -> float:
    """Return the half width that holds 90 % of new errors (split conformal, Vovk et al. 2005); NaN below 9 errors."""
    errors = np.abs(errors[np.isfinite(errors)])
    rank = int(np.ceil((len(errors) + 1) * COVERAGE))
    return float("nan") if not 0 < rank <= len(errors) else float(np.partition(errors, rank - 1)[rank - 1])


def find_stack(software: str, stacks: Mapping[str, Stack] | None = None) -> Stack:
    """Return the stack of a framework and version; `PLAIN` where none is named, the general one where it is unknown."""
    name = framework(software)
    known = shipped_stacks() if stacks is None else stacks
    return PLAIN if not name else known.get(name, known[GENERAL])


def stack_of(software: str, cost_model: object) -> Stack:
    """Return the stack of a framework and version: of the cost model's own calibration, else what ships."""
    return find_stack(software, _stacks(cost_model))


def known_stacks(cost_model: object) -> tuple[str, ...]:
    """Return the frameworks whose stacks are known to a cost model."""
    return tuple(sorted(set(_stacks(cost_model)) - {GENERAL}))


def unknown_stack(software: str, cost_model: object) -> str:
    """Say that a framework is none of the stacks that are known, and which is near; "" where it is one, or none."""
    name, known = framework(software), known_stacks(cost_model)
    if not name or name in known:
        return ""
    near = nearest_names(name, known, 1)
    return f"'{name}' is no stack that is known ({', '.join(known)}): what all of them have in common is taken." + (
        f" Nearest: {near[0]}." if near else ""
    )


def is_calibrated(software: str, cost_model: object) -> bool:
    """Return whether a stack is the user's own: a calibration's folder holds the shipped ones beside it."""
    return stack_of(software, cost_model) != find_stack(software)


def _stacks(cost_model: object) -> Mapping[str, Stack]:
    own: Mapping[str, Stack] | None = getattr(cost_model, "stacks", None)
    return shipped_stacks() if own is None else own


@lru_cache(maxsize=1)
def shipped_stacks() -> dict[str, Stack]:
    """Return the stacks that come with the package. Raises BadFileError."""
    return read_stacks(SHIPPED_STACKS)


def read_stacks(path: Path) -> dict[str, Stack]:
    """Return the stacks of a file. Raises BadFileError."""
    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
        found = {entry["software"]: Stack(**{k: _number(v) for k, v in entry.items()}) for entry in doc["stacks"]}
        found[GENERAL].step_factor  # noqa: B018
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFileError(
            path, f"this is not a file of stacks ({type(error).__name__}: {error}).",
            hint="`archcast calibrate --served` writes one.",
        ) from None  # fmt: skip
    return found


def _number(value: Any) -> Any:
    return float("nan") if value is None else value


def write_stacks(stacks: Mapping[str, Stack], path: Path, source: str, notes: Sequence[str] = ()) -> None:
    """Write stacks with where they are from. Raises BadFileError where the file cannot be written."""
    entries = [
        {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(stack).items()}
        for _, stack in sorted(stacks.items())
    ]
    doc = {"source": source, "notes": list(notes), "stacks": entries}
    write_text_whole(path, json.dumps(doc, indent=1) + "\n")
