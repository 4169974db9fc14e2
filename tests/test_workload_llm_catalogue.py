"""The catalogue of language models: published parameter counts, names, files, knobs and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError
from workloads import Request, lower
from workloads.builders.chain import grouped
from workloads.builders.decoder import Decoder
from workloads.catalogue import architecture_facts, load_model, workload_names

LANGUAGE_FAMILIES = {"decoder", "encoder", "encoder-decoder"}
LANGUAGE_MODELS = [n for n in workload_names() if architecture_facts(n)["family"] in LANGUAGE_FAMILIES]


def test_parameter_counts_are_within_one_percent_of_the_published_ones() -> None:
    errors = {}
    for name in LANGUAGE_MODELS:
        published = float(architecture_facts(name)["published_parameters"])
        errors[name] = load_model(name).workload(Request()).parameters / published - 1
    worst = max(errors, key=lambda name: abs(errors[name]))
    print(f"worst parameter count: {worst} {errors[worst]:+.3%}")
    assert len(errors) >= 13
    assert abs(errors[worst]) < 0.01


def test_active_parameters_are_those_published_to_their_two_digits() -> None:
    """Publishers round active parameters to two digits, which alone is up to 5 %; these are within 2 %."""
    checked = 0
    for name in LANGUAGE_MODELS:
        published = architecture_facts(name).get("published_active_parameters")
        if published:
            checked += 1
            assert load_model(name).workload(Request()).graph.active_parameters == pytest.approx(published, rel=0.02)
    assert checked == 3


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
