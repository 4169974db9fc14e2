"""Speed of cluster replay: `python -m pytest benchmarks/bench_cluster.py -m benchmark`.

`python benchmarks/bench_cluster.py` replays a made month (29 days, 12,500 machines, 10^6 task events) under each policy
in plain Python and prints seconds, the trace hash and the errors of the learned interference model.
"""

from __future__ import annotations

import argparse
import time

import pytest

from simulator.cluster.learned import evaluate
from simulator.cluster.made import MadeTrace
from simulator.cluster.metrics import metrics_of
from simulator.cluster.placement import POLICIES
from simulator.cluster.record import Record
from simulator.cluster.replay import Rules, replay

MONTH = MadeTrace()
LIMIT_S = 60.0


def replayed(made: MadeTrace, rules: Rules) -> tuple[Record, float, float]:
    """Return the record, and processor and wall seconds of the replay alone (its checks included)."""
    tasks, machines = made.make()
    cpu, wall = time.process_time(), time.perf_counter()
    record = replay(tasks, machines, rules)
    return record, time.process_time() - cpu, time.perf_counter() - wall


@pytest.mark.benchmark
@pytest.mark.parametrize("placement", ["best-fit", "first-fit"])
def test_a_month_of_a_million_task_events_takes_less_than_a_minute(placement: str) -> None:
    record, cpu_s, _ = replayed(MONTH, Rules(placement, horizon_s=MONTH.horizon_s))
    assert record.counts()["done"] > 250_000
    assert cpu_s < LIMIT_S


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=MONTH.machines)
    parser.add_argument("--events", type=int, default=MONTH.task_events)
    parser.add_argument("--load", type=float, default=MONTH.load)
    parser.add_argument("--preemption", action="store_true")
    asked = parser.parse_args()
    made = MadeTrace(asked.machines, asked.events, load=asked.load)
    print(f"{made.machines:,} machines, {made.task_events:,} task events, load {made.load}")
    print(
        f"{'placement':20} {'cpu s':>8} {'wall s':>8} {'done':>9} {'waiting':>8} {'cpu use':>8} {'wait p99 s':>11} hash"
    )
    for placement in POLICIES:
        rules = Rules(placement, preemption=asked.preemption, horizon_s=made.horizon_s)
        record, cpu_s, wall_s = replayed(made, rules)
        counts, numbers = record.counts(), metrics_of(record).numbers
        print(
            f"{placement:20} {cpu_s:8.1f} {wall_s:8.1f} {counts['done']:9,} {counts['waiting']:8,} "
            f"{numbers['utilisation_cpu']:8.1%} {numbers['wait_p99_s']:11,.0f} {record.trace_hash()}"
        )
    for score in evaluate():
        print(
            f"interference, {score.name:14} MAE {100 * score.mae:.2f} points, median {100 * score.median:.2f}, p90 "
            f"{100 * score.p90:.2f}, relative {score.relative_mae:.1%}, n {score.n:,}"
        )


if __name__ == "__main__":
    main()
