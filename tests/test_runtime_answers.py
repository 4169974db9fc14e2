"""What an answer says of its runtime: the name, the power of both processors, and batches on a small chip."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import archcast as ac
from archcast.render.roofline import roofline
from archcast.render.sections import roofline_section
from foundation.errors import BadFileError, UnknownNameError, UnsupportedError

CATALOGUE = Path(__file__).parents[1] / "hardware_specs" / "catalogue" / "devices"


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


def rate_hz(batch: int, software: str) -> float:
    found = ac.predict("mobilenet-v2", on="edge-tpu", batch=batch, software=software, model="physics")
    assert found.rate_hz is not None
    return found.rate_hz.value


@pytest.mark.parametrize("software", ["", "litert"])
def test_a_doubled_batch_on_the_edge_tpu_never_lowers_the_rate(software: str) -> None:
    rates = [rate_hz(2**n, software) for n in range(7)]
    assert all(after >= before * (1 - 1e-9) for before, after in pairwise(rates))


@pytest.mark.parametrize("batch", [3, 5, 6, 7, 12, 100])
def test_no_batch_is_worse_than_one_input_after_the_other(batch: int) -> None:
    assert rate_hz(batch, "") >= rate_hz(1, "") * (1 - 1e-9)
    assert rate_hz(batch, "litert") == pytest.approx(rate_hz(1, "litert"))


def test_a_compiled_network_of_the_edge_tpu_takes_one_input_and_the_answer_says_so() -> None:
    one, four = (ac.predict("mobilenet-v2", on="edge-tpu", batch=b, software="litert") for b in (1, 4))
    assert any("runs in 4 turns of 1" in note for note in four.notes)
    for name in ("latency_s", "energy_j"):
        assert getattr(four, name).value == pytest.approx(4 * getattr(one, name).value)
    assert four.memory_bytes.value == pytest.approx(one.memory_bytes.value)


def test_an_unknown_runtime_names_the_nearest_and_those_of_the_device() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Unknown software 'tensorrtt'\. Nearest: tensorrt,.*edge-tpu has litert"
    ):
        ac.predict("resnet-50", on="edge-tpu", software="tensorrtt")
    notes = " ".join(ac.predict("resnet-50", on="h100-sxm", software="blah").notes)
    assert "Unknown runtime 'blah'. h100-sxm has" in notes
    assert "vllm 0" not in notes
    learned = " ".join(ac.predict("gpt-2", on="h100-sxm", prompt=16, generate=2, software="vllm 0.19.0").notes)
    assert "Unknown" not in learned


def copied(folder: Path, like: str) -> Path:
    text = (CATALOGUE / "edge-tpu.yaml").read_text(encoding="utf-8").replace("id: edge-tpu", "id: my-v", 1)
    lines = [line for line in text.splitlines() if not line.startswith("aliases")]
    path = folder / "my-v.yaml"
    path.write_text("\n".join([lines[0], *([f"like: {like}"] if like else []), *lines[1:]]) + "\n", encoding="utf-8")
    return path


def test_a_device_of_a_file_takes_the_runtimes_of_the_one_that_it_is_like(tmp_path: Path) -> None:
    mine = ac.predict("mobilenet-v3-large", on=copied(tmp_path, "edge-tpu"), software="litert", model="physics")
    theirs = ac.predict("mobilenet-v3-large", on="edge-tpu", software="litert", model="physics")
    assert mine.latency_s == theirs.latency_s


def test_a_device_of_a_file_without_runtimes_is_told_how_to_have_some(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"there are none .*like: edge-tpu"):
        ac.predict("mobilenet-v2", on=copied(tmp_path, ""), software="litert")
    with pytest.raises(UnknownNameError, match="edge-tpuu"):
        ac.predict("mobilenet-v2", on=copied(tmp_path, "edge-tpuu"), software="litert")


def test_a_network_of_which_nothing_runs_on_the_accelerator_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"does not take the format int4 on rk3588.*rk3588-cpu.*int8"):
        ac.predict("resnet-50", on="rk3588", dtype="int4", software="rknn")


def test_rknn_runs_a_network_on_one_core_and_the_answer_says_so() -> None:
    all_cores = ac.predict("resnet-50", on="rk3588", model="physics")
    one = ac.predict("resnet-50", on="rk3588", model="physics", software="rknn")
    assert any("on 1 of the 3 cores of rk3588" in note for note in one.notes)
    assert one.rate_hz is not None
    assert all_cores.rate_hz is not None
    assert one.rate_hz.value < all_cores.rate_hz.value < 3.001 * one.rate_hz.value
    # 110.1 frames a second on a single core (rknn_model_zoo)
    assert one.rate_hz.lo < 110.1 < one.rate_hz.hi


def test_the_roofline_shows_what_ran_on_the_accelerator_under_the_memory_that_it_read() -> None:
    for name, least in (("mobilenet-v2", 0.0), ("vit-base", 0.5)):
        found = ac.predict(name, on="edge-tpu", software="litert", model="physics")
        assert found.detail is not None
        operators = found.explain().operators
        chart = roofline(found.detail, operators)
        away = {o.name for o in operators if o.elsewhere > 0.5}
        assert chart.elsewhere == len(away) >= least * len(operators)
        assert not away & {dot.name for dot in chart.dots}
        assert chart.elsewhere_share >= least
        page = roofline_section(found.detail, operators)
        assert ("ran on another processor" in page) == (len(away) > 0)
        if chart.dots:
            assert chart.roofs == (("SRAM", 120e9),)
            assert "FLOP per byte of SRAM" in page
    plain = ac.predict("resnet-50", on="h100-sxm", model="physics")
    assert plain.detail is not None
    chart = roofline(plain.detail, plain.explain().operators)
    assert (chart.elsewhere, chart.roofs[0][0]) == (0, "device memory")


@pytest.mark.parametrize("network", ["mobilenet-v1-0.25-vww", "resnet-8", "ds-cnn", "ad-autoencoder"])
@pytest.mark.parametrize("board", ["stm32l4r5", "stm32u575"])
def test_tflite_micro_is_slower_than_the_kernels_of_the_vendor(network: str, board: str) -> None:
    micro, vendor = (ac.predict(network, on=board, software=name).latency_s for name in ("tflite-micro", "x-cube-ai"))
    assert micro is not None
    assert vendor is not None
    assert vendor.value < micro.value < 3 * vendor.value


@pytest.mark.parametrize(("board", "run_w"), [("stm32l4r5", 0.030), ("stm32u575", 0.0183), ("stm32u385", 0.0043)])
def test_a_core_draws_its_run_power_while_it_computes(board: str, run_w: float) -> None:
    for network in ("mobilenet-v1-0.25-vww", "resnet-8"):
        found = ac.predict(network, on=board, model="physics")
        assert found.power_w is not None
        assert found.power_w.value == pytest.approx(run_w, rel=0.1)


def test_a_folder_in_place_of_a_device_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="a folder, not a plain file; name the file in it"):
        ac.predict("mobilenet-v2", on=tmp_path)


def test_a_format_is_the_first_reason_of_a_refusal() -> None:
    with pytest.raises(UnsupportedError, match=r"does not take the format q\d_k on snapdragon-8-elite \('"):
        ac.predict("llama-3.2-1b", on="snapdragon-8-elite", software="qnn", dtype="q4_k_m")


def test_a_runtime_that_lacks_the_format_of_deployment_computes_in_one_that_it_takes() -> None:
    found = ac.predict("mobilenet-v3-large", on="apple-a15", software="onnxruntime", model="physics")
    assert found.request["dtype"] == "fp16"
    assert any("Computed in fp16: " in note for note in found.notes)
    columns = ac.predict_batch(workload="mobilenet-v3-large", on="apple-a15", software="onnxruntime", model="physics")
    assert found.latency_s is not None
    assert columns["latency_s"].tolist() == [found.latency_s.value]
    with pytest.raises(UnsupportedError, match="nothing would run on apple-a15"):
        ac.predict("mobilenet-v3-large", on="apple-a15", software="onnxruntime", dtype="int8")
