"""A plain table with names and units of its own is read by a map; nothing in the map is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.measured.base import ImportRequest, find_importer
from costmodel.measured.csv_map import parse_map
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError
from workloads.measurements import MeasurementTable

TABLE = "M,N,K,time in ms,board,note\n128,4096,8192,0.05,300,x\n1,4096,8192,0.004,200,y\n"
MAP = "m=M,n=N,k=K,latency_s=time in ms*1e-3,power_w=board,op:gemm,dtype:bf16,device:h100-sxm"


def read(tmp_path: Path, text: str = TABLE, column_map: str = MAP, **options: str) -> MeasurementTable:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    request = ImportRequest(path, options={"map": column_map, **options})
    (found,) = find_importer("csv").load(request)
    assert isinstance(found, MeasurementTable)
    assert request.report.read == request.report.mapped + sum(request.report.skipped.values())
    return found


def test_columns_are_renamed_scaled_and_filled(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.table.names("op") == ["gemm", "gemm"]
    assert found.table.full("m").tolist() == [128, 1]
    assert found.value("latency_s") == pytest.approx([5e-5, 4e-6])
    assert found.value("power_w").tolist() == [300, 200]
    assert found.device.tolist() == ["h100-sxm"] * 2
    assert found.source.tolist() == ["mine.csv, columns renamed"] * 2


def test_a_number_may_be_one_for_all_rows(tmp_path: Path) -> None:
    assert read(tmp_path, column_map=f"{MAP},batch:16").table.full("batch").tolist() == [16, 16]


def test_names_of_the_measurement_table_are_taken_as_they_are(tmp_path: Path) -> None:
    text = "op,dtype,m,n,k,us\ngemm,fp8,8,64,64,7\n"
    found = read(tmp_path, text, "latency_s=us*1e-6")
    assert found.table.names("dtype") == ["fp8"]
    assert found.value("latency_s") == pytest.approx([7e-6])


def test_a_column_may_serve_twice(tmp_path: Path) -> None:
    found = read(tmp_path, "size,ms\n64,1\n", "m=size,n=size,k=size*2,latency_s=ms*1e-3,op:gemm,dtype:bf16")
    assert [found.table.full(name).tolist() for name in "mnk"] == [[64], [64], [128]]


def test_a_column_that_the_file_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"'Q', but the file has none.*M, N, K"):
        read(tmp_path, column_map=MAP.replace("m=M", "m=Q"))


@pytest.mark.parametrize(
    "rule",
    ["", "latency_s", "latency_s=", "=ms", "latency_s=ms*", "latency_s=ms*x", "latency_s=ms*-1", "latency_s=ms*0",
     "latency_s=ms*inf", "op=kind*2", "latency_s=*2", "m=M,m=N"],
)  # fmt: skip
def test_a_rule_of_another_form_is_refused(rule: str) -> None:
    with pytest.raises(BadValueError):
        parse_map(rule)


def test_a_target_that_is_no_column_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="latency_s"):
        parse_map("latency=ms")


def test_nothing_in_a_map_is_evaluated(tmp_path: Path) -> None:
    with pytest.raises(ArchcastError):
        read(tmp_path, column_map="m=__import__('os').getpid(),op:gemm")
    with pytest.raises(BadValueError, match="no number"):
        read(tmp_path, column_map=f"{MAP},batch:2**9")


def test_text_where_a_number_belongs_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"mine\.csv:3.*'many' is not a usable number"):
        read(tmp_path, TABLE.replace("1,4096,8192,0.004", "many,4096,8192,0.004"))


def test_a_bad_row_is_refused_or_left_out(tmp_path: Path) -> None:
    text = TABLE + "0,4096,8192,0.1,100,z\n"
    with pytest.raises(BadFileError, match="row 3: gemm needs m above 0"):
        read(tmp_path, text)
    assert read(tmp_path, text, skip_bad="yes").rows == 2


def test_a_file_and_known_options_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="--import NAME=PATH"):
        list(find_importer("csv").load(ImportRequest(options={"map": MAP})))
    with pytest.raises(UnknownNameError, match="map"):
        read(tmp_path, maps="x")


def test_a_column_is_numbers_or_text_not_both(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="'M' as numbers and as text"):
        read(tmp_path, column_map=f"{MAP},software=M")


def test_a_column_that_the_map_renames_is_not_also_taken_by_its_own_name(tmp_path: Path) -> None:
    found = read(tmp_path, "m,n,k,ms\n1,2,3,4\n", "m=k,n=n,k=m,latency_s=ms*1e-3,op:gemm,dtype:bf16")
    assert [found.table.full(name).tolist() for name in "mnk"] == [[3], [2], [1]]
