"""Uploads: read before they are kept, named by their content, bounded, and never outside of their folder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from archcast.service.jobs import BusyError, TooLargeError, UploadLimits, Uploads
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError

TABLE = b"op,dtype,m,n,k,latency_s\ngemm,bf16,1,2,3,1e-5\ngemm,bf16,4,2,3,1e-5\n"


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", UploadLimits(file_bytes=10_000, total_bytes=20_000, count=3))


def test_a_measurement_table_is_read_and_named_by_its_content(uploads: Uploads) -> None:
    found = uploads.store("my table.csv", io.BytesIO(TABLE))
    assert (found.kind, found.rows, found.bytes) == ("measurements", 2, len(TABLE))
    assert found.name.endswith("-my-table.csv")
    assert uploads.path(found.name).read_bytes() == TABLE
    assert uploads.store("my table.csv", io.BytesIO(TABLE)) == found == uploads.get(found.name)
    assert uploads.list() == [found]
    uploads.delete(found.name)
    assert uploads.list() == []
    with pytest.raises(UnknownNameError):
        uploads.get(found.name)


def test_a_trace_is_a_table_and_may_come_in_pieces(uploads: Uploads) -> None:
    found = uploads.store("trace.csv", iter([b"TIMESTAMP,Context", b"Tokens\n1,2\n3,", b"4\n"]))
    assert (found.kind, found.rows) == ("table", 2)


def test_parquet_is_read_too_and_one_that_unpacks_to_much_is_refused(tmp_path: Path, uploads: Uploads) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    good = {"op": ["gemm"], "dtype": ["bf16"], "m": [1.0], "n": [2.0], "k": [3.0], "latency_s": [1e-5]}
    parquet.write_table(arrow.table(good), tmp_path / "good.parquet")
    assert uploads.store("good.parquet", (tmp_path / "good.parquet").open("rb")).rows == 1
    bomb = {"op": ["gemm"] * 1_000_000}
    parquet.write_table(arrow.table(bomb), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False)
    room = Uploads(tmp_path / "room", UploadLimits(file_bytes=(tmp_path / "bomb.parquet").stat().st_size))
    with pytest.raises(BadFileError, match="once unpacked"):
        room.store("bomb.parquet", (tmp_path / "bomb.parquet").open("rb"))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"op,m\n", "no rows"),
        ("a.csv", b"x,y\n", "no rows"),
        ("a.csv", b"op,m\ngemm\n", "cells"),
        ("a.csv", b"\xff\xfe\x00", "text file"),
        ("a.csv", TABLE.replace(b"1e-5", b"nan", 1).replace(b"4,2", b"-4,2"), "a.csv"),
        ("a.parquet", b"PAR1 and nothing more", "a.parquet"),
        ("a.onnx", b"not a network", "a.onnx"),
    ],
)
def test_what_cannot_be_read_is_refused_and_leaves_nothing(uploads: Uploads, name: str, data: bytes, says: str) -> None:
    with pytest.raises(ArchcastError, match=says) as caught:
        uploads.store(name, io.BytesIO(data))
    assert str(uploads.folder) not in str(caught.value)
    assert uploads.list() == []
    assert not list(uploads.folder.iterdir())


@pytest.mark.parametrize("name", ["", "a", "a.txt", "a.csv.exe", "x" * 300 + ".csv", None, 7])
def test_labels_end_in_what_they_are(uploads: Uploads, name: str) -> None:
    with pytest.raises(BadValueError, match="ends in"):
        uploads.store(name, io.BytesIO(TABLE))


@pytest.mark.parametrize(
    "name", ["../../x.csv", "/etc/cron.d/x.csv", "..\\..\\x.csv", "\0.csv", "-rf.csv", ".csv", "a\nb.csv", "日本.csv"]
)
def test_labels_lead_nowhere(uploads: Uploads, name: str) -> None:
    found = uploads.store(name, io.BytesIO(TABLE))
    assert uploads.path(found.name).parent == uploads.folder
    assert set(uploads.folder.parent.iterdir()) == {uploads.folder}


@pytest.mark.parametrize("name", ["../uploads.sqlite", "/etc/passwd", "", ".", "0" * 16 + "-../x.csv", "x" * 10**5])
def test_names_of_no_upload_lead_nowhere(uploads: Uploads, name: str) -> None:
    for ask in (uploads.get, uploads.path, uploads.delete):
        with pytest.raises(UnknownNameError):
            ask(name)


def test_a_stream_is_read_only_as_far_as_the_limit(uploads: Uploads) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    with pytest.raises(TooLargeError, match="10,000"):
        uploads.store("a.csv", endless())
    assert read == 11_000
    assert not list(uploads.folder.iterdir())


def test_uploads_are_bounded_in_number_and_together(uploads: Uploads) -> None:
    for n in range(3):
        uploads.store(f"{n}.csv", io.BytesIO(TABLE))
    with pytest.raises(BusyError, match="no room"):
        uploads.store("3.csv", io.BytesIO(TABLE))
    small = Uploads(uploads.folder.with_name("small"), UploadLimits(total_bytes=2 * len(TABLE)))
    small.store("1.csv", io.BytesIO(TABLE))
    with pytest.raises(BusyError, match="no room"):
        small.store("2.csv", io.BytesIO(TABLE + b"gemm,bf16,4,2,3,1e-5\n"))
    small.store("2.csv", io.BytesIO(TABLE))
