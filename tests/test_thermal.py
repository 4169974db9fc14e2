"""Heat over time: the closed form against small steps and hand-computed values, and what can be true of a box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from costmodel.thermal import (
    Cooling,
    battery_requests,
    cooling_of,
    drawn,
    held_share,
    mean_share,
    of_rate,
    rise_k,
    share_at,
    sustained,
    throttles_after_s,
)
from hardware_specs import load_device
from hardware_specs.thermal import Thermal
from hardware_specs.units import Quantity, parse_quantity

BOX = Cooling(resistance_k_per_w=5.0, capacitance_j_per_k=100.0, rise_k=20.0, rest_w=1.0, idle_w=0.5, exponent=2.0)
POSITIVE = st.floats(0.05, 50.0)
BOXES = st.builds(Cooling, st.floats(0.1, 20), st.floats(1, 500), st.floats(1, 80), st.floats(0, 5), st.floats(0, 2))


def thermal(**changes: Any) -> Thermal:
    plain: dict[str, Any] = {
        "name": "a box", "battery_j": 36e3, "rest_w": 1.0, "resistance_k_per_w": 5.0, "capacitance_j_per_k": 100.0,
        "throttle_k": 318.0, "ambient_k": 298.0,
    } | changes  # fmt: skip
    figures: dict[str, Any] = {k: v if isinstance(v, (str, dict)) or v is None else {"value": v, "source": "x"}
                               for k, v in plain.items()}  # fmt: skip
    return Thermal(**figures)


def test_the_time_to_the_limit_is_that_of_a_first_order_body() -> None:
    # 9 W and 1 W of the rest: 50 K in the end, 20 K allowed, 500 s: 500 ln(50 / 30)
    assert throttles_after_s(9.0, BOX) == pytest.approx(500 * np.log(5 / 3))
    assert throttles_after_s(3.0, BOX) == np.inf
    assert BOX.sustained_w == pytest.approx(3.0)
    assert throttles_after_s(9.0, BOX, 10.0) == pytest.approx(500 * np.log(40 / 30))
    assert throttles_after_s(9.0, BOX, 20.0) == 0.0


def test_the_closed_form_equals_small_steps() -> None:
    step_s, warm = 0.01, 0.0
    for _ in range(20_000):
        warm += step_s * (8.0 - warm / 5.0) / 100.0
    assert rise_k(7.0, 200.0, BOX) == pytest.approx(warm, rel=1e-4)


def test_the_clock_that_is_held_follows_the_power_above_idle() -> None:
    # 3 W may be lost: 2.5 of 8.5 W above idle are left, and half the exponent's root of it
    assert held_share(9.0, BOX) == pytest.approx((2.5 / 8.5) ** 0.5)
    assert held_share(3.0, BOX) == 1.0
    assert held_share(1e6, BOX) == 0.05
    assert held_share(9.0, Cooling(5.0, 100.0, 20.0, 1.0, 0.5, exponent=1.0)) == pytest.approx(2.5 / 8.5)


def test_rates_fall_once_and_means_count_both_sides() -> None:
    end_s = float(throttles_after_s(9.0, BOX))
    rates = sustained(10.0, 9.0, np.array([0.0, end_s - 1, end_s + 1, 1e5]), BOX)
    held = float(held_share(9.0, BOX))
    assert rates == pytest.approx(np.array([10.0, 10.0, 10 * held, 10 * held]))
    assert mean_share(9.0, 0.0, end_s, BOX) == pytest.approx(1.0)
    assert mean_share(9.0, 0.0, 2 * end_s, BOX) == pytest.approx((1 + held) / 2)
    assert mean_share(9.0, end_s, 2 * end_s, BOX) == pytest.approx(held)


def test_requests_with_pauses_heat_less() -> None:
    # 8 J in 2 s are 4 W; one request each 8 s leaves three quarters of the time to idle
    assert of_rate(0.125, 8.0, 2.0, 0.4) == pytest.approx(0.25 * 4 + 0.75 * 0.4)
    assert of_rate(100.0, 8.0, 2.0, 0.4) == pytest.approx(4.0)
    powers = of_rate(np.array([0.01, 0.1, 0.4]), 40.0, 2.0, 0.4)
    assert np.all(np.diff(throttles_after_s(powers, BOX)[1:]) < 0)


def test_a_charge_serves_what_energy_and_the_rest_leave() -> None:
    assert battery_requests(10.0, 5.0, 36e3, 1.0, 1.0) == pytest.approx(36e3 / 15)
    assert battery_requests(10.0, 5.0, 36e3, 0.0, 0.9) == pytest.approx(3240.0)


@given(box=BOXES, power=POSITIVE, more=st.floats(0.0, 10.0), time=st.floats(0.0, 1e4))
def test_more_power_never_lasts_longer_nor_runs_faster(box: Cooling, power: float, more: float, time: float) -> None:
    assert throttles_after_s(power + more, box) <= throttles_after_s(power, box)
    assert held_share(power + more, box) <= held_share(power, box) + 1e-12
    assert rise_k(power + more, time, box) >= rise_k(power, time, box) - 1e-9
    assert 0.05 <= share_at(power, time, box) <= 1.0


@given(box=BOXES, power=POSITIVE)
def test_the_limit_is_reached_exactly_when_it_is_said(box: Cooling, power: float) -> None:
    after = float(throttles_after_s(power, box))
    if np.isfinite(after):
        assert rise_k(power, after, box) == pytest.approx(box.rise_k, rel=1e-6)
        assert power > box.sustained_w
    else:
        assert rise_k(power, 1e9, box) <= box.rise_k * (1 + 1e-9)


def test_draws_start_with_what_is_stated_and_keep_to_their_ranges() -> None:
    draws = drawn([(2.0, 1.0, 5.0), (3.0, 3.0, 3.0)], 4000)
    assert draws[:, 0].tolist() == [2.0, 3.0]
    assert draws[0].min() >= 1.0
    assert draws[0].max() <= 5.0
    assert draws[0, 1:].mean() == pytest.approx((1 + 2 + 5) / 3, rel=0.02)  # of a triangle
    assert np.all(draws[1] == 3.0)
    assert np.array_equal(draws, drawn([(2.0, 1.0, 5.0), (3.0, 3.0, 3.0)], 4000))


def test_a_phone_of_the_catalogue_has_a_box_and_a_server_has_none() -> None:
    box = cooling_of(load_device("snapdragon-8-elite"), 10)
    assert box is not None
    assert np.shape(box.sustained_w) == (11,)
    phone = load_device("snapdragon-8-elite").thermal
    assert phone is not None
    assert box.sustained_w[0] == pytest.approx(phone.sustained_w)
    assert 2.0 < phone.sustained_w < 6.0
    assert cooling_of(load_device("h100-sxm")) is None


def test_every_box_of_the_catalogue_holds_more_than_its_idle_device() -> None:
    from hardware_specs import device_ids

    boxes = {name: load_device(name) for name in device_ids() if load_device(name).thermal is not None}
    assert {"apple-a15", "raspberry-pi-5", "ryzen-7840u", "jetson-orin-nano"} <= set(boxes)
    for name, spec in boxes.items():
        assert spec.thermal is not None
        assert spec.thermal.sustained_w > spec.power.idle_w.value, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"throttle_k": 298.0}, "not above the air"),
        ({"throttle_k": 45.0}, "outside what is possible"),
        ({"resistance_k_per_w": 0.0}, "outside what is possible"),
        ({"capacitance_j_per_k": -1.0}, "outside what is possible"),
        ({"battery_j": 0.0}, "outside what is possible"),
        ({"name": ""}, "at least 1 character"),
    ],
)
def test_boxes_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        thermal(**changes)


def test_batteries_may_be_given_in_watt_hours() -> None:
    assert parse_quantity("12.41 Wh", Quantity("J", 1.0, 1e9)) == pytest.approx(12.41 * 3600)
    assert parse_quantity("3 K/W", Quantity("K/W", 0.0, 10.0)) == 3.0
    assert thermal(battery_j=None).battery_j is None
