"""Real `config.json` files become the same models as the catalogue's; hostile ones are refused with their place."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadFileError, UnknownNameError
from workloads import Request, lower
from workloads.catalogue import load_model
from workloads.importers.huggingface import ARCHITECTURES, load_huggingface

FIXTURES = Path(__file__).parent / "fixtures" / "huggingface"

PUBLISHED: dict[str, int] = {
    "llama-3.1-8b": 8_030_261_248, "mistral-7b-v0.1": 7_241_732_096, "mixtral-8x7b-v0.1": 46_702_792_704,
    "qwen2.5-7b": 7_615_616_512, "qwen3-8b": 8_190_735_360, "qwen3-30b-a3b": 30_532_122_624,
    "deepseek-v3": 671_026_404_352, "deepseek-v2-lite": 15_706_484_224, "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984, "phi-3-mini-4k": 3_821_079_552, "gpt2": 124_439_808,
    "bert-large-uncased": 335_174_458, "t5-large": 737_668_096, "mamba-2.8b": 2_768_345_600,
    "falcon-7b": 6_921_720_704, "gpt-oss-20b": 20_914_757_184, "opt-6.7b": 6_658_473_984, "bloom-7b1": 7_069_016_064,
    "gpt-j-6b": 6_050_882_784, "codegen2-16b": 16_032_155_648, "gpt-neox-20b": 20_554_567_680, "phi-2": 2_779_683_840,
    "falcon-40b": 41_303_293_952, "starcoder": 15_517_456_384, "starcoder2-15b": 15_957_889_024,
    "mpt-7b": 6_649_286_656, "mamba-2-2.7b": 2_702_599_680, "falcon-mamba-7b": 7_272_665_088,
    "jamba-v0.1": 51_570_323_328, "qwen3-next-80b-a3b": 79_674_391_296, "glm-4.5": 352_797_814_784,
    "gemma-3-1b": 999_885_952, "gemma-3-4b": 3_880_263_168, "minimax-m2.5": 228_689_748_992,
    "qwen3.5-397b-a17b": 396_346_350_336, "qwen3.5-27b": 26_895_998_464, "glm-5": 743_911_199_232,
    "kimi-k2.5": 1_026_408_209_408, "deepseek-v3.2": 671_877_929_216, "nemotron-h-56b": 56_324_350_464,
    "nemotron-3-nano-30b-a3b": 31_577_937_344, "llama-4-scout": 107_769_861_120,
}  # fmt: skip
"""Parameters of the library's module (transformers 5.23, text part, on the meta device) for that very file."""

FROM_PAPERS = {"longcat-flash": 560e9, "rwkv-6-1.6b": 1.60e9}
"""Those whose module in the library is another (zero experts with weights) or absent: as their papers state them."""

SAME_AS_CATALOGUE = {
    "mixtral-8x7b-v0.1": "mixtral-8x7b", "mistral-7b-v0.1": "mistral-7b", "bloom-7b1": "bloom-7b", "gpt2": "gpt-2"
}  # fmt: skip
OTHER_FORMAT = ("bert-large-uncased", "gemma-2-9b", "mamba-2.8b")
"""Files that state another number format, or another head, than the catalogue's entry."""


def config(tmp_path: Path, changes: dict[str, Any], base: str = "llama-3.1-8b") -> Path:
    """Write a fixture with some keys changed (None deletes) and return its path."""
    data = json.loads((FIXTURES / f"{base}.json").read_text()) | changes
    file = tmp_path / "config.json"
    file.write_text(json.dumps({k: v for k, v in data.items() if v is not None}, indent=1))
    return file


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_a_real_file_are_those_of_the_reference(name: str) -> None:
    model = load_model(FIXTURES / f"{name}.json")
    workload = model.workload(Request())
    assert workload.parameters == PUBLISHED[name]
    assert not lower(workload.passes).table.faults()


@pytest.mark.parametrize("name", FROM_PAPERS)
def test_parameters_of_a_file_without_a_reference_are_those_of_the_paper(name: str) -> None:
    assert load_model(FIXTURES / f"{name}.json").workload(Request()).parameters == pytest.approx(
        FROM_PAPERS[name], rel=0.002
    )


def test_every_fixture_is_checked_against_a_published_count() -> None:
    assert {file.stem for file in FIXTURES.glob("*.json")} == set(PUBLISHED) | set(FROM_PAPERS)


def test_every_architecture_that_is_read_has_a_fixture() -> None:
    listed = {json.loads(file.read_text())["architectures"][0] for file in FIXTURES.glob("*.json")}
    same = {"DeepseekV2ForCausalLM", "BertModel", "Qwen2MoeForCausalLM", "MptForCausalLM"}
    assert set(ARCHITECTURES) - listed - same == set()


@pytest.mark.parametrize("file", [name for name in (*PUBLISHED, *FROM_PAPERS) if name not in OTHER_FORMAT])
def test_a_file_gives_the_same_operators_as_the_catalogue(file: str) -> None:
    request = Request(batch=2, prompt=300, generate=20)
    name = SAME_AS_CATALOGUE.get(file, file)
    ours, theirs = (m.workload(request) for m in (load_model(name), load_model(FIXTURES / f"{file}.json")))
    a, b = lower(ours.passes).table, lower(theirs.passes).table
    assert a.labels == b.labels
    for column in a.columns:
        assert (a.full(column) == b.full(column)).all(), column
    assert ours.graph.parameters == theirs.graph.parameters


def model_configs() -> list[Path]:
    """Return the configuration files of the aiconfigurator-core wheel, where it is installed."""
    found = importlib.util.find_spec("aiconfigurator_core")
    if found is None or found.origin is None:
        return []
    return sorted(Path(found.origin).with_name("model_configs").glob("*_config.json"))


def test_every_known_model_of_another_package_is_read_as_the_catalogue_has_it() -> None:
    """Its `model_configs` are named ORG--MODEL_config.json; those in the catalogue must have its parameters."""
    files = model_configs()
    if not files:
        pytest.skip("aiconfigurator-core is not installed; its model_configs are the files to compare with")
    compared = []
    for file in files:
        name = file.name.removesuffix("_config.json").replace("--", "/")
        try:
            ours = load_model(name)
        except UnknownNameError:
            continue
        if ours.family == "decoder" and not file.name.endswith("hf_quant_config.json"):
            assert load_huggingface(file).workload(Request()).parameters == ours.workload(Request()).parameters, name
            compared.append(name)
    assert len(compared) >= 35


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b-v0.1", "qwen3-30b-a3b", "qwen2.5-7b", "phi-3-mini-4k"])
def test_a_usual_file_leaves_nothing_to_say(name: str) -> None:
    assert load_huggingface(FIXTURES / f"{name}.json").notes == ()  # type: ignore[attr-defined]


def test_layers_for_further_tokens_and_towers_are_said_to_be_left_out() -> None:
    first, second = load_huggingface(FIXTURES / "qwen3.5-27b.json").notes  # type: ignore[attr-defined]
    assert "text_config" in first
    assert "multi-token prediction" in second


def test_a_word_that_is_no_number_harms_only_what_needs_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    text = (FIXTURES / "llama-3.1-8b.json").read_text()
    file.write_text(text.replace("{", '{"time_step_limit": [0.0, Infinity],', 1))
    assert load_model(file).workload(Request()).parameters == PUBLISHED["llama-3.1-8b"]
    file.write_text(text.replace('"hidden_size": 4096', '"hidden_size": Infinity'))
    with pytest.raises(BadFileError, match="hidden_size"):
        load_model(file)


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        ("nemotron-h-56b", {"hybrid_override_pattern": "M--"}, "does not follow a mixer"),
        ("nemotron-h-56b", {"hybrid_override_pattern": "MX"}, "M, \\*, - and E"),
        ("nemotron-3-nano-30b-a3b", {"moe_latent_size": 1024}, "latent"),
        ("opt-6.7b", {"word_embed_proj_dim": 512}, "narrow embeddings"),
        ("qwen3-next-80b-a3b", {"layer_types": ["mamba"]}, "linear_attention"),
        ("falcon-mamba-7b", {"intermediate_size": 5000}, "multiple"),
        ("gpt-neox-20b", {"rotary_pct": 2}, "share"),
        ("kimi-k2.5", {"text_config": 3}, "object"),
    ],
)  # fmt: skip
def test_what_no_builder_has_is_refused(tmp_path: Path, base: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadFileError, match=said):
        load_model(config(tmp_path, changes, base))


def test_an_unknown_key_is_named_in_the_notes(tmp_path: Path) -> None:
    model = load_model(config(tmp_path, {"num_memory_tokens": 16, "rope_theta": 1.0}))
    (note,) = model.workload(Request()).notes
    assert "num_memory_tokens" in note
    assert "rope_theta" not in note


def test_a_config_file_takes_the_name_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "My-Model"
    folder.mkdir()
    assert load_model(config(folder, {})).name == "My-Model"


def test_an_unknown_architecture_is_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(BadFileError) as error:
        load_model(config(tmp_path, {"architectures": ["LlamaForCasualLM"]}))
    assert "Nearest: LlamaForCausalLM" in str(error.value)
    assert all(name in str(error.value) for name in ARCHITECTURES)
    assert error.value.line == 2


def test_the_model_type_stands_in_for_a_missing_architecture(tmp_path: Path) -> None:
    assert load_model(config(tmp_path, {"architectures": None})).workload(Request()).parameters == 8_030_261_248


@pytest.mark.parametrize(
    ("section", "knob", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "dtype", "fp8_block"),
        ({"quant_method": "fbgemm_fp8"}, "dtype", "fp8"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "dtype", "w4a16"),
        ({"quant_method": "gptq", "bits": 8}, "dtype", "w8a16"),
        ({"quant_method": "awq", "bits": 4}, "dtype", "w4a16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "dtype", "w4a16"),
        ({"quant_method": "mxfp4"}, "expert_dtype", "w4a16_mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "dtype", "nvfp4"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {
                "weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}}},
            "dtype", "int8",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {
                "weights": {"num_bits": 4, "type": "int"}, "input_activations": None}}},
            "dtype", "w4a16",
        ),
    ],
)  # fmt: skip
def test_a_quantisation_sets_the_number_format(
    tmp_path: Path, section: dict[str, Any], knob: str, expected: str
) -> None:
    assert load_model(config(tmp_path, {"quantization_config": section})).knobs()[knob] == expected


@pytest.mark.parametrize("section", [{"quant_method": "secret"}, {"quant_method": "gptq", "bits": 3}, [4], "fp8"])
def test_an_unknown_quantisation_is_refused_rather_than_guessed(tmp_path: Path, section: Any) -> None:
    with pytest.raises(BadFileError, match="quantization_config"):
        load_model(config(tmp_path, {"quantization_config": section}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", -4096), ("hidden_size", 0), ("hidden_size", None), ("hidden_size", "big"),
        ("hidden_size", [4096]), ("num_hidden_layers", 1.5), ("num_hidden_layers", True), ("vocab_size", {}),
        ("tie_word_embeddings", "no"), ("torch_dtype", "int3"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_with_its_key_and_line(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(BadFileError) as error:
        load_model(config(tmp_path, {key: value}))
    assert error.value.key == key
    assert (error.value.line is None) == (value is None)


def test_sizes_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="kv_heads=5 does not divide heads=32"):
        load_model(config(tmp_path, {"num_key_value_heads": 5}))


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "3", "{", '{"a": }', '{"hidden_size": NaN}', '{"hidden_size": 1e999}', '{"a": 1, "a": 2}',
        '{"a": ' + "9" * 5000 + "}", '{"a": ' + "[" * 60 + "]" * 60 + "}", '{"a": ' + "[" * 10**5 + "]" * 10**5 + "}",
        '{"architectures": ["LlamaForCausalLM"]}', '{"architectures": [["x"]]}', '{"model_type": 5}',
    ],
    ids=range(15),
)  # fmt: skip
def test_hostile_text_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(BadFileError) as error:
        load_model(file)
    assert str(file) in str(error.value)


def test_a_large_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    large, raw, folder = tmp_path / "large.json", tmp_path / "raw.json", tmp_path / "folder.json"
    large.write_text('{"a": "' + "x" * 1_000_001 + '"}')
    raw.write_bytes(b"\xff\xfe\x00")
    folder.mkdir()
    for file in (large, raw, folder, tmp_path / "absent.json"):
        with pytest.raises(BadFileError):
            load_model(file)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**12),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)


@given(name=st.sampled_from(sorted(PUBLISHED)), data=st.data())
def test_any_damaged_file_is_refused_or_gives_a_whole_model(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    original = json.loads((FIXTURES / f"{name}.json").read_text())
    key = data.draw(st.sampled_from(sorted(original)))
    folder = tmp_path_factory.mktemp("damaged")
    file = folder / "config.json"
    file.write_text(json.dumps(original | {key: data.draw(VALUES)}))
    try:
        workload = load_model(file).workload(Request(prompt=4, generate=2))
    except ArchcastError:
        return
    assert not lower(workload.passes).table.faults()
