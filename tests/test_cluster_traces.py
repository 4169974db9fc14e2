"""Readers of traces: the Google cluster-data 2011 tables and plain CSV, and files that mean no good."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from foundation.errors import BadFileError
from simulator.cluster import reading
from simulator.cluster.attempts import attempts_of
from simulator.cluster.google_2011 import GoogleTrace2011
from simulator.cluster.plain_csv import PlainCsv, demands_of
from simulator.cluster.record import STATES
from simulator.cluster.replay import Rules, replay
from simulator.cluster.trace import UNLIMITED, Constraint

# Shaped as the public tables are: opaque names, empty cells, time 0 before the trace, 2^63 - 1 after it.
TASK_EVENTS = """\
0,2,3418309,0,4155527081,0,70s3v5qRyCO/1PCdI6fVXnrW8FU/w+5CKRSa72xgcIo=,3,9,0.125,0.07446,0.0004244,0
0,2,3418309,0,4155527081,1,70s3v5qRyCO/1PCdI6fVXnrW8FU/w+5CKRSa72xgcIo=,3,9,0.125,0.07446,0.0004244,0
600000000,,3418314,0,,0,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
600000000,,3418314,1,,0,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
605000000,,3418314,0,4155527081,1,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
606000000,,3418314,1,329150663,1,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
700000000,,3418314,1,329150663,2,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
700000000,,3418314,1,,0,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
710000000,,3418314,1,,5,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.25,0.1,0.0001,1
800000000,,3418314,0,4155527081,8,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.2,0.1,0.0001,1
905000000,,3418314,0,4155527081,4,wPbpLKwl5U8ba4vbSg+rdjLyCPDGk1LqM5tOnI1HFyk=,0,0,0.2,0.1,0.0001,1
9223372036854775807,,3418309,0,4155527081,4,70s3v5qRyCO/1PCdI6fVXnrW8FU/w+5CKRSa72xgcIo=,3,9,0.125,0.07446,0.0004244,0
"""
MACHINE_EVENTS = """\
0,4155527081,0,HofLGzk1Or/8Ildj2+Lqv0UGGvY82NLoni8+J/Yy0RU=,0.5,0.2493
0,329150663,0,HofLGzk1Or/8Ildj2+Lqv0UGGvY82NLoni8+J/Yy0RU=,0.5,0.4995
750000000,329150663,1,HofLGzk1Or/8Ildj2+Lqv0UGGvY82NLoni8+J/Yy0RU=,0.5,0.4995
760000000,329150663,0,HofLGzk1Or/8Ildj2+Lqv0UGGvY82NLoni8+J/Yy0RU=,,
"""
CONSTRAINTS = "600000000,3418314,1,3,o/=,2\n600000000,3418314,0,0,wN=,kernel\n"
ATTRIBUTES = "0,329150663,o/=,3,0\n0,4155527081,wN=,kernel,0\n800000000,4155527081,wN=,,1\n"


@pytest.fixture
def google(tmp_path: Path) -> GoogleTrace2011:
    for name, text in (("m.csv", MACHINE_EVENTS), ("c.csv", CONSTRAINTS), ("a.csv", ATTRIBUTES)):
        (tmp_path / name).write_text(text)
    (tmp_path / "part-00000-of-00500.csv.gz").write_bytes(gzip.compress(TASK_EVENTS.encode()))
    return GoogleTrace2011(
        [tmp_path / "part-00000-of-00500.csv.gz"], [tmp_path / "m.csv"], [tmp_path / "c.csv"], [tmp_path / "a.csv"]
    )


def test_the_google_tables_become_columns(google: GoogleTrace2011) -> None:
    tasks, machines = google.read()
    assert len(tasks) == 11
    assert tasks.ignored == 1
    assert sorted(zip(tasks.job.tolist(), tasks.index.tolist(), strict=True)) == [
        (3418309, 0), (3418314, 0), (3418314, 1)
    ]  # fmt: skip
    assert tasks.request[0].tolist() == [125_000_000, 74_460_000, 424_400]
    assert tasks.units.amount(tasks.request[0]).tolist() == pytest.approx([0.125, 0.07446, 0.0004244])
    assert machines.names == ("4155527081", "329150663")
    assert tasks.machine.tolist() == [0, 0, -1, -1, 0, 1, 1, -1, -1, 0, 0]
    assert machines.capacity[3].tolist() == [500_000_000, 499_500_000, UNLIMITED]  # empty: as it was
    assert machines.known == (True, True, False)
    assert set(tasks.constraint_sets) == {(), (Constraint("o/=", 3, "2"),), (Constraint("wN=", 0, "kernel"),)}


def test_attempts_hold_what_does_not_depend_on_the_old_scheduler(google: GoogleTrace2011) -> None:
    attempts = attempts_of(google.read()[0])
    rows = zip(
        attempts.submit.tolist(), attempts.schedule.tolist(), attempts.duration.tolist(), attempts.until.tolist(),
        strict=True,
    )  # fmt: skip
    assert [tuple(x // 10**6 if x >= 0 else x for x in row) for row in rows] == [
        (0, 0, -1, -1),  # runs beyond the trace
        (600, 605, 300, -1),
        (600, 606, 94, -1),  # until it was evicted
        (700, -1, -1, 710),  # killed before it ran
    ]
    assert attempts.update_attempt.tolist() == [1]


def test_a_google_trace_replays_by_a_policy_and_as_it_was(google: GoogleTrace2011) -> None:
    tasks, machines = google.read()
    record = replay(tasks, machines, Rules("best-fit"))
    assert [STATES[s] for s in record.state.tolist()] == ["running", "done", "done", "done"]
    log = record.segments
    where = dict(zip(log["attempt"].tolist(), log["machine"].tolist(), strict=True))
    assert where[1] == 0  # only there the attribute is what the task wants
    assert where[2] == 1
    was = replay(tasks, machines, Rules("as_in_trace"))
    assert was.first_start.tolist() == [0, 605_000_000, 606_000_000, -1]
    assert was.finished.tolist() == [-1, 905_000_000, 700_000_000, -1]
    assert was.reasons == {"had no machine in the trace": 1}


def google_with(folder: Path, tasks: str = TASK_EVENTS, machines: str = MACHINE_EVENTS) -> GoogleTrace2011:
    (folder / "t.csv").write_text(tasks)
    (folder / "m.csv").write_text(machines)
    return GoogleTrace2011([folder / "t.csv"], [folder / "m.csv"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("600000000,,3418314,1,,0", "599999999,,3418314,1,,0", "t.csv:4, key 'time': 599999999 lies before"),
        ("0,0,0.25,0.1,0.0001,1\n605", "0,0,nan,0.1,0.0001,1\n605", "t.csv:4, key 'CPU request': nan must be finite"),
        ("0,0,0.25,0.1,0.0001,1\n605", "0,0,0.25,-1,0.0001,1\n605", "t.csv:4, key 'memory request': -1 must be"),
        ("605000000,,3418314,0,4155527081,1", "605000000,,3418314,0,4155527081,9", "key 'event type': 9 is not from 0"),
        ("605000000,,3418314", "605000000,,x", "t.csv:5, key 'job ID': 'x' is not a whole number"),
        ("0.2,0.1,0.0001,1\n905", "0.2,0.1\n905", "t.csv:10: the row has 11 columns; 13 are expected"),
        ("9223372036854775807,,", "9223372036854775800,,", "t.csv:12, key 'time': this time lies beyond"),
    ],
)  # fmt: skip
def test_a_fault_in_a_google_table_names_file_line_and_column(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert TASK_EVENTS.count(old) >= 1
    with pytest.raises(BadFileError) as found:
        google_with(tmp_path, TASK_EVENTS.replace(old, new, 1)).read()
    assert says in str(found.value)


def test_packed_files_are_bounded_by_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(("0,1,0,p,0.5,0.5\n" * 400_000).encode(), 9))
    assert bomb.stat().st_size < 40_000
    monkeypatch.setattr(reading, "MOST_TEXT_BYTES", 1_000_000)
    with pytest.raises(BadFileError, match="more than 1,000,000 bytes of text"):
        GoogleTrace2011([bomb], [bomb]).read()
    line = tmp_path / "line.csv.gz"
    line.write_bytes(gzip.compress(b"0" * 5_000_000))
    with pytest.raises(BadFileError, match=r"line\.csv\.gz:1: the line has more than"):
        GoogleTrace2011([line], [line]).read()
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(MACHINE_EVENTS.encode())[:-12])
    with pytest.raises(BadFileError, match="not a whole gzip file"):
        GoogleTrace2011([cut], [cut]).read()


def test_rows_are_bounded(tmp_path: Path) -> None:
    trace = google_with(tmp_path)
    with pytest.raises(BadFileError, match="more than 5 rows"):
        GoogleTrace2011(trace.task_events, trace.machine_events, most_rows=5).read()


def csv_of(folder: Path, tasks: str, machines: str | None = None) -> PlainCsv:
    (folder / "tasks.csv").write_text(tasks)
    if machines is None:
        return PlainCsv(folder / "tasks.csv")
    (folder / "machines.csv").write_text(machines)
    return PlainCsv(folder / "tasks.csv", folder / "machines.csv")


HEAD = "submit_s,duration_s,cpu_cores,memory_bytes"
MACHINES = "machine,cpu_cores,memory_bytes,attributes\nnode-1,4,8e9,zone=a;disks=2\nnode-2,8,16e9,zone=b\n"


def test_plain_csv_gives_tasks_and_machines(tmp_path: Path) -> None:
    text = f"{HEAD},constraints,machine,schedule_s\n0.5,10,1.5,2e9,zone=b,node-2,1\n2,,4,1e9,zone!=b;disks>1,,\n"
    tasks, machines = csv_of(tmp_path, text, MACHINES).read()
    assert machines is not None
    assert machines.capacity.tolist() == [[4_000_000, 8 * 10**9, UNLIMITED], [8_000_000, 16 * 10**9, UNLIMITED]]
    record = replay(tasks, machines, Rules("first-fit", horizon_s=60))
    assert record.attempts.duration.tolist() == [10_000_000, -1]  # without a duration it stays
    assert dict(zip(*(record.segments[k].tolist() for k in ("attempt", "machine")), strict=True)) == {0: 1, 1: 0}
    was = replay(tasks, machines, Rules("as_in_trace"))
    assert was.first_start.tolist() == [1_000_000, -1]


def test_constraints_read_as_they_are_written() -> None:
    assert demands_of(" zone = a ; gpu!= ") == (Constraint("gpu", 1, ""), Constraint("zone", 0, "a"))
    with pytest.raises(ValueError, match="zone"):
        demands_of("zone")
    assert not Constraint("zone", 0, "a").holds(None)
    assert Constraint("zone", 1, "a").holds(None)
    assert Constraint("n", 2, "5").holds("4")
    assert not Constraint("n", 2, "5").holds("four")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("submit_s,duration_s,cpu_cores\n", "tasks.csv:1: the column 'memory_bytes' is missing"),
        (f"{HEAD},priorty\n", "tasks.csv:1: unknown column 'priorty'. Nearest: priority"),
        (f"{HEAD},submit_s\n", "the column 'submit_s' is there twice"),
        (f"{HEAD}\n", "the trace has no task"),
        ("", "the column 'submit_s' is missing"),
        (f"{HEAD}\n0,1,1,1\n5,1,1,1\n4,1,1,1\n", "tasks.csv:4, key 'submit_s': 4 lies before"),
        (f"{HEAD}\n0,1,inf,1\n", "tasks.csv:2, key 'cpu_cores': inf must be finite"),
        (f"{HEAD}\n0,-1,1,1\n", "tasks.csv:2, key 'duration_s': -1 must be finite"),
        (f"{HEAD}\n0,1e300,1,1\n", "tasks.csv:2, key 'duration_s': 1e300 must be"),
        (f"{HEAD}\n0,1,1\n", "tasks.csv:2: the row has 3 columns; 4 are expected"),
        (f"{HEAD},constraints\n0,1,1,1,zone\n", "tasks.csv:2, key 'constraints': 'zone' is no constraint"),
        (f"{HEAD},machine\n0,1,1,1,node-9\n", "tasks.csv:2, key 'machine': there is no machine 'node-9'"),
        (f"{HEAD}\n0,1,one,1\n", "tasks.csv:2, key 'cpu_cores': 'one' is not a number"),
        (f"{HEAD}\n,1,1,1\n", "tasks.csv:2, key 'submit_s': '' is not a number"),
    ],
)
def test_a_fault_in_plain_csv_names_file_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadFileError) as found:
        csv_of(tmp_path, text, MACHINES).read()
    assert says in str(found.value)


def test_absent_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file"):
        PlainCsv(tmp_path / "absent.csv").read()
    (tmp_path / "tasks.csv").write_bytes(b"submit_s\xff\xfe,duration_s\n")
    with pytest.raises(BadFileError, match="not UTF-8"):
        PlainCsv(tmp_path / "tasks.csv").read()
