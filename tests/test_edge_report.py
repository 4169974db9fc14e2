"""What an answer means in a hand: energy of a request, battery, and the rate that lasts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from cli_runner import archcast

import archcast as ac
from archcast.edge import EdgeReport, edge_report
from costmodel.estimate import Estimate, Quantity
from costmodel.thermal import cooling_of, throttles_after_s
from hardware_specs import DeviceSpec

ASKED = ("predict", "llama-3.2-3b", "--on", "snapdragon-8-elite", "--dtype", "w4a16", "--prompt", "512",
         "--generate", "128")  # fmt: skip


def answer(device: str = "snapdragon-8-elite", workload: str = "llama-3.2-3b") -> Estimate:
    return ac.predict(workload, on=device, dtype="w4a16", prompt=512, generate=128, model="physics")


def phone() -> DeviceSpec:
    return ac.load_device("snapdragon-8-elite")


def report_of(watts: float, seconds: float = 2.0, spec: DeviceSpec | None = None) -> EdgeReport:
    """The report of a request that takes so long at exactly this power."""
    exact = replace(answer(), latency_s=Quantity(*[seconds] * 3), energy_j=Quantity(*[watts * seconds] * 3))
    found = edge_report(exact, spec or phone())
    assert found is not None
    return found


def test_the_command_of_the_issue_answers_in_time_joules_and_mwh() -> None:
    document = archcast(*ASKED, "--json").json()
    assert document["verdict"] == "feasible"
    assert document["latency_s"]["value"] > 0
    edge = document["edge"]
    assert edge["energy_mwh"]["value"] == pytest.approx(document["energy_j"]["value"] / 3.6)
    assert edge["battery_share"]["value"] == pytest.approx(1 / edge["requests_per_charge"]["value"])
    assert edge["battery_j"]["value"] == pytest.approx(15.5 * 3600)
    for name in ("energy_mwh", "battery_share", "requests_per_charge", "held_share", "after_ten_minutes_hz"):
        assert edge[name]["lo"] <= edge[name]["value"] <= edge[name]["hi"], name


def test_the_text_says_mwh_the_charge_and_when_it_throttles() -> None:
    said = " ".join(archcast(*ASKED).stdout.split())
    assert "One request = " in said
    assert " mWh" in said
    assert "a charge" in said
    assert "Requests back to back" in said


def test_what_does_not_fit_has_a_verdict_and_no_report() -> None:
    short = answer("apple-a15")
    assert short.verdict == "infeasible"
    assert short.shortfall_bytes > 0
    assert edge_report(short, ac.load_device("apple-a15")) is None


def test_a_phone_keeps_memory_for_its_system() -> None:
    memory = phone().dram
    assert 2.5 * 2**30 <= memory.reserved_bytes.value <= 6 * 2**30
    assert answer().capacity_bytes == pytest.approx(memory.usable_bytes)


def test_a_server_has_no_report_and_its_answer_no_such_block() -> None:
    assert edge_report(answer("h100-sxm"), ac.load_device("h100-sxm")) is None
    document = archcast("predict", "resnet-18", "--on", "h100-sxm", "--json").json()
    assert "edge" not in document


def test_a_charge_counts_what_the_rest_of_the_phone_draws() -> None:
    # 4 W for 2 s and 0.8 W of the rest: 9.6 J of the 90 % of 15.5 Wh that arrive
    found = report_of(4.0)
    assert found.requests_per_charge is not None
    assert found.requests_per_charge.value == pytest.approx(0.9 * 15.5 * 3600 / 9.6)
    assert found.energy_mwh.value == pytest.approx(8 / 3.6)


def test_eight_requests_at_once_are_eight_requests() -> None:
    # 4 W for 2 s and 0.8 W of the rest, for eight: 1.2 J each of the 90 % of 15.5 Wh that arrive, 4 a second
    exact = replace(answer(), latency_s=Quantity(*[2.0] * 3), energy_j=Quantity(*[8.0] * 3))
    for asked in ({"batch": 8}, {"concurrency": 8}):
        found = edge_report(replace(exact, request=asked), phone())
        assert found is not None
        assert found.requests_per_charge is not None
        assert found.battery_share is not None
        assert found.energy_mwh.value == pytest.approx(1 / 3.6)
        assert found.requests_per_charge.value == pytest.approx(0.9 * 15.5 * 3600 / 1.2)
        assert found.battery_share.value == pytest.approx(1.2 / (0.9 * 15.5 * 3600))
        assert found.first_minute_hz.value == pytest.approx(4.0)
        assert found.held_hz.value == pytest.approx(4.0 * found.held_share.value)
        assert found.throttles_after_s == report_of(4.0).throttles_after_s


def test_a_batch_takes_less_energy_a_request() -> None:
    one, eight = (edge_report(ac.predict("llama-3.2-3b", on="snapdragon-8-elite", dtype="w4a16", prompt=64,
                                         generate=16, batch=n, model="physics"), phone()) for n in (1, 8))  # fmt: skip
    assert one is not None
    assert eight is not None
    assert eight.energy_mwh.value < one.energy_mwh.value
    assert eight.first_minute_hz.value > one.first_minute_hz.value


def test_heat_is_that_of_the_closed_form() -> None:
    box = cooling_of(phone())
    assert box is not None
    found = report_of(6.0)
    assert found.throttles_after_s.value == pytest.approx(float(throttles_after_s(6.0, box)[0]))
    assert found.first_minute_hz.value == pytest.approx(0.5)
    assert found.held_hz.value == pytest.approx(0.5 * found.held_share.value)
    assert found.held_hz.value <= found.after_ten_minutes_hz.value <= found.first_minute_hz.value
    assert found.throttles_after_s.lo < found.throttles_after_s.value < found.throttles_after_s.hi


def test_more_power_throttles_sooner_and_deeper() -> None:
    some, much = report_of(4.5), report_of(6.5)
    assert much.throttles_after_s.value < some.throttles_after_s.value
    assert much.held_share.value < some.held_share.value


def test_a_cool_device_never_throttles_and_says_so() -> None:
    found = report_of(0.5)
    assert math.isinf(found.throttles_after_s.lo)
    assert "the rate lasts" in found.lines()[1]
    document = found.to_json()
    assert document["throttles_after_s"] == {"value": None, "lo": None, "hi": None}
    json.dumps(document, allow_nan=False)


def test_a_board_on_the_mains_has_no_battery() -> None:
    found = report_of(6.0, spec=ac.load_device("raspberry-pi-5"))
    assert found.battery_share is None
    assert "no battery" in found.lines()[0]
    assert "battery_share" not in found.to_json()


def test_the_same_question_gives_the_same_report() -> None:
    assert report_of(5.0) == report_of(5.0)
