"""Batches, priorities, vacations and breakdowns, against solved chains and simulated waits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_oracles import lindley_waits, mean_and_error, mean_of, solve_chain

from foundation.errors import BadValueError
from simulator.queues import closed_forms as cf

State = tuple[int, int]
Moves = list[tuple[float, State]]


def test_batches_of_one_or_three_equal_their_solved_chain() -> None:
    rate, most = 0.3, 250

    def moves(n: int) -> list[tuple[float, int]]:
        up = [(rate * w, n + k) for k, w in ((1, 0.5), (3, 0.5)) if n + k <= most]
        return up + ([(1.0, n - 1)] if n else [])

    means = cf.batch_arrivals(rate, 1.0, 2.0, 1.0)
    assert means.number == pytest.approx(mean_of(solve_chain(0, moves), float), rel=1e-8)
    assert means.throughput_hz == pytest.approx(0.6)


def test_batches_with_constant_service_wait_as_simulated() -> None:
    rng = np.random.default_rng(91)
    sizes = rng.geometric(0.4, 600_000)
    gaps = np.zeros(sizes.sum())
    gaps[np.concatenate(([0], np.cumsum(sizes)[:-1]))] = rng.exponential(1.0, len(sizes))
    mean, error = mean_and_error(lindley_waits(gaps, np.full(len(gaps), 0.28)))
    named = cf.batch_arrivals(1.0, 0.28, 2.5, 0.6 / 0.16, 0.0).wait_s
    assert abs(mean - named) < 4 * error


@given(rho=st.floats(0.01, 0.98), cv2=st.floats(0.0, 9.0))
def test_batches_of_one_are_mg1(rho: float, cv2: float) -> None:
    assert cf.batch_arrivals(rho, 1.0, 1.0, 0.0, cv2) == pytest.approx(cf.mg1(rho, 1.0, cv2), rel=1e-12)


@pytest.mark.parametrize(("least", "most", "rate"), [(1, 1, 0.7), (1, 4, 2.5), (3, 5, 2.0), (4, 4, 3.0)])
@pytest.mark.parametrize("per_item", [0.0, 0.1])
def test_bulk_service_equals_its_solved_chain(least: int, most: int, rate: float, per_item: float) -> None:
    times = [1.0 - per_item * (most - j) for j in range(1, most + 1)]

    def begin(waiting: int) -> State:
        size = min(waiting, most) if waiting >= least else 0
        return waiting - size, size

    def moves(state: State) -> Moves:
        waiting, size = state
        full = waiting >= 160
        if size == 0:
            return [(rate, begin(waiting + 1))]
        return ([] if full else [(rate, (waiting + 1, size))]) + [(1.0 / times[size - 1], begin(waiting))]

    chain = solve_chain((0, 0), moves)
    means = cf.bulk_service(rate, times, most, least)
    assert means.waiting == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-6)
    assert means.number == pytest.approx(mean_of(chain, sum), rel=1e-6)
    assert means.utilisation == pytest.approx(mean_of(chain, lambda s: s[1] > 0), rel=1e-6)
    assert means.response_s == pytest.approx(means.number / rate, rel=1e-12)


@pytest.mark.parametrize(("law", "cv2"), [("constant", 0.0), ("erlang", 0.5), ("exponential", 1.0), ("gamma", 2.0)])
def test_bulk_service_one_at_a_time_is_mg1(law: str, cv2: float) -> None:
    means, known = cf.bulk_service(0.7, 1.0, 1, law=law, cv2=cv2), cf.mg1(0.7, 1.0, cv2)
    assert means.wait_s == pytest.approx(known.wait_s, rel=1e-9)
    assert means.utilisation == pytest.approx(0.7, rel=1e-9)


def test_constant_bulk_service_waits_as_simulated() -> None:
    rng = np.random.default_rng(92)
    arrivals = np.cumsum(rng.exponential(1.0 / 6.0, 400_000)).tolist()
    free, done, waits = 0.0, 0, []
    while done < len(arrivals) - 8:
        begin = max(free, arrivals[done + 1])  # at least two wait
        size = 2
        while size < 8 and arrivals[done + size] <= begin:
            size += 1
        waits += [begin - x for x in arrivals[done : done + size]]
        free, done = begin + 0.6 + 0.05 * size, done + size
    mean, error = mean_and_error(np.array(waits))
    means = cf.bulk_service(6.0, [0.6 + 0.05 * j for j in range(1, 9)], 8, 2, "constant")
    assert abs(mean - means.wait_s) < 4 * error


def test_a_saturated_bulk_server_serves_full_batches() -> None:
    means = cf.bulk_service(9.0, 1.0, 8)
    assert (means.throughput_hz, means.batch, means.wait_s) == (8.0, 8.0, math.inf)


def priority_chain(rates: tuple[float, float], speeds: tuple[float, float], preemptive: bool) -> tuple[float, float]:
    """Return the mean numbers of two classes at one exponential server, from the chain (n1, n2, class in service)."""
    most = 22

    def begin(n1: int, n2: int) -> tuple[int, int, int]:
        return n1, n2, 1 if n1 else (2 if n2 else 0)

    def moves(state: tuple[int, int, int]) -> list[tuple[float, tuple[int, int, int]]]:
        n1, n2, served = state
        keep = served != 0 and not preemptive
        found = []
        for rate, a, b in ((rates[0], n1 + 1, n2), (rates[1], n1, n2 + 1)):
            if max(a, b) <= most:
                found.append((rate, (a, b, served) if keep else begin(a, b)))
        if served:
            found.append((speeds[served - 1], begin(n1 - (served == 1), n2 - (served == 2))))
        return found

    chain = solve_chain((0, 0, 0), moves)
    return mean_of(chain, lambda s: s[0]), mean_of(chain, lambda s: s[1])


@pytest.mark.parametrize("preemptive", [False, True])
def test_priorities_at_one_server_equal_their_solved_chain(preemptive: bool) -> None:
    numbers = priority_chain((0.2, 0.25), (1.0, 0.8), preemptive)
    classes = cf.mg1_priority([0.2, 0.25], [1.0, 1.25], [1.0, 1.0], preemptive)
    assert classes[0].number == pytest.approx(numbers[0], rel=1e-6)
    assert classes[1].number == pytest.approx(numbers[1], rel=1e-4)


def test_priorities_at_two_servers_equal_their_solved_chain() -> None:
    rates, most = (0.5, 0.6), 20

    def moves(state: tuple[int, int, int]) -> list[tuple[float, tuple[int, int, int]]]:
        busy, q1, q2 = state
        if busy < 2:
            return [(sum(rates), (busy + 1, 0, 0))] + ([(1.0, (0, 0, 0))] if busy else [])
        found = [(r, (2, q1 + (i == 0), q2 + (i == 1))) for i, r in enumerate(rates) if (q1, q2)[i] < most]
        after = (2, q1 - 1, q2) if q1 else ((2, 0, q2 - 1) if q2 else (1, 0, 0))
        return [*found, (2.0, after)]

    chain = solve_chain((0, 0, 0), moves)
    classes = cf.mmc_priority(rates, 1.0, 2)
    assert classes[0].waiting == pytest.approx(mean_of(chain, lambda s: s[1]), rel=1e-6)
    assert classes[1].waiting == pytest.approx(mean_of(chain, lambda s: s[2]), rel=1e-3)


@given(
    loads=st.lists(st.floats(0.01, 0.3), min_size=1, max_size=5),
    cv2=st.floats(0.0, 5.0),
)
def test_work_is_conserved_over_the_classes(loads: list[float], cv2: float) -> None:
    # Kleinrock's conservation law: the load-weighted waits sum to those of one class with the same work.
    total = sum(loads)
    classes = cf.mg1_priority(loads, [1.0] * len(loads), [cv2] * len(loads))
    if total < 0.999:
        weighted = sum(load * c.wait_s for load, c in zip(loads, classes, strict=True))
        assert weighted == pytest.approx(total * cf.mg1(total, 1.0, cv2).wait_s, rel=1e-9)
    assert all(a.wait_s <= b.wait_s for a, b in itertools.pairwise(classes))


def test_the_first_class_waits_no_longer_when_the_second_saturates_more() -> None:
    some, more = cf.mg1_priority([0.5, 0.6], [1, 1], [1, 1]), cf.mg1_priority([0.5, 9.0], [1, 1], [1, 1])
    assert some[0].wait_s == more[0].wait_s == pytest.approx(2.0)  # a whole service left, then 1 / (1 - 0.5)
    assert more[1].wait_s == math.inf
    assert more[1].throughput_hz == pytest.approx(0.5)
    assert cf.mmc_priority([1.0, 5.0], 1.0, 2)[0].wait_s == pytest.approx(1.0)


@pytest.mark.parametrize("idle_fails", [True, False])
def test_breakdowns_equal_the_chain_of_up_down_and_number(idle_fails: bool) -> None:
    rate, fail, repair, most = 0.5, 0.15, 0.6, 250

    def moves(state: State) -> Moves:
        n, up = state
        found: Moves = [(rate, (n + 1, up))] if n < most else []
        if not up:
            return [*found, (repair, (n, 1))]
        found += [(fail, (n, 0))] if n or idle_fails else []
        return found + ([(1.0, (n - 1, 1))] if n else [])

    chain = solve_chain((0, 1), moves)
    means = cf.mg1_breakdowns(rate, 1.0, 1.0, 1 / fail, 1 / repair, idle_fails=idle_fails)
    assert means.number == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-8)


@pytest.mark.parametrize(("cv2", "lost"), [(0.0, "restart"), (0.0, "resume"), (1.0, "restart"), (2.0, "resume")])
def test_completion_times_have_the_moments_of_drawn_ones(cv2: float, lost: str) -> None:
    rng = np.random.default_rng([93, int(cv2), len(lost)])
    n, mtbf, mttr = 200_000, 1.5, 0.4
    services = rng.gamma(1 / cv2, cv2, n) if cv2 else np.ones(n)
    total, left = np.zeros(n), services.copy()
    while (left > 0).any():
        work = np.flatnonzero(left > 0)
        to_failure = rng.exponential(mtbf, len(work))
        fails = to_failure < left[work]
        total[work] += np.where(fails, to_failure + rng.gamma(0.5, 2 * mttr, len(work)), left[work])
        again = (
            (services[work] if cv2 == 0.0 else rng.exponential(1.0, len(work)))
            if lost == "restart"
            else (left[work] - to_failure)
        )
        left[work] = np.where(fails, again, 0.0)
    done = cf.completion(1.0, cv2, mtbf, mttr, 2.0, lost)
    assert abs(total.mean() - done.mean_s) < 4 * total.std() / n**0.5
    assert abs((total**2).mean() - done.second_moment_s2) < 4 * (total**2).std() / n**0.5


@pytest.mark.parametrize("ratio", [1e-7, 3e-5, 0.99e-4, 1.01e-4, 0.99e-3, 1.01e-3, 0.1])
def test_a_restart_that_hardly_ever_happens_is_smooth(ratio: float) -> None:
    rare, resumed = cf.completion(1.0, 0.0, 1 / ratio, 0.0, 1.0, "restart"), cf.completion(1.0, 0.0, 1 / ratio, 0.0)
    # Without repair a restart loses half the service in the mean, to first order.
    assert rare.mean_s - resumed.mean_s == pytest.approx(ratio / 2, rel=ratio + 1e-6)


def test_vacations_equal_their_solved_chain() -> None:
    rate, back, most = 0.6, 0.5, 250

    def moves(state: State) -> Moves:
        n, here = state
        found: Moves = [(rate, (n + 1, here))] if n < most else []
        if here:
            return [*found, (1.0, (n - 1, int(n > 1)))]
        return found + ([(back, (n, 1))] if n else [])

    chain = solve_chain((0, 0), moves)
    assert cf.mg1_vacations(rate, 1.0, 1.0, 2.0, 1.0).number == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-8)


@given(rate=st.floats(0.0, 3.0), mttr=st.floats(0.0, 5.0), mtbf=st.floats(0.1, 1e9))
def test_a_server_that_fails_is_never_better(rate: float, mttr: float, mtbf: float) -> None:
    broken, whole = cf.mg1_breakdowns(rate, 0.5, 1.0, mtbf, mttr), cf.mm1(rate, 0.5)
    assert broken.response_s >= whole.response_s * (1 - 1e-12)
    assert broken.number == broken.response_s * rate or math.isinf(broken.number)
    assert 0 < cf.availability(mtbf, mttr) <= 1


@given(rate=st.floats(0.05, 3.5), most=st.integers(4, 12), least=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_bulk_service_is_busy_as_its_batches_say(rate: float, most: int, least: int) -> None:
    means = cf.bulk_service(rate, 1.0, most, least)
    assert least * (1 - 1e-9) <= means.batch <= most * (1 + 1e-9)
    assert means.utilisation == pytest.approx(rate / means.batch, rel=1e-6)


def test_impossible_classes_batches_and_repairs_are_named() -> None:
    with pytest.raises(BadValueError, match="one value for each class"):
        cf.mg1_priority([0.1, 0.2], [1.0], [1.0])
    with pytest.raises(BadValueError, match="at least 1"):
        cf.batch_arrivals(0.1, 1.0, 0.5, 0.0)
    with pytest.raises(BadValueError, match="at most 4"):
        cf.bulk_service(1.0, 1.0, 4, 5)
    with pytest.raises(BadValueError, match="one time for each batch"):
        cf.bulk_service(1.0, [1.0, 2.0], 4)
    with pytest.raises(BadValueError, match="'resume' or 'restart'"):
        cf.completion(1.0, 1.0, 5.0, 1.0, 1.0, "lose")
    with pytest.raises(BadValueError, match="cv2 2"):
        cf.completion(1.0, 2.0, 5.0, 1.0, 1.0, "restart")
    with pytest.raises(BadValueError, match="mtbf_s"):
        cf.availability(0.0, 1.0)
