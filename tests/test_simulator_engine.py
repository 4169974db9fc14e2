"""The event engine's total order, and random streams that do not disturb each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from simulator.engine import EventEngine, InvariantError
from simulator.streams import RandomStreams


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=60))
def test_events_run_by_time_then_priority_then_sequence(wanted: list[tuple[int, int]]) -> None:
    engine, ran = EventEngine(), []
    for sequence, (time, priority) in enumerate(wanted):
        engine.at(time, ran.append, (time, priority, sequence), priority=priority)
    engine.run()
    assert ran == sorted((time, priority, sequence) for sequence, (time, priority) in enumerate(wanted))
    assert engine.events == len(wanted)


def test_an_event_may_schedule_more_at_its_own_instant() -> None:
    engine, ran = EventEngine(), []

    def first(_: object) -> None:
        engine.after(0, ran.append, "late", priority=1)
        engine.after(0, ran.append, "soon")

    engine.at(5, first)
    assert engine.run() == 5
    assert ran == ["soon", "late"]


def test_the_past_is_refused() -> None:
    engine = EventEngine()
    engine.at(5, lambda _: engine.at(4, print))
    with pytest.raises(InvariantError, match="before the present tick 5"):
        engine.run()


def test_time_beyond_64_bits_is_refused() -> None:
    with pytest.raises(BadValueError, match="coarser tick"):
        EventEngine().at(2**63, print)


def test_a_run_can_stop_at_a_horizon_and_go_on() -> None:
    engine, ran = EventEngine(), []
    for time in (1, 5, 9):
        engine.at(time, ran.append, time)
    assert engine.run(until=5) == 5
    assert ran == [1, 5]
    assert engine.pending == 1
    assert engine.run(until=7) == 7
    assert engine.run() == 9
    assert ran == [1, 5, 9]


def test_a_stream_depends_on_its_name_and_not_on_what_else_was_drawn() -> None:
    alone = RandomStreams().get("gpu0/service").random(8)
    among = RandomStreams()
    among.get("new component").random(100)
    assert np.array_equal(among.get("gpu0/service").random(8), alone)


def test_asking_again_continues_a_stream() -> None:
    streams = RandomStreams(seed=3)
    parts = [streams.get("a").random(4), streams.get("a").random(4)]
    assert np.array_equal(np.concatenate(parts), RandomStreams(seed=3).get("a").random(8))


def test_names_seeds_and_replications_give_different_numbers() -> None:
    drawn = [
        RandomStreams().get("a").random(),
        RandomStreams().get("b").random(),
        RandomStreams(seed=1).get("a").random(),
        RandomStreams(replication=1).get("a").random(),
    ]
    assert len(set(drawn)) == 4


def test_the_default_stream_is_pinned() -> None:
    """A change of these numbers changes every seeded result that users have recorded."""
    assert RandomStreams().get("arrivals").integers(0, 10**6, 4).tolist() == [642290, 477323, 631066, 479180]


@pytest.mark.parametrize("seed", [-1, 1.5, float("nan"), "x"])
def test_a_seed_that_is_no_whole_number_is_refused(seed: object) -> None:
    with pytest.raises(BadValueError, match="seed"):
        RandomStreams(seed)  # type: ignore[arg-type]
