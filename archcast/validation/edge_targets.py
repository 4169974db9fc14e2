"""The rows of NPUs, edge devices and vision networks that must be reached."""

from __future__ import annotations

import numpy as np

from archcast.validation.scoring import ALL
from archcast.validation.targets import Target, at

_RTL = ("rtl-gemmini", "gemmini-16x16")
_A40 = ("lowformer", "a40")
_PRIME = ("femtodet", "snapdragon-865:prime")
_CARRIED = (*_RTL, "one network from the other")
_HELD = ("terms-hailo", ALL, "networks held out: costs and kin")
_SYSTEM = ("terms-llm-edge", "all", "a system out")
_ZIGZAG = (
    ("ResNet-18, tpu", "resnet-18", "zigzag-tpu-like"), ("MobileNetV2, tpu", "mobilenet-v2", "zigzag-tpu-like"),
    ("ResNet-18, edge", "resnet-18", "zigzag-edge-tpu-like"),
)  # fmt: skip
MEDIAN = "errors.median_error_share"


def _row(row: str, baseline: str, bound: float, line: tuple[str, str, str], name: str = "mape_share") -> Target:
    return Target(row, baseline, bound, at(*line, name), line)


EDGE_TARGETS: tuple[Target, ...] = (
    _row("Gemmini RTL, given mapping: physics", "analytic 26.5%", 0.22, (*_RTL, "physics alone")),
    _row("Gemmini RTL, network from network", "analytic 26.5%", 0.15, _CARRIED),
    Target("Gemmini RTL, network from network: rho", "analytic 0.945", 0.97, at(*_CARRIED, "rho_ratio"),
           _CARRIED, more=True, plain=True),
    _row("Gemmini RTL, 20 rows of this width", "-", 0.20, (*_RTL, "20 rows of this width")),
    _row("Gemmini RTL, default tiling", "analytic 36.4%", 0.18, (*_RTL, "default tiling: physics alone")),
    _row("SCALE-Sim v3, 19 runs: worst", "itself", 0.0,
         ("scale-sim", "SCALE-Sim v3 arrays", "worst run")),
    *(_row(f"ZigZag {short}: worst {what}", "itself", 0.25,
           ("zigzag", device, f"{net} {what}: worst convolution"))
      for short, net, device in _ZIGZAG for what in ("cycles", "energy")),
    Target("LowFormer, A40: Spearman", "MACs 0.964", 0.95, at(*_A40, "nothing fitted", "rho_ratio"),
           (*_A40, "nothing fitted"), more=True, plain=True),
    _row("LowFormer, two points: worst of 21", "MACs 44.8%", 0.20,
         (*_A40, "two points: worst row of every choice")),
    # measured 1.496 times: an error below a third means that E1 is predicted to be the faster
    _row("LowFormer, E1 over B1: error", "MACs 30%", 0.33, (*_A40, "E1 over B1")),
    _row("Hailo rates, by network: median", "median 40%", 0.25, _HELD, MEDIAN),
    _row("FemtoDet J/frame, nothing fitted", "-", 0.5, (*_PRIME, "nothing fitted")),
    _row("FemtoDet J/frame, after two times", "-", 0.15,
         (*_PRIME, "two times: smallest and largest")),
    _row("small systems, LLM rates: median", "bandwidth 85%", 0.20, _SYSTEM, MEDIAN),
    _row("small systems, by predict: median", "closed form", 0.20, ("predict-llm-edge", "all", "no card"), MEDIAN),
    Target("speed of spatial arrays", "SCALE-Sim, ZigZag", np.nan, at(""), elsewhere="benchmarks/bench_spatial.py"),
)  # fmt: skip
