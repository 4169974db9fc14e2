"""Journals and logs: a search that was killed goes on to the bit, torn ends are dropped, files of others refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_runner import ROOT
from search_samples import small

from archcast.searching.journal import Journal
from archcast.searching.run import search
from foundation.errors import BadFileError, BadValueError


def asked(**changes: Any) -> dict[str, Any]:
    return small(method="nsga2", evaluations=60, batch_size=6, **changes)


def arrays(answer: Any) -> dict[str, Any]:
    """Return all that a run found, without its times."""
    return {name: column for name, column in answer.run.arrays.items() if name != "wall_s"}


def same(one: Any, other: Any) -> bool:
    first, second = arrays(one), arrays(other)
    return all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first
    )  # fmt: skip


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    file, folder = tmp_path / "npu.yaml", tmp_path / "run"
    data = small(method="bayesian", evaluations=300, batch_size=4, initial=12, options={"pool": 200})
    file.write_text(yaml.safe_dump(data))
    child = subprocess.Popen(
        [sys.executable, "-m", "archcast", "search", str(file), "--seed", "3", "--resume", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    journal = folder / "journal"
    for _ in range(600):
        if journal.exists() and journal.stat().st_size > 12_000:
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL  # it was at work: it had not ended by itself
    kept = journal.stat().st_size
    changed = {**data, "evaluations": 60}
    resumed = search(changed, seed=3, resume=folder)
    whole = search(changed, seed=3)
    assert kept > 12_000
    assert resumed.run is not None
    count = whole.run.evaluations if whole.run else 0
    found = arrays(resumed)
    first = {name: found[name][..., :count] if name == "codes" else found[name][:count] for name in found}
    for name, column in arrays(whole).items():
        assert np.array_equal(first[name], column, equal_nan=column.dtype.kind == "f"), name


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path: Path) -> None:
    search({**asked(), "evaluations": 24}, resume=tmp_path)
    again = search(asked(), resume=tmp_path)
    assert same(again, search(asked()))
    size = (tmp_path / "journal").stat().st_size
    assert same(search(asked(), resume=tmp_path), again)  # nothing is left to do
    assert (tmp_path / "journal").stat().st_size == size


def test_a_run_goes_on_for_longer_with_the_batches_it_began_with(tmp_path: Path) -> None:
    first = small(method="nsga2", evaluations=100)
    search(first, resume=tmp_path)
    longer = search({**first, "evaluations": 300}, resume=tmp_path)
    assert same(longer, search({**first, "evaluations": 300, "batch_size": 5, "options": {"population": 10}}))


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_end_is_dropped_and_done_again(tmp_path: Path, cut: int) -> None:
    whole = search(asked(), resume=tmp_path)
    file = tmp_path / "journal"
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    assert same(search(asked(), resume=tmp_path), whole)
    changed = bytearray(content)
    changed[-300] ^= 1  # a bit that turned: the batch and all after it are done again
    file.write_bytes(bytes(changed))
    assert same(search(asked(), resume=tmp_path), whole)


def test_a_journal_of_another_search_is_refused_with_what_differs(tmp_path: Path) -> None:
    search(asked(), resume=tmp_path)
    with pytest.raises(BadFileError, match=r"another search: its seed is 0, not 4"):
        search(asked(), resume=tmp_path, seed=4)
    with pytest.raises(BadFileError, match="its digest"):
        search(asked(space_rows=[8, 16]), resume=tmp_path)
    (tmp_path / "journal").write_text("some other file")
    with pytest.raises(BadFileError, match="no journal"):
        search(asked(), resume=tmp_path)


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    held = Journal(tmp_path / "journal", {"seed": 1})
    with pytest.raises(BadFileError, match="another process"):
        Journal(tmp_path / "journal", {"seed": 1})
    held.close()
    Journal(tmp_path / "journal", {"seed": 1}).close()


def test_a_journal_with_designs_of_no_such_space_is_refused(tmp_path: Path) -> None:
    search({**asked(), "evaluations": 12}, resume=tmp_path)
    file = tmp_path / "journal"
    content = file.read_bytes()
    said = json.loads(content[28 : 28 + int.from_bytes(content[4:12], "little")])
    file.unlink()
    journal = Journal(file, said)
    journal.add({"codes": np.zeros((2, 3)), "values": np.zeros((3, 3))})
    journal.close()
    with pytest.raises(BadFileError, match=r"journal"):
        search(asked(), resume=tmp_path)


def test_the_log_has_every_evaluation_with_its_knobs(tmp_path: Path) -> None:
    answer = search(asked(), log=tmp_path / "run.csv")
    with (tmp_path / "run.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    assert answer.run is not None
    values = answer.run.arrays["values"]
    for place in (0, 17, 59):
        row = rows[place]
        shown = answer.study.problem.space.values(answer.run.arrays["codes"][:, place])
        assert row["dataflow"] == shown["dataflow"]
        assert float(row["rows"]) == shown["rows"]
        assert row["feasible"] == str(row["reason"] == "")
        if row["feasible"] == "True":
            assert float(row["latency_s"]) == values[place, 0]
        else:
            assert row["latency_s"] == ""


def test_the_log_in_parquet_says_which_search_it_is(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    search(asked(), log=tmp_path / "run.parquet", seed=9)
    table = parquet.read_table(tmp_path / "run.parquet")
    about = json.loads(table.schema.metadata[b"archcast_search"])
    assert (table.num_rows, about["seed"], about["method"]) == (60, 9, "nsga2")
    assert set(table.column_names) >= {"evaluation", "batch", "wall_s", "rows", "dataflow", "latency_s", "reason"}


def test_a_log_of_another_sort_is_refused_before_anything_is_evaluated(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"ends in .parquet or .csv"):
        search(asked(), log=tmp_path / "run.xlsx")
    with pytest.raises(BadValueError, match="a grid keeps no log"):
        search(small(), log=tmp_path / "run.csv")


def test_workers_find_what_one_process_finds() -> None:
    assert same(search(asked(), workers=2), search(asked()))


def test_fewer_evaluations_than_are_kept_are_answered_with_all_and_a_note(tmp_path: Path) -> None:
    search(asked(), seed=1, resume=tmp_path / "kept")
    fewer = search(asked(), evaluations=30, seed=1, resume=tmp_path / "kept")
    assert fewer.tally.designs == 60
    assert any("60 designs were evaluated before, more than the 30 asked for" in note for note in fewer.notes)


def test_a_file_is_no_folder_to_resume_from(tmp_path: Path) -> None:
    place = tmp_path / "npu.yaml"
    place.write_text("kind: search")
    for data in (small(), asked()):
        with pytest.raises(BadFileError, match="--resume takes a folder"):
            search(data, resume=place)
