"""Small growth studies with options by hand: one device, one region, round numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from archcast.growing.growth_file import read_growth
from archcast.growing.options import Options
from archcast.growing.study import GrowthStudy
from archcast.growing.tree import Tree, tree_of
from foundation.yaml_file import YamlDocument, parse_yaml


def growth_file(**changes: Any) -> dict[str, Any]:
    """Return a valid file; `changes` are keys below `growth`."""
    growth = {
        "start": "2027-01", "periods": 2, "length": "year", "regions": ["fr-paris"], "discount_per_year": 0,
        "lead_months": 12, "acquire": ["buy", "rent"], "sold_in": "instances", "life_years": 20,
        "scenarios": [{"name": "low", "probability": 0.5, "path": [1, 1]},
                      {"name": "high", "probability": 0.5, "path": [1, 3]}],
    }  # fmt: skip
    return {
        "kind": "plan", "model": "llama-3.1-8b", "slo": {"ttft_s": 2.0, "tpot_s": 0.1}, "devices": ["h100-sxm"],
        "traffic": {"name": "azure-2023-conv", "rate_hz": 20}, "growth": {**growth, **changes},
    }  # fmt: skip


def study(**changes: Any) -> GrowthStudy:
    from pathlib import Path

    return read_growth(YamlDocument(Path("growth.yaml"), growth_file(**changes)))


def from_text(text: str) -> GrowthStudy:
    from pathlib import Path

    return read_growth(parse_yaml(text, Path("growth.yaml")))


def options(periods: int = 2, *, buy: float = 10.0, rent: float = 25.0, **changes: Any) -> Options:
    """Return one option that serves 1 request/s an instance; nothing but buying and renting costs anything."""
    row = np.zeros((1, periods))
    found = Options(
        device=("gpu",), region=("fr-paris",), devices=np.array([1]), unit=np.array([1]), unit_devices=np.array([1]),
        first=np.array([0]), hz=row + 1, buy_usd=row + buy, keep_usd=row, hall_usd=np.zeros(1), care_share=0.0,
        run_usd=row, lease_usd=row + np.inf, rent_usd=row + rent, idle_kg=row, run_kg=row, embodied_kg=np.zeros(1),
        peak_w=np.array([1000.0]), idle_w=np.array([100.0]), run_w=row + 900, resale=np.zeros(30), lease_periods=1,
    )  # fmt: skip
    return replace(found, **changes)


def tree(*paths: list[float], probability: list[float] | None = None, seen_after: int = 0) -> Tree:
    share = np.array(probability) if probability else np.full(len(paths), 1 / len(paths))
    return tree_of(tuple(f"s{i}" for i in range(len(paths))), share, np.array(paths, dtype=float), seen_after)
