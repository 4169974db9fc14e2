"""A format that a device lacks: what would stand in for it is said, and done only where it is asked for."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import archcast as ac
from archcast.cli import predict as _command  # noqa: F401  registers the command
from archcast.cli.app import app
from costmodel.format_fallback import nearest_format
from costmodel.rates import compile_rates
from foundation.errors import UnsupportedError
from foundation.formats import FORMATS
from hardware_specs import device_ids, load_device


def test_a_format_without_arithmetic_is_refused_in_one_line_that_names_fallback_option_and_host() -> None:
    result = CliRunner().invoke(app, ["predict", "mobilenet-v2", "--on", "edge-tpu", "--dtype", "fp16"])
    assert result.exit_code == 2
    message = result.stderr.strip()
    assert "\n" not in message
    for words in ("edge-tpu cannot compute in fp16", "fall back to int8", "--allow-fallback", "--on raspberry-pi-4"):
        assert words in message


def test_the_fallback_is_taken_only_where_it_is_allowed_and_costs_what_its_format_costs() -> None:
    with pytest.raises(UnsupportedError, match="cannot compute in fp16"):
        ac.predict("mobilenet-v2", on="edge-tpu", dtype="fp16")
    found = ac.predict("mobilenet-v2", on="edge-tpu", dtype="fp16", allow_fallback=True)
    asked = ac.predict("mobilenet-v2", on="edge-tpu", dtype="int8")
    assert found.request["dtype"] == "int8"
    assert found.latency_s == asked.latency_s
    assert any("no arithmetic for fp16" in note and "int8" in note for note in found.notes)
    assert not any("no arithmetic" in note for note in asked.notes)


def test_a_device_that_only_widens_needs_no_leave() -> None:
    with_leave, without = (
        ac.predict("gpt-2", on="a100-sxm-80gb", dtype="fp8", prompt=8, generate=2, allow_fallback=leave)
        for leave in (True, False)
    )
    assert with_leave == without
    assert any("fp8 is computed in bf16" in note for note in without.notes)


def test_a_device_without_a_host_names_none() -> None:
    with pytest.raises(UnsupportedError) as refused:
        ac.predict("resnet-50", on="gemmini-16x16", dtype="bf16")
    assert "fall back to int8" in str(refused.value)
    assert "--on" not in str(refused.value)


@pytest.mark.parametrize(
    ("device", "dtype", "nearest"),
    [
        ("edge-tpu", "fp16", "int8"),  # 16 bits are twice 8, four times 4
        ("edge-tpu", "w4a16", "w4a8"),  # weights first: 4 bits stay 4 bits
        ("edge-tpu", "fp32", "int8"),
    ],
)
def test_the_nearest_format_keeps_the_width_of_weights_then_of_activations(
    device: str, dtype: str, nearest: str
) -> None:
    assert nearest_format(compile_rates(load_device(device)), dtype) == nearest


def test_on_every_device_a_fallback_is_a_format_of_that_device() -> None:
    lacking = 0
    for name in device_ids():
        rates = compile_rates(load_device(name))
        for dtype in FORMATS:
            if not rates.supports(dtype):
                lacking += 1
                assert rates.supports(nearest_format(rates, dtype))
    assert lacking > 0
