"""The cases of `archcast validate`, as data: what is read, how it is split, what is fitted, beside what it stands."""

from __future__ import annotations

from dataclasses import replace

from archcast.validation.baselines import NEAREST, PLAIN, ROOFLINE
from archcast.validation.case import (
    CLOSED_FORM,
    DEVICES,
    EACH,
    FACTOR,
    FOLDS,
    LAYERS,
    POWER,
    SERVED,
    SHAPES,
    SHOTS,
    STACK,
    TERMS,
    TREES,
    Case,
)
from archcast.validation.edge_cases import EDGE_CASES
from archcast.validation.wheel_cases import AICONFIGURATOR_CASES, WHEEL_CASES

__all__ = ["CASES", "CLOSED_FORM", "FACTOR", "PEER", "PEER_SIMUMAX", "TREES", "Case"]

PEER = "aiconfigurator 0.12"
PEER_SIMUMAX = "SimuMax"
ENERGY_BASELINES = ("constant power", "closed form")
"""Those of `served-energy` that know no more than the answer does, beside its lines."""


def _evaluation(name: str, title: str, importer: str, folder: str, unit: str, fitted: str, baseline: str) -> Case:
    """Return a case of `archcast.validation.evaluated`: a method of its own."""
    return Case(name, title, importer, folder, "evaluation", unit=unit, fitted=fitted, baselines=(baseline,))


CASES: tuple[Case, ...] = (
    *WHEEL_CASES,
    *AICONFIGURATOR_CASES,
    _evaluation("power-shots", "op power and energy, each GPU from the other by 20 rows", "aiconfigurator",
                "aiconfigurator", "a device left out, a fifth of the shapes scored", POWER, "constant power"),
    Case(
        "neusight-ops", "NeuSight operators, FP32", "neusight", "neusight", "operators", split=SHAPES,
        unit="sizes", fitted=TREES, kernel_rows=1200,
    ),
    Case(
        "neusight-new", "NeuSight operators, FP32, GPUs never seen", "neusight", "neusight", "devices",
        split=DEVICES, unit="device", devices=("h100-sxm", "l4"), fitted=TREES, baselines=(ROOFLINE, PLAIN),
        kernel_rows=1200,
    ),
    Case(
        "neusight-e2e", "NeuSight whole models, FP32", "neusight", "neusight",
        split=DEVICES, unit="device", fitted=FACTOR, baselines=(ROOFLINE,),
    ),
    Case(
        "vidur", "Vidur: operators under tensor parallelism", "vidur", "vidur", "operators", split=SHAPES,
        unit="sizes", fitted=TREES, kernel_rows=4000, ops=("gemm", "norm", "elementwise", "embedding"),
    ),
    Case(
        "served-tpot", "served language models, TPOT", "silicon_sample", "aiconfigurator", quantity="tpot_s",
        split=FOLDS, unit="model, system, precision and ranks", peer="aiconfigurator", baselines=(ROOFLINE, PEER),
    ),
    replace(
        _evaluation("served", "served language models, every run as the benchmark that measured it", "silicon_sample",
                    "aiconfigurator", "whole (network, device) groups in five folds; constants of the tempered prices "
                    "were chosen on all of them", STACK, "aiconfigurator"),
        quantity="ttft_s, tpot_s",
    ),
    replace(
        _evaluation("replays", "vLLM replays, every request simulated", "llmservingsim", "llmservingsim",
                    "requests of the runs are never fitted", LAYERS, "LLMServingSim"),
        quantity="ttft_s, tpot_s, latency_s",
    ),
    replace(
        _evaluation("served-energy", "ML.ENERGY: joules of an output token of served language models", "ml_energy",
                    "ml_energy", "each family of models left out in turn", SERVED, "constant power"),
        baselines=ENERGY_BASELINES, quantity="energy_per_token_j",
    ),
    Case("timm", "timm: image networks, large batches", "timm", "timm", unit="families", fitted=FACTOR,
         least_answered=0.6),
    Case("help", "HELP: networks of search spaces", "help", "help", unit="classes of cells", fitted=FACTOR,
         kin=("device", "workload", "batch"), most_rows=3000),
    Case("ai-hub", "Qualcomm AI Hub: NPUs", "qualcomm_ai_hub", "qualcomm_ai_hub", fitted=FACTOR),
    Case("ai-hub-tpot", "Qualcomm AI Hub: language models, TPOT", "qualcomm_ai_hub", "qualcomm_ai_hub",
         quantity="tpot_s", fitted=FACTOR),
    Case("hailo", "Hailo: pipelined rates", "hailo", "hailo", quantity="rate_hz", fitted=FACTOR,
         note="rates of a pipeline over the chip, which one pass after the other does not reach"),
    Case("rknn", "Rockchip: rates", "rknn", "rknn", quantity="rate_hz", split=EACH, unit="network",
         note="some rows ran on one core of the NPU, the catalogue's devices have all"),
    Case("mlperf-tiny", "MLPerf Tiny", "mlperf_tiny", "mlperf_tiny", split=EACH, unit="benchmark",
         baselines=(ROOFLINE,)),
    Case("mlperf-tiny-energy", "MLPerf Tiny: energy", "mlperf_tiny", "mlperf_tiny", quantity="energy_j", split=EACH,
         unit="benchmark", baselines=()),
    Case("mlperf-mobile", "MLPerf Mobile", "mlperf_mobile", "mlperf_mobile", split=EACH, unit="benchmark",
         baselines=(ROOFLINE,)),
    Case("llm-edge", "small systems: decode of language models", "llm_edge", "llm_edge", quantity="tpot_s",
         split=DEVICES, unit="device"),
    Case("helm-ttft", "HELM idealised runtimes: prompt", "helm", "helm_idealized", quantity="ttft_s", split=EACH,
         unit="curve", fitted=FACTOR),
    Case("helm-tpot", "HELM idealised runtimes: token", "helm", "helm_idealized", quantity="tpot_s", split=EACH,
         unit="curve", fitted=FACTOR),
    Case("ml-energy", "ML.ENERGY: energy of a request", "ml_energy", "ml_energy", quantity="energy_j",
         split=EACH, unit="model", baselines=(NEAREST,),
         note="lengths of prompts are not stated; the model's default is asked"),
    Case("simumax", "SimuMax: training steps", "simumax", "simumax", split=EACH, unit="model and ranks",
         peer="simumax", baselines=(ROOFLINE, PEER_SIMUMAX)),
    Case("simumax-memory", "SimuMax: peak memory of training", "simumax", "simumax", quantity="memory_bytes",
         split=EACH, unit="model and ranks", peer="simumax", baselines=(PEER_SIMUMAX,)),
    Case("vtrain", "vTrain: training steps", "vtrain", "vtrain", unit="model shapes", fitted=FACTOR),
    _evaluation("shots-nasbench201", "HELP, NAS-Bench-201: devices never seen, from few networks", "help", "help",
                "a device left out, half of the classes of cells scored", SHOTS, "PCA-ridge"),
    _evaluation("shots-fbnet", "HELP, FBNet: devices never seen, from few networks", "help", "help",
                "a device left out, half of the networks scored", SHOTS, "PCA-ridge"),
    _evaluation("shots-ai-hub", "Qualcomm AI Hub: a device never seen, from ten networks", "qualcomm_ai_hub",
                "qualcomm_ai_hub", "a device left out, half of the families scored", SHOTS, "best source"),
    _evaluation("terms-helm", "HELM idealised runtimes, terms of the graph", "helm", "helm_idealized",
                "each curve left out in turn", TERMS, "roofline"),
    replace(
        _evaluation("terms-timm", "timm: image networks by family, terms of the graph", "timm", "timm",
                    "families held out in five folds", TERMS, "XGBoost on 3 figures"),
        least_answered=0.6,
    ),
    _evaluation("terms-archgym", "ArchGym's AstraSim proxy (a simulator's output)", "archgym", "archgym-astrasim",
                "each topology left out, and the authors' random split", TERMS, "XGBoost on raw knobs"),
    *EDGE_CASES,
)  # fmt: skip
