"""Fronts: equal to brute force, and the same for any chunks, shards and order; volumes, knees, and what binds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_samples import small, small_search

import archcast as ac
from archcast.searching.front import Archive, hypervolume, knee, nondominated, thinned
from archcast.searching.merging import merge
from archcast.searching.problem import evaluate
from archcast.searching.run import search
from archcast.searching.search_file import read_search

TABLES = (
    st.integers(1, 4)
    .flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(1, 6).map(float), min_size=columns, max_size=columns), min_size=1, max_size=60
        )
    )
    .map(lambda rows: np.array(rows, dtype=float))
)


def brute_force(values: np.ndarray[Any, Any]) -> list[int]:
    """Return rows that no other dominates; of equal rows the first."""
    found = []
    for i, row in enumerate(values):
        beaten = any((other <= row).all() and ((other < row).any() or j < i)
                     for j, other in enumerate(values) if j != i)  # fmt: skip
        if not beaten:
            found.append(i)
    return found


@given(TABLES)
def test_the_front_is_that_of_brute_force(values: np.ndarray[Any, Any]) -> None:
    assert nondominated(values, np.arange(len(values))).tolist() == brute_force(values)


@given(TABLES, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_chunks_or_their_order(values: np.ndarray[Any, Any], chunk: int, rng: Any) -> None:
    index = np.arange(len(values))
    parts = [index[start : start + chunk] for start in range(0, len(index), chunk)]
    rng.shuffle(parts)
    archive = Archive(values.shape[1])
    for part in parts:
        archive.add(part, values[part])
    assert archive.index.tolist() == brute_force(values)


def test_a_large_front_passes_the_sieve_and_the_blocks_unharmed() -> None:
    rng = np.random.default_rng(3)
    angles = rng.uniform(0.1, 1.4, (3000, 2))
    shell = np.stack([np.cos(angles[:, 0]), np.sin(angles[:, 0]) * np.cos(angles[:, 1]),
                      np.sin(angles[:, 0]) * np.sin(angles[:, 1])], axis=1)  # fmt: skip
    front = 2.0 - shell  # no point of a shell that bulges to the origin dominates another
    worse = front[rng.integers(0, 3000, 20000)] + rng.uniform(0.01, 1.0, (20000, 3))
    values = np.concatenate((worse, front))
    assert nondominated(values, np.arange(len(values))).tolist() == list(range(20000, 23000))


@settings(max_examples=30)
@given(st.integers(2, 3), st.integers(1, 12), st.integers(0, 10**6))
def test_the_hypervolume_is_that_of_counting_cells(columns: int, rows: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 8, (rows, columns)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(8) + 0.5] * columns, indexing="ij"), axis=-1).reshape(-1, columns)
    dominated = (values[None] < cells[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(values, np.full(columns, 8.0)) == pytest.approx(float(dominated.sum()))


def test_the_knee_is_nearest_to_the_best_of_everything() -> None:
    assert knee(np.array([[1.0, 100.0], [3.0, 3.0], [100.0, 1.0]])) == 1


def test_a_thinned_front_keeps_its_ends_and_spreads() -> None:
    values = np.stack([2.0 ** np.arange(20), 2.0 ** -np.arange(20)], axis=1)
    assert sorted(thinned(values, 3, [0, 19])) in ([0, 9, 19], [0, 10, 19])


def test_the_search_front_is_that_of_all_designs_compared_by_brute_force() -> None:
    answer = small_search()
    problem = answer.study.problem
    index = np.arange(problem.space.size)
    found = evaluate(problem, problem.space.columns(problem.space.codes(index)))
    where = np.flatnonzero(found.feasible)
    values = found.table(answer.objectives)
    assert answer.tally.archive.index.tolist() == where[brute_force(values)].tolist()
    assert answer.tally.feasible == len(where)
    assert answer.tally.designs == problem.space.size == 432
    assert sum(one["designs"] for one in answer.refused()) == 432 - len(where)


def test_a_design_is_worth_the_same_to_the_last_bit_beside_any_others(repository: Path) -> None:
    problem = read_search(repository / "examples" / "npu_resnet50.yaml").problem
    index = np.arange(0, problem.space.size, 97)
    whole = evaluate(problem, problem.space.columns(problem.space.codes(index)))
    for start in range(0, len(index), 1237):
        part = slice(start, start + 1237)
        found = evaluate(problem, problem.space.columns(problem.space.codes(index[part])))
        for name in problem.objectives:
            assert np.array_equal(found.values[name], whole.values[name][part], equal_nan=True)
    for place in (3, 5000, 11000):
        alone = evaluate(problem, problem.space.columns(problem.space.codes(index[place : place + 1])))
        assert np.array_equal(alone.values["energy_j"], whole.values["energy_j"][place : place + 1], equal_nan=True)


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_the_answer_is_the_same_for_any_chunk(chunk: int) -> None:
    again = search(small(), chunk=chunk).to_json()
    assert without_time(again) == without_time(small_search().to_json())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_merge_to_the_same_answer(count: int) -> None:
    parts = [search(small(), shard=f"{i}/{count}") for i in range(1, count + 1)]
    written = [json.loads(json.dumps(part.to_json())) for part in reversed(parts)]
    assert sum(part.tally.designs for part in parts) == 432
    assert without_time(merge(small(), written).to_json()) == without_time(small_search().to_json())


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if "wall" not in key}


def test_a_step_that_binds_is_the_best_single_step() -> None:
    answer = small_search()
    space = answer.study.problem.space
    codes = space.codes(answer.tally.archive.index)
    rows = {int(i): k for k, i in enumerate(answer.tally.archive.index)}
    document = answer.to_json()
    for design in document["front"][:10]:
        code = codes[:, rows[design["design"]]]
        best = 1.0
        for place, knob in enumerate(space.knobs):
            for other in range(len(knob.values)):
                near = abs(other - code[place]) == 1 or (knob.category and other != code[place])
                if near:
                    there = code.copy()
                    there[place] = other
                    found = evaluate(answer.study.problem, space.columns(there[:, None]))
                    if found.feasible[0]:
                        best = min(best, float(found.values["latency_s"][0]) / design["latency_s"]["value"])
        assert design["binds"].get("latency_s", {}).get("ratio", 1.0) == pytest.approx(best)


def test_the_best_by_value_of_a_knob_is_the_least_of_its_designs() -> None:
    answer = small_search()
    problem = answer.study.problem
    codes = problem.space.codes(np.arange(problem.space.size))
    found = evaluate(problem, problem.space.columns(codes))
    place = [knob.name for knob in problem.space.knobs].index("cols")
    for code, row in enumerate(answer.sensitivity()["cols"]):
        chosen = found.feasible & (codes[place] == code)
        assert row["energy_j"] == found.values["energy_j"][chosen].min()


def test_values_lie_in_their_intervals_and_stages_add_up() -> None:
    for design in small_search().front:
        for name in ("latency_s", "energy_j", "area_mm2", "power_w", "edp_j_s"):
            assert 0 < design[name]["lo"] <= design[name]["value"] <= design[name]["hi"]
        assert sum(design["stages_s"].values()) == pytest.approx(design["latency_s"]["value"])
        assert sum(design["energy_parts_j"].values()) == pytest.approx(design["energy_j"]["value"])
        assert sum(design["area_parts_mm2"].values()) == pytest.approx(design["area_mm2"]["value"])


def test_a_faster_memory_is_never_slower_and_never_smaller() -> None:
    rows = small_search().sensitivity()["dram_bandwidth_bytes_per_s"]
    assert rows[1]["latency_s"] < rows[0]["latency_s"]
    assert rows[1]["area_mm2"] > rows[0]["area_mm2"]


def test_a_design_that_has_no_room_for_a_tile_is_counted_with_its_bytes() -> None:
    answer = search(small(space_input_buffer_bytes=[16, 65536]))
    refused = {one["reason"]: one for one in answer.refused()}["a tile does not fit its buffer"]
    assert refused["designs"] > 0
    assert refused["shortfall_bytes"]["most"] >= refused["shortfall_bytes"]["least"] > 0


def test_a_space_without_a_feasible_design_is_an_answer() -> None:
    document = search(small(space_output_buffer_bytes=4)).to_json()
    assert document["verdict"] == "infeasible"
    assert document["front"] == []
    assert document["infeasible"][0]["designs"] == document["designs"]


def test_the_package_has_the_verb() -> None:
    assert ac.search is search


def test_other_objectives_make_other_fronts() -> None:
    one = search(small(objectives=["edp_j_s"]))
    assert len(one.front) == 1
    assert one.front[0]["edp_j_s"]["value"] == pytest.approx(
        one.front[0]["energy_j"]["value"] * one.front[0]["latency_s"]["value"]
    )
    two = search(small(objectives=["latency_s", "power_w"]))
    assert len(two.front) > 1
    assert two.hypervolume is not None
    assert 0 < two.hypervolume < 1


def test_batches_take_longer_in_all_and_mostly_less_each() -> None:
    study = [read_search(small(batch=batch)).problem for batch in (1, 8)]
    codes = study[0].space.codes(np.arange(0, 432, 13))
    once, many = (evaluate(problem, problem.space.columns(codes)) for problem in study)
    both = once.feasible & many.feasible
    ratio = many.values["latency_s"][both] / once.values["latency_s"][both]
    assert (ratio > 1).all()
    assert np.median(ratio) <= 8
