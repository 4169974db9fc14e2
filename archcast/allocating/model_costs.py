"""Costs from archcast's models: tokens, samples and verifier passes of each option turned into seconds, joules, money.

Each variant of an option is a sum of questions to the cost model. With p the prompt read once and one answer each:

    in parallel    k answers decoded as one batch from one cached prompt
    in sequence    k x (answer) - (k - 1) x (prompt and first token)
    verified       + passes x (verifier reads prompt and answer; in one batch where samples are parallel)

Time limits are met with answers as long as their cap; energy and money are of the mean length where `lengths` says how
long answers are. Intervals of sums are sums of ends (errors of one device go together); draws are joint.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from archcast.allocating.allocate_file import MODELLED, Item, Option, Study
from archcast.allocating.costs import Costs
from archcast.allocating.success import mean_tokens, success_at
from workloads.table import Array

Term = tuple[float, int]
"""Factor and row of a question."""
UNKNOWN = re.compile(r"Unknown .*?'([^']*)'")
FILES = ("workload", "on")
ADDED = ("latency_s", "energy_j", "cost_usd")


@dataclass(frozen=True)
class Variant:
    """An option with its tokens (None: the model's default) and samples."""

    option: Option
    tokens: float | None
    samples: int

    @property
    def label(self) -> str:
        words = [self.option.name]
        if len(self.option.tokens) > 1:
            words.append(f"{self.tokens:g} tokens")
        if len(self.option.samples) > 1 or self.samples > 1:
            words.append(
                f"x {self.samples}" if self.option.parallel or self.samples == 1 else f"x {self.samples} in turn"
            )
        return " ".join(words)


class Asked:
    """The distinct questions, each once."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.places: dict[str, int] = {}

    def add(self, question: dict[str, Any]) -> int:
        key = repr(sorted(question.items(), key=lambda pair: pair[0]))
        if key not in self.places:
            self.places[key] = len(self.rows)
            self.rows.append(question)
        return self.places[key]


def model_costs(study: Study) -> Costs:
    """Return the costs of a file's items by its options.

    Raises:
        BadFileError: success outside the given points, a question that no model can answer at all.
    """
    from archcast.oracle.cells import price, versions_of
    from archcast.oracle.questions import as_questions
    from archcast.oracle.sampling import draw as drawn
    from simulator.streams import RandomStreams

    variants = [
        Variant(option, tokens, samples)
        for option in study.options for tokens in option.tokens or (None,) for samples in option.samples
    ]  # fmt: skip
    asked = Asked()
    terms = [[_terms(study, asked, item, variant) for variant in variants] for item in study.items]
    questions = study.settings.at(("items",), lambda: as_questions(asked.rows))
    cells, cost_model = study.settings.at(("cost_model",), lambda: price(questions, study.cost_model, refuse=False))
    names = MODELLED
    pick = [cells.quantities.index(name) for name in names]
    put = partial(_composed, terms=terms, batch=_batches(study, variants), names=names)
    cost, lo, hi = (put(getattr(cells, side)[None, :, pick])[0] for side in ("value", "lo", "hi"))
    lo = np.minimum(np.maximum(lo, 0.0), cost)
    reason, mask = _reasons(terms, cells.feasible, cells.reason)
    _all_known(study, variants, reason)
    success = np.zeros(mask.shape)
    for i, item in enumerate(study.items):
        for j, variant in enumerate(variants):
            if variant.option.name not in item.success:
                mask[i, j], reason[i, j] = False, "no success is given"
                continue
            success[i, j] = study.settings.at(
                (*item.at, "success", variant.option.name), partial(_success, item, variant)
            )
    worth = np.array([item.worth for item in study.items])
    own = np.array([[item.limits.get(n, np.inf) for n in names] for item in study.items])
    shared = {b.name: b.most for b in study.each}
    limits = np.minimum(own, np.array([shared.get(n, np.inf) for n in names]))

    def draw(n: int) -> Array:
        found = drawn(cells, questions, names, n, RandomStreams(study.seed), 0.0)
        return np.maximum(put(found), 0.0)

    return Costs(
        tuple(i.name for i in study.items), tuple(v.label for v in variants), names,
        np.array([i.count for i in study.items]), success * worth[:, None], success, cost, lo, np.maximum(hi, cost),
        limits, mask, reason, draw,
        _flat(versions_of(cost_model, questions)),
    )  # fmt: skip


def _flat(versions: dict[str, Any]) -> dict[str, str]:
    """Return versions as words, one a device."""
    found: dict[str, str] = {}
    for key, value in versions.items():
        found |= {f"{key} {k}": str(v) for k, v in value.items()} if isinstance(value, dict) else {key: str(value)}
    return found


def _success(item: Item, variant: Variant) -> float:
    option = variant.option
    given = item.success[option.name]
    by_samples = len(option.samples) > 1 and len(option.tokens) <= 1
    if isinstance(given, dict) and not any(isinstance(v, dict) for v in given.values()):
        from foundation.errors import BadValueError

        if len(option.samples) > 1 and len(option.tokens) > 1:
            raise BadValueError(
                f"option '{option.name}' varies in tokens and samples: give success by both, {{256: {{1: .., 4: ..}}}}."
            )
    return success_at(given, variant.tokens or 1.0, variant.samples, by_samples=by_samples)


def _terms(study: Study, asked: Asked, item: Item, variant: Variant) -> tuple[list[Term], list[Term]]:
    """Return the questions of a cell as (factor, row): for time and memory, and for energy and money."""
    cap = variant.tokens
    longest = _questions(asked, item, variant, cap)
    if item.lengths is None or cap is None:
        return longest, longest
    lengths, whole = item.lengths, cap
    mean = study.settings.at((*item.at, "lengths"), lambda: mean_tokens(whole, lengths))
    return longest, _questions(asked, item, variant, float(max(1, math.ceil(mean))))


def _questions(asked: Asked, item: Item, variant: Variant, tokens: float | None) -> list[Term]:
    option, k = variant.option, variant.samples
    base = {**item.question, **option.question}
    if tokens is not None:
        base["generate"] = tokens
    if k == 1:
        found = [(1.0, asked.add(base))]
    elif option.parallel:
        found = [(1.0, asked.add({**base, "samples": k}))]
    elif base.get("generate"):
        found = [(float(k), asked.add(base)), (1.0 - k, asked.add({**base, "generate": 1}))]
    else:
        found = [(float(k), asked.add(base))]
    if option.verifier is not None:
        reads = {"generate": 1, **option.verifier}
        reads["prompt"] = float(base.get("prompt") or 0) + float(base.get("generate") or 0) or None
        reads["batch"] = float(base.get("batch") or 1) * (k if option.parallel else 1)
        times = option.passes * (1 if option.parallel else k)
        found.append((float(times), asked.add({key: v for key, v in reads.items() if v is not None})))
    return found


def _batches(study: Study, variants: list[Variant]) -> Array:
    """Return requests answered at once, which share energy and money, (items, options)."""
    rows = [[float({**i.question, **v.option.question}.get("batch") or 1) for v in variants] for i in study.items]
    return np.array(rows)


def _composed(values: Array, terms: list[Any], batch: Array, names: tuple[str, ...]) -> Array:
    """Return sums of questions, shape (draws, items, options, quantities), from (draws, questions, quantities)."""
    out = np.empty((len(values), *batch.shape, len(names)))
    for i, row in enumerate(terms):
        for j, (longest, mean) in enumerate(row):
            for k, name in enumerate(names):
                used = mean if name in ("energy_j", "cost_usd") else longest
                if name in ADDED:
                    total = sum(factor * values[:, place, k] for factor, place in used)
                    out[:, i, j, k] = total / (batch[i, j] if name != "latency_s" else 1.0)
                elif name == "memory_bytes":
                    out[:, i, j, k] = np.max([values[:, place, k] for _, place in used], axis=0)
                else:
                    out[:, i, j, k] = values[:, used[0][1], k]
    return out


def _all_known(study: Study, variants: list[Variant], reason: Array) -> None:
    """Refuse names and files that do not exist: they are faults of the file, not options that do not fit.

    Raises:
        BadFileError: line and key of the name, with the nearest.
    """
    for i, j in np.argwhere(reason != ""):
        words, option, item = str(reason[i, j]), variants[j].option, study.items[i]
        places = (*((option.at, option.question), ((*option.at, "verifier"), option.verifier or {})),
                  (item.at, item.question))  # fmt: skip
        named = UNKNOWN.match(words)
        for at, question in places:
            for key, value in question.items():
                own = value if isinstance(value, dict) else {key: value}
                for inner, name in own.items():
                    said = inner if isinstance(value, dict) else name
                    if (named and said == named[1]) or (key in FILES and words.startswith((f"{name}:", f"{name},"))):
                        file_key = "device" if key == "on" and not study.settings.has((*at, "on")) else key
                        raise study.settings.fault(
                            (*at, file_key, *([inner] if isinstance(value, dict) else [])), words
                        )
        if named:
            raise study.settings.fault(option.at, words)


def _reasons(terms: list[Any], feasible: Array, reason: Array) -> tuple[Array, Array]:
    """Return why cells have no answer, and which have one."""
    words = np.full((len(terms), len(terms[0])), "", dtype=object)
    for i, row in enumerate(terms):
        for j, (longest, mean) in enumerate(row):
            bad = [place for _, place in (*longest, *mean) if not feasible[place]]
            if bad:
                words[i, j] = str(reason[bad[0]]) or "does not fit"
    return words, words == ""
