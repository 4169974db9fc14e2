"""The measurement table: what is read, what is refused and how, and what is written back."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import BadFileError, UnsupportedError
from workloads.measurements import read_measurements, write_costs

GOOD = """device,software,source,op,dtype,kv_dtype,phase,m,n,k,batch,q_len,kv_len,heads,head_dim,latency_s,note
h100-sxm,vllm 0.19.0,lab,gemm,bf16,,,128,4096,4096,,,,,,1.5e-5,a
h100-sxm,,lab,attention,bfloat16,fp8,decode,,,,8,1,1024.5,32,128,,b
,,,attention,fp16,,prefill,,,,2,64,,8,64,0.25,"c, quoted"
"""


def written(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(tmp_path: Path, text: str | bytes, name: str = "t.csv", **options: Any) -> BadFileError:
    with pytest.raises(BadFileError) as caught:
        read_measurements(written(tmp_path, text, name), **options)
    assert str(caught.value).count("\n") == 0
    return caught.value


def test_every_column_of_a_mixed_table_is_read(tmp_path: Path) -> None:
    found = read_measurements(written(tmp_path, GOOD))
    assert found.rows == 3
    assert found.table.names("op") == ["gemm", "attention", "attention"]
    assert found.table.names("dtype") == ["bf16", "bf16", "fp16"]
    assert found.table.names("kv_dtype") == ["bf16", "fp8", "fp16"]
    assert found.table.names("phase") == ["", "decode", "prefill"]
    assert found.table["m"].tolist() == [128, 0, 0]
    assert found.table["batch"].tolist() == [1, 8, 2]
    assert found.table["kv_len"].tolist() == [0, 1024.5, 0]
    assert found.device.tolist() == ["h100-sxm", "h100-sxm", ""]
    assert found.software[0] == "vllm 0.19.0"
    np.testing.assert_array_equal(found.value("latency_s"), [1.5e-5, np.nan, 0.25])
    assert np.isnan(found.value("energy_j")).all()
    assert found.extra == ("note",)


def test_a_byte_order_mark_windows_lines_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeffop, dtype ,m,n,k\r\ngemm, bf16 , 1,2,3\r\n\r\ngemm,fp8,4,5,6\r\n"
    found = read_measurements(written(tmp_path, text))
    assert found.table["m"].tolist() == [1, 4]
    assert found.table.names("dtype") == ["bf16", "fp8"]


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [
        ("gemm,bf16,-3,4,4,", "m", "found -3"),
        ("gemm,bf16,0,4,4,", "m", "gemm needs m above 0, found 0"),
        ("gemm,bf16,,4,4,", "m", "found nothing"),
        ("gemm,bf16,nan,4,4,", "m", "'nan' is not a usable number"),
        ("gemm,bf16,4,inf,4,", "n", "'inf' is not a usable number"),
        ("gemm,bf16,4,4,many,", "k", "'many' is not a usable number"),
        ("gemm,bf16,4,4,2.5,", "k", "whole number"),
        ("gemm,bf16,4,4,1e13,", "k", "from 0 to 1000000000000"),
        ("gem,bf16,4,4,4,", "op", "Nearest: gemm"),
        ("gemm,bf61,4,4,4,", "dtype", "Nearest: bf16"),
        ("gemm,,4,4,4,", "dtype", "empty"),
        (",bf16,4,4,4,", "op", "empty"),
        ("workload,bf16,4,4,4,", "op", "whole-model row"),
        ("gemm,bf16,4,4,4,-1", "latency_s", "below zero"),
        ("gemm,bf16,4,4,4,0", "latency_s", "latency of 0"),
        ("conv2d,bf16,4,4,4,", "c_in", "no such column"),
    ],
)
def test_a_bad_row_is_named_with_its_line_column_and_reason(row: str, column: str, says: str, tmp_path: Path) -> None:
    fault = refusal(tmp_path, f"op,dtype,m,n,k,latency_s\ngemm,bf16,4,4,4,1\n{row}\n")
    assert (fault.line, fault.key) == (3, column)
    assert "row 2: " in str(fault)
    assert says in str(fault)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("op,dtype,kind,bytes,ranks\ncollective,bf16,,1024,8", "kind", "all_reduce"),
        ("op,dtype,kind,bytes,ranks\ncollective,bf16,all_redcue,1024,8", "kind", "Nearest: all_reduce"),
        ("op,dtype,tokens,hidden,inter,experts,topk\nmoe,bf16,8,64,64,4,5", "topk", "topk 5 is above experts 4"),
        ("op,dtype,c_in,h,w,c_out,kh,kw\nconv2d,fp16,3,4,4,8,7,7", "kh", "larger than the padded input"),
        ("op,dtype,m,n,k,batch\ngemm,bf16,8,8,8,0", "batch", "batch must be from 1"),
        ("op,dtype,batch,q_len,heads,head_dim,phase\nattention,bf16,1,1,8,64,decoed", "phase", "Nearest: decode"),
    ],
)
def test_sizes_that_make_no_operator_are_refused(text: str, column: str, says: str, tmp_path: Path) -> None:
    fault = refusal(tmp_path, text)
    assert fault.key == column
    assert says in str(fault)


def test_a_collective_needs_no_number_format(tmp_path: Path) -> None:
    found = read_measurements(written(tmp_path, "op,kind,bytes,ranks\ncollective,all_reduce,1024,8\n"))
    assert found.table.names("dtype") == ["bf16"]


def test_an_unknown_device_is_refused_only_where_the_devices_are_known(tmp_path: Path) -> None:
    text = "op,dtype,m,n,k,device\ngemm,bf16,4,4,4,h100-smx\n"
    assert read_measurements(written(tmp_path, text)).device.tolist() == ["h100-smx"]
    fault = refusal(tmp_path, text, devices=["h100-sxm", "l40s"])
    assert fault.key == "device"
    assert "Nearest: h100-sxm" in str(fault)


def test_bad_rows_are_left_out_only_on_request_and_are_listed(tmp_path: Path) -> None:
    text = "op,dtype,m,n,k\ngemm,bf16,1,1,1\ngemm,bf16,x,1,1\ngemm,bf16,2,2,2\ngemm,bf16,-1,1,1\n"
    assert "1 more row is bad" in str(refusal(tmp_path, text))
    found = read_measurements(written(tmp_path, text), skip_bad=True)
    assert found.table["m"].tolist() == [1, 2]
    assert found.row_numbers.tolist() == [1, 3]
    assert [(b.row, b.line, b.column) for b in found.skipped] == [(2, 3, "m"), (4, 5, "m")]


def test_a_table_of_bad_rows_alone_is_refused_even_when_bad_rows_may_be_skipped(tmp_path: Path) -> None:
    assert "found -1" in str(refusal(tmp_path, "op,dtype,m,n,k\ngemm,bf16,-1,1,1\n", skip_bad=True))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"op,dtype,m,n,k\n", "no rows"),
        (b"oper,dtype,m\ngemm,bf16,1\n", "no column 'op'"),
        (b"op;dtype;m\ngemm;bf16;1\n", "separated by commas"),
        (b"op,m,m\ngemm,1,1\n", "stands twice"),
        (b"op,dtype,m,n,k\ngemm,bf16,1,2\n", "4 cells, but the header has 5"),
        (b"op,dtype,m,n,k\ngemm,bf16,1,2,3,4\n", "6 cells, but the header has 5"),
        (b"\x7fELF\x00\x01\x02", "not a text file"),
        (b"op,dtype\ngemm,\xff\xfe\xfa\n", "not a UTF-8"),
        (b'op,dtype\ngemm,"bf16\n', "not valid CSV"),
        (b"op,dtype\ngemm," + b"9" * 200_000 + b"\n", "not valid CSV"),
        (b"op," + b"9" * 1_100_000 + b"\n", "characters"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.", "not a text file"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    assert says in str(refusal(tmp_path, content))


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none.csv", "no such file"), (tmp_path, "not a plain file")):
        with pytest.raises(BadFileError, match=says):
            read_measurements(path)


def test_measured_columns_are_not_even_looked_at_for_a_prediction(tmp_path: Path) -> None:
    path = written(tmp_path, "op,dtype,m,n,k,latency_s,source\ngemm,bf16,4,4,4,broken,x\n")
    found = read_measurements(path, measured=False)
    assert found.header == ("op", "dtype", "m", "n", "k")


def test_costs_are_written_beside_the_input_in_its_order(tmp_path: Path) -> None:
    found = read_measurements(written(tmp_path, GOOD))
    costs = {"latency_s": np.array([3.0, 1e-7, 0.1 + 0.2]), "bound": np.array(["compute", "memory", "memory"])}
    for name in ("out.csv", "out.parquet"):
        write_costs(tmp_path / name, found, costs)
    text = (tmp_path / "out.csv").read_text().splitlines()
    assert (
        text[0]
        == "device,software,op,dtype,kv_dtype,phase,m,n,k,batch,q_len,kv_len,heads,head_dim,note,latency_s,bound"
    )
    assert text[1] == "h100-sxm,vllm 0.19.0,gemm,bf16,,,128,4096,4096,,,,,,a,3,compute"
    assert text[3] == ',,attention,fp16,,prefill,,,,2,64,,8,64,"c, quoted",0.30000000000000004,memory'
    again = {name: read_measurements(tmp_path / name) for name in ("out.csv", "out.parquet")}
    for table in again.values():
        assert table.value("latency_s").tolist() == costs["latency_s"].tolist()
        assert table.table["kv_len"].tolist() == found.table["kv_len"].tolist()
        assert table.raw["note"].tolist() == ["a", "b", "c, quoted"]


def test_a_column_that_is_predicted_again_is_replaced(tmp_path: Path) -> None:
    found = read_measurements(written(tmp_path, "op,dtype,m,n,k,dram_bytes\ngemm,bf16,4,4,4,1\n"))
    write_costs(tmp_path / "o.csv", found, {"dram_bytes": np.array([96.0])})
    assert (tmp_path / "o.csv").read_text() == "op,dtype,m,n,k,dram_bytes\ngemm,bf16,4,4,4,96\n"


def test_nothing_is_left_behind_by_a_write_that_fails(tmp_path: Path) -> None:
    found = read_measurements(written(tmp_path, GOOD))
    for name, says in (("o.xlsx", "csv or .parquet"), ("none/o.csv", "cannot be written")):
        with pytest.raises(BadFileError, match=says):
            write_costs(tmp_path / name, found, {"latency_s": np.ones(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_parquet_with_numbers_nulls_dictionaries_and_text_reads_as_the_csv_does(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.table(
        {
            "op": arrow.array(["gemm", "attention"]).dictionary_encode(),
            "dtype": ["bf16", "fp16"],
            "m": arrow.array([128, None], type=arrow.int32()),
            "n": ["256", ""],
            "k": arrow.array([64.0, None]),
            "batch": arrow.array([None, 4], type=arrow.int64()),
            "q_len": [None, 7],
            "heads": [None, 2],
            "head_dim": [None, 64],
            "latency_s": arrow.array([1.0, None], type=arrow.float32()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    found = read_measurements(tmp_path / "t.parquet")
    assert found.table["n"].tolist() == [256, 0]
    assert found.table["m"].tolist() == [128, 0]
    assert found.table["batch"].tolist() == [1, 4]
    np.testing.assert_array_equal(found.value("latency_s"), [1.0, np.nan])


def test_a_bad_parquet_row_and_a_bad_parquet_file_are_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.table({"op": ["gemm"] * 2, "dtype": ["bf16"] * 2, "m": [1.0, float("nan")], "n": [1, 1], "k": [1, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(BadFileError, match=r"key 'm': row 2: 'nan' is not a usable number"):
        read_measurements(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    assert "not a readable Parquet file" in str(refusal(tmp_path, whole[: len(whole) // 2], "half.parquet"))
    assert "not a readable Parquet file" in str(refusal(tmp_path, b"nothing of the kind", "no.parquet"))
    nested = arrow.table({"op": ["gemm"], "dtype": ["bf16"], "m": [[1, 2]]})
    pyarrow.parquet.write_table(nested, tmp_path / "n.parquet")
    with pytest.raises(BadFileError, match="only numbers and text"):
        read_measurements(tmp_path / "n.parquet")


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"pip install archcast\[parquet\]"):
        read_measurements(written(tmp_path, b"PAR1xxxx", "t.parquet"))
