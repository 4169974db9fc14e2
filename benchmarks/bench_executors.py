"""What executors cost, against one process: `python benchmarks/bench_executors.py`.

The sweep is real and cheap a design, which is the hard case: 100,000 designs of examples/npu_resnet50.yaml, valued and
tallied in chunks of 1,000. All executors do the same chunks of the same task and merge the same parts. For each
executor serial runs take turns with its own, so that a busy machine hits both alike.

Overhead in CPU: CPU seconds of this process and of its workers over those of serial. Overhead in wall time: wall time
times workers over that of serial; it means something only where a core is free for each worker and for this process.
Start-up (the processes, and their first chunks, in which each reads archcast) is apart.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import pytest

from archcast.executing import Executor, find_executor
from archcast.executing.executor import Serial
from archcast.searching.grid import GridTask, run_grid
from archcast.searching.search_file import Study, read_search

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "npu_resnet50.yaml"
DESIGNS, CHUNK, REPEATS = 100_000, 1_000, 5
KINDS = (("processes", 1), ("processes", 2), ("dask", 1), ("dask", 2))


@dataclass(frozen=True)
class Spent:
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Compared:
    """What an executor and one process spent in every repeat, and the wall time of the executor's start."""

    workers: int
    start_s: float
    mine: list[Spent]
    serial: list[Spent]

    def of_cpu(self) -> float:
        """Return the median of CPU time over that of serial within one repeat."""
        return statistics.median(a.cpu_s / b.cpu_s for a, b in zip(self.mine, self.serial, strict=True))

    def of_wall(self) -> float:
        """Return the median of wall time times workers over the wall time of serial within one repeat."""
        return statistics.median(
            a.wall_s * self.workers / b.wall_s for a, b in zip(self.mine, self.serial, strict=True)
        )


def clock(thread: bool) -> Spent:
    """Return the wall clock and CPU seconds: of this thread alone, or of this process and all that it has started."""
    if thread:  # a cluster's own threads idle on beside a serial run
        return Spent(time.perf_counter(), time.thread_time())
    me = psutil.Process()
    cpu = sum(sum(one.cpu_times()[:2]) for one in [me, *me.children(recursive=True)])
    return Spent(time.perf_counter(), cpu)


def run(study: Study, executor: Executor, designs: int = DESIGNS) -> tuple[Spent, bytes]:
    """Sweep. Return what it took, and what decides whether two results are the same."""
    task = GridTask(study.digest, problem=study.problem)
    before = clock(isinstance(executor, Serial))
    tally = run_grid(study.problem, 0, designs, chunk=CHUNK, executor=executor, task=task)
    after = clock(isinstance(executor, Serial))
    spent = Spent(after.wall_s - before.wall_s, after.cpu_s - before.cpu_s)
    return spent, b"".join(array.tobytes() for array in tally.arrays().values())


def compared(name: str, workers: int, repeats: int = REPEATS) -> Compared:
    """Measure one executor beside one process."""
    study = read_search(EXAMPLE)
    mine, serial = [], []
    _, known = run(study, Serial())
    begin = time.perf_counter()
    with find_executor(name, workers) as executor:
        run(study, executor, 8 * CHUNK)
        start_s = time.perf_counter() - begin
        run(study, executor)
        for _ in range(repeats):
            for spent, which in ((serial, Serial()), (mine, executor)):
                took, found = run(study, which)
                assert found == known, f"{name} gives another result"
                spent.append(took)
    return Compared(workers, start_s, mine, serial)


@pytest.mark.benchmark
def test_dask_costs_less_than_15_percent_over_serial() -> None:
    assert compared("dask", 1).of_cpu() < 1.15


def main() -> None:
    """Print the table."""
    print(f"{DESIGNS:,} designs in chunks of {CHUNK:,}; medians of {REPEATS} repeats; ratios within a repeat")
    heads = ("executor", "workers", "wall s", "CPU s", "serial s", "CPU us/design", "CPU", "wall x workers", "start s")
    print("".join(f"{head:>15}" for head in heads))
    for kind in [one for one in KINDS if one[0] in (sys.argv[1:] or one)]:
        found = compared(*kind)
        wall, cpu = (statistics.median(getattr(one, name) for one in found.mine) for name in ("wall_s", "cpu_s"))
        base = statistics.median(one.cpu_s for one in found.serial)
        row = (wall, cpu, base, cpu / DESIGNS * 1e6, found.of_cpu(), found.of_wall(), found.start_s)
        print(f"{kind[0]:>15}{kind[1]:>15}" + "".join(f"{number:>15.2f}" for number in row), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
