"""The efficiency gap and the waterline: layers in order beside the ideal of their MACs, and their drawings."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import archcast as ac
from archcast.render.html import page
from archcast.render.waterline import MAX_LAYERS, gap_svg, waterline_section, waterline_svg
from costmodel.layer_gaps import LayerGaps, layer_gaps
from foundation.formats import FORMAT_CODES
from workloads.catalogue import load_model


def gaps_of(name: str, device: str = "rk3588", **asked: int) -> tuple[ac.Estimate, LayerGaps]:
    estimate = ac.predict(name, on=device, **asked)
    assert estimate.detail is not None
    return estimate, layer_gaps(estimate.detail)


def test_times_of_layers_sum_to_the_latency_and_none_beats_its_ideal() -> None:
    estimate, gaps = gaps_of("mobilenet-v2")
    assert estimate.latency_s is not None
    assert gaps.latency_s.sum() == pytest.approx(estimate.latency_s.value)
    assert (gaps.ideal_s <= gaps.latency_s).all()


def test_the_ideal_is_the_macs_at_the_peak() -> None:
    estimate, gaps = gaps_of("resnet-50")
    assert estimate.detail is not None
    peak = estimate.detail.rates.peak_flop_per_s[FORMAT_CODES["int8"]]
    macs = load_model("resnet-50").summary()["macs"]
    assert gaps.ideal_s.sum() == pytest.approx(2 * macs / peak, rel=1e-6)


def test_layers_stand_in_the_order_in_which_they_run() -> None:
    _, gaps = gaps_of("mobilenet-v2")
    assert gaps.ops[0] == "conv2d"
    assert gaps.names[-1].endswith("fc")


def test_depthwise_layers_lose_more_than_dense_ones() -> None:
    _, gaps = gaps_of("mobilenet-v2")
    share = {
        kind: sum(i for n, i in zip(gaps.names, gaps.ideal_s, strict=True) if kind in n)
        / sum(t for n, t in zip(gaps.names, gaps.latency_s, strict=True) if kind in n)
        for kind in ("depthwise", "expand")
    }
    assert share["depthwise"] < 0.2 * share["expand"]


def test_of_several_passes_the_longest_is_drawn_in_full() -> None:
    estimate, gaps = gaps_of("llama-3.2-1b", "h100-sxm", prompt=128, generate=64)
    assert estimate.latency_s is not None
    assert gaps.pass_name == "decode"
    assert gaps.latency_s.sum() < estimate.latency_s.value
    assert gaps.latency_s.sum() > 0.5 * estimate.latency_s.value


def test_the_waterline_is_that_of_the_format_that_is_computed_in() -> None:
    estimate, gaps = gaps_of("resnet-50")
    assert estimate.detail is not None
    rates = estimate.detail.rates
    int8 = rates.peak_flop_per_s[FORMAT_CODES["int8"]]
    assert gaps.waterline_flop_per_byte == pytest.approx(int8 / rates.dram_bytes_per_s)


def test_the_pictures_have_a_piece_for_every_layer_and_say_what_it_is() -> None:
    _, gaps = gaps_of("mobilenet-v2")
    gap, line = gap_svg(gaps), waterline_svg(gaps)
    assert len(re.findall(r'class="layer s-', gap)) == len(gaps.names)
    assert len(re.findall(r'class="layerbar b-', line)) == len(gaps.names)
    assert "waterline: " in line
    assert "ideal" in gap
    assert "nan" not in (gap + line).lower()


def test_the_page_of_a_network_shows_them() -> None:
    estimate, _ = gaps_of("mobilenet-v2")
    assert 'id="layers"' in page(estimate)


def test_very_many_layers_are_thinned_with_a_note() -> None:
    estimate, _ = gaps_of("mobilenet-v2")
    assert estimate.detail is not None
    table, lowered, costs = estimate.detail.lowered.table, estimate.detail.lowered, estimate.detail.costs
    order = np.tile(np.arange(table.rows), 2 + MAX_LAYERS // table.rows)
    many = replace(
        estimate.detail,
        lowered=replace(
            lowered, table=table.take(order),
            **{n: getattr(lowered, n)[order] for n in ("pass_index", "block_index", "operator_index", "scenario")},
        ),
        costs=replace(costs, **{n: getattr(costs, n)[order] for n in COLUMNS}),
    )  # fmt: skip
    assert "shorter layers are not drawn" in waterline_section(many)


COLUMNS = (
    "latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "energy_lo_j", "energy_hi_j", "dram_bytes", "bound",
    "source",
)  # fmt: skip
