"""One trace whatever runs it: plain callbacks, the compiled kernel, one process or two; and the suite on the kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.queues.executor import Processes
from simulator.queues.replications import replicate
from simulator.queues.verification import Check, replications_of, run_check, table
from simulator.queues.verification_cases import checks, named

MORE = 10
"""Times the replications of the suite on the kernel: a hundred million customers."""


def _short(check: Check) -> Check:
    return replace(check, customers=min(check.customers, 1_500), replications=2)


@pytest.mark.parametrize("family", sorted({check.family for check in checks()}))
def test_the_kernel_gives_the_trace_of_the_callbacks(family: str) -> None:
    pytest.importorskip("numba", reason="the compiled kernel needs numba")
    for check in (check for check in checks() if check.family == family):
        plain, kernel = (replications_of(_short(check), engine) for engine in ("callbacks", "kernel"))
        assert plain.trace_hashes == kernel.trace_hashes, check.name
        assert [run.record.engine for run in kernel.runs] == ["kernel"] * 2


NAMES = ("Jackson, 2 nodes with feedback", "M/G/1, work resumed, exponential", "M/M/3 as 3 credits and a delay")


def test_two_processes_give_the_traces_of_one() -> None:
    with Processes(2) as pool:
        for name in NAMES:
            check = _short(named(name))
            settings = {"horizon_s": check.horizon_s, "seed": check.seed, "engine": "callbacks"}
            serial = replicate(check.network(), 4, **settings)  # type: ignore[arg-type]
            both = replicate(check.network(), 4, executor=pool, **settings)  # type: ignore[arg-type]
            assert serial.trace_hashes == both.trace_hashes
            assert len(set(serial.trace_hashes)) == 4
            assert serial.estimate("source.left_hz") == both.estimate("source.left_hz")


@pytest.mark.demand
@pytest.mark.parametrize("name", [check.name for check in checks()])
def test_ten_times_the_customers_pass_a_bound_three_times_as_tight(name: str) -> None:
    pytest.importorskip("numba", reason="the compiled kernel needs numba")
    rows = run_check(named(name), "kernel", times=MORE)
    assert all(row.passed for row in rows), "\n" + table(rows)
