"""The answer on a terminal: every number is there, nothing is wider than asked, nothing hostile gets through."""

from __future__ import annotations

import io

import pytest
import render_samples as samples

from archcast.listing import device_rows, workload_rows
from archcast.render.human import shown, text
from archcast.render.terminal import print_device, print_devices, print_estimate, print_workload, print_workloads
from costmodel.estimate import Estimate
from hardware_specs import load_device
from workloads.catalogue import load_model


def printed(estimate: Estimate, *, explain: bool = False) -> str:
    out = io.StringIO()
    print_estimate(estimate, explain=explain, file=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_quantity_stands_with_its_unit_and_interval() -> None:
    estimate = samples.language_model()
    out = printed(estimate)
    for field, kind in (
        ("latency_s", "s"), ("ttft_s", "s"), ("tpot_s", "s"), ("energy_j", "j"), ("power_w", "w"),
        ("memory_bytes", "bytes"), ("cost_usd", "usd"), ("rate_hz", "per_s"),
    ):  # fmt: skip
        quantity = shown(getattr(estimate, field), kind)
        line = next(line for line in out.splitlines() if quantity.value in line)
        assert quantity.interval in line
    assert estimate.dram_bytes is not None
    assert text(estimate.dram_bytes, "traffic_bytes") in out
    assert f"price of {estimate.price_date}" in out
    assert "feasible" in out
    assert f"intervals: {estimate.interval_kind}" in out
    assert "source: 100 % physics" in out


def test_no_line_is_wider_than_eighty_columns_and_nothing_is_coloured_where_it_is_piped() -> None:
    out = printed(samples.language_model(), explain=True) + printed(samples.infeasible())
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out


def test_the_five_longest_operators_are_named_and_explain_names_fifteen() -> None:
    estimate = samples.language_model()
    operators = estimate.explain().operators
    short, long = printed(estimate), printed(estimate, explain=True)
    assert f"Top 5 of {len(operators)}" in short
    assert f"Top 15 of {len(operators)}" in long
    assert operators[14].name in long
    assert text(operators[14].latency_s, "s") in long


def test_the_ladder_shows_every_step_and_ends_at_the_latency() -> None:
    estimate = samples.language_model()
    out = printed(estimate, explain=True)
    ladder = out[out.index("From peak to achieved") : out.index("Top 15")]
    for step in estimate.explain().steps:
        assert step.name in ladder
        assert text(step.rate_flop_per_s, "flop_per_s") in ladder
    assert estimate.latency_s is not None
    assert text(estimate.latency_s.value, "s") in ladder.splitlines()[-2]
    assert "From peak" not in printed(estimate)


def test_what_does_not_fit_says_how_many_bytes_are_missing_and_what_would_help() -> None:
    estimate = samples.infeasible()
    out = printed(estimate, explain=True)
    assert f"({estimate.shortfall_bytes:,.0f} bytes) missing" in out
    assert "at least 2 times as many devices" in out
    assert "Latency" not in out


def test_names_from_files_are_neither_markup_nor_terminal_escapes() -> None:
    out = printed(
        samples.estimate_of([samples.gemm("[red]bold[/red]"), samples.gemm(samples.HOSTILE)], name="[b]x\x1b[2J")
    )
    assert "[red]bold[/red]" in out
    assert "[b]x" in out
    assert "\x1b" not in out


def test_a_stream_that_takes_ascii_only_gets_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    print_estimate(samples.small(), explain=True, file=out)
    out.flush()
    words = raw.getvalue().decode("ascii")
    assert " us" in words
    assert "#" in words


def test_devices_and_one_device() -> None:
    out = io.StringIO()
    print_devices(device_rows(), file=out)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("h100-sxm"))
    assert "3.35 TB/s" in line
    assert "80.0 GiB" in line
    spec = load_device("h100-sxm")
    out = io.StringIO()
    print_device(spec, file=out)
    words = " ".join(out.getvalue().split())
    assert "matrix peak bf16 989 TFLOP/s whitepaper" in words
    assert "power idle 75.0 W [60.0 .. 130] estimated" in words
    assert "dram bandwidth 3.35 TB/s datasheet" in words
    for title in spec.sources.values():
        assert title in words


def test_workloads_and_one_workload() -> None:
    out = io.StringIO()
    print_workloads(workload_rows(), file=out)
    assert any(line.startswith("llama-3.1-8b") for line in out.getvalue().splitlines())
    out = io.StringIO()
    print_workload(load_model("llama-3.1-8b").summary(), file=out)
    words = " ".join(out.getvalue().split())
    assert "8.03 billion (8,030,261,248)" in words
    assert "layers 32" in words
