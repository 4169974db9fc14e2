"""Costs drawn together: each cell keeps its interval, cells of a device err together, names decide the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from archcast.oracle import cost_table, curve, scenarios
from archcast.oracle.names import cell_normals, cell_words
from archcast.oracle.questions import as_questions
from foundation.errors import ArchcastError

ITEMS = [
    {"workload": "llama-3.1-8b", "prompt": 1024, "generate": 64},
    {"workload": "llama-3.1-8b", "prompt": 128, "generate": 256},
    {"workload": "resnet-50", "batch": 8},
]
OPTIONS = [{"device": "h100-sxm"}, {"device": "l40s"}]
N = 20_000


def test_each_cell_keeps_its_interval_and_its_value() -> None:
    table = cost_table(ITEMS, OPTIONS)
    draws = scenarios(table, N, 7)
    assert draws.values.shape == (N, 3, 2, 4)
    known = table.value > 0
    inside = ((draws.values >= table.lo) & (draws.values <= table.hi)).mean(axis=0)
    assert np.abs(inside - 0.9)[known].max() < 0.01  # the interval's coverage; three standard errors are 0.0064
    below = (draws.values < table.lo).mean(axis=0)
    assert np.abs(below - 0.05)[known].max() < 0.008
    median = (draws.values < table.value).mean(axis=0)
    assert np.abs(median - 0.5)[known].max() < 0.015


def test_errors_of_one_device_go_together_and_those_of_two_do_not() -> None:
    logs = np.log(scenarios(cost_table(ITEMS, OPTIONS, model="physics"), N, 3, "latency_s").values)
    correlation = np.corrcoef(logs.reshape(N, -1).T).reshape(3, 2, 3, 2)
    assert correlation[0, 0, 1, 0] > 0.95  # both spend their error in products of matrices on one device
    assert abs(correlation[0, 0, 0, 1]) < 0.05  # one question on two devices
    assert correlation[0, 0, 2, 0] < 0.5  # convolutions err otherwise than language models


def test_what_all_devices_have_in_common_is_the_callers_to_say() -> None:
    table = cost_table(ITEMS[:1], OPTIONS, ["latency_s"], "physics")
    for common in (0.0, 0.5, 1.0):
        logs = np.log(scenarios(table, N, 5, common=common).values[:, 0, :, 0])
        assert np.corrcoef(logs.T)[0, 1] == pytest.approx(common, abs=0.06)


def test_a_cell_of_its_own_error_is_independent_of_the_rest() -> None:
    """Half of the variance shared: two equal mixes on one device correlate by one half."""
    from dataclasses import replace

    table = cost_table(ITEMS[:2], OPTIONS[:1], ["latency_s"], "physics")
    half = replace(table, cells=replace(table.cells, shared=np.full_like(table.cells.shared, 0.5)))
    logs = np.log(scenarios(half, N, 11).values[:, :, 0, 0])
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(0.5, abs=0.03)


def test_adding_items_options_and_columns_shifts_no_other_draw() -> None:
    few = scenarios(cost_table(ITEMS[:2], OPTIONS), 50, 1).values
    more = scenarios(
        cost_table([ITEMS[2], *ITEMS[:2]], [{"device": "b200"}, *OPTIONS, {"device": "l40s", "dtype": "fp8"}]), 50, 1
    ).values
    assert np.array_equal(few, more[:, 1:, 1:3])
    assert np.array_equal(scenarios(cost_table(ITEMS[:2], OPTIONS), 20, 1).values, few[:20])
    assert not np.array_equal(scenarios(cost_table(ITEMS[:2], OPTIONS), 50, 2).values, few)


def test_an_alias_of_a_device_is_that_device() -> None:
    one, other = (scenarios({**ITEMS[0], "on": name}, 20, 1).values for name in ("a100-sxm", "a100-sxm-80gb"))
    assert np.array_equal(one, other)


def test_own_numbers_of_cells_are_normal_and_independent() -> None:
    questions = as_questions([{**ITEMS[0], "on": "l40s", "batch": b} for b in range(1, 9)])
    z = cell_normals(cell_words(questions, "time", 1), 50_000)
    assert min(kstest(z[:, i], "norm").pvalue for i in range(8)) > 1e-4
    assert np.abs(np.corrcoef(z.T) - np.eye(8)).max() < 0.02
    assert np.abs(np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]) < 0.02
    same = as_questions({**ITEMS[0], "on": "l40s", "tp": 1})  # said or not, one device is one device
    plain = as_questions({**ITEMS[0], "on": "l40s"})
    assert cell_words(same, "time", 1) == cell_words(plain, "time", 1)


def test_sums_of_a_choice_are_as_wide_as_their_errors_are_shared() -> None:
    table = cost_table(ITEMS, OPTIONS, ["latency_s"])
    draws = scenarios(table, N, 2)
    total = draws.total([0, 1, -1], "latency_s")
    assert total == pytest.approx(draws.values[:, 0, 0, 0] + draws.values[:, 1, 1, 0])
    assert np.quantile(total, 0.5) == pytest.approx(table.value[0, 0, 0] + table.value[1, 1, 0], rel=0.03)
    with pytest.raises(ArchcastError, match="one option"):
        draws.total([0, 5, 0], "latency_s")


def test_what_is_not_feasible_is_not_drawn() -> None:
    draws = scenarios(cost_table([{"workload": "llama-3.1-70b"}, ITEMS[0]], [{"device": "rtx-4090"}]), 10)
    assert np.isnan(draws.of("latency_s")[:, 0, 0]).all()
    assert np.isfinite(draws.of("latency_s")[:, 1, 0]).all()
    assert draws.to_json()["p50"][0][0][0] is None


def test_curves_and_questions_are_drawn_as_rows() -> None:
    asked = {**ITEMS[0], "on": "h100-sxm"}
    along = scenarios(curve(asked, "generate", [64, 128, 256]), 40, quantities="latency_s")
    assert along.values.shape == (40, 3)
    assert (np.diff(along.values, axis=1) > 0).all()  # one error for the whole curve: it keeps its order
    assert scenarios([asked, {**asked, "on": "l40s"}], 40).values.shape == (40, 2, 6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 0}, "n must be"), ({"common": 2}, "common"), ({"common": float("nan")}, "common"),
        ({"seed": -1}, "seed"), ({"n": 10**7}, "draws of"), ({"quantities": ["latensy_s"]}, "latency_s"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(changes: dict[str, object], words: str) -> None:
    table = cost_table(ITEMS, OPTIONS)
    with pytest.raises(ArchcastError) as caught:
        scenarios(table, **{"n": 10, **changes})  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_draws_of_a_table_are_read_by_item_and_option_and_of_a_curve_by_value() -> None:
    table = cost_table([{**ITEMS[0], "name": "short"}], [{**OPTIONS[0], "name": "big"}], ["latency_s"])
    assert scenarios(table, 50, 1).text().splitlines()[1].startswith("short, big  latency_s")
    along = scenarios(curve({**ITEMS[0], **OPTIONS[0]}, "generate", [8, 64], ["latency_s"]), 50, 1)
    assert [line.split("  ")[0] for line in along.text().splitlines()[1:]] == ["generate 8", "generate 64"]
