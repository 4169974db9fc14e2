"""Classifiers: what share of relevant and of other events passes when a stage has to reduce its rate by a given ratio.

A classifier is two distributions of scores and a threshold. The threshold is solved for exactly: events above it pass,
and of those that have just this score as many as are missing. The result asserts what it achieved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from foundation.checks import finite_number
from foundation.errors import ArchcastError, BadValueError
from simulator.pipelines.score_models import ScoreTable, turn_on_scores
from simulator.pipelines.turn_on import Array

if TYPE_CHECKING:
    from hardware_specs.figures import Figure
    from hardware_specs.pipeline_parts import ClassifierSpec

TOLERANCE = 1e-3
"""Largest relative difference of the achieved from the requested reduction; a larger one is an error."""

Matrix = tuple[tuple[float, float], tuple[float, float]]


class ReductionError(ArchcastError):
    """The threshold does not give the reduction that was asked for."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a classifier passes at its threshold: shares of other (`null_pass`) and of relevant events.

    Scores above `threshold` pass, and the share `tie_pass` of those equal to it. `reduction` is what was achieved.
    """

    requested: float
    reduction: float
    threshold: float
    tie_pass: float
    null_pass: float
    relevant_pass: float

    @property
    def matrix(self) -> Matrix:
        """[[tn, fn], [fp, tp]]: rejected and passed (rows) shares of other and relevant events (columns)."""
        fp, tp = self.null_pass, self.relevant_pass
        return (1 - fp, 1 - tp), (fp, tp)

    def accepts_scores(self, scores: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which scores pass; ties are drawn from `rng`, one number for every score."""
        drawn = rng.random(len(scores)) < self.tie_pass
        passing: NDArray[np.bool_] = (scores > self.threshold) | ((scores == self.threshold) & drawn)
        return passing

    def accepts(self, relevant: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which events pass, of which only the truth is known: one number is drawn for every event."""
        passing: NDArray[np.bool_] = rng.random(len(relevant)) < np.where(relevant, self.relevant_pass, self.null_pass)
        return passing


class Classifier(Protocol):
    """Anything that can be asked for a selection of which 1 in `reduction` events passes."""

    def select(self, reduction: float, relevant_share: float) -> Selection:
        """Return the selection; `relevant_share` is the share of relevant events in what comes in."""


@dataclass(frozen=True, slots=True)
class PassRates:
    """Fixed shares of relevant and other events pass, whatever reduction comes of it; (1, 1) passes everything."""

    true_pass: float = 1.0
    false_pass: float = 1.0

    def select(self, reduction: float, relevant_share: float) -> Selection:
        """Return the fixed shares.

        Raises:
            ReductionError: a reduction above 1 was asked for that these shares do not give.
        """
        wanted, share = _checked(reduction, relevant_share)
        passed = share * self.true_pass + (1 - share) * self.false_pass
        achieved = 1 / passed if passed else math.inf
        if wanted > 1 and not abs(achieved / wanted - 1) <= TOLERANCE:
            raise ReductionError(
                f"A classifier with fixed rates passes 1 in {achieved:g} events here, not 1 in {wanted:g}: leave out "
                "the reduction, or take a classifier of kind gaussian or turn_on."
            )
        return Selection(achieved, achieved, 0.0, 1.0, self.false_pass, self.true_pass)


@dataclass(frozen=True, slots=True)
class Blind:
    """Passes events regardless of what they are (a prescale), so as to give the reduction."""

    def select(self, reduction: float, relevant_share: float) -> Selection:
        """Return a selection that passes both kinds alike."""
        wanted, _ = _checked(reduction, relevant_share)
        return Selection(wanted, wanted, 0.0, 1 / wanted, 1 / wanted, 1 / wanted)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Scores of other events are N(0, 1), those of relevant ones N(skill, spread)."""

    skill: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        finite_number("The skill of a classifier", self.skill, low=-1e6, high=1e6)
        finite_number("The spread of a classifier", self.spread, low=1e-9, high=1e6)

    def select(self, reduction: float, relevant_share: float) -> Selection:
        """Return the selection by bisection on the threshold; tails are exact to the last digits."""
        wanted, share = _checked(reduction, relevant_share)
        if wanted == 1:
            return _achieved(wanted, share, -math.inf, 1.0, 1.0, 1.0)

        def passed(threshold: float) -> tuple[float, float]:
            return _upper_tail(threshold), _upper_tail((threshold - self.skill) / self.spread)

        def missing(threshold: float) -> float:
            null, relevant = passed(threshold)
            return share * relevant + (1 - share) * null - 1 / wanted

        low, high = min(-40.0, self.skill - 40 * self.spread), max(40.0, self.skill + 40 * self.spread)
        threshold = _bisect(missing, low, high)
        return _achieved(wanted, share, threshold, 0.0, *passed(threshold))


@dataclass(frozen=True, eq=False)
class Tabled:
    """Scores as a table; equal scores are shared out by a draw, so that every reduction can be met."""

    table: ScoreTable

    def select(self, reduction: float, relevant_share: float) -> Selection:
        """Return the selection: the quantile of the mixture is found by bisection on its cumulative sum."""
        wanted, share = _checked(reduction, relevant_share)
        null, relevant = self.table.null[::-1], self.table.relevant[::-1]  # from the best score down
        mixed = share * relevant + (1 - share) * null
        passed = np.cumsum(mixed)
        at = min(int(np.searchsorted(passed, 1 / wanted)), len(mixed) - 1)
        above = float(passed[at]) - float(mixed[at])
        tie = min(max((1 / wanted - above) / float(mixed[at]), 0.0), 1.0) if mixed[at] > 0 else 1.0
        fp, tp = (min(float(part[:at].sum() + tie * part[at]), 1.0) for part in (null, relevant))
        return _achieved(wanted, share, float(self.table.scores[-1 - at]), tie, fp, tp)


def classifier_of(spec: ClassifierSpec | None, *, end: int = 0, as_published: bool = True) -> Classifier:
    """Return the classifier of a description: its values (`end` 0), or the lower (1) or upper (2) ends of its ranges.

    Without a description, and of the kind `all`, as many events pass as the reduction says, whatever they are.
    """
    if spec is None or spec.kind == "all":
        return Blind()

    def figure(number: Figure | None, default: float) -> float:
        return default if number is None else number.interval[end]

    if spec.kind == "rates":
        other_end = (0, 2, 1)[end]  # the better classifier passes more relevant and fewer other events
        return PassRates(figure(spec.true_pass, 1.0), spec.false_pass.interval[other_end] if spec.false_pass else 1.0)
    boost = figure(spec.skill_boost, 0.0)
    if spec.kind == "gaussian":
        return Gaussian(figure(spec.skill, 0.0) + boost, figure(spec.spread, 1.0))
    return Tabled(turn_on_scores(str(spec.model), boost, as_published=as_published))


def _checked(reduction: float, relevant_share: float) -> tuple[float, float]:
    wanted = finite_number("A reduction (events in over events out)", reduction, low=1.0)
    return wanted, finite_number("The share of relevant events", relevant_share, low=0.0, high=1.0)


def _achieved(wanted: float, share: float, threshold: float, tie: float, fp: float, tp: float) -> Selection:
    """Return the selection if it gives the reduction. Raises ReductionError, BadValueError."""
    passed = share * tp + (1 - share) * fp
    if not passed > 0:
        raise BadValueError(f"No event passes a reduction of {wanted:g} with these scores.")
    if not abs(1 / (passed * wanted) - 1) <= TOLERANCE:
        raise ReductionError(
            f"The threshold {threshold:g} passes 1 in {1 / passed:g} events, but 1 in {wanted:g} was asked for; the "
            "scores of this classifier cannot be told apart there. Ask for a smaller reduction, or for a wider spread."
        )
    return Selection(wanted, 1 / passed, threshold, tie, fp, tp)


def _upper_tail(x: float) -> float:
    """Return the share of a standard normal above x, exact far out as well."""
    return 0.5 * math.erfc(x / math.sqrt(2))


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that falls crosses 0, to the last digit that two floats can tell apart."""
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return low if abs(falling(low)) < abs(falling(high)) else high
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
