"""Memory that software manages: arenas counted by hand, which memory is short, and what streams into the chip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast as ac
from archcast.render.breakdown import verdict_words, what_would_help
from archcast.render.sections import memory_section
from costmodel.memory import memory_of
from costmodel.on_chip import OnChip, arena_bytes, of_text, placed
from costmodel.rates import compile_rates
from hardware_specs import device_ids, load_device
from workloads.graph import BLOCK_INPUT, Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import ONE_DEVICE

VWW = {"image": "96", "width": "0.25", "classes": "2"}


def copy(name: str, hidden: int, *sources: str) -> Operator:
    """Return an operator that writes `hidden` bytes beside what it reads."""
    return Operator(name, "copy", {"rows": 1, "hidden": hidden}, dtype="int8", inputs=sources or (BLOCK_INPUT,))


def add(name: str, hidden: int, *sources: str) -> Operator:
    return Operator(
        name, "elementwise", {"rows": 1, "hidden": hidden, "operands": len(sources)}, dtype="int8", inputs=sources
    )


def network(*blocks: tuple[Operator, ...], weights: float = 0.0) -> tuple[Workload, Lowered]:
    named = [Block(f"b{i}", operators) for i, operators in enumerate(blocks)]
    if weights:
        shape = {"m": 1, "n": 1, "k": weights, "batch": 1}
        named.append(Block("w", (Operator("fc", "gemm", shape, dtype="int8", parameters=weights),)))
    run = Workload("test", (Pass("forward", WorkloadGraph("test", tuple(named))),))
    return run, lower(run.passes)


def arena(*blocks: tuple[Operator, ...]) -> float:
    return arena_bytes(*network(*blocks))


def test_a_chain_holds_an_input_and_an_output_at_a_time() -> None:
    # the first reads 100 and writes 100, then 100 + 300, then 300 + 50
    assert arena((copy("a", 100), copy("b", 300, "a"), copy("c", 50, "b"))) == 400


def test_a_sum_is_written_over_its_first_operand() -> None:
    # a 100, b 100 beside it; a + b goes into b, of which nothing else is read
    assert arena((copy("a", 100), copy("b", 100, "a"), add("c", 100, "b", "a"))) == 200


def test_an_operand_that_is_read_later_is_not_written_over() -> None:
    # c may not destroy b, which d reads: a (100), b (100) and c (100) are alive at once
    assert arena((copy("a", 100), copy("b", 100, "a"), add("c", 100, "b", "a"), add("d", 100, "b", "c"))) == 300


def test_the_arenas_of_mlperf_tiny_are_those_of_their_widest_layers() -> None:
    """MobileNet v1 0.25 at 96: 48 x 48 of 8 and of 16 channels; ResNet-8: three maps of 32 x 32 x 16 in a residual."""
    for network_name, knobs, size in (
        ("mobilenetv1-100", VWW, 48 * 48 * (8 + 16)),
        ("resnet-8", {}, 3 * 32 * 32 * 16),
        ("ds-cnn", {}, 2 * 25 * 5 * 64),
        ("ad-autoencoder", {}, 640 + 128),
    ):
        found = ac.predict(network_name, on="stm32h7", knobs=knobs)
        assert found.memory_parts_bytes["activations"] == size


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_an_arena_holds_every_layer_and_no_more_than_all(sizes: list[int]) -> None:
    operators = tuple(copy(f"o{i}", size, *([f"o{i - 1}"] if i else [])) for i, size in enumerate(sizes))
    found = arena(operators)
    pairs = [a + b for a, b in zip([sizes[0], *sizes], sizes, strict=False)]
    assert max(sizes) <= found <= max(max(pairs), 2 * max(sizes)) + 1e-9


def test_an_answer_says_what_lies_in_sram_and_in_flash() -> None:
    found = ac.predict("mobilenetv1-100", on="stm32f746", knobs=VWW)
    assert found.verdict == "feasible"
    # 54 KiB of activations and 32 KiB of stacks; 208.6 KiB of weights and 64 KiB of code
    assert any(
        "SRAM 86 of 320 KiB (activations, 32 KiB reserved); flash 0.266 of 1 MiB (weights, 64 KiB" in note
        for note in found.notes
    )
    assert any("come from flash at 518 MB/s" in note for note in found.notes)


def test_the_memory_that_is_short_is_named_with_its_bytes() -> None:
    flash = ac.predict("mobilenet-v2", on="stm32f746", knobs={"image": "96"})
    assert flash.verdict == "infeasible"
    spare = 2**20 - 64 * 1024
    assert flash.shortfall_bytes == flash.memory_parts_bytes["weights"] - spare
    assert flash.reason.startswith("the flash is 2.41 MiB short")
    assert "SRAM is" not in flash.reason
    both = ac.predict("mobilenet-v2", on="stm32f746")
    room = 320 * 1024 - 32 * 1024
    assert both.shortfall_bytes == pytest.approx(flash.shortfall_bytes + 1_505_280 - room)
    assert "the SRAM is 1.15 MiB short" in both.reason
    assert "the flash is 2.41 MiB short" in both.reason


def test_advice_names_the_memory_that_is_short_and_following_it_fits() -> None:
    found = ac.predict("mobilenet-v1-0.25-vww", on="stm32f746", batch=16)
    (advice,) = what_would_help(found)
    assert advice.startswith("a batch of at most 5 at a time")
    assert "SRAM has 288 KiB" in advice
    assert ac.predict("mobilenet-v1-0.25-vww", on="stm32f746", batch=5).verdict == "feasible"
    assert ac.predict("mobilenet-v1-0.25-vww", on="stm32f746", batch=6).verdict == "infeasible"
    assert verdict_words(found) == "SRAM is 576 KiB (589,824 bytes) short of its activations"


def test_formats_are_advised_where_they_make_a_memory_suffice() -> None:
    wide = ac.predict("mobilenet-v1-0.25-vww", on="stm32g0b1", dtype="fp32")
    for advice in what_would_help(wide):
        assert advice.startswith("int8 in place of fp32")
    assert ac.predict("mobilenet-v1-0.25-vww", on="stm32g0b1", dtype="int8").verdict == "feasible"
    large = " ".join(what_would_help(ac.predict("mobilenet-v2", on="stm32f746")))
    assert "a network with fewer weights: flash has 960 KiB" in large
    assert "a smaller input or a narrower network: SRAM has 288 KiB" in large


@pytest.mark.parametrize("device", ["stm32f746", "snapdragon-8-gen-3", "raspberry-pi-5"])
def test_devices_without_links_are_never_advised_in_numbers(device: str) -> None:
    found = ac.predict("llama-3.1-70b" if device != "stm32f746" else "mobilenet-v2", on=device)
    assert found.verdict == "infeasible"
    assert what_would_help(found)
    assert not any("devices" in advice or "divided" in advice for advice in what_would_help(found))


def test_the_page_shows_each_memory_of_a_microcontroller_by_itself() -> None:
    found = ac.predict("mobilenet-v1-0.25-vww", on="stm32f746")
    page = memory_section(found)
    assert "<h3>SRAM</h3>" in page
    assert "<h3>flash</h3>" in page
    assert "288 KiB usable" in page
    assert [store["name"] for store in found.to_json()["stores"]] == ["SRAM", "flash"]


def test_activations_do_not_fit_where_only_flash_has_room() -> None:
    found = ac.predict("mobilenetv1-100", on="stm32g0b1", knobs={**VWW, "image": "224"})
    # 112 x 112 x 24 bytes are 294 KiB, the chip has 144 KiB of SRAM and room in its flash
    assert found.verdict == "infeasible"
    assert found.shortfall_bytes == 112 * 112 * 24 - (144 - 16) * 1024
    assert found.reason.startswith("the SRAM is")
    assert "flash is" not in found.reason


def test_weights_of_a_microcontroller_add_their_time_in_flash() -> None:
    spec = load_device("stm32l4r5")
    slow = spec.memory[0].model_copy(
        update={"bandwidth_bytes_per_s": spec.memory[0].bandwidth_bytes_per_s.model_copy(update={"value": 160e6})}
    )
    halved = spec.model_copy(update={"memory": (slow, *spec.memory[1:])})
    times = [ac.predict("ad-autoencoder", on=on, model="physics").latency_s for on in (spec, halved)]
    assert times[0] is not None
    assert times[1] is not None
    # 264,192 products, one byte each: at 320 MB/s and 90 % they take 0.917 ms, at half the rate twice as long
    assert times[1].value - times[0].value == pytest.approx(264_192 / (320e6 * 0.9), rel=1e-6)


def test_the_edge_tpu_streams_what_does_not_fit_and_nothing_else() -> None:
    small, large = (ac.predict(name, on="edge-tpu", model="physics") for name in ("mobilenet-v2", "resnet-50"))
    assert any("All weights stay on the chip" in note for note in small.notes)
    assert any("of weights come from its host at 440 MB/s" in note for note in large.notes)
    assert large.latency_s is not None
    # 25.6 MB of weights, of which less than 7 MB stay: 18.6 MB at 440 MB/s are 42 ms
    assert large.latency_s.value > (large.memory_parts_bytes["weights"] - 7e6) / (0.5e9 * 0.88)
    steps = {step.name: step.added_s for step in large.explain().steps}
    assert steps["weights"] > 0.5 * large.latency_s.value
    assert "weights" not in {step.name for step in small.explain().steps}


def test_an_arena_beyond_the_chip_of_an_edge_tpu_is_slow_and_no_refusal() -> None:
    found = ac.predict("unet", on="edge-tpu", model="physics")
    assert found.verdict == "feasible"
    assert any("they do not fit, so that they come from its host" in note for note in found.notes)


@given(st.floats(1e3, 3e7))
def test_more_weights_never_take_less_time_or_memory(weights: float) -> None:
    spec = load_device("edge-tpu")
    rates = compile_rates(spec)
    reports = []
    for size in (weights, 1.5 * weights):
        run, lowered = network((copy("a", 1000),), weights=float(int(size)))
        report = placed(memory_of(run, lowered, ONE_DEVICE, rates), spec, rates, run, lowered)
        assert isinstance(report, OnChip)
        reports.append(report)
    less, more = reports
    assert more.kept <= less.kept
    assert more.weights_bytes * (1 - more.kept) >= less.weights_bytes * (1 - less.kept) - 1e-6
    assert np.all(more.total_bytes >= less.total_bytes)


def test_devices_with_one_memory_are_reported_as_before() -> None:
    spec = load_device("h100-sxm")
    rates = compile_rates(spec)
    run, lowered = network((copy("a", 100),))
    report = memory_of(run, lowered, ONE_DEVICE, rates)
    assert placed(report, spec, rates, run, lowered) is report


@pytest.mark.parametrize("name", [n for n in device_ids() if load_device(n).memory[0].read_only])
def test_only_microcontrollers_compute_beside_flash(name: str) -> None:
    spec = load_device(name)
    assert spec.kind == "mcu"
    assert not any(level.read_only for level in spec.memory[1:])


@pytest.mark.parametrize(
    ("used", "capacity", "words"),
    [(212 * 1024, 320 * 1024, "212 of 320 KiB"), (1.1 * 2**20, 2 * 2**20, "1.1 of 2 MiB"),
     (1012 * 1024, 320 * 1024, "1,012 of 320 KiB")],
)  # fmt: skip
def test_bytes_are_told_in_the_unit_of_the_memory(used: float, capacity: float, words: str) -> None:
    assert of_text(used, capacity) == words
