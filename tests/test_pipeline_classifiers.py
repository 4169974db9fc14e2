"""Classifiers: the threshold gives the reduction asked for; turn-on models follow the digitised curves of CMS."""

from __future__ import annotations

import math
import os
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from hardware_specs.pipeline_parts import ClassifierSpec
from simulator.pipelines.classifiers import (
    TOLERANCE,
    Blind,
    Classifier,
    Gaussian,
    PassRates,
    ReductionError,
    Selection,
    Tabled,
    classifier_of,
)
from simulator.pipelines.score_models import ScoreTable, turn_on_scores
from simulator.pipelines.turn_on import HIGH_LEVEL_CURVES, LEVEL_1_CURVES, TurnOn, fitted_scale_per_gev

DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[1].parent / "shared" / "data")) / "systemflow"

REDUCTIONS = st.floats(0.00432, 6.0).map(lambda power: 10**power)
SHARES = st.floats(0.0, 1.0)


def achieved(selection: Selection, share: float) -> float:
    """The reduction that the two pass shares give, computed anew."""
    return 1 / (share * selection.relevant_pass + (1 - share) * selection.null_pass)


def holds(classifier: Classifier, reduction: float, share: float) -> None:
    selection = classifier.select(reduction, share)
    assert achieved(selection, share) == pytest.approx(reduction, rel=TOLERANCE)
    (tn, fn), (fp, tp) = selection.matrix
    assert tn + fp == pytest.approx(1)
    assert fn + tp == pytest.approx(1)
    assert 0 <= min(fp, tp) <= max(fp, tp) <= 1


@given(REDUCTIONS, SHARES, st.floats(0, 10), st.floats(0.05, 5))
def test_a_gaussian_classifier_achieves_any_reduction(
    reduction: float, share: float, skill: float, spread: float
) -> None:
    holds(Gaussian(skill, spread), reduction, share)


@given(
    REDUCTIONS,
    SHARES,
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 1), st.floats(0.01, 1)), min_size=1, max_size=5),
)
def test_a_table_of_five_scores_with_atoms_achieves_any_reduction(
    reduction: float, share: float, rows: list[tuple[int, float, float]]
) -> None:
    holds(Tabled(ScoreTable.of(*zip(*rows, strict=True))), reduction, share)


@settings(max_examples=40, deadline=None)
@given(REDUCTIONS, SHARES, st.sampled_from(["cms-l1t", "cms-hlt"]), st.booleans())
def test_turn_on_models_achieve_any_reduction(reduction: float, share: float, model: str, as_published: bool) -> None:
    holds(Tabled(turn_on_scores(model, as_published=as_published)), reduction, share)


@given(REDUCTIONS, SHARES)
def test_a_blind_choice_passes_both_kinds_alike(reduction: float, share: float) -> None:
    holds(Blind(), reduction, share)
    selection = Blind().select(reduction, share)
    assert selection.null_pass == selection.relevant_pass == 1 / reduction


@given(st.floats(0, 6), st.floats(0, 6), SHARES, REDUCTIONS)
def test_more_skill_never_passes_fewer_relevant_events(
    skill: float, more: float, share: float, reduction: float
) -> None:
    worse, better = (Gaussian(x).select(reduction, share).relevant_pass for x in (skill, skill + more))
    assert better >= worse * (1 - 1e-9)


def test_the_threshold_of_pure_noise_is_the_normal_quantile() -> None:
    for reduction in (1.01, 2.0, 100.0, 1e6):
        expected = NormalDist().inv_cdf(1 - 1 / reduction)
        assert Gaussian(3.0).select(reduction, 0.0).threshold == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_far_tail_of_a_gaussian_keeps_its_digits() -> None:
    # Mills: Q(x) = phi(x) / x (1 - 1/x^2 + 3/x^4 - 15/x^6 + ..) at the null threshold of one in 10^30
    selection = Gaussian(50.0).select(1e30, 0.0)
    x = selection.threshold
    tail = math.exp(-x * x / 2) / (x * math.sqrt(2 * math.pi)) * (1 - x**-2 + 3 * x**-4 - 15 * x**-6 + 105 * x**-8)
    assert tail == pytest.approx(1e-30, rel=1e-5)


def test_a_tie_is_shared_out_in_a_hand_computed_table() -> None:
    # scores 0, 1, 2; half of the events relevant: the mixture has 0.35, 0.35, 0.30 from low to high
    table = ScoreTable.of([2, 1, 0], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1])
    selection = Tabled(table).select(2.0, 0.5)  # 0.5 = 0.30 + t x 0.35
    tie = 0.20 / 0.35
    assert selection.threshold == 1
    assert selection.tie_pass == pytest.approx(tie)
    assert selection.null_pass == pytest.approx(0.1 + tie * 0.3)
    assert selection.relevant_pass == pytest.approx(0.5 + tie * 0.4)


def test_seeded_draws_pass_ties_at_the_solved_share() -> None:
    selection = Tabled(ScoreTable.of([0, 1], [0.9, 0.1], [0.2, 0.8])).select(4.0, 0.0)
    rng = np.random.default_rng(7)
    scores = (rng.random(200_000) < 0.1).astype(float)
    passes = selection.accepts_scores(scores, np.random.default_rng(11))
    again = selection.accepts_scores(scores, np.random.default_rng(11))
    assert (passes == again).all()
    assert passes.mean() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 200_000))
    relevant = rng.random(200_000) < 0.5
    kept = selection.accepts(relevant, np.random.default_rng(3))
    assert kept[relevant].mean() == pytest.approx(selection.relevant_pass, abs=0.006)
    assert kept[~relevant].mean() == pytest.approx(selection.null_pass, abs=0.006)


def test_fixed_rates_pass_what_they_say_and_refuse_another_reduction() -> None:
    rates = PassRates(0.9, 0.1)
    assert rates.select(1.0, 0.5).reduction == pytest.approx(2.0)
    assert np.asarray(rates.select(2.0, 0.5).matrix) == pytest.approx(np.array([[0.9, 0.1], [0.1, 0.9]]))
    with pytest.raises(ReductionError, match="1 in 2 events here, not 1 in 3"):
        rates.select(3.0, 0.5)


def test_a_classifier_that_cannot_reach_a_reduction_says_so() -> None:
    # 1e-9 wide at a million: two neighbouring floats lie on both sides of all scores
    with pytest.raises(ReductionError, match="cannot be told apart"):
        Gaussian(1e6, 1e-9).select(3.0, 1.0)


@pytest.mark.parametrize("reduction", [0.99, 0.0, -1.0, math.nan, math.inf])
def test_a_reduction_below_one_is_refused(reduction: float) -> None:
    for classifier in (Gaussian(1.0), Blind(), PassRates(), Tabled(turn_on_scores("cms-hlt"))):
        with pytest.raises(BadValueError, match="reduction"):
            classifier.select(reduction, 0.5)


@pytest.mark.parametrize(
    ("scores", "null", "relevant"),
    [([], [], []), ([1], [1, 2], [1]), ([1], [-1], [1]), ([math.nan], [1], [1]), ([1], [0], [1])],
)
def test_a_bad_table_of_scores_is_refused(scores: list[float], null: list[float], relevant: list[float]) -> None:
    with pytest.raises(BadValueError, match=r"table of scores|Scores must be finite"):
        ScoreTable.of(scores, null, relevant)


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="cms-l1t"):
        turn_on_scores("cms-l1")


def figure(value: float, lo: float | None = None, hi: float | None = None) -> dict[str, object]:
    return {"value": value, "lo": value if lo is None else lo, "hi": value if hi is None else hi, "source": "given"}


def test_the_ends_of_a_description_are_worse_and_better_classifiers() -> None:
    spec = ClassifierSpec.model_validate({"kind": "gaussian", "skill": figure(2, 1, 3), "skill_boost": figure(0.5)})
    passes = [classifier_of(spec, end=end).select(100, 0.01).relevant_pass for end in (1, 0, 2)]
    assert passes[0] < passes[1] < passes[2]
    assert classifier_of(spec) == Gaussian(2.5)
    rates = ClassifierSpec.model_validate(
        {"kind": "rates", "true_pass": figure(0.9, 0.8, 1), "false_pass": figure(0.1, 0.05, 0.2)}
    )
    assert classifier_of(rates, end=2) == PassRates(1.0, 0.05)
    assert classifier_of(None) == Blind() == classifier_of(ClassifierSpec.model_validate({"kind": "all"}))


# ---- turn-on models


def test_the_level_one_matrix_is_near_the_published_one() -> None:
    # daq.md A3, a rerun of the published code by 50,000 samples a class: [[.981, .511], [.019, .489]]
    selection = Tabled(turn_on_scores("cms-l1t")).select(53.3, 1 / 5330)
    assert np.asarray(selection.matrix) == pytest.approx(np.array([[0.981, 0.511], [0.019, 0.489]]), abs=0.012)


def test_the_high_level_trigger_passes_four_in_five_relevant_events() -> None:
    selection = Tabled(turn_on_scores("cms-hlt")).select(100, 53.3 * 0.489 / 5330)
    assert selection.relevant_pass == pytest.approx(0.80, abs=0.015)


def test_tables_are_what_sampling_the_same_objects_gives() -> None:
    # the level-1 score of other events, sampled: every object uniform in the quantiles below its threshold
    rng = np.random.default_rng(20)
    total = np.zeros(200_000)
    for curve, limit, threshold in zip(LEVEL_1_CURVES, (0.4, 0.6, 0.4, 0.4), (320, 22, 30, 38), strict=True):
        scale = fitted_scale_per_gev(curve, 0.444, 0.0, limit)
        quantile = rng.random(total.size) * -math.expm1(-scale * threshold)
        total += curve.with_tail(-np.log1p(-quantile) / scale)
    table = turn_on_scores("cms-l1t")
    cumulative = np.cumsum(table.null)
    for score in (0.1, 0.3, 0.7, 1.161):
        exact = float(cumulative[np.searchsorted(table.scores, score, side="right") - 1])
        assert (total <= score).mean() == pytest.approx(exact, abs=0.006)


def test_a_boost_shifts_relevant_scores_only() -> None:
    plain, boosted = turn_on_scores("cms-l1t"), turn_on_scores("cms-l1t", 0.4)
    assert boosted.scores @ boosted.relevant - plain.scores @ plain.relevant == pytest.approx(0.4)
    assert boosted.scores @ boosted.null == pytest.approx(plain.scores @ plain.null)
    assert (boosted.null.sum(), boosted.relevant.sum()) == (pytest.approx(1), pytest.approx(1))


def test_the_fitted_scale_gives_the_rate_it_was_fitted_to() -> None:
    curve = LEVEL_1_CURVES[2]
    scale = fitted_scale_per_gev(curve, 0.444, 0.0, 0.4)
    energy = np.linspace(curve.first_gev, curve.last_gev, 200_001)
    rate = np.trapezoid(scale * np.exp(-scale * energy) * curve.efficiency(energy), energy)
    assert rate == pytest.approx(0.444, abs=1e-5)


FILES = dict(
    zip(
        [*LEVEL_1_CURVES, *HIGH_LEVEL_CURVES],
        [
            *(f"l1t_curves/{name}.csv" for name in ("jet_energy", "single_muon", "egamma", "isolated_tau")),
            *(f"hlt_curves/{name}.csv" for name in ("B2G", "higgs", "Muon", "SUSY", "tracking", "tau")),
        ],
        strict=True,
    )
)


@pytest.mark.parametrize("curve", FILES, ids=lambda curve: curve.name)
def test_a_turn_on_curve_fits_the_digitised_points_as_stated(curve: TurnOn) -> None:
    path = DATA / FILES[curve]
    if not path.exists():
        pytest.skip("the digitised curves (systemflow) are not in ARCHCAST_DATA or ../shared/data")
    energy, efficiency = np.genfromtxt(path, delimiter=",", skip_header=1, unpack=True)
    gap = curve.efficiency(energy) - np.clip(efficiency, 0, 1)
    assert math.sqrt(float(np.mean(gap**2))) == pytest.approx(curve.rms, abs=2e-4)
    assert float(np.abs(gap).max()) == pytest.approx(curve.worst, abs=3e-4)
    assert (energy.min(), energy.max()) == (
        pytest.approx(curve.first_gev, rel=1e-3),
        pytest.approx(curve.last_gev, rel=1e-3),
    )
