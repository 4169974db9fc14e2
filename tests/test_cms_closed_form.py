"""The CMS cases of the published study: their power against a formula written out here, and against its table."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import pytest

from hardware_specs.pipelines import load_pipeline
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_results import PipelineRates

# Bytes of an event by detector: HEP/configurations of github.com/wilkieolin/system_flow (daq.md A2).
PU200 = (1_440_000, 720_000, 430_000, 10_000, 240_000, 440_000, 600_000, 240_000, 30_000, 60_000, 3_000_000, 150_000,
         50_000, 150_000, 470_000, 3_000, 2_000, 120_000, 10_000)  # fmt: skip
PU140 = (1_010_000, 500_000, 300_000, 10_000, 170_000, 310_000, 420_000, 240_000, 30_000, 60_000, 2_100_000, 110_000,
         40_000, 110_000, 330_000, 2_000, 1_000, 80_000, 10_000)  # fmt: skip
PU60 = (436_667, 206_667, 126_667, 10_000, 76_667, 136_667, 180_000, 240_000, 30_000, 60_000, 0, 0,
        0, 56_667, 143_333, 667, 0, 26_667, 10_000)  # fmt: skip
CROSSINGS_HZ = 40e6
SCALE = math.exp(0.18717361 * 10)  # 2032 over 2022, in every row of the published table


def closed_form_w(detectors: Sequence[int], reduction: float, *, gpu: bool = False, smart: bool = False) -> float:
    """Power by daq.md A4: links, level 1, and the high level's cubic; in watts, after scaling."""
    sent = sum(detectors) - (0.54 * detectors[0] if smart else 0)
    event = sent + 260_000
    links = 8 * sent * CROSSINGS_HZ * (22.2e-12 + 25e-12) + 8 * event * CROSSINGS_HZ / reduction * 25e-12 * 1.01
    level_1 = 0.003 * event / 2e6 * CROSSINGS_HZ
    operations = 2.22744374e-20 * event**3 + 1.88331368e-13 * event**2 + 1.41173228e-7 * event
    high_level = 16 * operations * CROSSINGS_HZ / reduction * (0.5 if gpu else 1)
    return (links + level_1 + high_level) / SCALE


def rates(name: str, *switches: str, reduction: float | None = None, as_published: bool = True) -> PipelineRates:
    settings: dict[str, object] = {"improved_by": list(switches)}
    if reduction is not None:
        settings["stages.L1T.reduction"] = reduction
    return mean_rates(load_pipeline(name, settings), as_published=as_published)


ROWS = [
    # name, switches, reduction, (bytes, reduction), MW of the closed form (A4) and of repository and rerun (A3)
    ("cms-run5-pu60", (), None, (PU60, 400.0), 0.3213, (0.3223, 0.3224)),
    ("cms-run3", (), None, (PU60, 400.0), 0.3213, (0.3223, 0.3224)),
    ("cms-run5-pu140", (), None, (PU140, 80.0), None, ()),
    ("cms-run5-pu200", (), 400, (PU200, 400.0), 6.9594, (6.978, 6.868)),
    ("cms-run5-pu200", (), None, (PU200, 53.3), 51.599, (51.611, 51.617)),
    ("cms-run5-pu200", ("gpu",), None, (PU200, 53.3), 25.848, (25.855, 25.884)),
    ("cms-run5-pu200", ("l1_tracks",), None, (PU200, 53.3), 51.599, (51.651, 51.651)),
    ("cms-run5-pu200", ("smart_pixels",), None, (PU200, 53.3), 40.835, (40.844, 40.849)),
    ("cms-run5-pu200", ("gpu", "l1_tracks"), None, (PU200, 53.3), 25.848, (25.874, 25.874)),
    ("cms-run5-pu200", ("smart_pixels", "l1_tracks"), None, (PU200, 53.3), 40.835, (40.876, 40.876)),
    ("cms-run5-pu200", ("gpu", "smart_pixels"), None, (PU200, 53.3), 20.461, (20.467, 20.490)),
    ("cms-run5-pu200", ("gpu", "smart_pixels", "l1_tracks"), None, (PU200, 53.3), 20.461, (20.482, 20.482)),
]


@pytest.mark.parametrize(
    ("name", "switches", "reduction", "system", "stated_mw", "published_mw"),
    ROWS,
    ids=["+".join((row[0], *row[1])) + (f" R={row[2]}" if row[2] else "") for row in ROWS],
)
def test_power_is_the_closed_form_and_the_published_table(
    name: str,
    switches: tuple[str, ...],
    reduction: float | None,
    system: tuple[tuple[int, ...], float],
    stated_mw: float | None,
    published_mw: tuple[float, ...],
) -> None:
    found = rates(name, *switches, reduction=reduction).power_w
    formula = closed_form_w(*system, gpu="gpu" in switches, smart="smart_pixels" in switches)
    assert found.value == pytest.approx(formula, rel=0.005)
    if stated_mw is not None:
        assert formula == pytest.approx(stated_mw * 1e6, rel=1e-3)
    for published in published_mw:
        assert found.value == pytest.approx(published * 1e6, rel=0.017)
    assert found.lo < found.value < found.hi  # the growth of technology has a range


def test_parts_of_the_baseline_are_those_of_the_closed_form() -> None:
    found = rates("cms-run5-pu200")
    parts = found.power_by_part_w
    assert parts["link"].value == pytest.approx(124.60e3, rel=0.005)
    assert found.stage("L1T").power_w["operations"].value == pytest.approx(505.5e3, rel=1e-4)
    assert found.stage("HLT").power_w["operations"].value == pytest.approx(334.741e6, rel=0.005)
    assert found.scaling.value == pytest.approx(6.4996, rel=1e-4)
    assert found.rate_out_hz.value == pytest.approx(7504.7, rel=0.001)


def test_three_improvements_save_sixty_percent_of_the_power() -> None:
    every = rates("cms-run5-pu200", "gpu", "smart_pixels", "l1_tracks")
    assert every.power_w.value / rates("cms-run5-pu200").power_w.value == pytest.approx(0.397, abs=0.001)


@pytest.mark.parametrize(
    ("switches", "reduction", "published"),
    [
        # F1 of the repository and of one rerun, each a sample (daq.md A3); rows whose solver missed are left out
        ((), None, (0.3860, 0.3934)),
        (("gpu",), None, (0.3927, 0.3942)),
        (("l1_tracks",), None, (0.7935, 0.7896)),
        (("smart_pixels",), None, (0.3860, 0.3934)),
        (("gpu", "smart_pixels", "l1_tracks"), None, (0.7943,)),
        ((), 400, (0.2239, 0.2183)),
    ],
)
def test_f1_is_the_published_one_within_its_sampling(
    switches: tuple[str, ...], reduction: float | None, published: tuple[float, ...]
) -> None:
    found = rates("cms-run5-pu200", *switches, reduction=reduction).physics
    assert found is not None
    for sample in published:
        assert found.f1.value == pytest.approx(sample, rel=0.025)


def gain(as_published: bool) -> float:
    """Relevant events per joule of all three improvements over the baseline."""
    every = rates("cms-run5-pu200", "gpu", "smart_pixels", "l1_tracks", as_published=as_published).physics
    baseline = rates("cms-run5-pu200", as_published=as_published).physics
    assert every is not None
    assert baseline is not None
    return every.relevant_per_joule.value / baseline.relevant_per_joule.value


def test_the_gain_as_published_is_that_of_a_rerun_within_its_sampling_noise() -> None:
    # Without sampling noise it is 5.15, 1 % above the 4.6 to 5.1 of the published table (whose solver missed) and one
    # rerun of the published code: 5.10, with 0.5 % of noise on each of two F1 (standard error).
    assert gain(as_published=True) == pytest.approx(5.10, rel=2 * 0.007)


def test_with_the_corrected_models_the_gain_is_within_the_target() -> None:
    assert 4.6 <= gain(as_published=False) <= 5.1


def test_the_high_level_trigger_reduces_as_asked_where_the_published_solver_missed() -> None:
    # The published all-three row has precision 1.000 and 5,987 Hz out; asked for were 7,500 Hz.
    found = rates("cms-run5-pu200", "gpu", "smart_pixels", "l1_tracks")
    for name, reduction in (("L1T", 53.3), ("HLT", 100.0)):
        selection = found.stage(name).selection
        assert selection is not None
        assert selection.reduction == pytest.approx(reduction, rel=1e-3)
    assert found.physics is not None
    assert found.physics.precision.value < 0.9
    # F1 x output rate / power, as published: 0.2912 samples/kJ in the rerun
    assert 1e3 * found.physics.relevant_per_joule.value == pytest.approx(0.2912, rel=0.01)


def test_each_case_is_answered_within_ten_milliseconds() -> None:
    spec = load_pipeline("cms-run5-pu200")
    mean_rates(spec)
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        mean_rates(spec)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.010
