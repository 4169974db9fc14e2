"""Files of kind `search`: what is refused, in one sentence with the place and what is near, and what ranges mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast, refused
from search_samples import small

from archcast.searching.knobs import KnobKind, planned
from archcast.searching.limits import read_limit
from archcast.searching.merging import merge
from archcast.searching.run import read_shard, search
from archcast.searching.search_file import MOST_DESIGNS, Shard, read_search
from foundation.errors import BadFileError, BadValueError, InputError, UnknownNameError

WHOLE, REAL = KnobKind("whole", 1, 1e6, "B"), KnobKind("real", 0, 1e15, "B/s")


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "npu.yaml"
    file.write_text(yaml.safe_dump(small(**changes), sort_keys=False), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (16, (16.0,)), ([32, 8, 8], (8.0, 32.0)), ({"from": 8, "to": 64, "times": 2}, (8.0, 16.0, 32.0, 64.0)),
        ({"from": 8, "to": 63, "times": 2}, (8.0, 16.0, 32.0)), ({"from": 1, "to": 10, "step": 4}, (1.0, 5.0, 9.0)),
        ({"from": 1, "to": 100, "points": 3, "scale": "log"}, (1.0, 10.0, 100.0)),
        ({"from": 1, "to": 3, "points": 9}, (1.0, 2.0, 3.0)), (["64 KiB", "8 KiB"], (8192.0, 65536.0)),
        ({"from": "1 KiB", "to": "4 KiB", "step": "1 KiB"}, (1024.0, 2048.0, 3072.0, 4096.0)),
    ],
)  # fmt: skip
def test_a_value_a_list_and_ranges_are_values_in_rising_order(given: Any, values: tuple[float, ...]) -> None:
    plan = planned("size", given, WHOLE)
    assert plan.knob().values == values
    assert plan.count == len(values)


def test_rates_have_units_and_powers_reach_their_end() -> None:
    knob = planned("rate", {"from": "1 GB/s", "to": "1000 GB/s", "times": 10}, REAL).knob()
    assert knob.values == pytest.approx((1e9, 1e10, 1e11, 1e12))


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (["17.1 GB/s", "68.3 GB/s"], (17_100_000_000.0, 68_300_000_000.0)), ("8.5 GB/s", (8_500_000_000.0,)),
        ({"from": 0.1, "to": 0.35, "step": 0.1}, (0.1, 0.2, 0.3)),
        ({"from": "1.1 MB/s", "to": "1.331 MB/s", "times": 1.1}, (1.1e6, 1.21e6, 1.331e6)),
    ],
)  # fmt: skip
def test_numbers_are_those_that_people_wrote(given: Any, values: tuple[float, ...]) -> None:
    assert planned("rate", given, REAL).knob().values == values


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (0, "at least 1"), ([], "empty"), (1.5, "whole number"), ("64 kg", "64 kg"),
        (float("nan"), "finite"), (float("inf"), "finite"), (True, "not True"), (None, "not None"),
        ({"from": 8, "to": 4, "step": 1}, "from 8 is above to 4"), ({"from": 8, "to": 16}, "exactly one of"),
        ({"from": 8, "to": 16, "times": 1}, "above 1"), ({"from": 8, "to": 16, "step": 0}, "at least 1"),
        ({"from": 8, "to": 16, "steps": 2}, "Nearest: step"), ({"to": 16, "step": 1}, "needs from and to"),
        ({"from": 1, "to": 9, "points": 3, "scale": "cubic"}, "linear or log"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(given: Any, words: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=words):
        planned("size", given, WHOLE).knob()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space_rows": 0}, "space.rows': rows must be a finite number at least 1"),
        ({"space_rows": [8, float("nan")]}, "rows must be a finite number"),
        ({"space_dataflow": ["ws", "xs"]}, "Unknown dataflow 'xs'. Nearest: ws, os, is."),
        ({"space_row": 8}, "unknown key 'row'. Nearest: rows,"), ({"space": {}}, "the space is empty"),
        ({"space_cols": []}, "cols has no value, so that the space is empty"), ({"space_clock_hz": 1e9}, "'fixed'"),
        ({"fixed": {"rows": 8}}, "'rows' is a knob"), ({"fixed": {"dram": "ddr9"}}, "Nearest: ddr4"),
        ({"fixed": {"node_nm": 3}}, "at least 5"), ({"objectives": ["latency"]}, "Nearest: latency_s"),
        ({"objectives": []}, "at least one of"), ({"constraints": {"most": {}}}, "Known: max, min"),
        ({"constraints": {"max": {"areas": 4}}}, "Nearest: area_mm2"),
        ({"constraints": {"max": {"rows * cols + cores": 4}}}, "mixes"), ({"constraints": {"max": [3]}}, "maps names"),
        ({"constraints": {"max": {"area_mm2": float("nan")}}}, "finite"), ({"kind": "plan"}, "kind: search"),
        ({"workload": "resnet-5"}, "Nearest: resnet"), ({"workload": None}, "needs the key 'workload'"),
        ({"batch": 0}, "batch must be"), ({"dtype": "int7"}, "Unknown number format"), ({"method": "rando"}, "random"),
        ({"design": "gpu"}, "npu-array"), ({"space": [1]}, "must be a mapping"),
        ({"space": {"rows": 8}}, "says nothing"), ({"objectives": ["latency_s", "latency_s"]}, "stands twice"),
        ({"evaluations": 40}, "a grid evaluates every design"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused_with_what_to_do(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFileError) as caught:
        read_search(small(**change))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 700


def test_an_unknown_knob_names_the_three_nearest() -> None:
    with pytest.raises(BadFileError, match=r"Nearest: \w+, \w+, \w+\."):
        read_search(small(space_output_bufer_bytes=8))


def test_a_huge_space_is_refused_with_its_size_and_how_to_thin_it() -> None:
    wide = {"from": 1, "to": 10000, "step": 1}
    with pytest.raises(BadFileError) as caught:
        read_search(small(space_rows=wide, space_cols=wide, space_input_buffer_bytes=wide))
    said = str(caught.value)
    assert "3.6e+13 designs" in said
    assert "rows 10,000" in said
    assert "--shard" in said
    assert "." in said


def test_a_knob_of_astronomical_size_is_refused_before_it_is_made() -> None:
    with pytest.raises(BadFileError, match="designs, more than"):
        read_search(small(space_dram_bandwidth_bytes_per_s={"from": 1e6, "to": 1e15, "step": 1}))


def test_shards_make_a_larger_space_possible() -> None:
    wide = {"from": 1, "to": 1000, "step": 1}
    change: dict[str, Any] = {"space_rows": wide, "space_cols": wide}
    change["space_input_buffer_bytes"] = [2**k for k in range(10, 16)]
    with pytest.raises(BadFileError, match=r"at most 512 values each, or run it in at least 3 parts"):
        read_search(small(**change))
    assert read_search(small(**change), Shard(3, 3)).problem.space.size == 216_000_000 > MOST_DESIGNS


@pytest.mark.parametrize("text", ["3/2", "0/2", "1/0", "a/b", "1", "-1/2", "1/2/3", "1.5/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="such as 1/4"):
        read_shard(text)


def test_an_empty_shard_is_refused() -> None:
    with pytest.raises(BadFileError, match="is empty"):
        search(small(), shard="1/1000")


def test_limits_hold_on_names_products_and_sums() -> None:
    names = ("rows", "cols", "area_mm2")
    assert read_limit("rows * cols", 64, True, names).text == "rows * cols above 64"
    assert read_limit("rows + cols", 64, False, names).text == "rows + cols below 64"
    answer = search(small(constraints={"max": {"rows * cols": 256}, "min": {"rows": 16}}))
    reasons = {one["reason"]: one["designs"] for one in answer.refused()}
    assert reasons["rows * cols above 256"] == 432 // 6 * 3  # 8 x 64, 32 x 16 and 32 x 64
    assert reasons["rows below 16"] == 432 // 6 * 2  # 8 x 8 and 8 x 16
    assert all(d["knobs"]["rows"] * d["knobs"]["cols"] == 256 for d in answer.front)


def test_a_limit_may_carry_a_unit() -> None:
    limits = read_search(
        small(constraints={"max": {"latency_s": "5 ms", "input_buffer_bytes": "64 KiB"}})
    ).problem.limits
    assert [limit.bound for limit in limits] == [0.005, 65536.0]


def test_merge_refuses_what_does_not_belong_together() -> None:
    first, second = (json.loads(json.dumps(search(small(), shard=f"{i}/2").to_json())) for i in (1, 2))
    for parts, words in (
        ([first, first], "twice"), ([first], "shard 1/2"), ([first, {**second, "digest": "x"}], "another search"),
        ([first, {"kind": "plan"}], "no answer"), ([first, {**second, "front": [{}]}], "no whole answer"),
        ([first, {**second, "front": [{**second["front"][0], "design": 10**9}]}], "not those of the space"),
        ([first, {**second, "designs": 5}], "counts are not those"),
        ([first, {**second, "designs": float("inf")}], "no whole answer"),
    ):  # fmt: skip
        with pytest.raises(BadFileError, match=words):
            merge(small(), parts)


STRANGE: list[Any] = [
    None, 0, -1, 1e-320, 1e300, float("nan"), float("inf"), "", [], {}, "x", "1e400", True, [1, [2]], {"from": 1},
    {"from": 1, "to": 1e12, "step": 1e-300}, {"from": 1, "to": 9, "points": 1e11}, {"from": 0, "to": 9, "times": 2},
    {"from": 1, "to": 9, "times": 1.0000000000000002}, ["ws", 5], "rows *", "\x00", {"max": {"": 1}},
    {"max": {"rows*": 1}}, {"max": {"rows": "5 kg"}}, {"min": {"latency_s": "1 B"}},
]  # fmt: skip


def test_strange_values_anywhere_are_answers_or_one_sentence() -> None:
    one = {name: values[:1] for name, values in small()["space"].items()}
    top = ["kind", "workload", "dtype", "space", "constraints", "fixed", "batch", "objectives", "knobs", "method"]
    for strange in STRANGE:
        for place in [*top, *(f"space_{name}" for name in one)]:
            file = small(space=dict(one))
            target, key = (file["space"], place[6:]) if place.startswith("space_") else (file, place)
            target[key] = strange
            try:
                json.dumps(search(file).to_json(), allow_nan=False)
            except InputError as error:
                assert 0 < len(str(error)) < 1200  # noqa: PT017


def test_the_command_answers_as_text_json_page_and_shards(tmp_path: Path) -> None:
    file = written(tmp_path)
    said = archcast("search", file, "--html", tmp_path / "page.html")
    assert said.code == 0
    assert said.stdout.startswith("resnet-18, batch 1, int8, on npu-array: 432 designs")
    assert "least latency" in said.stdout
    assert "a tile does not fit its buffer (short by" in said.stdout
    assert (tmp_path / "page.html").stat().st_size > 10_000
    whole = archcast("search", file, "--json", "--seed", 3).json()
    assert (whole["seed"], whole["designs"], whole["verdict"]) == (3, 432, "feasible")
    names = []
    for i in (1, 2):
        names.append(tmp_path / f"{i}.json")
        names[-1].write_text(archcast("search", file, "--json", "--shard", f"{i}/2", "--seed", 3).stdout)
    merged = archcast("search", file, "--merge", names[0], "--merge", names[1], "--json").json()
    assert {k: v for k, v in merged.items() if "wall" not in k} == {k: v for k, v in whole.items() if "wall" not in k}


def test_the_same_file_and_seed_give_the_same_json_but_for_its_time(tmp_path: Path) -> None:
    file = written(tmp_path)
    lines = [
        [line for line in archcast("search", file, "--json", "--seed", 5).stdout.splitlines() if '"wall_s"' not in line]
        for _ in range(2)
    ]
    assert len(lines[0]) > 100
    assert lines[0] == lines[1]


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_the_command_keeps_linear_algebra_to_one_thread_unless_told(
    given: dict[str, str], threads: str, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from archcast.__main__ import main\n"
        "sys.argv = ['archcast', 'search', 'absent.yaml']\n"
        "try: main()\n"
        "except SystemExit: print('numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])"
    )
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    surroundings = plain | {"PYTHONPATH": str(Path(__file__).parents[1])} | given
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.stdout.decode().split() == ["True", threads]


def test_memory_slower_than_the_least_of_its_type_is_refused() -> None:
    answer = search(small(fixed={"dram": "hbm3"}))
    assert answer.verdict == "infeasible"
    assert answer.refused() == [{"reason": "dram bandwidth below 512 GB/s, the least of hbm3", "designs": 432}]
    wide = search(small(fixed={"dram": "hbm2"}, space_dram_bandwidth_bytes_per_s=["64 GB/s", "128 GB/s"]))
    reasons = {one["reason"]: one["designs"] for one in wide.refused()}
    assert reasons["dram bandwidth below 128 GB/s, the least of hbm2"] == 216
    assert {one["knobs"]["dram_bandwidth_bytes_per_s"] for one in wide.front} == {128_000_000_000}


def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    assert "3/2" in refused("search", written(tmp_path), "--shard", "3/2")
    assert "npu.yaml:" in refused("search", written(tmp_path, space_rows=0))
    assert "absent.yaml" in refused("search", tmp_path / "absent.yaml")
    (tmp_path / "nan.yaml").write_text("kind: search\nspace: {rows: .nan}\n")
    assert "nan.yaml:2" in refused("search", tmp_path / "nan.yaml")
    assert "--merge" in refused("search", written(tmp_path), "--shard", "1/2", "--merge", "x.json")


def test_the_example_has_a_million_designs(repository: Path) -> None:
    study = read_search(repository / "examples" / "npu_resnet50.yaml")
    assert study.problem.space.size >= 10**6
    assert study.name == "resnet-50"


SERVING: dict[str, Any] = {
    "kind": "search", "design": "gpu-serving", "workload": "llama-3.1-8b",
    "space": {"device": "h100-sxm", "tp": 1, "instances": [1, 2], "most_tokens": 2048, "most_requests": 64},
    "fixed": {"requests": 60}, "objectives": ["ttft_p99_s", "usd_per_million_tokens"],
}  # fmt: skip


@pytest.mark.parametrize("key", [{"batch": 64}, {"dtype": "fp64"}])
def test_a_design_without_use_for_a_key_refuses_it_and_claims_nothing_of_it(key: dict[str, Any]) -> None:
    from archcast.render.search_text import search_text
    from archcast.searching.run import search

    with pytest.raises(BadFileError, match=f"no use for '{next(iter(key))}'"):
        read_search(SERVING | key)
    answer = search(SERVING)
    assert search_text(answer).startswith("llama-3.1-8b, on gpu-serving: 2 designs")
    assert not {"batch", "dtype"} & set(answer.to_json())
