"""Nsight Systems exports in SQLite (`nsys export --type sqlite`): kernels, the calls that launched them, NVTX ranges.

Schema: NVIDIA, Nsight Systems export documentation. Times are in nanoseconds. A kernel has no shapes. They are known
where NVTX ranges bear them, as `torch.autograd.profiler.emit_nvtx(record_shapes=True)` writes: `aten::mm, seq = 3,
sizes = [[64, 32], [32, 16]]`. Other kernels become rows of the family that their name suggests, without an operator.

A database is a program of a kind: it is opened read-only and immutable, may only be read by SELECT on plain tables, and
stops after a time.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from costmodel.measured.base import ImportRequest
from costmodel.measured.kineto_operators import Call
from costmodel.measured.kineto_tree import HostCall, Kernel, innermost, nested, rows_of
from costmodel.measured.trace_json import input_sizes, text, whole
from costmodel.measured.trace_rows import Trace, device_named, load_rows, unknown
from foundation.errors import BadFileError
from foundation.files import plain_file
from workloads.measurements import MeasurementTable

MAX_BYTES = 8_000_000_000
MAX_ROWS = 3_000_000
"""Rows of one table."""
MAX_SECONDS = 120.0
MAX_TEXT = 4000
NANOSECOND = 1e-9
MAGIC = b"SQLite format 3\x00"
STEPS = 100_000
"""Instructions of SQLite between two looks at the clock."""
RANGES = (59, 60, 70, 71)
"""NVTX event types: push-pop and start-end ranges, plain and of a library's domain."""
PROCESS = 0xFFFFFF
"""The part of a thread's global id that tells the thread; the rest is the process."""

_READ = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}


def load_nsys(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the measurements of an export. Raises as `read_nsys` and `load_rows`."""
    yield from load_rows(read_nsys(request.needed_path("an SQLite export of Nsight Systems (.sqlite)")), request)


def read_nsys(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> Trace:
    """Read an export.

    Raises:
        BadFileError: the file is no SQLite database, has no kernels, is damaged, too large, or takes too long.
    """
    file = plain_file(path, MAX_BYTES)
    try:
        with file.open("rb") as raw:
            if raw.read(len(MAGIC)) != MAGIC:
                raise BadFileError(path, "this is not an SQLite database.",
                                   hint="Make one: nsys export --type sqlite REPORT.nsys-rep.")  # fmt: skip
        with closing(_opened(file, max_seconds)) as database:
            return _read(_Tables(database, file), file)
    except sqlite3.Error as error:
        raise BadFileError(path, f"the database cannot be read ({str(error)[:100]}).") from None
    except (OSError, OverflowError, UnicodeDecodeError, MemoryError) as error:
        raise BadFileError(path, f"cannot be read ({str(error)[:100]}).") from None


def _opened(file: Path, max_seconds: float) -> sqlite3.Connection:
    """Return a connection that can only read, for a bounded time."""
    database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    for limit, most in ((sqlite3.SQLITE_LIMIT_ATTACHED, 0), (sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000),
                        (sqlite3.SQLITE_LIMIT_COLUMN, 300), (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 50)):  # fmt: skip
        database.setlimit(limit, most)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READ else sqlite3.SQLITE_DENY)
    database.text_factory = lambda raw: raw[:MAX_TEXT].decode("utf-8", "replace")
    end = time.monotonic() + max_seconds
    database.set_progress_handler(lambda: int(time.monotonic() > end), STEPS)
    return database


class _Tables:
    """Plain tables of a database; names and columns are looked up before they are asked for."""

    def __init__(self, database: sqlite3.Connection, file: Path) -> None:
        self.database, self.file = database, file
        found = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' LIMIT 2000").fetchall()
        self.plain = {str(name): str(sql) for name, sql in found
                      if re.match(r"(?is)\s*create\s+table\b", str(sql))}  # fmt: skip

    def rows(self, table: str, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows of a table, None in optional columns that it lacks; nothing where there is no such table."""
        if table not in self.plain:
            return
        has = {name for name in (*columns, *optional) if re.search(rf"\b{name}\b", self.plain[table])}
        lacking = [name for name in columns if name not in has]
        if lacking:
            raise BadFileError(self.file, f"the table {table} has no column '{lacking[0]}'.")
        listed = ", ".join(f'"{name}"' if name in has else "NULL" for name in (*columns, *optional))
        for count, row in enumerate(self.database.execute(f'SELECT {listed} FROM "{table}" LIMIT {MAX_ROWS + 1}')):
            if count == MAX_ROWS:
                raise BadFileError(self.file, f"the table {table} has more than {MAX_ROWS:,} rows; profile less.")
            yield row


def _read(tables: _Tables, file: Path) -> Trace:
    if "CUPTI_ACTIVITY_KIND_KERNEL" not in tables.plain:
        raise BadFileError(file, "the database has no table CUPTI_ACTIVITY_KIND_KERNEL: no kernels were traced.")
    names = {whole(key): text(value, MAX_TEXT) for key, value in tables.rows("StringIds", ("id", "value"))}
    notes: Counter[str] = Counter()
    calls = _ranges(tables, names, notes)
    launches = {
        (_process(thread), whole(correlation)): ((_process(thread), whole(thread)), whole(start) * NANOSECOND)
        for start, thread, correlation in tables.rows(
            "CUPTI_ACTIVITY_KIND_RUNTIME", ("start", "globalTid", "correlationId")
        )
    }
    kernels, device = _kernels(tables, names, launches, calls, notes)
    if not kernels:
        raise BadFileError(file, "no kernel of the database has a usable start and end.")
    rows, _ = rows_of(calls, nested(calls), kernels, device=True)
    rows = [row if row.op or row.reason else unknown(row.name, row.latency_s, row.start_s, "no shapes") for row in rows]
    gpus = {whole(key): text(name, 100) for key, name in tables.rows("TARGET_INFO_GPU", ("id", "name"))}
    name = gpus.get(device, next(iter(gpus.values()), ""))
    return Trace(str(file), f"Nsight Systems export, {file.name}", "", device_named(name), name, tuple(rows), 0.0,
                 dict(notes))  # fmt: skip


def _process(thread: object) -> int:
    return whole(thread, high=2**63) & ~PROCESS


def _ranges(tables: _Tables, names: dict[int, str], notes: Counter[str]) -> list[HostCall]:
    """Return the NVTX ranges as calls; those that bear sizes are operators."""
    calls = []
    wanted = ("start", "end", "eventType", "globalTid")
    for start, end, kind, thread, plain, key in tables.rows("NVTX_EVENTS", wanted, ("text", "textId")):
        begin, stop = whole(start), whole(end)
        if whole(kind) not in RANGES:
            continue
        if begin < 0 or stop < begin:
            notes["a range without a usable start and end"] += 1
            continue
        words = text(plain, MAX_TEXT) or names.get(whole(key), "")
        place = (_process(thread), whole(thread, high=2**63))
        calls.append(HostCall(range_call(words), place, begin * NANOSECOND, (stop - begin) * NANOSECOND))
    return calls


def range_call(words: str) -> Call:
    """Return what an NVTX range says: a name, and sizes of its inputs behind `sizes = `."""
    name = words.split(",", 1)[0].strip()
    found = re.search(r"sizes = (\[[\[\]\d, ]*\])", words)
    if not found:
        return Call(name, [])
    return Call(name, input_sizes(_size_list(found[1])) or [])


def _size_list(words: str) -> list[Any]:
    """Return the lists of sizes in a text of digits, commas and brackets, one or two deep."""
    inner = words[1:-1]
    if "[[" in inner:  # a list of tensors: its sizes are one item
        found: list[Any] = []
        for part in re.findall(r"\[(?:\[[\d, ]*\](?:, )?)+\]|\[[\d, ]*\]", inner):
            found.append([_numbers(p) for p in re.findall(r"\[[\d, ]*\]", part[1:-1])] if "[[" in part
                         else _numbers(part))  # fmt: skip
        return found
    return [_numbers(part) for part in re.findall(r"\[[\d, ]*\]", inner)]


def _numbers(part: str) -> list[int]:
    return [int(word[:18]) for word in re.findall(r"\d+", part)]


def _kernels(
    tables: _Tables,
    names: dict[int, str],
    launches: dict[tuple[int, int], tuple[tuple[int, int], float]],
    calls: list[HostCall],
    notes: Counter[str],
) -> tuple[list[Kernel], int]:
    """Return the activities of the first device, and its id."""
    found: list[tuple[str, float, float, tuple[tuple[int, int], float] | None, bool]] = []
    device = -1
    wanted, more = ("start", "end", "deviceId", "correlationId"), ("globalPid", "shortName", "demangledName")
    for table, copy in (("CUPTI_ACTIVITY_KIND_KERNEL", False), ("CUPTI_ACTIVITY_KIND_MEMCPY", True)):
        for start, end, where, correlation, process, short, full in tables.rows(table, wanted, more):
            begin, stop = whole(start), whole(end)
            device = whole(where) if device < 0 else device
            if begin < 0 or stop < begin:
                notes["a kernel without a usable start and end"] += 1
            elif whole(where) != device:
                notes["a kernel of another device of the trace"] += 1
            else:
                name = "memory copy" if copy else names.get(whole(full)) or names.get(whole(short), "(no name)")
                launch = launches.get((_process(process), whole(correlation)))
                found.append((name, begin * NANOSECOND, (stop - begin) * NANOSECOND, launch, copy))
    places = iter(innermost(calls, [launch for *_, launch, _ in found if launch is not None]))
    return [
        Kernel(name, start_s, time_s, next(places) if launch is not None else -1, None, copy)
        for name, start_s, time_s, launch, copy in found
    ], device
