"""A small serving file that runs in a fraction of a second, for the tests of kind `serving`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archcast.serving import Serving
from archcast.simulation import simulate

SMALL = """kind: serving
model: llama-3.2-1b
on: h100-sxm
cost_model: physics
intervals: false
policy: {most_tokens: 128, most_requests: 16}
traffic: {rate_hz: 20.0, requests: 400, prompt: 60, generate: {kind: uniform, least: 5, most: 25}}
slo: {ttft_s: 1.0, tpot_s: 0.05}
replications: 2
"""


def written(folder: Path, text: str = SMALL, name: str = "serving.yaml") -> Path:
    """Write a serving file."""
    file = folder / name
    file.write_text(text)
    return file


def served(folder: Path, text: str = SMALL, seed: int = 1, **settings: Any) -> Serving:
    """Simulate a file; `__` in the name of a setting stands for the dot of its path."""
    found = simulate(
        written(folder, text), settings={key.replace("__", "."): value for key, value in settings.items()}, seed=seed
    )
    assert isinstance(found, Serving)
    return found


def own_trace(folder: Path, rows: str, name: str = "trace.csv") -> Path:
    """Write a trace in archcast's own format."""
    file = folder / name
    file.write_text("arrival_s,prompt,generate\n" + rows)
    return file
