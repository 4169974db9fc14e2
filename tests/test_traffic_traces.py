"""Readers of traces: the three formats, plain and gzip, and what a stranger's file may not do."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadFileError
from workloads.traffic import Traffic, read_traffic, write_traffic
from workloads.traffic.statistics import prefix_share
from workloads.traffic.traces import base, lines, own

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
FIRST = "2023-11-16 18:15:46.6805900,374,44\n"


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_azure_times_count_from_the_first_row_to_the_tenth_of_a_microsecond(name: str, tmp_path: Path) -> None:
    text = AZURE + "2023-12-31 23:59:59.9999999,374,44\n\n2024-01-01T00:00:00.5Z,396,109\r\n"
    found = read_traffic(written(tmp_path, text, name))
    assert found.arrival_s.tolist() == pytest.approx([0.0, 0.5000001], abs=1e-12)
    assert found.prompt.tolist() == [374, 396]
    assert found.generate.tolist() == [44, 109]
    assert found.session.tolist() == [-1, -1]
    assert len(found.prefix_ids) == 0


def test_azure_rows_of_the_later_release_have_a_time_zone(tmp_path: Path) -> None:
    text = AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.009930+00:00,2399,6\n"
    assert read_traffic(written(tmp_path, text)).arrival_s.tolist() == pytest.approx([0.0, 1.0])


def test_mooncake_times_are_milliseconds_and_its_ids_are_blocks_of_512_tokens(tmp_path: Path) -> None:
    text = (
        '{"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [0, 7]}\n'
        '{"timestamp": 2999, "input_length": 1025, "output_length": 6, "hash_ids": [0, 7, 8]}\n'
        '{"timestamp": 3000.5, "input_length": 3, "output_length": 1}\n'
    )
    found = read_traffic(written(tmp_path, text, "trace.jsonl"))
    assert found.arrival_s.tolist() == pytest.approx([0.0, 2.999, 3.0005])
    assert found.prefix_start.tolist() == [0, 2, 5, 5]
    assert found.prefix_ids.tolist() == [0, 7, 0, 7, 8]
    assert found.prefix_tokens == 512
    assert found.name == "trace"


def test_the_own_format_takes_its_columns_in_any_order_and_some_left_out(tmp_path: Path) -> None:
    text = "\ufeffprompt, arrival_s ,generate,prefix,priority\n600,0.5,2,1 2,-1\n7,0.75,3,,\n"
    found = read_traffic(written(tmp_path, text))
    assert found.arrival_s.tolist() == [0.5, 0.75]
    assert found.prefix_start.tolist() == [0, 2, 2]
    assert found.priority.tolist() == [-1, 0]
    assert found.session.tolist() == [-1, -1]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(-1, 99), st.integers(-5, 5)
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_what_is_written_is_read_back_equal(rows: list[tuple[float, int, int, int, int]]) -> None:
    from tempfile import TemporaryDirectory

    times, prompt, generate, session, priority = zip(*sorted(rows), strict=True)
    ids = [[7, i][: -(-p // 512)] for i, p in enumerate(prompt)]
    traffic = Traffic.of(times, prompt, generate, session=session, priority=priority, prefix=ids)
    with TemporaryDirectory() as folder:
        for name in ("a.csv", "a.csv.gz"):
            write_traffic(traffic, Path(folder) / name)
            found = read_traffic(Path(folder) / name)
            for column in ("arrival_s", "prompt", "generate", "session", "priority", "prefix_start", "prefix_ids"):
                np.testing.assert_array_equal(getattr(found, column), getattr(traffic, column))


OWN = "arrival_s,prompt,generate\n"
JSON = '{"timestamp": 0, "input_length": 9, "output_length": 5}\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "the file is empty"),
        ("\n \n", None, "the file is empty"),
        (AZURE, None, "holds no request"),
        ("time,in,out\n1,2,3\n", 1, "Known are Azure: TIMESTAMP"),
        (AZURE + FIRST + "2023-11-16 18:15:45.0,1,1\n", 3, "before that of the row above"),
        (AZURE + FIRST + "2023-13-16 18:15:47,1,1\n", 3, "no such day: 2023-13-16"),
        (AZURE + "yesterday,1,1\n", 2, "TIMESTAMP must read as"),
        (AZURE + "2023-11-16 24:15:47,1,1\n", 2, "TIMESTAMP must read as"),
        (AZURE + FIRST + "2023-11-16 18:15:47,0,1\n", 3, "prompt must be from 1 to 2,147,483,647 tokens, not 0"),
        (AZURE + FIRST + "2023-11-16 18:15:47,5,0\n", 3, "generate must be from 1"),
        (AZURE + FIRST + "2023-11-16 18:15:47,5\n", 3, "2 cells where the header has 3"),
        (AZURE + FIRST + "2023-11-16 18:15:47,5.5,1\n", 3, "ContextTokens must be a whole number, not '5.5'"),
        (AZURE + FIRST + "2023-11-16 18:15:47,nan,1\n", 3, "ContextTokens must be a whole number"),
        (AZURE + '"2023-11-16\n', 2, "not CSV"),
        (OWN + "-1,5,5\n", 2, "cannot arrive at -1 s"),
        (OWN + "nan,5,5\n", 2, "arrival_s must be a finite number"),
        (OWN + "inf,5,5\n", 2, "arrival_s must be a finite number"),
        (OWN + "1e300,5,5\n", 2, "cannot arrive at 1e+300 s"),
        (OWN + "2,5,5\n1,5,5\n", 3, "sort=True"),
        (OWN + "2,-5,5\n", 2, "prompt must be from 1"),
        (OWN + "2,99999999999999999999999,5\n", 2, "prompt is out of range"),
        (OWN + "2," + "9" * 5000 + ",5\n", 2, "prompt must be a whole number"),
        ("arrival_s,prompt\n1,2\n", 1, "the column 'generate' is missing"),
        ("arrival_s,prompt,generate,prompt\n1,2,3,4\n", 1, "stands twice"),
        ("arrival_s,prompt,generated\n1,2,3\n", 1, "unknown column 'generated'. Nearest: generate"),
        ("arrival_s,prompt,generate,prefix\n1,512,3,1 2\n", 2, "more than a prompt of 512 tokens has"),
        ("arrival_s,prompt,generate,prefix\n1,512,3,x\n", 2, "prefix must be a whole number"),
        (JSON + "{\n", 2, "not JSON"),
        (JSON + "[1]\n", 2, "must be a JSON object"),
        (JSON + '{"timestamp": 1, "input_length": 9}\n', 2, "'output_length' is missing"),
        ('{"timestamp": NaN, "input_length": 9, "output_length": 5}\n', 1, "timestamp must be a finite number"),
        ('{"timestamp": true, "input_length": 9, "output_length": 5}\n', 1, "timestamp must be a finite number"),
        ('{"timestamp": -3, "input_length": 9, "output_length": 5}\n', 1, "cannot arrive at -0.003 s"),
        ('{"timestamp": 1, "input_length": [9], "output_length": 5}\n', 1, "input_length must be a whole number"),
        ('{"timestamp": 1, "input_length": 9, "output_length": 5, "hash_ids": "x"}\n', 1, "hash_ids must be a list"),
        ('{"timestamp": 1, "input_length": 9, "output_length": 5, "hash_ids": [1.5]}\n', 1, "hash_ids must be a whole"),
        ('{"a":' * 5000 + "1" + "}" * 5000 + "\n", 1, "not JSON"),
        (b"arrival_s,prompt,generate\n1,2,\xff\n", 2, "not UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_file_line_and_reason(
    text: str | bytes, line: int | None, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadFileError) as caught:
        read_traffic(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert words in str(caught.value)


def test_out_of_order_times_are_sorted_where_the_caller_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, OWN + "2,20,5\n1,10,6\n")
    found = read_traffic(path, sort=True)
    assert found.arrival_s.tolist() == [1.0, 2.0]
    assert found.prompt.tolist() == [10, 20]


def test_sorted_azure_times_count_from_the_earliest(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE + FIRST + "2023-11-16 18:15:45.6805900,1,1\n")
    found = read_traffic(path, sort=True)
    assert found.arrival_s.tolist() == [0.0, 1.0]
    assert found.prompt.tolist() == [1, 374]


def test_empty_requests_are_left_out_where_the_caller_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, AZURE + FIRST + "2023-11-16 18:15:47,5,0\n")
    assert len(read_traffic(path, drop_empty=True)) == 1
    with pytest.raises(BadFileError, match="drop_empty=True"):
        read_traffic(path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="there is no such file"):
        read_traffic(tmp_path / "none.csv")
    with pytest.raises(BadFileError, match="not a plain file"):
        read_traffic(tmp_path)


def test_a_gzip_bomb_is_stopped_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_TEXT_BYTES", 100_000)
    path = written(tmp_path, OWN + "1,1,1\n" * 100_000, "bomb.csv.gz")
    assert path.stat().st_size < 10_000
    with pytest.raises(BadFileError, match="the text is longer than 100,000 bytes"):
        read_traffic(path)


def test_a_line_without_end_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "x" * 3_000_000, "bomb.csv.gz")
    with pytest.raises(BadFileError, match=r":1: the line is longer than 1,000,000 bytes"):
        read_traffic(path)


def test_too_many_requests_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_REQUESTS", 3)
    with pytest.raises(BadFileError, match=r":5: more than 3 requests"):
        read_traffic(written(tmp_path, OWN + "1,1,1\n" * 4))


@pytest.mark.parametrize("name", ["bomb.csv.gz", "bomb.csv"])
def test_too_many_lines_are_refused_before_any_row_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, OWN + "1,1,1\n" * (lines.MAX_LINES + 1), name)
    monkeypatch.setattr(own.OwnReader, "begin", lambda *_: pytest.fail("a row was read"))
    with pytest.raises(BadFileError, match="more than 2,000,001 lines, a header and 2,000,000 requests"):
        read_traffic(path)


@pytest.mark.parametrize(("end", "extra", "fits"), [("\n", "", True), ("", "", True), ("\n", "1,1,1", False)])
def test_a_trace_of_just_as_many_lines_as_are_allowed_is_read(
    end: str, extra: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 4)
    path = written(tmp_path, OWN + "1,1,1\n1,1,1\n1,1,1" + end + extra)
    if fits:
        assert len(read_traffic(path)) == 3
    else:
        with pytest.raises(BadFileError, match="more than 4 lines"):
            read_traffic(path)


@pytest.mark.parametrize("cut", [5, 15, -3])
def test_a_gzip_file_that_is_cut_short_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress((OWN + "1,1,1\n" * 50).encode())[:cut])
    with pytest.raises(BadFileError, match=r"damaged or cut short|empty"):
        read_traffic(path)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: (OWN + text).encode())))
def test_no_file_causes_anything_but_our_own_errors(data: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(data)
        found, said = 0, ""
        try:
            found = len(read_traffic(path))
        except ArchcastError as error:
            said = str(error)
        assert found > 0 or str(path) in said


@pytest.mark.parametrize(
    ("name", "requests", "prompt", "share"),
    [
        ("azure_llm_2023_conv.csv.gz", 19366, 1154.7, 0.0),
        ("azure_llm_2023_code.csv.gz", 8819, 2047.8, 0.0),
        ("mooncake_conversation_trace.jsonl.gz", 12031, 12035.1, 0.3736),
        ("mooncake_synthetic_trace.jsonl.gz", 3993, 15325.5, 0.6513),
    ],
)
def test_the_public_traces_are_read_whole(
    name: str, requests: int, prompt: float, share: float, shared_data: Path
) -> None:
    found = read_traffic(shared_data / "traces" / name)
    assert len(found) == requests
    assert found.prompt.mean() == pytest.approx(prompt, abs=0.06)
    assert prefix_share(found) == pytest.approx(share, abs=1e-4)
    # None of them holds an empty request, so none had to be left out.
    assert min(found.prompt.min(), found.generate.min()) >= 1
