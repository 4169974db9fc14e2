"""Pipeline schedules against the closed form of their bubble."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from simulator import Timeline, pipeline_graph, simulate_graph


def _bubble(timeline: Timeline) -> list[Fraction]:
    """The idle share of each stage, exact."""
    idle = zip(timeline.graph.engines, timeline.idle_ticks, strict=True)
    return [Fraction(ticks, timeline.makespan_ticks) for engine, ticks in idle if engine.kind == "compute"]


@settings(max_examples=40)
@given(
    st.integers(1, 7), st.integers(1, 12), st.floats(1e-9, 1e-2), st.one_of(st.none(), st.floats(1e-9, 1e-2)),
    st.sampled_from(["gpipe", "1f1b"]),
)  # fmt: skip
def test_the_bubble_of_equal_stages_is_exactly_the_closed_form(
    stages: int, batches: int, forward_s: float, backward_s: float | None, schedule: str
) -> None:
    line = simulate_graph(pipeline_graph(stages, batches, forward_s, backward_s, schedule=schedule))
    assert _bubble(line) == [Fraction(stages - 1, batches + stages - 1)] * stages


def test_four_stages_and_eight_microbatches_take_eleven_steps() -> None:
    line = simulate_graph(pipeline_graph(4, 8, 1e-3, 2e-3))
    assert line.makespan_s == pytest.approx(11 * 3e-3, rel=1e-15)
    assert _bubble(line)[0] == Fraction(3, 11)


def test_the_slowest_stage_sets_the_rate() -> None:
    """Three stages of 1, 5 and 1 and ten microbatches: 1 + 10 x 5 + 1."""
    line = simulate_graph(pipeline_graph(3, 10, [1e-12, 5e-12, 1e-12]))
    assert line.makespan_ticks == 52


def test_transfers_delay_the_fill_and_hide_behind_compute() -> None:
    """Inference, 3 stages of 10, transfers of 2: the last microbatch leaves after 3 x 10 + 2 x 2 + (m - 1) x 10."""
    line = simulate_graph(pipeline_graph(3, 6, 10e-12, transfer_s=2e-12))
    assert line.makespan_ticks == 30 + 4 + 50


def test_slow_transfers_set_the_rate_themselves() -> None:
    """2 stages of 1, transfers of 4 one after the other on one link: 1 + 6 x 4 + 1."""
    line = simulate_graph(pipeline_graph(2, 6, 1e-12, transfer_s=4e-12))
    assert line.makespan_ticks == 26


def test_one_forward_one_backward_holds_fewer_microbatches_in_flight() -> None:
    """The reason for 1F1B: stage s keeps at most p - s activations, GPipe keeps all m."""
    for schedule, most in (("gpipe", 8), ("1f1b", 4)):
        line = simulate_graph(pipeline_graph(4, 8, 1e-3, 2e-3, schedule=schedule))
        ends, starts = dict(zip(line.graph.names, line.end_ticks, strict=True)), []
        for batch in range(8):
            starts += [(ends[f"F{batch}@0"], 1), (ends[f"B{batch}@0"], -1)]
        held, highest = 0, 0
        for _, change in sorted(starts):
            held += change
            highest = max(highest, held)
        assert highest == most


def test_impossible_pipelines_are_refused() -> None:
    with pytest.raises(BadValueError, match="stages must be"):
        pipeline_graph(0, 1, 1.0)
    with pytest.raises(BadValueError, match="forward_s has 2 values; there are 3 stages"):
        pipeline_graph(3, 1, [1.0, 1.0])
    with pytest.raises(BadValueError, match="duration_s of task 'B0@0'"):
        pipeline_graph(1, 1, 1.0, float("nan"))
    with pytest.raises(BadValueError, match="transfer_s"):
        pipeline_graph(1, 1, 1.0, transfer_s=float("nan"))
    with pytest.raises(UnknownNameError, match=r"'1f1'. Nearest: 1f1b"):
        pipeline_graph(2, 2, 1.0, schedule="1f1")
