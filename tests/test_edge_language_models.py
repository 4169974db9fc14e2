"""Language models on small systems: formats of 2 to 8 bits, what a token costs, what is left out stays unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import archcast as ac
from costmodel.edge_llm import AT, BARRIERS, COEFFICIENTS, DENSE_KERNELS
from costmodel.evaluation.llm_edge import evaluate_llm_edge, left_out, watts_of
from costmodel.evaluation.llm_edge_terms import bandwidth_bound_s, fit_drawn, terms_of, token_of
from costmodel.measured.llm_edge import EdgeRow, edge_row, read_edge_rows
from costmodel.rates import compile_rates
from foundation.formats import DIGESTED_FORMATS, FORMAT_NAMES, FORMATS, GGML_BLOCKS, GGUF_MIXES, number_format
from hardware_specs import load_device
from workloads.model import Request

STARTS = np.array([start for start, _, _ in COEFFICIENTS.values()])
SYSTEMS = (
    ("Llama 3.2:3b", "Intel 265K Custom PC (Nvidia RTX 4090)", "GPU"),
    ("DeepSeek R1 14b", "Intel 265K Custom PC (Nvidia RTX 4090)", "GPU"),
    ("Llama 3.2:3b", "Pi CM5 - 16GB (Nvidia RTX 3060)", "GPU"),
    ("gpt-oss 20b", "Pi CM5 - 16GB (Nvidia RTX 3060)", "GPU"),
    ("Llama 3.2:3b", "Pi 5 - 8GB (AMD RX 7600)", "GPU"),
    ("Llama 3.2:3b", "Pi 500+ - 16GB (Intel Arc B580)", "GPU"),
    ("Llama 3.2:3b", "M4 Mac mini (10 core - 32GB)", "GPU"),
    ("Llama 3.2:3b", "Pi 5 - 8GB", "CPU"),
    ("DeepSeek R1 14b", "Pi 5 - 16GB", "CPU"),
    ("Llama 3.2:3b", "Pi 400 - 4GB", "CPU"),
    ("Llama 3.2:3b", "HiFive Premier P550 (4-core RISC-V)", "CPU"),
    ("Llama 3.1:70b", "Ryzen 9 7900X (Nvidia 4090)", "GPU/CPU"),
    ("Llama 3.1:70b", "Raspberry Pi CM5 Cluster (10x 16GB)", "CPU"),
)


def row(model: str, system: str, compute: str, rate: float = 10.0) -> EdgeRow:
    return edge_row(model, system, compute, rate, 100.0)


def rows_at(values: np.ndarray) -> list[EdgeRow]:
    """Rows that cost exactly what these coefficients say."""
    rows = [row(*names) for names in SYSTEMS]
    return [replace(r, tokens_per_s=1 / s) for r, s in zip(rows, terms_of(rows).seconds(values), strict=True)]


def test_formats_of_two_to_eight_bits_are_known_with_their_scales() -> None:
    bits = {name: number_format(name).weight_bits for name in ("w2a16", "w3a16", "w4a16", "w5a16", "w6a16", "w8a16")}
    assert bits == pytest.approx({"w2a16": 2.140625, "w3a16": 3.1484375, "w4a16": 4.15625, "w5a16": 5.125,
                                  "w6a16": 6.125, "w8a16": 8.125})  # fmt: skip
    assert number_format("w5") is number_format("w5a16")
    assert all(number_format(name).activation_bits == 16 for name in bits)


def test_files_that_mix_blocks_lie_between_the_blocks() -> None:
    for name, least, most in (("q2_k_s", "q2_k", "q6_k"), ("q3_k_m", "q3_k", "q6_k"), ("q4_k_m", "q4_k", "q6_k"),
                              ("q5_k_m", "q5_k", "q6_k")):  # fmt: skip
        assert number_format(least).weight_bits < GGUF_MIXES[name] < number_format(most).weight_bits
    order = [number_format(name).weight_bits for name in ("q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_m")]
    assert order == sorted(order)
    assert not set(GGUF_MIXES) & set(GGML_BLOCKS)


PUBLISHED = """
    llama-3.2-1b q4_0 0.77 | llama-3.2-1b q4_k_s 0.78 | llama-3.2-1b q4_k_m 0.81 | llama-3.2-1b q5_k_m 0.91
    llama-3.2-1b q6_k 1.02 | llama-3.2-1b q8_0 1.32 | llama-3.2-3b q4_k_m 2.02 | llama-3.2-3b q6_k 2.64
    llama-3.2-3b q8_0 3.42 | llama-3.1-8b q3_k_l 4.32 | llama-3.1-8b q4_0 4.66 | llama-3.1-8b q4_k_m 4.92
    llama-3.1-8b q5_k_m 5.73 | llama-3.1-8b q6_k 6.60 | llama-3.1-8b q8_0 8.54 | qwen2.5-14b q4_k_m 8.99
"""
"""Network, format, GB of the file as the READMEs of `bartowski/...-Instruct-GGUF` on Hugging Face list them."""


@pytest.mark.parametrize("line", PUBLISHED.replace("\n", "|").strip(" |").split("|"))
def test_weights_in_a_format_of_gguf_take_what_the_file_takes(line: str) -> None:
    workload, dtype, size_gb = line.split()
    weights = ac.predict(workload, on="ryzen-9-7950x", dtype=dtype, prompt=8, generate=2).memory_parts_bytes["weights"]
    assert weights / 1e9 == pytest.approx(float(size_gb), rel=0.02)


def test_embedding_and_head_have_the_blocks_of_the_file_and_16_bits_elsewhere() -> None:
    def tables(dtype: str, **knobs: object) -> list[str]:
        run = ac.load_model("llama-3.1-8b").with_knobs({"dtype": dtype, **knobs}).workload(Request(1, 8, 2)).passes[0]
        found = {o.name: o.dtype for block in run.graph.blocks for o in block.operators}
        return [found["embed"], found["lm_head"]]

    assert tables("q4_k_m") == ["q4_k", "q6_k"]
    assert tables("q4_k_m", tied=True) == ["q6_k", "q6_k"]
    assert tables("q8_0") == ["q8_0", "q8_0"]
    assert tables("iq2_xs") == ["q2_k", "q5_k"]
    assert tables("w4a16") == ["bf16", "bf16"]
    assert tables("q4_k_m", lm_head_dtype="bf16") == ["q4_k", "bf16"]


def test_formats_that_came_later_leave_the_digest_of_a_device_alone() -> None:
    first = {FORMATS[name].math for name in FORMAT_NAMES[:DIGESTED_FORMATS]}
    assert {FORMATS[name].math for name in FORMAT_NAMES[DIGESTED_FORMATS:]} <= first
    rates = compile_rates(load_device("raspberry-pi-5"))
    other = replace(rates, peak_flop_per_s=rates.peak_flop_per_s * np.where(np.arange(len(FORMATS)) < 9, 2.0, 1.0))
    later = replace(rates, peak_flop_per_s=np.append(rates.peak_flop_per_s[:DIGESTED_FORMATS], np.nan))
    assert later.digest() == rates.digest() != other.digest()


def test_predict_takes_a_format_that_mixes_blocks() -> None:
    four, six = (ac.predict("llama-3.2-3b", on="rtx-3060", dtype=name, prompt=64, generate=16, model="physics")
                 for name in ("q4_k_m", "q6_k"))  # fmt: skip
    assert four.tpot_s is not None
    assert six.tpot_s is not None
    assert four.tpot_s.value < six.tpot_s.value


@pytest.mark.parametrize(
    ("workload", "file_bytes"),
    [("llama-3.2-3b", 2.02e9), ("qwen2.5-14b", 8.99e9), ("llama-3.1-70b", 42.5e9), ("llama-3.1-405b", 243e9),
     ("deepseek-v3", 404e9), ("gpt-oss-20b", 11.6e9)],
)  # fmt: skip
def test_a_file_is_as_large_as_published(workload: str, file_bytes: float) -> None:
    """Sizes of the tags in Ollama's library and of the files on Hugging Face (gpt-oss: Q4_K_M)."""
    assert token_of(workload).stored_bytes == pytest.approx(file_bytes, rel=0.03)


def test_experts_are_read_only_where_a_token_goes() -> None:
    token = token_of("gpt-oss-20b")
    assert token.read_bytes < 0.25 * token.stored_bytes
    assert token_of("llama-3.2-3b").read_bytes == token_of("llama-3.2-3b").stored_bytes  # the embedding is the head
    assert token_of("qwen2.5-14b").read_bytes < token_of("qwen2.5-14b").stored_bytes


def test_a_card_pays_stream_widening_launches_and_the_link() -> None:
    token, spec = token_of("llama-3.2-3b"), load_device("rtx-3060")
    (cost,) = terms_of([row("Llama 3.2:3b", "Pi CM5 - 16GB (Nvidia RTX 3060)", "GPU")]).seconds(STARTS)
    expected = (token.read_bytes / 360e9 * COEFFICIENTS["gpu_stream"][0]
                + token.weights * COEFFICIENTS["gpu_flop"][0] / spec.unit("vector").peak_flop_per_s["fp32"].value
                + 28 * COEFFICIENTS["nvidia_layer_s"][0]
                + 128256 * 4 / 0.985e9 * COEFFICIENTS["readback"][0])  # fmt: skip
    assert token.kernels == DENSE_KERNELS
    assert cost == pytest.approx(expected)


def test_cores_pay_the_larger_of_stream_and_arithmetic_and_the_barriers() -> None:
    token = token_of("llama-3.2-3b")
    (cost,) = terms_of([row("Llama 3.2:3b", "HiFive Premier P550 (4-core RISC-V)", "CPU")]).seconds(STARTS)
    work_s = token.weights * COEFFICIENTS["plain_cycles"][0] / (4 * 1.4e9)
    assert cost == pytest.approx(work_s + 28 * BARRIERS * 4 * COEFFICIENTS["barrier_s"][0], rel=1e-3)


def test_what_does_not_fit_on_the_card_is_read_by_the_host() -> None:
    split = row("Llama 3.1:70b", "Ryzen 9 7900X (Nvidia 4090)", "GPU/CPU")
    whole = replace(split, host_memory="")
    cost, alone = terms_of([split, whole]).seconds(STARTS)
    assert split.host_memory == "ryzen-9-7950x"
    host_s = token_of("llama-3.1-70b").read_bytes / (83.2e9 * 0.75)
    assert alone < cost < host_s
    assert cost > 0.4 * host_s


def test_a_divided_network_waits_for_the_wire() -> None:
    cluster = row("Llama 3.1:70b", "Raspberry Pi CM5 Cluster (10x 16GB)", "CPU")
    terms = terms_of([cluster, replace(cluster, nodes=20), replace(cluster, nodes=1, division="")])
    ten, twenty, one = terms.seconds(STARTS)
    assert twenty < ten < one
    assert terms.fixed_s[0] == terms.fixed_s[1] > terms.fixed_s[2] == 0
    assert bandwidth_bound_s(cluster) == pytest.approx(token_of("llama-3.1-70b").read_bytes / 17.07e9 / 10, rel=1e-3)


def test_rows_know_what_they_ran_in() -> None:
    pi, mac = row("Llama 3.2:3b", "Pi 5 - 8GB (AMD RX 7600)", "GPU"), row("Llama 3.2:3b", SYSTEMS[6][1], "GPU")
    assert (pi.device, pi.link, pi.engine, pi.board, pi.x86) == ("rx-7600", "pcie3-x1", "llama.cpp", True, False)
    assert (mac.device, mac.link, mac.engine, mac.board) == ("apple-m4", "", "ollama", False)
    cores = row("DeepSeek R1 14b", "Framework Mainboard (128GB)", "CPU")
    assert (cores.device, cores.on_cpu) == ("ryzen-ai-max-395-cpu", True)
    assert cores.system == row("Llama 3.1:70b", "Framework Desktop Mainboard (395+)", "GPU/CPU").system


def test_coefficients_come_back_from_rows_that_follow_them() -> None:
    true = STARTS * np.where(np.arange(len(STARTS)) % 2, 1.15, 0.95)
    true[AT["gpu_stream"]] = 1.2
    rows = rows_at(true)
    terms, token_s = terms_of(rows), np.array([1 / r.tokens_per_s for r in rows])
    found = fit_drawn(terms.seconds, token_s, COEFFICIENTS)
    assert np.abs(np.log(terms.seconds(found) / token_s)).max() < 0.06
    assert np.abs(np.log(terms.seconds(found) / token_s)).max() < np.abs(np.log(terms.seconds(STARTS) / token_s)).max()


def test_nothing_is_learned_from_the_system_that_is_left_out() -> None:
    rows = rows_at(STARTS)
    group, terms = np.array([r.system for r in rows]), terms_of(rows)
    token_s = np.array([1 / r.tokens_per_s for r in rows])
    mine = group == SYSTEMS[0][1]
    wild = np.where(mine, 50 * token_s, token_s)
    before, after = left_out(group, terms, token_s), left_out(group, terms, wild)
    assert after[mine] == pytest.approx(before[mine], rel=1e-12)
    assert not np.allclose(after[~mine], before[~mine], rtol=1e-6)


def test_power_at_the_wall_counts_card_and_host() -> None:
    rows = [row(*names) for names in SYSTEMS[:3]] + [row(*SYSTEMS[7]), row(*SYSTEMS[12])]
    values = np.array([1.0, 100.0, 10.0, 1.0, 5.0])
    limits = [load_device(r.device).power.limit_w.value for r in rows]
    expected = [limits[0] + 100, limits[1] + 100, limits[2] + 10, limits[3] + 5, 10 * (limits[4] + 5)]
    assert watts_of(rows) @ values == pytest.approx(np.array(expected))


def test_measured_rates_are_within_a_fifth_on_systems_never_seen(shared_data: Path) -> None:
    scores = {found.split: found for found in evaluate_llm_edge(read_edge_rows(shared_data))}
    rate = scores["rate, a system out"]
    assert rate.n == 102
    assert rate.median <= 0.20
    assert rate.mape < 0.3 * rate.baseline_mape
    assert 0.85 <= rate.inside <= 0.95
    assert scores["energy a token"].mape < scores["energy a token"].baseline_mape
