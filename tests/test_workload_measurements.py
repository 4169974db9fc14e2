"""Measurements of whole models are read as strictly as those of operators, and written back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import BadFileError
from workloads.workload_measurements import (
    params_text,
    read_workload_measurements,
    workload_measurements,
    write_workload_measurements,
)

HEADER = "op,device,workload,dtype,mode,batch,count,tp,prompt,generate,params,latency_s,energy_j,seen_by"
GOOD = 'workload,h100-sxm,llama-3.1-8b,bf16,,8,2,2,1024,128.5,"{""layers"": 4}",0.25,,me'


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "models.csv"
    path.write_text("\n".join((HEADER, *rows)), encoding="utf-8")
    return path


def test_a_row_is_read_with_its_sizes_its_knobs_and_what_was_measured(tmp_path: Path) -> None:
    found = read_workload_measurements(table(tmp_path, GOOD), devices=["h100-sxm"])
    assert (found.rows, found.device[0], found.workload[0]) == (1, "h100-sxm", "llama-3.1-8b")
    assert (found.size("count")[0], found.size("generate")[0]) == (2, 128.5)  # a mean over requests need not be whole
    assert np.isnan(found.size("pp")[0])
    assert found.size("pp", 1)[0] == 1
    assert found.knobs(0) == {"layers": 4}
    assert found.value("latency_s")[0] == 0.25
    assert np.isnan(found.value("energy_j")[0])
    assert found.raw["seen_by"][0] == "me"


def test_what_must_stay_together_is_the_workload_where_no_group_is_given() -> None:
    found = workload_measurements("here", {"workload": ["a", "a"], "group": ["", "g"], "latency_s": [1.0, 2.0]})
    assert found.groups().tolist() == ["a", "g"]
    assert found.take(np.array([1])).groups().tolist() == ["g"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_was_written_reads_back_equal(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    columns = {
        "workload": ["resnet-50", "vgg16"], "device": "rtx-4090", "batch": [1.0, np.nan], "rate_hz": [10.0, 20.0],
        "params": [params_text(image=224), ""], "remark": ["x", ""],
    }  # fmt: skip
    first = workload_measurements("here", columns)
    write_workload_measurements(tmp_path / f"t{suffix}", first)
    again = read_workload_measurements(tmp_path / f"t{suffix}")
    assert again.workload.tolist() == first.workload.tolist()
    np.testing.assert_array_equal(again.size("batch"), first.size("batch"))
    np.testing.assert_array_equal(again.value("rate_hz"), [10.0, 20.0])
    assert (again.knobs(0), again.knobs(1)) == ({"image": 224}, {})
    assert again.raw["remark"].tolist() == ["x", ""]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("workload,h100-sxm", "gemm,h100-sxm", "op must be 'workload'"),
        ("llama-3.1-8b", "", "name the workload"),
        ("bf16", "bf17", "Unknown number format 'bf17'"),
        ("bf16,,", "bf16,tune,", "mode must be infer or train, found 'tune'"),
        (",8,2,2", ",8,2.5,2", "count must be a whole number from 1"),
        (",8,2,2", ",0,2,2", "batch must be a whole number from 1"),
        ("0.25", "0", "latency_s of 0 cannot be"),
        ("0.25,", ",", "nothing was measured"),
        ("0.25", "fast", "'fast' is not a usable number"),
        ('"{""layers"": 4}"', "layers=4", "not a JSON object"),
        ('"{""layers"": 4}"', '"{""a"": {""b"": 1}}"', "not a JSON object"),
        ('"{""layers"": 4}"', "[" * 9000, "not a JSON object"),
        ("h100-sxm", "h100-smx", r"Unknown device 'h100-smx'. Nearest: h100-sxm"),
    ],
)
def test_a_bad_row_is_named_with_its_column_and_reason(tmp_path: Path, old: str, new: str, words: str) -> None:
    bad = GOOD.replace(old, new, 1)
    assert bad != GOOD
    with pytest.raises(BadFileError, match="row 2: ") as caught:
        read_workload_measurements(table(tmp_path, GOOD, bad), devices=["h100-sxm"])
    assert words.replace("\\", "") in str(caught.value)
    kept = read_workload_measurements(table(tmp_path, GOOD, bad, GOOD), devices=["h100-sxm"], skip_bad=True)
    assert (kept.rows, kept.row_numbers.tolist(), len(kept.skipped)) == (2, [1, 3], 1)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"latency_s": [1.0]}, "no column 'workload'"),
        ({"workload": [], "latency_s": []}, "no rows"),
        ({"workload": ["a"], "latency_s": [1.0, 2.0]}, "different lengths"),
        ({"workload": ["a"], "latency_s": ["soon"]}, "a column of numbers holds something else"),
        ({"workload": ["a"], "latency_s": [np.inf]}, "latency_s of inf cannot be"),
    ],
)
def test_columns_that_are_no_table_are_refused(columns: dict[str, object], words: str) -> None:
    with pytest.raises(BadFileError, match=words):
        workload_measurements("here", columns)
