"""What an answer says of its runtime: the name, the power of both processors, and batches on a small chip."""

from __future__ import annotations

import archcast as ac


def test_the_power_of_an_answer_in_which_a_host_works_has_room_above_its_value() -> None:
    found = ac.predict("mobilenet-v3-large", on="edge-tpu", software="litert")
    assert found.power_w is not None
    assert found.power_w.hi > 1.2 * found.power_w.value
    assert found.power_w.hi <= 7 + 0.9  # the limit of the Raspberry Pi and what the Edge TPU idles at


def test_the_power_of_a_device_by_itself_keeps_to_its_limit() -> None:
    found = ac.predict("mobilenet-v2", on="edge-tpu")
    assert found.power_w is not None
    assert found.power_w.hi <= 2.0


def test_the_runtime_stands_in_what_was_asked() -> None:
    assert ac.predict("mobilenet-v2", on="edge-tpu", software="litert").to_json()["request"]["software"] == "litert"
    assert "software" not in ac.predict("mobilenet-v2", on="edge-tpu").request
