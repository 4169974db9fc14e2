"""Task graphs: what they hold, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from foundation.errors import BadValueError, UnknownNameError
from simulator import Engine, TaskGraph, TaskGraphBuilder


def _builder() -> TaskGraphBuilder:
    builder = TaskGraphBuilder()
    builder.engine("gpu")
    builder.engine("link", kind="link", bandwidth_bytes_per_s=1e9)
    return builder


def test_a_transfer_takes_its_bytes_over_the_bandwidth() -> None:
    builder = _builder()
    builder.transfer("send", "link", 2_500)
    graph = builder.build()
    assert graph.duration_ticks.tolist() == [2_500_000]
    assert graph.size_bytes.tolist() == [2_500]


def test_a_repeated_task_is_rounded_once_and_then_multiplied() -> None:
    builder = _builder()
    builder.task("step", "gpu", 1.4e-12, repeat=1_000)
    assert builder.build().duration_ticks.tolist() == [1_000]


def test_a_task_may_wait_for_one_that_is_added_later() -> None:
    builder = _builder()
    builder.task("second", "gpu", 1e-9, after="first")
    builder.task("first", "gpu", 1e-9)
    graph = builder.build()
    assert (graph.before.tolist(), graph.after.tolist()) == ([1], [0])


def test_columns_and_the_builder_give_the_same_graph() -> None:
    builder = _builder()
    builder.task("a", "gpu", 1e-6)
    builder.task("b", "gpu", 2e-6, after="a", repeat=3)
    built = builder.build()
    made = TaskGraph.from_arrays(built.engines, [0, 0], [1e-6, 2e-6], [0], [1], names=["a", "b"], repeat=[1, 3])
    for column in ("duration_ticks", "task_engine", "before", "after", "repeat"):
        assert np.array_equal(getattr(built, column), getattr(made, column))


def test_the_columns_are_read_only() -> None:
    graph = TaskGraph.from_arrays([Engine("a")], [0], [1.0])
    with pytest.raises(ValueError, match="read-only"):
        graph.duration_ticks[0] = 5


def test_bounds_are_the_critical_path_or_the_busiest_engine_and_the_serial_sum() -> None:
    engines = [Engine("one"), Engine("two", capacity=2)]
    graph = TaskGraph.from_arrays(engines, [0, 1, 1, 1], [4e-12, 3e-12, 3e-12, 5e-12], [0], [1])
    assert graph.critical_path_ticks == 7
    assert graph.work_ticks == [4, 11]
    assert graph.bounds_ticks == (7, 15)
    alone = TaskGraph.from_arrays(engines, [1, 1, 1], [3e-12, 3e-12, 5e-12])
    assert alone.bounds_ticks == (6, 11)


def test_a_cycle_is_refused_in_one_sentence_that_names_it() -> None:
    builder = _builder()
    builder.task("start", "gpu", 1.0)
    builder.task("a", "gpu", 1.0, after=["start", "c"])
    builder.task("b", "gpu", 1.0, after="a")
    builder.task("c", "gpu", 1.0, after="b")
    with pytest.raises(BadValueError, match=r"in a circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)\."):
        builder.build()


def test_a_task_that_waits_for_itself_is_refused() -> None:
    builder = _builder()
    builder.task("a", "gpu", 1.0, after="a")
    with pytest.raises(BadValueError, match="circle: a -> a"):
        builder.build()


def test_a_long_cycle_is_shortened_in_the_message() -> None:
    count = 5_000
    index = np.arange(count)
    with pytest.raises(BadValueError, match=r"task-0 -> .*\(4993 more\)") as caught:
        TaskGraph.from_arrays([Engine("a")], np.zeros(count), np.ones(count), index, (index + 1) % count)
    assert len(str(caught.value)) < 300


def test_an_unknown_dependency_offers_the_nearest_names() -> None:
    builder = _builder()
    builder.task("forward", "gpu", 1.0)
    builder.task("backward", "gpu", 1.0, after="forwrad")
    with pytest.raises(UnknownNameError, match=r"'forwrad'. Nearest: forward.*Task 'backward' waits for it"):
        builder.build()


def test_an_unknown_engine_offers_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"engine 'gpuu'. Nearest: gpu"):
        _builder().task("a", "gpuu", 1.0)


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf"), "1 s", None, True])
def test_a_duration_that_is_no_time_is_refused_by_name(duration: object) -> None:
    with pytest.raises(BadValueError, match="duration_s of task 'a'"):
        _builder().task("a", "gpu", duration)  # type: ignore[arg-type]


@pytest.mark.parametrize("repeat", [0, -2, 1.5, float("nan"), 10**13])
def test_a_repeat_that_is_no_count_is_refused_by_name(repeat: object) -> None:
    with pytest.raises(BadValueError, match="repeat of task 'a'"):
        _builder().task("a", "gpu", 1.0, repeat=repeat)  # type: ignore[arg-type]


def test_bytes_need_an_engine_with_a_bandwidth() -> None:
    with pytest.raises(BadValueError, match="engine 'gpu' has no bandwidth_bytes_per_s"):
        _builder().transfer("send", "gpu", 10)


def test_names_that_stand_twice_are_refused() -> None:
    builder = _builder()
    builder.task("a", "gpu", 1.0)
    with pytest.raises(BadValueError, match="Two tasks are named 'a'"):
        builder.task("a", "gpu", 1.0)
    with pytest.raises(BadValueError, match="Two engines are named 'gpu'"):
        builder.engine("gpu")
    with pytest.raises(BadValueError, match="Two tasks are named 'x'"):
        TaskGraph.from_arrays([Engine("a")], [0, 0], [1.0, 1.0], names=["x", "x"])


def test_times_that_overflow_together_are_refused() -> None:
    with pytest.raises(BadValueError, match="coarser tick"):
        TaskGraph.from_arrays([Engine("a")], [0, 0], [9e6, 9e6])
    with pytest.raises(BadValueError, match="coarser tick"):
        TaskGraph.from_arrays([Engine("a")], [0], [1.0], repeat=10**8)
    week = TaskGraph.from_arrays([Engine("a")], [0], [1.0], repeat=10**8, ticks_per_second=10**6)
    assert week.duration_ticks.tolist() == [10**14]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"task_engine": [0, 2]}, "task_engine has an index outside 0 to 0"),
        ({"task_engine": [0]}, "task_engine has 1 rows; there are 2 tasks"),
        ({"before": [0], "after": [7]}, "after has an index outside"),
        ({"before": [0, 1], "after": [1]}, "before has 2 rows and after 1"),
        ({"repeat": [1, 0]}, "repeat must be at least 1"),
        ({"repeat": [1, 1.5]}, "repeat must be one whole number"),
        ({"repeat": [1, float("nan")]}, "repeat must be one whole number"),
        ({"repeat": [1, 1, 1]}, "repeat must be one whole number"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(columns: dict[str, list[float]], words: str) -> None:
    given: dict[str, list[float]] = {"task_engine": [0, 0], "before": [], "after": [], "repeat": [1, 1]} | columns
    with pytest.raises(BadValueError, match=words):
        TaskGraph.from_arrays(
            [Engine("a")], given["task_engine"], [1.0, 1.0], given["before"], given["after"], repeat=given["repeat"]
        )


def test_engines_refuse_what_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match=r"engine kind 'compte'. Nearest: compute"):
        Engine("a", kind="compte")
    with pytest.raises(UnknownNameError, match=r"discipline 'shared'. Nearest: share"):
        Engine("a", discipline="shared")
    with pytest.raises(BadValueError, match="capacity of engine 'a'"):
        Engine("a", capacity=0)
    with pytest.raises(BadValueError, match="capacity must be 1, not 2"):
        Engine("a", kind="link", capacity=2)
    with pytest.raises(BadValueError, match="bandwidth_bytes_per_s of engine 'a'"):
        Engine("a", kind="link", bandwidth_bytes_per_s=0)
