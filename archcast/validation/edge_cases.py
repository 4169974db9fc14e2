"""Cases of NPUs, edge devices and vision networks that have a method of their own, and the rows they must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.validation.case import CLOSED_FORM, FACTOR, SHOTS, TERMS, Case

if TYPE_CHECKING:
    from costmodel.evaluation.scores import Score

OTHER_RTL = "constants of moves and commands, on other RTL runs"
"""Fitted on RTL runs of arrays of other shapes."""


def _case(name: str, title: str, importer: str, folder: str, unit: str, fitted: str, baseline: str) -> Case:
    baselines = (baseline,) if baseline else ()
    return Case(name, title, importer, folder, "evaluation", unit=unit, fitted=fitted, baselines=baselines)


EDGE_CASES: tuple[Case, ...] = (
    _case("rtl-gemmini", "Gemmini RTL cycles, two networks", "dosa", "dosa-gemmini-firesim",
          "one network from the other; layers apart where few rows are given", OTHER_RTL, "analytic in the data"),
    _case("zigzag", "ZigZag (a tool's output): cycles and energy by layer", "csv", "zigzag", "all layers", CLOSED_FORM,
          ""),
    _case("timeloop", "Timeloop (a tool's output): cycles of given mappings", "dosa", "dosa-gemmini-firesim",
          "8,000 random rows; two rates read off 4,000 others", CLOSED_FORM, ""),
    _case("scale-sim", "SCALE-Sim v3 (a tool's output): compute cycles", "csv", "scalesim", "all layers", CLOSED_FORM,
          ""),
    replace(_case("lowformer", "LowFormer: throughput on an A40", "csv", "lowformer",
                  "two networks set one factor, the other five are scored", FACTOR, "MACs"), quantity="rate_hz"),
    replace(_case("femtodet", "FemtoDet: joules of a frame, Snapdragon 865 CPU", "csv", "paper_claims",
                  "nothing fitted; then two times of other networks", CLOSED_FORM, ""), quantity="energy_j"),
    _case("vision-gaps", "timm, RTX 3090: time over ideal", "timm", "timm", "all networks", CLOSED_FORM, "all fused"),
    replace(_case("terms-hailo", "Hailo: rates of a dataflow chip", "hailo", "hailo",
                  "networks, families, and a chip left out", TERMS, "XGBoost on 3 figures"), quantity="rate_hz"),
    replace(_case("terms-rknn", "Rockchip: rates by the costs of a frame", "rknn", "rknn",
                  "families held out in five folds", TERMS, "operations, one factor"), quantity="rate_hz",
            least_answered=0.6, note="int8 rows of networks that are described; 68 % of the table"),
    replace(_case("terms-llm-edge", "small systems: decode of language models, terms of a token", "llm_edge",
                  "llm_edge", "each system left out in turn, and each device on all its hosts", TERMS,
                  "data-sheet bound"), quantity="tpot_s"),
    replace(_case("predict-llm-edge", "small systems: decode by predict, llama.cpp", "llm_edge", "llm_edge",
                  "each system left out in turn; cards as in a PC", TERMS, "closed form"), quantity="tpot_s"),
    _case("tiny-paces", "MLPerf Tiny: stacks of microcontrollers", "mlperf_tiny", "mlperf_tiny",
          "each board left out in turn", SHOTS, "closed form"),
    _case("runtime-fallback", "AI Hub: quantised networks that fell back", "qualcomm_ai_hub", "qualcomm_ai_hub",
          "constants set on other networks", TERMS, "the NPU alone"),
)  # fmt: skip


def _pieces(importer: str, root: Path) -> list[Any]:
    from costmodel.measured.base import ImportRequest, find_importer

    return list(find_importer(importer).load(ImportRequest(root)))


def _gemmini(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.gemmini import evaluate_gemmini

    return evaluate_gemmini(root / "dosa-gemmini-firesim", seeds=(seed,))


def _zigzag(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.zigzag import evaluate_zigzag, read_rows

    return evaluate_zigzag(read_rows(root))


def _timeloop(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.timeloop import evaluate_timeloop, read_rows

    # two rates were read off the sample of seed 0
    return [evaluate_timeloop(read_rows(root, 8000, seed + 1))]


def _scale_sim(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.scale_sim import evaluate_scale_sim

    return evaluate_scale_sim(root / "scalesim")


def _lowformer(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.lowformer import evaluate_lowformer, read_networks

    return evaluate_lowformer(read_networks(root / "lowformer" / "throughput.csv"))


def _femtodet(_root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.femtodet import evaluate_femtodet

    return evaluate_femtodet()


def _gaps(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.operator_gaps import evaluate_gaps, read_gaps

    return evaluate_gaps(read_gaps(_pieces("timm", root), ()))


def _hailo(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.hailo import evaluate_hailo, read_rows

    # seeds 0 and 1 drew the folds on which the form was chosen
    return evaluate_hailo(read_rows(root), (seed + 2,))


def _rknn(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.rknn import evaluate_rknn, read_rates

    return evaluate_rknn(read_rates(root), (seed,))


def _llm_edge(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.llm_edge import evaluate_files

    return evaluate_files(root)


def _token_rates(root: Path, _seed: int, _full: bool) -> list[Score]:
    from archcast.validation.token_rates import evaluate_token_rates

    return evaluate_token_rates(root)


def _tiny(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.tiny import evaluate_tiny, read_tiny

    return evaluate_tiny(read_tiny(_pieces("mlperf_tiny", root)))


def _fallback(root: Path, _seed: int, _full: bool) -> list[Score]:
    from archcast.validation.fallback import evaluate_fallback

    return evaluate_fallback(root)


EDGE_METHODS: dict[str, Callable[[Path, int, bool], list[Score]]] = {
    "rtl-gemmini": _gemmini, "zigzag": _zigzag, "timeloop": _timeloop, "scale-sim": _scale_sim,
    "lowformer": _lowformer, "femtodet": _femtodet, "vision-gaps": _gaps, "terms-hailo": _hailo, "terms-rknn": _rknn,
    "terms-llm-edge": _llm_edge, "predict-llm-edge": _token_rates, "tiny-paces": _tiny, "runtime-fallback": _fallback,
}  # fmt: skip
