"""Line charts of answers over time: the axes say round numbers in the unit that they are labelled with."""

from __future__ import annotations

import re

import numpy as np
import pytest

from archcast.render.serving_charts import Axis, Line, chart


def ticks(end_s: float) -> list[str]:
    x = np.linspace(0, end_s, 50)
    drawn = chart([Line("a", x, x, 0)], Axis("time", "s"), Axis("waiting", ""))
    return re.findall(r">([\d.]+ (?:ms|s|min|h|days))<", drawn)


@pytest.mark.parametrize(
    ("end_s", "wanted"),
    [
        (30.0, ["5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]),
        (1_800.0, ["5 min", "10 min", "15 min", "20 min", "25 min", "30 min"]),
        (36_000.0, ["2 h", "4 h", "6 h", "8 h", "10 h"]),
        (0.02, ["5 ms", "10 ms", "15 ms", "20 ms"]),
    ],
)
def test_ticks_of_a_time_axis_are_round_in_their_unit(end_s: float, wanted: list[str]) -> None:
    assert set(wanted) <= set(ticks(end_s))
    assert not any("." in tick and len(tick.split(" ")[0]) > 3 for tick in ticks(end_s))
