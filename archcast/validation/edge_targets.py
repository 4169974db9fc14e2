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
    ("resnet-18", "zigzag-tpu-like"), ("mobilenet-v2", "zigzag-tpu-like"), ("resnet-18", "zigzag-edge-tpu-like"),
)  # fmt: skip
MEDIAN = "errors.median_error_share"


def _row(row: str, baseline: str, bound: float, line: tuple[str, str, str], name: str = "mape_share") -> Target:
    return Target(row, baseline, bound, at(*line, name), line)


EDGE_TARGETS: tuple[Target, ...] = (
    _row("Gemmini RTL, given mapping: physics alone", "analytic 26.5%", 0.22, (*_RTL, "physics alone")),
    _row("Gemmini RTL, one network from the other", "analytic 26.5%", 0.15, _CARRIED),
    Target("Gemmini RTL, one network from the other: rho", "analytic 0.945", 0.97, at(*_CARRIED, "rho_ratio"),
           _CARRIED, more=True, plain=True),
    _row("Gemmini RTL, 20 rows of this width", "-", 0.20, (*_RTL, "20 rows of this width")),
    _row("Gemmini RTL, default tiling", "analytic 36.4%", 0.18, (*_RTL, "default tiling: physics alone")),
    _row("SCALE-Sim v3, 19 runs: worst (to the cycle)", "itself", 0.0,
         ("scale-sim", "SCALE-Sim v3 arrays", "worst run")),
    *(_row(f"ZigZag {net} on {device.removeprefix('zigzag-')}, {what}: worst layer", "itself", 0.25,
           ("zigzag", device, f"{net} {what}: worst convolution"))
      for net, device in _ZIGZAG for what in ("cycles", "energy")),
    Target("LowFormer, A40: Spearman", "MACs 0.964", 0.95, at(*_A40, "nothing fitted", "rho_ratio"),
           (*_A40, "nothing fitted"), more=True, plain=True),
    _row("LowFormer, two points: worst of all 21 choices", "MACs 44.8%", 0.20,
         (*_A40, "two points: worst row of every choice")),
    # measured 1.496 times: an error below a third means that E1 is predicted to be the faster
    _row("LowFormer, E1 over B1: error", "MACs 30%", 0.33, (*_A40, "E1 over B1")),
    _row("Hailo rates, by network: median", "109% MAPE, median 40%", 0.25, _HELD, MEDIAN),
    _row("FemtoDet J/frame, nothing fitted (2x)", "-", 0.5, (*_PRIME, "nothing fitted")),
    _row("FemtoDet J/frame, two times (no second power published)", "-", 0.15,
         (*_PRIME, "two times: smallest and largest")),
    _row("LLM rates on small systems, a system out: median", "bandwidth bound 85%", 0.20, _SYSTEM, MEDIAN),
    Target("speed of spatial arrays", "SCALE-Sim, ZigZag", np.nan, at(""), elsewhere="benchmarks/bench_spatial.py"),
)  # fmt: skip
