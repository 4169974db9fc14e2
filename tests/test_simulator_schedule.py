"""Schedules: makespans worked out by hand, and laws that hold for every graph."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from simulator import Engine, InvariantError, TaskGraph, TaskGraphBuilder, Timeline, simulate_graph
from simulator.invariants import busy_and_idle, check_schedule
from simulator.schedule import Policy

PS = 1e-12
Row = tuple[str, str, float, Sequence[str]]


def _graph(engines: Sequence[Engine], rows: Sequence[Row]) -> TaskGraph:
    """A graph from (name, engine, picoseconds, after)."""
    builder = TaskGraphBuilder()
    for e in engines:
        builder.engine(e.name, e.kind, capacity=e.capacity, discipline=e.discipline)
    for name, engine, duration, after in rows:
        builder.task(name, engine, duration * PS, after=after)
    return builder.build()


def _times(timeline: Timeline) -> dict[str, tuple[int, int]]:
    starts, ends = timeline.start_ticks.tolist(), timeline.end_ticks.tolist()
    return {name: (starts[i], ends[i]) for i, name in enumerate(timeline.graph.names)}


CPU, GPU = Engine("cpu"), Engine("gpu")
LINK, FIFO = Engine("link", kind="link"), Engine("link", kind="link", discipline="fifo")


def test_a_chain_takes_the_sum_of_its_tasks() -> None:
    line = simulate_graph(_graph([GPU], [("a", "gpu", 3, ()), ("b", "gpu", 4, ["a"]), ("c", "gpu", 5, ["b"])]))
    assert _times(line) == {"a": (0, 3), "b": (3, 7), "c": (7, 12)}
    assert line.critical_path == ("a", "b", "c")


def test_a_fork_and_join_over_two_engines_takes_its_longer_branch() -> None:
    rows: list[Row] = [
        ("fork", "cpu", 2, ()),
        ("short", "cpu", 3, ["fork"]),
        ("long", "gpu", 7, ["fork"]),
        ("join", "cpu", 1, ["short", "long"]),
    ]
    line = simulate_graph(_graph([CPU, GPU], rows))
    assert line.makespan_ticks == 2 + 7 + 1
    assert line.critical_path == ("fork", "long", "join")
    assert dict(zip(("cpu", "gpu"), zip(line.busy_ticks, line.idle_ticks, strict=True), strict=True)) == {
        "cpu": (6, 4),
        "gpu": (7, 3),
    }


def test_copies_overlap_with_compute() -> None:
    """Three blocks of copy 2 and compute 3: the first copy shows, the others hide. 2 + 3 x 3 = 11, not 15."""
    rows: list[Row] = []
    for i in range(3):
        rows += [(f"copy{i}", "copy", 2, ()), (f"compute{i}", "gpu", 3, [f"copy{i}"])]
    line = simulate_graph(_graph([GPU, Engine("copy", kind="copy")], rows))
    assert line.makespan_ticks == 11
    assert line.utilisation == {"gpu": pytest.approx(9 / 11), "copy": pytest.approx(6 / 11)}


def test_a_stream_waits_for_the_head_of_its_line_and_a_list_scheduler_does_not() -> None:
    rows: list[Row] = [("slow", "cpu", 10, ()), ("needs slow", "gpu", 1, ["slow"]), ("free", "gpu", 4, ())]
    graph = _graph([CPU, GPU], rows)
    assert _times(simulate_graph(graph, "in-order"))["free"] == (11, 15)
    assert _times(simulate_graph(graph, "critical-path"))["free"] == (0, 4)


def test_the_critical_path_goes_first() -> None:
    """Taking the short task first costs its whole length: 2 + 3 + 5 against 3 + 5."""
    rows: list[Row] = [("short", "cpu", 2, ()), ("head", "cpu", 3, ()), ("tail", "gpu", 5, ["head"])]
    graph = _graph([CPU, GPU], rows)
    assert simulate_graph(graph, "in-order").makespan_ticks == 10
    assert simulate_graph(graph, "critical-path").makespan_ticks == 8


def test_a_user_given_order_decides_among_ready_tasks() -> None:
    graph = _graph([GPU], [("a", "gpu", 1, ()), ("b", "gpu", 2, ()), ("c", "gpu", 4, ()), ("d", "gpu", 8, ["a"])])
    by_list = _times(simulate_graph(graph, ["d", "c"]))
    assert by_list == {"c": (0, 4), "a": (4, 5), "d": (5, 13), "b": (13, 15)}
    by_priority = _times(simulate_graph(graph, {"b": 2.0, "a": -1.0}))
    assert by_priority == {"b": (0, 2), "c": (2, 6), "a": (6, 7), "d": (7, 15)}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("in-ordre", "policy 'in-ordre'. Nearest: in-order"),
        (["a", "bb"], "task 'bb'.*The policy names it"),
        ({"zz": 1.0}, "task 'zz'.*The policy names it"),
    ],
)
def test_a_policy_that_names_nothing_known_is_refused(policy: Policy, words: str) -> None:
    with pytest.raises(UnknownNameError, match=words):
        simulate_graph(_graph([GPU], [("a", "gpu", 1, ()), ("b", "gpu", 1, ())]), policy)


def test_a_priority_of_nan_is_refused() -> None:
    with pytest.raises(BadValueError, match="priority of task 'a'"):
        simulate_graph(_graph([GPU], [("a", "gpu", 1, ())]), {"a": float("nan")})


def test_streams_that_wait_for_each_other_are_refused_and_named() -> None:
    rows: list[Row] = [("a1", "cpu", 1, ["b2"]), ("a2", "cpu", 1, ()), ("b1", "gpu", 1, ["a2"]), ("b2", "gpu", 1, ())]
    graph = _graph([CPU, GPU], rows)
    with pytest.raises(BadValueError, match=r"In program order .* a1 -> a2 -> b1 -> b2 -> a1\."):
        simulate_graph(graph, "in-order")
    assert simulate_graph(graph, "critical-path").makespan_ticks == 2


def test_streams_listed_out_of_order_run_where_no_circle_forms() -> None:
    line = simulate_graph(_graph([CPU, GPU], [("late", "gpu", 1, ["early"]), ("early", "cpu", 2, ())]))
    assert _times(line) == {"late": (2, 3), "early": (0, 2)}


def test_an_engine_of_two_streams_runs_two_tasks_at_a_time() -> None:
    rows: list[Row] = [(name, "gpu", duration, ()) for name, duration in (("a", 4), ("b", 6), ("c", 5))]
    line = simulate_graph(_graph([Engine("gpu", capacity=2)], rows))
    assert _times(line) == {"a": (0, 4), "b": (0, 6), "c": (4, 9)}
    assert line.utilisation["gpu"] == pytest.approx(15 / 18)


def test_two_equal_transfers_share_a_link_and_end_together() -> None:
    line = simulate_graph(_graph([LINK], [("a", "link", 1000, ()), ("b", "link", 1000, ())]))
    assert _times(line) == {"a": (0, 2000), "b": (0, 2000)}


def test_the_shorter_of_two_shared_transfers_leaves_and_the_other_speeds_up() -> None:
    line = simulate_graph(_graph([LINK], [("short", "link", 300, ()), ("long", "link", 1000, ())]))
    assert _times(line) == {"short": (0, 600), "long": (0, 1300)}


def test_a_transfer_that_joins_later_gets_its_fair_share() -> None:
    """long: 400 alone, then half speed while short (300) is served in 600 ticks, then the last 300 alone."""
    rows: list[Row] = [("wait", "gpu", 400, ()), ("long", "link", 1000, ()), ("short", "link", 300, ["wait"])]
    line = simulate_graph(_graph([GPU, LINK], rows))
    assert _times(line) == {"wait": (0, 400), "long": (0, 1300), "short": (400, 1000)}


def test_a_fifo_link_serves_in_the_order_of_readiness() -> None:
    """In program order `late` comes first, but `early` is ready first."""
    rows: list[Row] = [("wait", "gpu", 5, ()), ("late", "link", 10, ["wait"]), ("early", "link", 20, ())]
    line = simulate_graph(_graph([GPU, FIFO], rows))
    assert _times(line) == {"wait": (0, 5), "early": (0, 20), "late": (20, 30)}


def test_sharing_and_fifo_links_finish_their_work_at_the_same_time() -> None:
    """Both conserve work; they differ in who waits."""
    rows: list[Row] = [("a", "link", 7, ()), ("b", "link", 11, ()), ("c", "link", 13, ())]
    shared, queued = simulate_graph(_graph([LINK], rows)), simulate_graph(_graph([FIFO], rows))
    assert shared.makespan_ticks == queued.makespan_ticks == 31
    assert _times(shared)["a"] == (0, 21)
    assert _times(queued)["a"] == (0, 7)


def test_the_directions_of_a_link_do_not_disturb_each_other() -> None:
    up, down = Engine("up", kind="link"), Engine("down", kind="link")
    line = simulate_graph(_graph([up, down], [("there", "up", 9, ()), ("back", "down", 9, ())]))
    assert line.makespan_ticks == 9


def test_tasks_of_no_duration_pass_through() -> None:
    rows: list[Row] = [("a", "gpu", 0, ()), ("b", "link", 0, ["a"]), ("c", "gpu", 0, ["b"]), ("d", "gpu", 0, ())]
    for link in (LINK, FIFO):
        assert simulate_graph(_graph([GPU, link], rows)).makespan_ticks == 0


def test_a_graph_without_tasks_takes_no_time() -> None:
    line = simulate_graph(TaskGraph.from_arrays([GPU], [], []))
    assert (line.makespan_s, line.utilisation, line.critical_path) == (0.0, {"gpu": 0.0}, ())


POLICIES = ("in-order", "critical-path", "user")


@st.composite
def graphs(draw: st.DrawFn) -> TaskGraph:
    """A random acyclic graph over a few engines of all kinds, listed in a topological order."""
    kinds = [Engine("x"), Engine("x", capacity=3), Engine("x", "link"), Engine("x", "link", "", 2, "fifo")]
    some = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    engines = [dataclasses.replace(engine, name=f"e{i}") for i, engine in enumerate(some)]
    count = draw(st.integers(1, 24))
    durations = draw(st.lists(st.integers(0, 50), min_size=count, max_size=count))
    places = draw(st.lists(st.integers(0, len(engines) - 1), min_size=count, max_size=count))
    pairs = [(draw(st.integers(0, t - 1)), t) for t in range(1, count) for _ in range(draw(st.integers(0, 2)))]
    before, after = zip(*pairs, strict=True) if pairs else ((), ())
    return TaskGraph.from_arrays(engines, places, np.array(durations) * PS, before, after)


def _policy(graph: TaskGraph, name: str) -> Policy:
    return name if name != "user" else {task: (7 * i) % 5 for i, task in enumerate(graph.names)}


@settings(max_examples=60)
@given(graphs())
def test_every_schedule_lies_within_its_bounds_and_repeats_exactly(graph: TaskGraph) -> None:
    for name in POLICIES:
        line = simulate_graph(graph, _policy(graph, name))
        longest = 0
        ends = [0] * len(graph)
        for task in range(len(graph)):  # the critical path, worked out once more from the edges
            first = max((ends[b] for b, a in zip(graph.before, graph.after, strict=True) if a == task), default=0)
            ends[task] = first + int(graph.duration_ticks[task])
            longest = max(longest, ends[task])
        work = [int(graph.duration_ticks[graph.task_engine == i].sum()) for i in range(len(graph.engines))]
        busiest = [-(-w // engine.capacity) for w, engine in zip(work, graph.engines, strict=True)]
        assert max(longest, *busiest) <= line.makespan_ticks <= int(graph.duration_ticks.sum())
        assert np.all(line.end_ticks - line.start_ticks >= graph.duration_ticks)
        assert all(b + i == line.makespan_ticks for b, i in zip(line.busy_ticks, line.idle_ticks, strict=True))
        assert simulate_graph(graph, _policy(graph, name)).trace_hash == line.trace_hash


@settings(max_examples=60)
@given(graphs())
def test_the_critical_chain_is_unbroken_from_start_to_makespan(graph: TaskGraph) -> None:
    for name in POLICIES:
        line = simulate_graph(graph, _policy(graph, name))
        chain = list(line.critical_tasks)
        assert line.start_ticks[chain[0]] == 0
        assert line.end_ticks[chain[-1]] == line.makespan_ticks
        assert all(line.end_ticks[a] == line.start_ticks[b] for a, b in itertools.pairwise(chain))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=15), st.sampled_from(POLICIES))
def test_one_engine_takes_the_serial_sum_under_every_policy(durations: list[int], name: str) -> None:
    edges = np.arange(1, len(durations), 3)
    graph = TaskGraph.from_arrays([GPU], np.zeros(len(durations)), np.array(durations) * PS, edges - 1, edges)
    assert simulate_graph(graph, _policy(graph, name)).makespan_ticks == sum(durations)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8))
def test_fair_sharing_stays_within_k_ticks_of_the_ideal(transfers: list[tuple[int, int]]) -> None:
    """Each arrives after a delay on an engine of its own; the ideal is worked out with exact fractions of a tick."""
    builder = TaskGraphBuilder()
    builder.engine("link", kind="link")
    for i, (delay, work) in enumerate(transfers):
        builder.engine(f"own{i}")
        builder.task(f"delay{i}", f"own{i}", delay * PS)
        builder.task(f"send{i}", "link", work * PS, after=f"delay{i}")
    times = _times(simulate_graph(builder.build()))
    ideal = _ideal_sharing(transfers)
    for i, wanted in enumerate(ideal):
        assert abs(times[f"send{i}"][1] - wanted) <= len(transfers)


def _ideal_sharing(transfers: list[tuple[int, int]]) -> list[float]:
    left = {i: float(work) for i, (_, work) in enumerate(transfers)}
    ends, now = [0.0] * len(transfers), 0.0
    while left:
        active = [i for i in left if transfers[i][0] <= now + 1e-9]
        arrivals = [transfers[i][0] for i in left if transfers[i][0] > now + 1e-9]
        until = min(arrivals, default=float("inf"))
        if active:
            until = min(until, now + min(left[i] for i in active) * len(active))
        for i in active:
            left[i] -= (until - now) / len(active)
        now = until
        for i in [i for i in active if left[i] <= 1e-6]:
            ends[i] = now
            del left[i]
    return ends


@settings(max_examples=40)
@given(st.integers(1, 30), st.floats(1e-12, 1e-6), st.sampled_from(POLICIES))
def test_a_repeated_task_equals_the_chain_of_its_steps(times: int, step_s: float, name: str) -> None:
    steps = np.arange(times)
    chain = TaskGraph.from_arrays([GPU], 0 * steps, np.full(times, step_s), steps[:-1], steps[1:])
    one = TaskGraph.from_arrays([GPU], [0], [step_s], repeat=times)
    assert simulate_graph(chain, _policy(chain, name)).makespan_ticks == simulate_graph(one).makespan_ticks


def test_a_task_costs_at_most_two_events() -> None:
    count = 5_000
    index = np.arange(count)
    chain = TaskGraph.from_arrays([FIFO], 0 * index, np.ones(count) * PS, index[:-1], index[1:])
    assert simulate_graph(chain).events <= 2 * count + 1
    many = TaskGraph.from_arrays([LINK], 0 * index, (1 + index) * PS)
    assert simulate_graph(many).events <= 2 * count + 1


def test_a_large_graph_is_not_slower_than_linear_allows() -> None:
    """Counts, not seconds: 20,000 transfers that share one link at once would need 2e8 steps if each event walked
    over all of them; here the events, each one heap operation, number two per transfer."""
    count = 20_000
    line = simulate_graph(TaskGraph.from_arrays([LINK], np.zeros(count), np.arange(1, count + 1) * PS))
    assert line.makespan_ticks == count * (count + 1) // 2
    assert line.events <= 2 * count + 1


def test_the_invariants_catch_a_schedule_that_breaks_a_law() -> None:
    graph = _graph([GPU, CPU], [("a", "gpu", 3, ()), ("b", "gpu", 4, ()), ("c", "cpu", 2, ["a"])])
    good = ([0, 3, 3], [3, 7, 5])
    check_schedule(graph, *(np.array(c) for c in good))
    broken = {
        "never ran": ([0, 3, -1], [3, 7, 5]),
        "before a task it waits for": ([0, 3, 1], [3, 7, 3]),
        "before its work was done": ([0, 3, 3], [3, 6, 5]),
        "longer than its work": ([0, 3, 3], [3, 7, 6]),
        "busy for 4 ticks but has work of 7": ([0, 0, 3], [3, 4, 5]),
        "makespan of 10 ticks lies outside": ([0, 6, 3], [3, 10, 5]),
    }
    for words, (start, end) in broken.items():
        with pytest.raises(InvariantError, match=words):
            check_schedule(graph, np.array(start), np.array(end))
    two = _graph([Engine("gpu", capacity=2)], [(n, "gpu", 4, ()) for n in "abc"])
    with pytest.raises(InvariantError, match="3 tasks at once"):
        check_schedule(two, np.array([0, 0, 0]), np.array([4, 4, 4]))


def test_busy_and_idle_cover_the_horizon() -> None:
    assert busy_and_idle(np.array([2, 3, 9]), np.array([5, 4, 11]), 20) == (5, 15)
    assert busy_and_idle(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 6) == (0, 6)
