"""Networks that generate images and video: counts as published, what a request is made of, what knobs change."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast import predict
from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.generative.transformer import TransformerDiffusion
from workloads.builders.generative.unet import UNetDiffusion
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.graph import Pass, Workload
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.work import count_work

GENERATIVE = [name for name in workload_names() if architecture_facts(name)["domain"] == "generative"]

REFERENCE: dict[tuple[str, str], tuple[int, int]] = {
    ("stable-diffusion-1.5", "denoiser"): (859_520_964, 401_636_720_640),
    ("stable-diffusion-2.1-base", "denoiser"): (865_910_724, 402_128_732_160),
    ("sdxl", "denoiser"): (2_567_463_684, 3_380_618_199_040),
    ("koala-1b", "denoiser"): (1_161_184_324, 1_715_914_178_560),
    ("koala-700m", "denoiser"): (782_822_724, 1_350_757_416_960),
    ("stable-diffusion-1.5", "decoder"): (49_490_199, 1_257_259_466_752),
    ("stable-diffusion-1.5", "encoder"): (34_163_664, 558_329_233_408),
    ("flux-1-dev", "decoder"): (49_545_475, 5_236_102_004_736),
    ("flux-1-dev", "denoiser"): (11_901_408_320, 37_192_326_709_248),
    ("stable-diffusion-3-medium", "denoiser"): (2_028_328_000, 4_452_168_769_536),
    ("stable-diffusion-3.5-large", "denoiser"): (8_056_627_520, 15_560_557_453_824),
    ("pixart-alpha", "denoiser"): (611_349_152, 3_254_761_783_296),
    ("pixart-alpha-512", "denoiser"): (610_856_096, 617_992_962_048),
    ("cogvideox-2b", "denoiser"): (1_693_783_872, 59_998_655_709_184),
    ("wan-2.1-1.3b", "denoiser"): (1_418_996_800, 141_500_893_888_512),
    ("wan-2.1-14b", "denoiser"): (14_288_491_584, 839_185_141_596_160),
}
"""Parameters and multiply-adds, attention products counted, of the networks as diffusers 0.42 builds them from their
configs, counted by torch.utils.flop_counter on the meta device at the default sizes."""

VIDEO: dict[tuple[str, str], tuple[int, int]] = {
    ("wan-2.1-1.3b", "decoder"): (73_295_603, 160_382_631_936),
    ("wan-2.1-1.3b", "encoder"): (53_596_928, 95_609_487_360),
    ("cogvideox-2b", "decoder"): (123_368_451, 348_163_932_160),
    ("cogvideox-2b", "encoder"): (92_215_456, 170_718_134_272),
}
"""The same of the autoencoders of video, 9 frames of 64 x 64 pixels."""

TEXT = {
    "clip-l": (123_060_480, 6_649_251_840),
    "clip-l-projected": (123_650_304, 6_649_841_664),
    "clip-h": (340_387_840, 22_563_616_768),
    "open-clip-bigg": (694_659_840, 48_931_553_280),
    "t5-xxl@512": (4_762_310_656, 2_422_361_554_944),
    "umt5-xxl": (5_680_910_336, 2_422_361_554_944),
}
"""The same of the text encoders, as transformers 5.23 builds them; its causal attention computes masked pairs too."""

SMALL: dict[str, Any] = {
    "widths": (32, 64), "layers": 1, "depths": (0, 1), "heads": 2, "mid": False, "text_width": 16, "text": "none",
    "image": 64, "vae_widths": (8, 8), "text_tokens": 7,
}  # fmt: skip


def macs(workload: Workload, name: str = "") -> float:
    passes = tuple(run for run in workload.passes if name in ("", run.name))
    table = lower(passes).table
    return float((count_work(table).macs * table.full("count")).sum())


def pass_of(workload: Workload, name: str) -> Pass:
    return next(run for run in workload.passes if run.name == name)


def times(run: Pass) -> float:
    return float(np.asarray(run.times))


def small(**changes: Any) -> Model:
    return UNetDiffusion.from_knobs("small", SMALL | changes)


@pytest.mark.parametrize("name", GENERATIVE)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    facts, summary = architecture_facts(name), load_model(name).summary()
    assert facts["published_source" if "unet" in facts["family"] else "source"]
    assert summary["parameters"] == pytest.approx(facts["published_parameters"], rel=0.005)
    if "published_macs" in facts:
        assert summary["macs"] == pytest.approx(facts["published_macs"], rel=0.005)


@pytest.mark.parametrize(("name", "part"), REFERENCE)
def test_networks_agree_with_the_reference_library_to_the_last_parameter(name: str, part: str) -> None:
    parameters, products = REFERENCE[name, part]
    summary = load_model(name, {"part": part}).summary()
    assert summary["parameters"] == parameters
    assert summary["macs"] == pytest.approx(products, rel=1e-6)


@pytest.mark.parametrize(("name", "part"), VIDEO)
def test_video_autoencoders_agree_with_the_reference_library(name: str, part: str) -> None:
    parameters, products = VIDEO[name, part]
    summary = load_model(name, {"part": part, "frames": 9, "height": 64, "width": 64}).summary()
    assert summary["parameters"] == parameters
    # the first chunk of Wan's leaves out the convolutions over time, which have nothing to see there
    assert summary["macs"] == pytest.approx(products, rel=0.002)


@pytest.mark.parametrize("text", TEXT)
def test_text_encoders_agree_with_the_reference_library(text: str) -> None:
    parameters, products = TEXT[text]
    summary = load_model("sdxl", {"part": "text", "text": text}).summary()
    assert summary["parameters"] == parameters
    assert summary["macs"] == pytest.approx(products, rel=0.01)


def test_a_text_encoder_can_be_written_out() -> None:
    named = load_model("sdxl", {"part": "text", "text": "clip-l"}).summary()
    written = load_model("sdxl", {"part": "text", "text": "clip:12x768x12x3072x49408@77"}).summary()
    assert (written["parameters"], written["macs"]) == (named["parameters"], named["macs"])


def test_a_small_unet_has_the_parameters_that_a_hand_counts() -> None:
    def conv(c_in: int, c_out: int, kernel: int = 3) -> int:
        return c_in * c_out * kernel**2 + c_out

    def residual(c_in: int, c_out: int) -> int:
        shortcut = conv(c_in, c_out, 1) if c_in != c_out else 0
        return 2 * c_in + conv(c_in, c_out) + conv(128, c_out, 1) + 2 * c_out + conv(c_out, c_out) + shortcut

    attention = 3 * 64 * 64 + 64 * 65
    cross = 64 * 64 + 2 * 16 * 64 + 64 * 65
    layer = 3 * 2 * 64 + attention + cross + 65 * 512 + 257 * 64
    transformer = 2 * 64 + 2 * 64 * 65 + layer
    time = 33 * 128 + 129 * 128
    down = residual(32, 32) + conv(32, 32) + residual(32, 64) + transformer
    up = residual(64 + 64, 64) + transformer + residual(64 + 32, 64) + transformer + conv(64, 64)
    up += residual(64 + 32, 32) + residual(32 + 32, 32)
    by_hand = time + conv(4, 32) + down + up + 2 * 32 + conv(32, 4)
    assert small(part="denoiser").summary()["parameters"] == by_hand


def test_a_request_encodes_once_denoises_every_step_and_decodes_once() -> None:
    whole = load_model("sdxl", {"steps": 30}).workload(Request())
    assert [run.name for run in whole.passes] == ["text", "denoise", "image"]
    assert [times(run) for run in whole.passes] == [1, 30, 1]
    one = {part: load_model("sdxl", {"part": part}).summary()["macs"] for part in ("text", "denoiser", "decoder")}
    # guidance: the prompt and the empty prompt, in one batch
    assert macs(whole) == pytest.approx(2 * one["text"] + 30 * 2 * one["denoiser"] + one["decoder"])
    plain = load_model("sdxl", {"steps": 30, "guidance": False}).workload(Request())
    assert macs(plain) == pytest.approx(one["text"] + 30 * one["denoiser"] + one["decoder"])


def test_what_is_held_is_every_network_once_however_many_steps() -> None:
    sizes = {steps: load_model("sdxl", {"steps": steps}).workload(Request()).parameters for steps in (1, 50)}
    assert sizes[1] == sizes[50] == 2_567_463_684 + 123_060_480 + 694_659_840 + 49_490_199


def test_turbo_is_the_same_network_with_one_step() -> None:
    assert load_model("sdxl-turbo").summary()["parameters"] == load_model("sdxl").summary()["parameters"]
    assert load_model("sdxl-turbo").summary()["macs"] < load_model("sdxl").summary()["macs"] / 100


@pytest.mark.parametrize("device", ["tesla-p4", "rx-7600"])
@pytest.mark.parametrize("vae_dtype", ["tf32", "fp16"])
def test_sdxl_does_not_fit_8_gib_and_koala_does(device: str, vae_dtype: str) -> None:
    """Whole requests in fp16 at 1024 pixels with all networks held; the VAE in fp32 as published, or repaired."""
    knobs = {"vae_dtype": vae_dtype}
    verdicts = {
        name: str(predict(name, on=device, dtype="fp16", knobs=knobs).verdict)
        for name in ("sdxl", "koala-1b", "koala-700m")
    }
    assert verdicts == {"sdxl": "infeasible", "koala-1b": "feasible", "koala-700m": "feasible"}


def test_koala_removes_the_share_of_the_unet_that_its_paper_states() -> None:
    unet = {name: load_model(f"{name}-unet").summary()["parameters"] for name in ("sdxl", "koala-1b", "koala-700m")}
    assert 1 - unet["koala-1b"] / unet["sdxl"] == pytest.approx(0.54, abs=0.01)
    assert 1 - unet["koala-700m"] / unet["sdxl"] == pytest.approx(0.69, abs=0.01)


def test_koala_is_sdxl_with_blocks_removed_by_knobs() -> None:
    changes = {"layers": 1, "depths": [0, 2, 5], "mid": False, "part": "denoiser"}
    removed, koala = load_model("sdxl", changes).summary(), load_model("koala-700m-unet").summary()
    assert (removed["parameters"], removed["macs"]) == (koala["parameters"], koala["macs"])


@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "flux-1-dev", "wan-2.1-1.3b"])
def test_cheap_steps_run_a_part_of_the_denoiser_and_hold_nothing_twice(name: str) -> None:
    full = load_model(name).workload(Request())
    mixed = load_model(name, {"reuse_share": 0.8, "reuse_depth": 2}).workload(Request())
    steps = load_model(name).knobs()["steps"]
    calls = 2 if load_model(name).knobs()["guidance_apart"] else 1
    assert times(pass_of(mixed, "denoise")) == calls * (steps - round(0.8 * steps))
    assert times(pass_of(mixed, "denoise-cheap")) == calls * round(0.8 * steps)
    assert mixed.parameters == full.parameters
    assert macs(mixed) < 0.6 * macs(full)
    assert sum(np.max(o.state_elements) for b in mixed.distinct_blocks() for o in b.operators) > sum(
        np.max(o.state_elements) for b in full.distinct_blocks() for o in b.operators
    )


def test_a_cheap_step_of_all_layers_is_a_full_step() -> None:
    mixed = load_model("stable-diffusion-1.5", {"reuse_share": 0.5, "reuse_depth": 12}).workload(Request())
    assert macs(mixed, "denoise-cheap") == pytest.approx(macs(mixed, "denoise"))


@settings(max_examples=12, deadline=None)
@given(depth=st.integers(1, 4))
def test_deeper_reuse_never_costs_less(depth: int) -> None:
    knobs = {"reuse_share": 0.5, "steps": 4}
    shallow = macs(small(**knobs, reuse_depth=depth).workload(Request()), "denoise-cheap")
    deep = macs(small(**knobs, reuse_depth=depth + 1).workload(Request()), "denoise-cheap")
    assert shallow <= deep


def test_merging_tokens_saves_work_of_the_largest_attention_and_no_parameters() -> None:
    whole = load_model("stable-diffusion-1.5-unet").summary()
    merged = load_model("stable-diffusion-1.5-unet", {"token_merge": 0.5}).summary()
    assert merged["parameters"] == whole["parameters"]
    # 5 layers over 4096 tokens of 320: a quarter of the pairs, half of the projections, and the matching
    pairs = 2 * 320 * (4096**2 - 2048**2)
    projections = 4 * 320**2 * 2048
    matching = 320 * 3072 * 1024
    assert whole["macs"] - merged["macs"] == pytest.approx(5 * (pairs + projections - matching))


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.integers(1, 64), min_size=1, max_size=4))
def test_many_batches_at_once_are_what_each_is_alone(batches: list[int]) -> None:
    for model in (small(), TransformerDiffusion.from_knobs("dit", {"layers": "plain*2", "image": 32, "text": "none"})):
        together = lower(model.workload(Request(batch=np.array(batches, float))).passes)
        work = count_work(together.table).macs * together.table.full("count")
        for index, batch in enumerate(batches):
            alone = macs(model.workload(Request(batch=batch)))
            assert work[together.scenario == index].sum() == pytest.approx(alone)


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(1, 200), share=st.floats(0, 0.99))
def test_full_and_cheap_steps_add_up(steps: int, share: float) -> None:
    whole = small(steps=steps, reuse_share=share).workload(Request())
    done = [times(run) for run in whole.passes if run.name.startswith("denoise")]
    assert sum(done) == steps
    assert done[0] >= 1


@pytest.mark.parametrize(("name", "frames"), [("wan-2.1-1.3b", 81), ("cogvideox-2b", 49), ("wan-2.1-1.3b", 1)])
def test_a_video_is_decoded_in_chunks_that_make_all_its_frames(name: str, frames: int) -> None:
    model = load_model(name, {"frames": frames, "part": "decoder"})
    made = 0.0
    for run in model.workload(Request()).passes:
        last = run.graph.blocks[-1].operators[-1]
        made += times(run) * float(last.shape["batch"])
    assert made == frames


def test_video_tokens_are_patches_of_latent_frames() -> None:
    model = load_model("wan-2.1-1.3b")
    assert isinstance(model, TransformerDiffusion)
    assert model.image_tokens == 21 * 30 * 52


def test_training_is_a_step_of_the_denoiser() -> None:
    trained = load_model("stable-diffusion-1.5").workload(Request(mode="train"))
    assert [run.name for run in trained.passes] == ["forward", "backward", "optimizer"]
    assert trained.parameters == 859_520_964
    assert any("denoiser" in note for note in trained.notes)
    # every product has two in the backward pass; the attention kernel also makes its scores again
    assert 2.0 < macs(trained, "backward") / macs(trained, "forward") < 2.1


def test_a_transformer_is_divided_over_devices() -> None:
    graphs = load_model("flux-1-dev-transformer").workload(Request()).passes
    from workloads.mapping import Mapping

    one, four = (lower(graphs, Mapping(tp=tp)).table for tp in (1, 4))
    work = [float((count_work(t).macs * t.full("count")).sum()) for t in (one, four)]
    assert work[0] / work[1] == pytest.approx(4, rel=0.01)  # modulations and embeddings are not divided


def test_the_unet_holds_the_maps_that_its_way_up_reads() -> None:
    """One block: what the way down leaves is alive until the way up has read it."""
    blocks = load_model("stable-diffusion-1.5-unet").workload(Request()).passes[0].graph.blocks
    assert len(blocks) == 1
    joins = [o for o in blocks[0].operators if o.name.endswith(".join")]
    assert len(joins) == 12
    assert [o.inputs[1].split(".")[0] for o in joins][-2:] == ["down0", "in"]


def test_guidance_in_a_call_of_its_own_is_the_same_work_in_half_the_batch() -> None:
    together, apart = (small(steps=6, guidance_apart=apart).workload(Request(batch=3)) for apart in (False, True))
    assert macs(apart) == pytest.approx(macs(together))
    assert times(pass_of(apart, "denoise")) == 2 * times(pass_of(together, "denoise"))
    kept = [
        sum(
            np.max(o.state_elements)
            for b in small(reuse_share=0.5, guidance_apart=apart).workload(Request(batch=3)).distinct_blocks()
            for o in b.operators
        )
        for apart in (False, True)
    ]
    assert kept[0] == kept[1] > 0  # the map of either prompt


def test_decoding_one_image_at_a_time_is_the_same_work() -> None:
    at_once, apart = (small(vae_batch=size).workload(Request(batch=6)) for size in (0, 2))
    assert macs(apart) == pytest.approx(macs(at_once))
    assert times(pass_of(apart, "image")) == 3


def measured() -> list[tuple[str, str, float, dict[str, Any], float]]:
    """Return (network, device, batch, knobs, seconds) of image and video requests on one GPU, batches of 4 and more."""
    folder = Path(os.environ.get("ARCHCAST_DATA", str(ROOT.parent / "shared" / "data"))) / "ml_energy"
    if not folder.is_dir():
        pytest.skip("no measured data: set ARCHCAST_DATA to the folder that holds ml_energy/")
    devices = {"NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb", "H100": "h100-sxm"}
    found = []
    with gzip.open(folder / "v2_results.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["Model"] in MEASURED and row["Batch size"] == "4.0":
                knobs = {"steps": int(float(row["Denoising steps"])), **MEASURED[row["Model"]]}
                found.append((row["Model"], devices[row["GPU"]], 4.0, knobs, float(row["Batch latency (s)"])))
    with gzip.open(folder / "v3_configurations.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model_id"] in MEASURED and row["num_gpus"] == "1" and row["batch_size"] == "4.0":
                knobs = {"steps": int(float(row["inference_steps"])), **MEASURED[row["model_id"]]}
                found.append((row["model_id"], devices[row["gpu_model"]], 4.0, knobs, float(row["batch_latency_s"])))
    return found


MEASURED: dict[str, dict[str, Any]] = {
    "stabilityai/stable-diffusion-2-1": {},
    "stabilityai/stable-diffusion-xl-base-1.0": {},
    "stabilityai/stable-diffusion-3-medium-diffusers": {},
    "stabilityai/stable-diffusion-3.5-large": {},
    "black-forest-labs/FLUX.1-dev": {},
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": {},
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": {},
    "zai-org/CogVideoX-2b": {"vae_batch": 1},
}
"""Networks of the table, and what its runs must have had other than the defaults to fit."""


def test_one_factor_of_the_software_explains_what_all_generators_took() -> None:
    """The counts are right if measured over predicted time is the same for every network on a device.

    The factor itself (1.4 on A100, 1.8 on H100: diffusers without compilation) is the cost model's to calibrate.
    """
    rows = measured()
    assert len(rows) >= 10
    ratios: dict[str, list[float]] = {}
    for name, device, batch, knobs, seconds in rows:
        predicted = predict(name, on=device, batch=int(batch), knobs=knobs).latency_s
        assert predicted is not None
        ratios.setdefault(device, []).append(seconds / predicted.value)
    for found in ratios.values():
        centre = float(np.exp(np.mean(np.log(found))))
        assert all(abs(np.log(ratio / centre)) < np.log(1.2) for ratio in found), ratios


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("sdxl", {"image": 1000}, "multiples of 32 pixels"),
    ("sdxl", {"image": 500}, "496"),
    ("sdxl", {"heads": 7}, "does not divide the 320"),
    ("sdxl", {"widths": [320, 640]}, "one for each of the 2"),
    ("sdxl", {"up_layers": 5}, "must be 3"),
    ("sdxl", {"text_tokens": 0}, "at least 1"),
    ("sdxl", {"text": "clip-l@78"}, "77 positions"),
    ("sdxl", {"text": "clip:12x768x7x3072x49408"}, "do not divide 768"),
    ("sdxl", {"text": "clip:0x768x7x3072x49408"}, "is written like"),
    ("sdxl", {"text": "t6-xxl"}, "Nearest: t5-xxl"),
    ("dit-xl-2", {"part": "text"}, "no text encoder"),
    ("wan-2.1-1.3b", {"frames": 80}, "e.g. 81"),
    ("wan-2.1-1.3b", {"latent_channels": 4}, "makes latent_channels=16"),
    ("flux-1-dev", {"frames": 5}, "needs a video_vae"),
    ("flux-1-dev", {"layers": "joint,plain"}, "mixes kinds"),
    ("flux-1-dev", {"heads": 7}, "does not divide hidden=3072"),
    ("flux-1-dev", {"vector_widths": [1, 2, 3]}, "3 entries for 2 vectors"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD)
def test_what_no_network_can_have_is_refused_in_a_sentence(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=message):
        load_model(name, changes).workload(Request())


def table_row(name: str) -> str:
    """Return the row that the page's table has for a network: parameters, one evaluation and a request, GMAC."""
    whole = load_model(name, {"part": "all"})
    one = load_model(name, {"part": "denoiser"}).summary()
    request = whole.summary()
    millions = [f"{count['parameters'] / 1e6:,.1f}" for count in (one, request)]
    return f"| `{name}` | {millions[0]} | {one['macs'] / 1e9:,.1f} | {millions[1]} | {request['macs'] / 1e12:,.1f} |"


@pytest.mark.parametrize("name", [n for n in GENERATIVE if not n.endswith(("-unet", "-transformer", "-vae"))])
def test_the_page_on_generators_has_the_counts_of_each(name: str) -> None:
    assert table_row(name) in (ROOT / "docs" / "generative.md").read_text(encoding="utf-8")
