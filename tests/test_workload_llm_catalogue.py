"""The catalogue of language models: published parameter counts, names, files, knobs and what is refused."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError
from foundation.formats import number_format
from workloads import Request, lower
from workloads.builders.chain import grouped
from workloads.builders.language.decoder import Decoder
from workloads.catalogue import architecture_facts, load_model, plain_name, workload_names
from workloads.model import Model

LANGUAGE_FAMILIES = {"decoder", "encoder", "encoder-decoder"}
LANGUAGE_MODELS = [n for n in workload_names() if architecture_facts(n)["family"] in LANGUAGE_FAMILIES]


DECODERS = [
    name
    for name in workload_names()
    if architecture_facts(name)["family"] == "decoder" and architecture_facts(name)["domain"] == "language"
]


def test_parameter_counts_are_those_published() -> None:
    """Within 1 % where a paper gives three digits; most are exact."""
    errors = {}
    for name in LANGUAGE_MODELS:
        published = float(architecture_facts(name)["published_parameters"])
        errors[name] = load_model(name).workload(Request()).parameters / published - 1
    worst = max(errors, key=lambda name: abs(errors[name]))
    print(f"worst parameter count: {worst} {errors[worst]:+.3%}")
    assert abs(errors[worst]) < 0.01
    exact = [name for name in DECODERS if errors[name] == 0]
    assert len(exact) >= 110


def half_a_digit(published: float) -> float:
    """Return half a unit of the last digit that is not zero (of 12.9e9: 0.05e9)."""
    text = f"{published:.0f}"
    return 0.5 * 10.0 ** (len(text) - len(text.rstrip("0")))


def test_active_parameters_are_those_published_to_their_last_digit() -> None:
    """Publishers count the input table, the output head, both or neither as active, and round."""
    checked = 0
    for name in DECODERS:
        published = architecture_facts(name).get("published_active_parameters")
        if published:
            checked += 1
            model = load_model(name)
            active = model.workload(Request()).graph.active_parameters
            table = model.knobs()["vocab"] * model.knobs()["hidden"]
            rounding = half_a_digit(float(published))
            assert active - 2 * table - rounding <= float(published) <= active + rounding, (name, active)
    assert checked >= 35


@pytest.mark.parametrize(("name", "published"), [("gpt-oss-20b", 3.61e9), ("gpt-oss-120b", 5.13e9)])
def test_active_parameters_without_the_input_table_are_those_of_the_model_card(name: str, published: float) -> None:
    model = load_model(name)
    active = model.workload(Request()).graph.active_parameters - 201_088 * 2880
    assert round(active / 1e9, 2) * 1e9 == pytest.approx(published)


def kept_bytes(model: Model, tokens: int) -> float:
    """Return the bytes that all layers keep for one sequence of so many tokens."""
    graph = model.workload(Request(prompt=tokens, generate=0)).passes[0].graph
    return sum(
        float(np.ravel(o.state_elements)[0]) * number_format(o.state_dtype or o.dtype).weight_bits / 8 * block.count
        for block in graph.blocks
        for o in block.operators
    )


KV_BYTES: dict[str, int] = {
    "llama-3.1-8b": 2 * 32 * 8 * 128 * 2, "llama-2-7b": 2 * 32 * 4096 * 2, "llama-3.1-405b": 2 * 126 * 8 * 128 * 2,
    "llama-3.1-8b-fp8": 2 * 32 * 8 * 128, "qwen2.5-72b": 2 * 80 * 8 * 128 * 2, "qwen3-235b-a22b": 2 * 94 * 4 * 128 * 2,
    "deepseek-v2-lite": (512 + 64) * 27 * 2, "deepseek-v3": (512 + 64) * 61 * 2, "kimi-k2.5": (512 + 64) * 61 * 2,
    "deepseek-v3-nvfp4": (512 + 64) * 61, "deepseek-v3.2": (512 + 64) * 61 * 2 + (128 + 4) * 61,
    "glm-5": (512 + 64) * 78 * 2 + (128 + 4) * 78, "longcat-flash": (512 + 64) * 28 * 2 * 2,
    "gpt-2": 2 * 12 * 768 * 2, "gpt-3-175b": 2 * 96 * 12288 * 2, "bloom-176b": 2 * 70 * 14336 * 2,
    "palm-540b": 2 * 118 * 256 * 2, "falcon-7b": 2 * 32 * 64 * 2, "falcon-40b": 2 * 60 * 8 * 64 * 2,
    "starcoder": 2 * 40 * 128 * 2, "gemma-3-27b": 2 * 62 * 16 * 128 * 2, "gpt-oss-120b": 2 * 36 * 8 * 64 * 2,
    "minimax-m2.5": 2 * 62 * 8 * 128 * 2, "glm-4.5": 2 * 92 * 8 * 128 * 2, "llama-4-scout": 2 * 48 * 8 * 128 * 2,
    "qwen3-next-80b-a3b": 2 * 12 * 2 * 256 * 2, "qwen3.5-397b-a17b": 2 * 15 * 2 * 256 * 2,
    "jamba-v0.1": 2 * 4 * 8 * 128 * 2, "nemotron-h-56b": 2 * 10 * 8 * 128 * 2, "based-360m": 2 * 5 * 1024 * 2,
    "mamba-2.8b": 0, "mamba-2-2.7b": 0, "rwkv-6-3b": 0, "falcon-mamba-7b": 0,
}  # fmt: skip
"""By hand: keys and values x attention layers x key-value heads x head size x bytes; latents: rank + rotated, x layers;
an indexer adds one FP8 key of 128 with its scale of 4 bytes; a window counts while it fills."""


@pytest.mark.parametrize("name", KV_BYTES)
def test_cache_bytes_per_token_are_those_of_a_hand_formula(name: str) -> None:
    model = load_model(name)
    assert kept_bytes(model, 11) - kept_bytes(model, 10) == KV_BYTES[name]
    assert architecture_facts(name)["published_kv_bytes_per_token"] == KV_BYTES[name]


@pytest.mark.parametrize("name", DECODERS)
def test_cache_bytes_per_token_are_those_stated(name: str) -> None:
    model = load_model(name)
    assert kept_bytes(model, 11) - kept_bytes(model, 10) == architecture_facts(name)["published_kv_bytes_per_token"]


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        ("mamba-2.8b", 1, 64 * 5120 * (16 + 3) * 2),
        ("mamba-2-2.7b", 500, 64 * (80 * 64 * 128 + 3 * (5120 + 2 * 128)) * 2),
        ("rwkv-6-1.6b", 9, 24 * (32 * 64 * 64 * 4 + 2 * 2048 * 2)),
        ("qwen3-next-80b-a3b", 7, 36 * (32 * 128 * 128 * 4 + 3 * 8192 * 2) + 7 * 24576),
        ("jamba-v0.1", 100, 28 * 8192 * (16 + 3) * 2 + 100 * 16384),
        ("nemotron-h-56b", 3, 54 * (256 * 64 * 256 + 3 * (16384 + 2 * 8 * 256)) * 2 + 3 * 40960),
        ("gpt-oss-20b", 10_000, 12 * (128 + 10_000) * 2 * 8 * 64 * 2),
        ("gemma-3-27b", 10_000, (10 * 10_000 + 52 * 1024) * 2 * 16 * 128 * 2),
        ("mistral-7b", 10_000, 4096 * 131_072),
        ("based-360m", 2000, (5 * 64 * 2 * 1024 + 5 * 16 * 64 * 273 + 17 * 2 * 2048) * 2),
    ],
)
def test_states_and_windows_are_bounded_as_by_hand(name: str, tokens: int, expected: int) -> None:
    assert kept_bytes(load_model(name), tokens) == expected


MEASURED: dict[str, str] = {
    "aiconfigurator/silicon_sample_e2e.csv.gz": "model_path", "argonne_llm_inference_bench/all_results.csv.gz": "Model",
    "argonne_llm_inference_bench/power_results.csv": "Model", "ibm_llm_pilot/llm_features.csv": "model",
    "helm_idealized/idealized_runtimes.csv": "model", "ml_energy/v2_results.csv.gz": "Model",
    "ml_energy/v3_configurations.csv.gz": "model_id", "simumax/b200_cases.csv": "model",
    "llm_edge/geerling_tokens_per_s.csv.gz": "model", "splitwise_sim/perf_model.csv": "model",
    "inferencex_token_position/decode_slo.csv": "model_id", "vidur/mlp_ms.csv.gz": "model",
}  # fmt: skip
"""Measured tables of language models, and their columns of names."""

LEFT_OUT: dict[str, str] = {
    "deci/decilm-7b": "its key-value heads differ from layer to layer, in a list that is not at hand",
    "ai21/j1-grande": "its shape is not published", "openai/ada": "its shape is not published",
    "openai/curie": "its shape is not published", "cohere/xlarge-20220609": "its shape is not published",
    "anthropic/stanford-online-all-v4-s3": "its shape is not published",
    "microsoft/tnlgv2-7b": "its shape is not published", "together/yalm": "factored embeddings, which no builder has",
    "bigscience/mt0-xxl": "an encoder-decoder", "google/flan-t5-xl": "an encoder-decoder",
    "google/flan-t5-xxl": "an encoder-decoder", "google/flan-ul2": "an encoder-decoder",
}  # fmt: skip
OTHER_DOMAIN = re.compile(
    "i2vgen|animatediff|video|diffusion|kandinsky|journey|ssd-1b|sdxl|sana|pixart|hunyuan|wan2|flux|cogvideo|chameleon|llava|vl-|"
    "vision|omni"
)
"""Names of what is no language model: image and video generators, models that see or hear."""


@pytest.mark.parametrize("file", MEASURED)
def test_every_measured_language_model_is_in_the_catalogue_or_left_out_for_a_reason(
    file: str, shared_data: Path
) -> None:
    path = shared_data / file
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as table:
        named = {row[MEASURED[file]] for row in csv.DictReader(table)}
    assert named
    for name in named:
        plain = plain_name(name)
        if plain in LEFT_OUT or OTHER_DOMAIN.search(plain):
            continue
        assert load_model(name).workload(Request()).parameters > 0


def test_every_model_of_the_end_to_end_rows_is_in_the_catalogue(shared_data: Path) -> None:
    with gzip.open(shared_data / "aiconfigurator" / "silicon_sample_e2e.csv.gz", "rt") as table:
        named = {row["model_path"] for row in csv.DictReader(table)}
    assert len(named) == 15
    assert all(load_model(name).family == "decoder" for name in named)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_every_architecture_names_its_source_and_lowers_to_whole_operators(name: str) -> None:
    facts = architecture_facts(name)
    assert facts["source"]
    model = load_model(name)
    assert not lower(model.workload(Request()).passes).table.faults()
    assert model.summary()["parameters"] > 0
    for alias in facts.get("aliases", ()):
        assert load_model(alias) == model


def test_an_unknown_name_offers_the_three_nearest() -> None:
    with pytest.raises(UnknownNameError) as error:
        load_model("lama-3.1-8")
    assert error.value.kind == "workload"
    assert error.value.nearest[0] in ("llama-3.1-8b", "llama3.1-8b")
    assert len(error.value.nearest) == 3


@pytest.mark.parametrize("name", ["../secrets", "", ".", "llama-3.1-8b/", "architectures/llama-3.1-8b", "\0"])
def test_a_name_never_reaches_outside_the_catalogue(name: str) -> None:
    with pytest.raises(ArchcastError):
        load_model(name)


def test_knobs_change_a_model_and_text_is_understood() -> None:
    model = load_model("llama-3.1-8b", {"layers": "16", "mixers": "window*3,attention", "qk_norm": "true"})
    knobs = model.knobs()
    assert (knobs["layers"], knobs["qk_norm"]) == (16, True)
    assert knobs["mixers"] == ("window", "window", "window", "attention")
    assert [(b.name, b.count, len(b.operators)) for b in model.workload(Request()).graph.blocks][1][1] == 4


def test_an_unknown_knob_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Nearest: layers"):
        load_model("llama-3.1-8b", {"layer": 3})


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("layers", 0), ("layers", -3), ("layers", "many"), ("layers", 1.5), ("layers", 10**9), ("hidden", 10**8),
        ("hidden", float("nan")), ("hidden", float("inf")), ("hidden", True), ("heads", 0), ("heads", 3),
        ("kv_heads", 5), ("sparse_density", 0), ("sparse_density", 1.5), ("skew", float("nan")), ("tied", "maybe"),
        ("mixers", ""), ("mixers", "attention*20000"), ("mixers", ["attention"] * 33), ("dtype", 4),
        ("ffns", "moe"), ("vocab", -1),
    ],
)  # fmt: skip
def test_impossible_knobs_are_refused_with_their_name(knob: str, value: object) -> None:
    with pytest.raises(ArchcastError) as error:
        load_model("llama-3.1-8b", {knob: value})
    assert error.value.exit_code == 2
    assert knob in str(error.value) or knob == "ffns"


@pytest.mark.parametrize(
    "request_",
    [
        Request(batch=0), Request(batch=-1), Request(batch=float("nan")), Request(prompt=0), Request(prompt=1.5),
        Request(generate=-1), Request(prompt=float("inf")), Request(prompt=10**13), Request(batch="two"),  # type: ignore[arg-type]
        Request(batch=np.ones((2, 2))), Request(batch=np.ones(2), prompt=np.ones(3)),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused(request_: Request) -> None:
    with pytest.raises(BadValueError):
        load_model("llama-3.1-8b").workload(request_)


def test_a_request_longer_than_the_context_is_noted_and_one_longer_than_a_table_refused() -> None:
    notes = load_model("llama-3.1-8b").workload(Request(prompt=200_000)).notes
    assert len(notes) == 1
    assert "131,072" in notes[0]
    with pytest.raises(BadValueError, match="1,024"):
        load_model("gpt-2").workload(Request(prompt=1000, generate=100))
    assert load_model("gpt-2").defaults["prompt"] + load_model("gpt-2").defaults["generate"] == 1024


def test_an_architecture_file_of_ones_own_becomes_a_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("family: decoder\nknobs:\n  layers: 2\n  hidden: 64\n  heads: 4\n  inter: 128\n  vocab: 100\n")
    model = load_model(file)
    assert model.name == "mine"
    per_layer = 4 * 64 * 64 + 3 * 64 * 128 + 2 * 64
    assert model.workload(Request()).parameters == 2 * per_layer + 2 * 100 * 64 + 64


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("family: decoder\nknobs:\n  layers: -2\n", 3, "knobs.layers"),
        ("family: decoder\nknobs:\n  layer: 2\n", 3, "knobs.layer"),
        ("family: decoders\n", 1, "family"),
        ("family: decoder\nknob:\n  layers: 2\n", 2, "knob"),
        ("family: decoder\nknobs: [1]\n", 2, "knobs"),
        ("family: [decoder]\n", 1, "family"),
        ("family: decoder\nknobs:\n  heads: 32\n  kv_heads: 5\n", 4, "knobs.kv_heads"),
    ],
)
def test_a_faulty_architecture_file_is_refused_with_line_and_key(
    tmp_path: Path, text: str, line: int, key: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(BadFileError) as error:
        load_model(file)
    assert (error.value.line, error.value.key) == (line, key)


def test_a_file_that_no_importer_reads_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"\x80\x04")
    with pytest.raises(BadFileError, match=r"\.onnx"):
        load_model(file)


def test_another_package_can_read_a_file_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from workloads.importers.base import ENTRY_POINTS, Importer

    class Entry:
        name = "text"

        def load(self) -> Importer:
            return Importer("text", (".txt",), "workloads.importers.huggingface:load_huggingface")

    def entry_points(group: str) -> list[Entry]:
        assert group == ENTRY_POINTS
        return [Entry()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    file = tmp_path / "model.txt"
    fixture = Path(__file__).parent / "fixtures" / "huggingface" / "gpt2.json"
    file.write_text(fixture.read_text())
    assert load_model(file).workload(Request()).parameters == 124_439_808


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_groups_of_layers_spell_out_the_list_again(layers: list[str]) -> None:
    spelled, start = [], 0
    for period, count in grouped(layers):
        pattern = layers[start : start + period]
        spelled += pattern * count
        start += period * count
    assert spelled == layers


def test_patterns_of_layers_become_one_block_with_a_count() -> None:
    assert grouped(["a"] * 80) == [(1, 80)]
    assert grouped(["w", "a"] * 21) == [(2, 21)]
    assert grouped(["d"] * 3 + ["m"] * 58) == [(1, 3), (1, 58)]
    assert grouped((["w"] * 5 + ["a"]) * 10 + ["w"] * 2) == [(6, 10), (1, 2)]


def test_dense_layers_come_first_in_a_mixture_of_experts() -> None:
    model = Decoder.from_knobs("m", {"layers": 4, "ffns": "moe", "experts": 8, "first_k_dense": 1})
    assert [ffn for _, ffn in model.layer_list()] == ["dense", "moe", "moe", "moe"]


def test_encoder_decoder_prefill_encodes_and_yields_the_first_token() -> None:
    workload = load_model("t5-large").workload(Request(batch=2, prompt=64, generate=5))
    prefill, decode = workload.passes
    assert [b.name for b in prefill.graph.blocks] == ["embed", "encoder", "encoder_norm", "decoder", "head"]
    assert [b.name for b in decode.graph.blocks] == ["embed", "decoder", "head"]
    assert np.sum(decode.times) == 4
    kept = {o.name: float(np.ravel(o.state_elements)[0]) for o in prefill.graph.blocks[3].operators}
    assert kept["cross_attention"] == 2 * 64 * 2 * 16 * 64
    assert kept["attention"] == 2 * 5 * 2 * 16 * 64


def test_an_encoder_sees_every_pair_and_keeps_nothing() -> None:
    workload = load_model("bert-large").workload(Request(batch=3, prompt=128))
    (forward,) = workload.passes
    lowered = lower([forward])
    assert forward.name == "forward"
    assert not any(np.any(o.state_elements) for b in forward.graph.blocks for o in b.operators)
    from workloads import count_work

    at = lowered.table.labels.index("attention")
    assert count_work(lowered.table).matrix_flop[at] == 2 * 128 * 128 * 2 * 64 * 16 * 3


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "mamba-2.8b", "bert-large", "t5-large"])
def test_a_training_step_goes_forward_and_back(name: str) -> None:
    workload = load_model(name).workload(Request(batch=1, prompt=128, mode="train"))
    assert [p.name for p in workload.passes][:2] == ["forward", "backward"]
    assert workload.parameters == load_model(name).workload(Request()).parameters


def test_the_architecture_on_the_documentation_page_has_the_parameters_it_states(
    repository: Path, tmp_path: Path
) -> None:
    page = (repository / "docs" / "workloads.md").read_text()
    text = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    file = tmp_path / "tiny-hybrid.yaml"
    file.write_text(text)
    workload = load_model(file).workload(Request())
    assert workload.parameters == int(text.split("published_parameters: ")[1].split()[0])
    assert [(b.name, b.count) for b in workload.graph.blocks] == [("embed", 1), ("layers", 4), ("head", 1)]


def test_every_knob_of_the_decoder_is_on_the_documentation_page(repository: Path) -> None:
    page = (repository / "docs" / "workloads.md").read_text().replace("`", " ").split()
    assert set(Decoder.from_knobs("m", {}).knobs()) - set(page) == set()
