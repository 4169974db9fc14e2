"""What must be reached: rows as data, their values from lines, several seeds as one, devices left out, what was seen.

The parts of `archcast validate` that tests/test_validate.py does not hold.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_runner import refused
from test_validate import case_of, edge_root, predictions

from archcast.cli import validate as _command  # noqa: F401  adds the command
from archcast.validation.baselines import plain_trees
from archcast.validation.case import Case
from archcast.validation.cases import CASES
from archcast.validation.devices import score_devices, shots_label
from archcast.validation.evaluated import MEAN
from archcast.validation.must_reach import TARGETS
from archcast.validation.report import heads_of, page, rows_of, summary, text
from archcast.validation.rows import Rows
from archcast.validation.run import Outcome, Validation, validate
from archcast.validation.scoring import ALL, Errors, Line, auroc, joined, lines, nominal
from archcast.validation.seeds import over_seeds
from archcast.validation.sources import thinned
from archcast.validation.targets import NEVER, Target, at, of_none, over, reached
from archcast.validation.unseen import Seen
from costmodel.calibration.rows import group_hash
from costmodel.calibration.split import HELD_OUT, split
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import OpTable


def line(device: str, label: str, mape: float, *, counts: bool = True, rows: int = 100, **others: Any) -> Line:
    errors = Errors(rows, mape, mape / 2, 2 * mape)
    bases = dict.fromkeys(("roofline", "nearest", "plain trees"), errors)
    return Line(device, label, rows, 5, 1.0, errors, 0.9, 1.5, bases, counts, worst_share=mape, **others)


def outcome(case: str, *runs: list[Line]) -> Outcome:
    """The outcome of a case that was run with as many seeds as there are lists of lines."""
    return over_seeds([Outcome(case_of(case), "trees", tuple(run)) for run in runs])


def test_auroc_is_the_chance_that_a_bad_row_is_doubted_more() -> None:
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])) == 1.0
    assert auroc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([False, False, True, True])) == 0.5  # 1/2 + 2 ties of 4
    assert auroc(np.array([3.0, 1.0, 2.0]), np.array([True, False, False])) == 1.0
    assert np.isnan(auroc(np.ones(3), np.zeros(3, dtype=bool)))


def test_a_coverage_is_nominal_within_two_standard_errors_of_its_rows() -> None:
    assert nominal(0.88, 10**9)
    assert not nominal(0.879, 10**9)
    assert nominal(0.83, 100)  # 0.88 less 2 x sqrt(0.9 x 0.1 / 100) = 0.82
    assert not nominal(0.81, 100)
    assert not nominal(0.99, 100)


def test_the_coverage_of_each_third_of_a_device_is_told() -> None:
    sizes = np.repeat([1.0, 10.0, 100.0], 100)
    found = predictions((sizes * np.where(np.arange(300) < 100, 1.5, 1.0)).tolist(), sizes.tolist())
    told = lines(found, 0.95)[0]
    assert (told.cell_least_share, told.cell_most_share) == (0.0, 1.0)
    assert told.cells_met_share == 0.0  # of 100 rows at nominal 90 %, 100 inside are as far off as none
    assert lines(predictions([1.0] * 50, [1.0] * 50), 0.95)[0].cells_met_share is np.nan


def test_labels_that_answer_the_same_rows_have_a_line_of_all_devices_each() -> None:
    one, two = predictions([1.0] * 4, [1.1] * 4), predictions([1.0] * 4, [1.3] * 4)
    parts = [replace(p, label=np.array([w] * 4, dtype=object)) for p, w in ((one, "never seen"), (two, "few"))]
    told = lines(joined(parts), 0.95, by_label=True)
    assert [(t.device, t.label, t.rows) for t in told[:2]] == [(ALL, "never seen", 4), (ALL, "few", 4)]
    assert told[0].errors.mape_share == pytest.approx(0.1)


def test_seeds_are_averaged_and_the_worst_is_told() -> None:
    found = outcome("wheel-gemm", [line(ALL, "", 0.04), line("a", "", 0.1)], [line(ALL, "", 0.08, counts=False)])
    (merged,) = found.lines  # the line of `a` was not in every run
    assert merged.errors.mape_share == pytest.approx(0.06)
    assert merged.worst_share == 0.08
    assert merged.rows == 200
    assert not merged.counts
    assert len(found.runs) == 2


def test_a_row_is_met_by_its_mean_and_only_where_its_line_counts() -> None:
    target = Target("row", "base", 0.06, at("wheel-gemm"), ("wheel-gemm", ALL, ""))
    good = Validation((outcome("wheel-gemm", [line(ALL, "", 0.04)], [line(ALL, "", 0.08)]),), 0, seeds=2)
    (row,) = reached(good, [target])
    assert row.value == pytest.approx(0.06)
    assert (row.worst, row.met) == (0.08, True)
    bad = Validation((outcome("wheel-gemm", [line(ALL, "", 0.04, counts=False)]),), 0)
    assert reached(bad, [target])[0].met is False
    assert reached(Validation((outcome("timm", [line(ALL, "", 0.04)]),), 0), [target])[0].met is None
    more = replace(target, bound=0.05, more=True)
    assert (reached(good, [more])[0].worst, reached(good, [more])[0].met) == (0.04, True)


def test_medians_the_worst_and_what_rows_help_are_over_devices() -> None:
    run = [line(ALL, NEVER, 0.5), *(line(d, NEVER, e) for d, e in (("a", 0.1), ("b", 0.2), ("c", 0.9)))]
    run += [line(d, shots_label(20), e) for d, e in (("a", 0.08), ("b", 0.1), ("c", 0.09), (ALL, 0.1))]
    given = {"unseen-gemm": run}
    assert over("unseen-gemm", NEVER, np.median)(given) == pytest.approx(0.2)
    assert over("unseen-gemm", NEVER, max)(given) == pytest.approx(0.9)
    assert of_none("unseen-gemm", shots_label(20))(given) == pytest.approx(0.5)  # of 0.8, 0.5 and 0.1
    assert np.isnan(of_none("unseen-moe", shots_label(20))(given))


def test_a_row_may_compare_a_median_or_a_share_answered() -> None:
    given = {"served": [line("all", "TPOT fitted", 0.3), line("all", "TTFT fitted", 0.5)]}
    assert at("served", "all", "TPOT fitted")(given) == 0.3
    assert at("served", "all", "TPOT fitted", "errors.median_error_share")(given) == 0.15
    assert at("served", "all", "TTFT fitted", "answered_share")(given) == 1.0


def test_rows_of_replays_are_of_the_worse_run_and_need_every_time() -> None:
    runs = [line(d, f"{time} mean", e) for time, a, b in (("TPOT", 0.01, 0.02), ("TTFT", 0.2, 0.04))
            for d, e in ((MEAN, (a + b) / 2), ("rtx-4090", a), ("rtx-pro-6000", b))]  # fmt: skip
    met = {row.target.row: (row.value, row.met)
           for row in reached(Validation((outcome("replays", runs),), 0), TARGETS)}  # fmt: skip
    assert met["vLLM replays, mean TPOT: worse run"] == (0.02, True)
    assert met["vLLM replays, mean TTFT: worse run"] == (0.2, False)
    assert met["vLLM replays, mean LATENCY: worse run"][1] is None


def test_seeds_repeat_only_the_cases_that_draw() -> None:
    assert case_of("served").seeded
    assert not case_of("replays").seeded
    assert not case_of("served-energy").seeded


def test_lines_of_served_energy_have_the_baselines_of_their_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcast.validation import served_energy
    from archcast.validation.evaluated import evaluated

    errors = Errors(100, 0.2, 0.1, 0.4)
    bases = dict.fromkeys(("constant power", "constant power, measured time", "closed form", "shipped model"), errors)
    told = replace(line("language", "batch given", 0.1), baselines=bases)
    monkeypatch.setattr(served_energy, "served_energy_lines", lambda *_given: [told])
    (found,) = evaluated("served-energy", Path(), 0, 0.95)
    case = case_of("served-energy")
    assert tuple(found.baselines) == case.baselines
    shown = Outcome(case, case.fitted, (found,))
    assert [len(row) for row in rows_of(shown)] == [len(heads_of(shown))]


def test_every_row_names_a_case_that_exists() -> None:
    names = {case.name for case in CASES}
    assert len(TARGETS) >= 37
    assert len({target.row for target in TARGETS}) == len(TARGETS)
    for target in TARGETS:
        assert target.elsewhere or target.line[0] in names | {""}
        assert np.isnan(target.value({})) or target.elsewhere
        assert len(target.row) <= 40
        assert len(target.baseline) <= 20


def test_the_summary_stands_at_the_top_of_page_and_text() -> None:
    found = Validation((outcome("wheel-gemm", [line(ALL, "", 0.04)], [line(ALL, "", 0.05)]),), 0, seeds=2)
    assert [row.target.row for row in summary(found)] == ["GEMM, ten devices, all"]
    words = page(found)
    assert words.index("## What must be reached") < words.index("## GEMM")
    assert "| GEMM, ten devices, all | untuned trees 8.1% | <6% | 4.5% | 5.0% | 90% | 1.50x | yes |" in words
    assert "seeds 0 to 1" in words
    shown = text(found).splitlines()
    assert shown[0].startswith("must be reached")
    assert max(map(len, shown)) <= 100


def test_rows_of_each_kernel_are_thinned_alike_every_time() -> None:
    rng = np.random.default_rng(0)
    given = {"device": rng.choice(["a", "b"], 500, p=[0.9, 0.1]), "op": "gemm", "dtype": "bf16", "n": 8.0, "k": 8.0,
             "m": np.arange(1.0, 501.0)}  # fmt: skip
    table = measurement_table("here", given)
    kept = table.take(thinned(table, 60))
    counts = {name: int((kept.device == name).sum()) for name in ("a", "b")}
    assert counts == {"a": 60, "b": min(60, int((table.device == "b").sum()))}
    assert np.array_equal(thinned(table, 60), thinned(table, 60))
    assert len(thinned(table.take(slice(0, 0)), 60)) == 0


def gemms(device: str, factor: float, rows: int = 150) -> MeasurementTable:
    """GEMMs of 15 shapes at `factor` times the closed form."""
    rng = np.random.default_rng(0)
    shape = np.arange(rows) % 15
    sizes = {"m": np.exp2(rng.integers(4, 13, rows)), "n": 1024.0 + 512 * shape, "k": 2048.0 + 256 * shape}
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes}, rows=rows)
    latency = factor * predict_physics(table, compile_rates(load_device(device))).latency_s
    return measurement_table("here", {"op": "gemm", "dtype": "bf16", "device": device, "software": "vllm 1", **sizes,
                                      "latency_s": latency})  # fmt: skip


def test_a_device_left_out_is_answered_by_the_others_and_better_with_a_few_rows() -> None:
    pytest.importorskip("xgboost")
    rows = Rows([gemms("h100-sxm", 1.5), gemms("a100-sxm-80gb", 1.5), gemms("h200-sxm", 2.4)])
    case = Case("x", "x", "aiconfigurator", "", "devices", devices=("h200-sxm",), shots=(0, 20), baselines=())
    found = score_devices(case, rows, 0, lambda _share: None)
    assert found is not None
    assert set(found.device.tolist()) == {"h200-sxm"}
    never, few = lines(found, 0.95, by_label=True)[:2]
    assert (never.label, few.label) == ("never seen", "20 rows given")
    assert never.rows == few.rows == 120  # a fifth of 15 shapes is given from, the others are scored
    assert never.errors.mape_share == pytest.approx(1 - 1.5 / 2.4, abs=0.1)
    assert few.errors.mape_share < never.errors.mape_share / 2


def test_untuned_trees_learn_the_ratio_to_the_roofline() -> None:
    pytest.importorskip("xgboost")
    size = np.arange(1.0, 401.0)
    roof, train = size * 1e-6, np.arange(400) % 4 > 0
    found = plain_trees(np.stack([size], axis=1).astype(np.float32), roof, 3 * roof, train, ~train, 0)
    assert found == pytest.approx(3 * roof[~train], rel=1e-3)


def card(table: MeasurementTable, **settings: Any) -> Any:
    """What `Seen` reads of a card: that of an artefact calibrated on a table of one device."""
    shapes = len(np.unique(group_hash(table.table)))
    scope = SimpleNamespace(kernels=(("gemm", "bf16", str(table.device[0]), "vllm 1"),))
    groups = {f"{table.device[0]}/gemm": {"train": shapes - 4, "conformal": 2, "held_out": 2}}
    return SimpleNamespace(groups=groups, scope=scope, transfer=SimpleNamespace(adapted={}), settings=settings)


def test_what_a_card_lists_as_held_out_is_scored_and_all_else_of_its_families_is_not() -> None:
    table, other = gemms("h100-sxm", 1.0), gemms("l40s", 1.0)
    shapes = np.unique(group_hash(table.table))
    seen = Seen.from_card(card(table, held_out={"gemm": [f"{int(shapes[3]):016x}"]}))
    (mine, whole), left_out = seen.unseen([table, other])
    assert left_out == 140
    assert mine.rows == 10
    assert set(group_hash(mine.table).tolist()) == {int(shapes[3])}
    assert whole.rows == 150


def test_held_out_groups_that_are_not_listed_follow_from_seed_and_groups() -> None:
    table = gemms("h100-sxm", 1.0)
    groups, family = group_hash(table.table), np.array(["h100-sxm/gemm"] * table.rows)
    expected = set(groups[split(groups, family, 7) == HELD_OUT].tolist())
    (kept,), left_out = Seen.from_card(card(table, seed=7)).unseen([table])
    assert set(group_hash(kept.table).tolist()) == expected
    assert kept.rows + left_out == 150
    fewer = table.take(np.flatnonzero(groups != groups[0]))  # another set of groups may have been split otherwise
    assert Seen.from_card(card(table, seed=7)).unseen([fewer]) == ([], fewer.rows)


def test_a_number_of_seeds_must_be_one(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 1.25, "raspberry-pi-5-16gb": 2.0})
    assert "seeds must be a whole number" in refused("validate", "--data", root, "--only", "llm-edge", "--seeds", "0")
    found = validate(root, only=["llm-edge"], seeds=3)
    assert len(found.scored[0].runs) == 1  # nothing is drawn: one seed tells all
