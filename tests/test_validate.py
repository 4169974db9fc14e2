"""Scores of held-out groups: hand-computed errors, splits without a shared group, absent and broken data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Ended, archcast, refused
from hypothesis import given
from hypothesis import strategies as st

import archcast as ac
from archcast.cli import validate as _command  # noqa: F401  adds the command
from archcast.validation.baselines import codes, nearest, roofline_s
from archcast.validation.cases import CASES, FACTOR, TREES, Case
from archcast.validation.evaluated import ENERGY, METHODS
from archcast.validation.microbatches import Step, repeats, step
from archcast.validation.peers import peer_values
from archcast.validation.run import Outcome, Validation, validate
from archcast.validation.scoring import FEWEST_ROWS, Errors, Predictions, joined, lines, points
from archcast.validation.splits import Split, places, sample
from costmodel.protocol import PhysicsModel
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.table import OpTable
from workloads.workload_measurements import workload_measurements

H100, SMALL = "h100-sxm", "llama-3.2-3b"
SYSTEMS = {"gb10": "Dell Pro Max with GB10 (Nvidia Spark)", "raspberry-pi-5-16gb": "Pi 5 - 16GB"}


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def predictions(measured: list[float], predicted: list[float], **others: Any) -> Predictions:
    """Rows of one device, each a group of its own, with an interval of 10 % either way."""
    value = np.array(predicted)
    columns: dict[str, Any] = {
        "device": np.array(["d"] * len(value), dtype=object), "label": np.array([""] * len(value), dtype=object),
        "group": np.arange(len(value)).astype(str).astype(object), "measured": np.array(measured), "predicted": value,
        "lo": value * 0.9, "hi": value * 1.1, "answered": np.isfinite(value), "doubt": np.full(len(value), np.nan),
        "baselines": {}, **others,
    }  # fmt: skip
    return Predictions(**columns)


def test_mean_median_and_p90_are_those_of_the_hand() -> None:
    found = Errors.of(np.array([1.1, 0.8, 1.0, 2.0]), np.ones(4))
    assert found.mape_share == pytest.approx((0.1 + 0.2 + 0 + 1) / 4)
    assert found.median_error_share == pytest.approx(0.15)
    assert found.p90_error_share == pytest.approx(0.2 + 0.7 * 0.8)  # between the third and the fourth of 0, .1, .2, 1


def test_coverage_and_width_are_those_of_the_hand() -> None:
    line = lines(predictions([1.0, 1.05, 1.2, 0.5], [1.0] * 4), 0.95)[0]
    assert line.coverage_share == 0.5
    assert line.width_ratio == pytest.approx(1.1 / 0.9)
    assert (line.rows, line.groups, line.answered_share, line.counts) == (4, 4, 1.0, True)


def test_a_row_without_any_answer_enters_no_error_and_is_not_answered() -> None:
    line = lines(predictions([1.0, 1.0, 1.0, 1.0], [1.1, 1.1, 1.1, np.nan]), 0.95)[0]
    assert line.errors.mape_share == pytest.approx(0.1)
    assert (line.errors.rows, line.rows, line.answered_share, line.counts) == (3, 4, 0.75, False)


def test_a_refused_row_is_scored_with_what_stands_in_for_it() -> None:
    refused_row = np.array([True, False])
    line = lines(predictions([1.0, 1.0], [1.0, 1.5], answered=refused_row), 0.95)[0]
    assert line.errors.mape_share == pytest.approx(0.25)
    assert line.answered_share == 0.5


def test_networks_that_are_not_described_lower_the_answered_share() -> None:
    assert lines(predictions([1.0] * 4, [1.0] * 4), 0.6, known_share=0.5)[0].answered_share == 0.5
    assert not lines(predictions([1.0] * 4, [1.0] * 4), 0.6, known_share=0.5)[0].counts


def test_a_device_has_a_line_of_its_own_from_enough_rows_on() -> None:
    many, few = predictions([1.0] * FEWEST_ROWS, [1.0] * FEWEST_ROWS), predictions([1.0], [1.2])
    few = replace(few, device=np.array(["e"], dtype=object))
    assert [line.device for line in lines(joined([many, few]), 0.95)] == ["all devices", "d"]


def test_the_points_of_a_figure_keep_the_smallest_and_the_largest() -> None:
    measured = [float(i) for i in range(1, 1001)]
    ((device, shown, predicted),) = points(predictions(measured, measured), 10)
    assert (device, len(shown), shown[0], shown[-1]) == ("d", 10, 1.0, 1000.0)
    assert np.array_equal(shown, predicted)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 7), st.integers(0, 3), st.integers(0, 9))
def test_no_group_is_in_train_and_test(groups: list[int], folds: int, rounds: int, seed: int) -> None:
    column = np.array(groups)
    tested = np.zeros(len(column), dtype=int)
    for train, test in Split("group", "", folds, rounds).parts(column, seed):
        assert not set(column[train]) & set(column[test])
        assert np.array_equal(train, ~test)
        assert test.any()
        assert train.any() or folds == 1
        tested += test
    assert tested.max(initial=0) <= 1
    if rounds == 0 and len(set(groups)) > 1:
        assert (tested == 1).all()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), st.integers(1, 60), st.integers(0, 9))
def test_samples_are_of_whole_groups(groups: list[int], most: int, seed: int) -> None:
    column = np.array(groups)
    keep = sample(column, most, seed)
    assert all(keep[column == group].all() or not keep[column == group].any() for group in set(groups))
    assert keep.sum() <= most or len(set(column[keep])) <= 2


def test_the_place_of_a_group_depends_on_the_seed_and_not_on_its_company() -> None:
    alone, among = places(np.array(["b"]), 0, "fold"), places(np.array(["a", "b", "c"]), 0, "fold")
    assert alone[0] == among[1] != places(np.array(["b"]), 1, "fold")[0]


def test_the_nearest_point_is_near_in_logarithms_and_of_the_same_kind() -> None:
    sizes = np.array([[1.0], [100.0], [1000.0], [20.0], [20.0]])
    measured = np.array([1.0, 2.0, 3.0, 0.0, 0.0])
    kinds = codes([np.array(["a", "a", "a", "a", "b"], dtype=object)])
    test = np.array([False, False, False, True, True])
    found = nearest(sizes, kinds, measured, ~test, test)
    assert found[0] == 2.0  # 20 is a factor of 5 from 100 and of 20 from 1
    assert np.isnan(found[1])


def test_the_roofline_of_a_product_is_flop_over_peak_or_bytes_over_bandwidth() -> None:
    rates = compile_rates(load_device(H100))
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": [8192.0, 1.0], "n": 8192.0, "k": 8192.0}, rows=2)
    roof = roofline_s(table, rates)
    assert roof[1] == pytest.approx(2 * (8192**2 + 2 * 8192) / rates.dram_bytes_per_s, rel=1e-6)
    assert roof[0] == pytest.approx(2 * 8192**3 / 989.4e12, rel=1e-6)  # the data sheet's dense rate


def test_microbatches_repeat_all_but_the_update() -> None:
    one = ac.predict("gpt-2", on="a100-sxm-80gb", mode="train", batch=2, prompt=128, model=PhysicsModel())
    detail = one.detail
    assert detail is not None
    assert one.latency_s is not None
    seconds = detail.costs.latency_s * detail.lowered.table.full("count")
    update = float(seconds[detail.lowered.pass_index == 2].sum())
    total = float(seconds.sum())
    assert repeats(detail, Step(1)) == pytest.approx(1.0)
    assert repeats(detail, Step(4)) == pytest.approx((4 * (total - update) + update) / total)
    assert repeats(detail, Step(4, 2)) == pytest.approx((2.5 * (total - update) + update) / total)
    kept, alone = step(one, "memory_bytes", Step(8, 2)), step(one, "memory_bytes", Step(8))
    assert kept is not None
    assert alone is not None
    assert alone.value == one.memory_bytes.value
    assert kept.value - alone.value == pytest.approx(one.memory_parts_bytes["activations"])


def edge_row(system: str, factor: float) -> dict[str, Any]:
    """A row of the set of small systems that measured `factor` times what the closed form says."""
    device = next(key for key, name in SYSTEMS.items() if name == system)
    said = ac.predict(SMALL, on=device, dtype="q4_k_m", model=PhysicsModel()).tpot_s
    assert said is not None
    return {"model": "Llama 3.2:3b", "system": system, "compute": "GPU", "eval_tokens_per_s": 1 / (factor * said.value),
            "power_peak_w": 100}  # fmt: skip


def edge_root(folder: Path, factors: Mapping[str, float]) -> Path:
    """Write a root of data sets with the one of small systems."""
    rows = [edge_row(SYSTEMS[device], factor) for device, factor in factors.items()]
    text = "\n".join([",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)]) + "\n"
    put(folder / "llm_edge" / "geerling_tokens_per_s.csv.gz", text)
    return folder


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_the_closed_form_is_scored_as_predict_answers(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 1.25, "raspberry-pi-5-16gb": 2.0})
    (outcome,) = validate(root, only=["llm-edge"]).scored
    line = outcome.lines[0]
    assert line.rows == 2
    assert line.errors.mape_share == pytest.approx((0.2 + 0.5) / 2)
    assert line.errors.median_error_share == pytest.approx(0.35)
    assert line.answered_share == 1.0
    assert line.baselines["roofline"].rows == 2


def test_a_factor_comes_from_other_groups(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 3.0, "raspberry-pi-5-16gb": 3.0})
    case = replace(case_of("llm-edge"), fitted=FACTOR)
    (outcome,) = validate(root, cases=[case]).scored
    assert outcome.lines[0].errors.mape_share == pytest.approx(0.0, abs=1e-9)
    root = edge_root(tmp_path, {"gb10": 3.0, "raspberry-pi-5-16gb": 1.5})
    (outcome,) = validate(root, cases=[case]).scored  # each gets the factor of the other: 1.5 / 3 and 3 / 1.5
    assert outcome.lines[0].errors.mape_share == pytest.approx((0.5 + 1.0) / 2)


def test_absent_data_is_skipped_and_named(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 1.0, "raspberry-pi-5-16gb": 1.0})
    found = validate(root, only=["llm-edge", "timm"])
    skipped = {outcome.case.name: outcome.skipped for outcome in found.outcomes if not outcome.lines}
    assert skipped == {"timm": "there is no folder timm in the data"}
    with pytest.raises(BadValueError, match="Nothing could be scored: timm: there is no folder timm"):
        validate(root, only=["timm"])
    with pytest.raises(BadFileError, match="no such folder of data sets"):
        validate(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="case of validate"):
        validate(root, only=["tim2"])


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 1.0})
    file = root / "llm_edge" / "geerling_tokens_per_s.csv.gz"
    file.write_bytes(file.read_bytes()[:-9])
    said = refused("validate", "--data", root, "--only", "llm-edge")
    assert "geerling_tokens_per_s.csv.gz" in said
    assert said.count("\n") == 0
    put(file, "model,system\na,b\n")
    assert "no column" in refused("validate", "--data", root, "--only", "llm-edge")


def test_the_command_prints_at_most_100_columns_and_suffixed_names(tmp_path: Path) -> None:
    root = edge_root(tmp_path, {"gb10": 1.25, "raspberry-pi-5-16gb": 2.0})
    ended: Ended = archcast("validate", "--data", root, "--only", "llm-edge", "--html", tmp_path / "v.html")
    assert (ended.code, ended.stderr) == (0, "")
    assert max(len(line) for line in ended.stdout.splitlines()) <= 100
    assert "35.0%" in ended.stdout
    assert "llm-edge" in (tmp_path / "v.html").read_text()
    document = archcast("validate", "--data", root, "--only", "llm-edge", "--json").json()
    line = document["cases"][0]["lines"][0]
    assert line["mape_share"] == pytest.approx(0.35)
    assert line["baselines"]["nearest"]["mape_share"] is None  # each device is alone
    numbers = {k for k, v in line.items() if isinstance(v, float)}
    assert all(name.endswith(("_share", "_ratio")) for name in numbers)


def test_a_peer_is_found_again_by_what_was_measured(tmp_path: Path) -> None:
    put(tmp_path / "aiconfigurator" / "silicon_sample_e2e.csv.gz",
        "id,silicon_ttft_ms,silicon_tpot_ms\na,10,2\nb,20,3\n")  # fmt: skip
    put(tmp_path / "aiconfigurator" / "peer_aiconfigurator_e2e.csv.gz",
        "id,peer_ttft_ms,peer_tpot_ms,peer_refusal\na,11,2.5,\nb,,,no data\n")  # fmt: skip
    table = workload_measurements("here", {
        "workload": "llama-3.1-8b", "ttft_s": np.array([0.02, 0.01]), "tpot_s": np.array([0.003, 0.002]),
    })  # fmt: skip
    found = peer_values("aiconfigurator", tmp_path, table, "tpot_s")
    assert found is not None
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.0025)


def gemm_root(folder: Path, systems: Mapping[str, float]) -> Path:
    """Write a root with GEMMs of aiconfigurator's form: `factor` times the closed form, 12 pairs (n, k) of 8 rows."""
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    devices = {"h100_sxm": "h100-sxm", "l40s": "l40s"}
    shapes = [(m, n, k) for n in (512, 1024, 2048, 4096) for k in (1024, 3072, 8192) for m in (1, 8, 32, 64, 256, 1024,
                                                                                              2048, 8192)]  # fmt: skip
    m, n, k = (np.array(c, dtype=float) for c in zip(*shapes, strict=True))
    columns: dict[str, list[Any]] = {name: [] for name in ("system", "m", "n", "k", "latency", "gemm_dtype",
                                                           "framework", "version")}  # fmt: skip
    for system, factor in systems.items():
        costs = ac.predict_ops({"op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": k}, on=devices[system],
                               model=PhysicsModel())  # fmt: skip
        for name, values in (("m", m), ("n", n), ("k", k), ("latency", factor * costs.latency_s * 1e3)):
            columns[name] += values.tolist()
        for name, word in (("system", system), ("gemm_dtype", "bfloat16"), ("framework", "vllm"), ("version", "1")):
            columns[name] += [word] * len(m)
    (folder / "aiconfigurator").mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "aiconfigurator" / "op_power_gemm.parquet")
    return folder


def test_trees_are_trained_on_other_shapes_and_beat_the_roofline(tmp_path: Path) -> None:
    root = gemm_root(tmp_path, {"h100_sxm": 1.4, "l40s": 0.9})
    found = validate(root, only=["aic-gemm"])
    (outcome,) = found.scored
    assert outcome.fitted == TREES
    everything, *devices = outcome.lines
    assert [line.device for line in devices] == ["h100-sxm", "l40s"]
    assert everything.groups == 3  # a fifth of 12 pairs, rounded up
    assert everything.rows == 3 * 8 * 2
    assert everything.errors.mape_share < everything.baselines["roofline"].mape_share / 3
    assert outcome.found is not None
    again = validate(root, only=["aic-gemm"])
    assert repr([o.lines for o in again.outcomes]) == repr([o.lines for o in found.outcomes])  # NaN is NaN


def test_an_artefact_is_not_scored_on_what_it_was_trained_on(tmp_path: Path) -> None:
    from costmodel.calibration import calibrate
    from costmodel.measured.base import ImportRequest, find_importer

    seen = gemm_root(tmp_path / "seen", {"h100_sxm": 1.4})
    tables: Any = list(find_importer("aiconfigurator").load(ImportRequest(seen / "aiconfigurator")))
    calibrate(tables, tmp_path / "model")
    both = gemm_root(tmp_path / "both", {"h100_sxm": 1.4, "l40s": 0.9})
    (outcome,) = validate(both, model=tmp_path / "model", only=["aic-gemm"]).scored
    assert {line.device for line in outcome.lines[1:]} == {"l40s"}  # of the h100, too few rows for a line of its own
    assert outcome.lines[0].rows == 96 + 8  # one of the twelve pairs of the h100 was held out
    assert any("88 rows are left out" in note for note in outcome.notes)
    (alone,) = validate(seen, model=tmp_path / "model", only=["aic-gemm"]).scored
    assert alone.lines[0].rows == 8
    said = refused("validate", "--data", both, "--model", tmp_path / "none")
    assert "no such folder" in said


def test_the_page_and_its_figure_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from archcast.validation.document import write_page

    root = edge_root(tmp_path, {"gb10": 1.25, "raspberry-pi-5-16gb": 2.0})
    found: Validation = validate(root, only=["llm-edge"])
    write_page(found, tmp_path / "accuracy.md")
    text, drawing = (tmp_path / "accuracy.md").read_text(), (tmp_path / "images" / "accuracy.svg").read_text()
    assert "![Predicted against measured time, by device](images/accuracy.svg)" in text
    assert "| all devices | 2 | 100% | 35.0% |" in text
    assert str(tmp_path) not in text + drawing
    assert "gb10" in drawing
    write_page(found, tmp_path / "again.md")
    assert (tmp_path / "images" / "accuracy.svg").read_text() == drawing


@pytest.mark.parametrize("scorer", ["operators", "workloads", "devices"])
def test_every_kind_of_case_has_its_place_in_the_figure(scorer: str) -> None:
    pytest.importorskip("matplotlib")
    from archcast.validation.figure import svg

    found = predictions([float(i) for i in range(1, 40)], [1.1 * i for i in range(1, 40)])
    case = replace(CASES[0], scorer=scorer, quantity="latency_s")
    outcome = Outcome(case, TREES, tuple(lines(found, 0.95)), found=found)
    assert svg(Validation((outcome,), 0)).count("<svg") == 1


def test_every_case_is_named_once_and_its_importer_exists() -> None:
    from costmodel.measured.base import find_importer

    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    for case in CASES:
        find_importer(case.importer)
        assert case.scorer != "evaluation" or case.name in {*METHODS, ENERGY}
        assert case.folder or case.package
        assert 0 < case.least_answered <= 1


def test_scores_of_a_method_become_lines_and_their_mean_over_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcast.validation import evaluated
    from costmodel.evaluation.scores import score

    measured = np.array([1.0, 2.0, 4.0, 5.0])

    def scores(_root: Path, seed: int, _full: bool) -> list[Any]:
        return [
            score(("data", name, "a device out, 10 shots, spread out", "way", seed), measured, measured * factor,
                  ends=(measured, measured * 2), baseline=("other", measured * 1.5))
            for name, factor in (("a", 1.1), ("b", 1.3))
        ]  # fmt: skip

    monkeypatch.setitem(evaluated.METHODS, "shots-ai-hub", scores)
    (tmp_path / "qualcomm_ai_hub").mkdir()
    (outcome,) = validate(tmp_path, only=["shots-ai-hub"]).scored
    mean, *each = outcome.lines
    assert [line.device for line in outcome.lines] == ["mean of devices", "a", "b"]
    assert {line.label for line in outcome.lines} == {"10 shots, spread out"}
    assert [line.errors.mape_share for line in each] == pytest.approx([0.1, 0.3])
    assert mean.errors.mape_share == pytest.approx(0.2)
    assert (mean.rows, mean.coverage_share, mean.width_ratio) == (8, 1.0, 2.0)


@pytest.mark.slow
def test_real_data_is_scored_beside_its_baselines(shared_data: Path) -> None:
    document = archcast("validate", "--data", shared_data, "--only", "aic-gemm,llm-edge,simumax", "--json").json()
    cases = {case["name"]: case for case in document["cases"]}
    assert set(cases) == {"aic-gemm", "llm-edge", "simumax", "simumax-memory"}
    gemm = cases["aic-gemm"]["lines"][0]
    assert gemm["mape_share"] < gemm["baselines"]["nearest"]["mape_share"] < gemm["baselines"]["roofline"]["mape_share"]
    assert gemm["answered_share"] > 0.95
    assert 0.8 < gemm["interval_coverage_share"] <= 1
    assert json.dumps(cases["simumax"]["lines"][0]["baselines"]["SimuMax"])
