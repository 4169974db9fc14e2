"""Small pipelines that are simulated in a fraction of a second, for the tests of how they are shown."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from archcast.pipeline import Pipeline, simulate_pipeline
from foundation.yaml_file import parse_yaml

CHAIN = """kind: pipeline
id: small
name: Small chain
sources: {chosen: "chosen for this test"}
year: 2027
beam: {crossing_rate_hz: 40 MHz}
detectors:
  - {name: Camera, to: Trigger, size_bytes: 1 kB, link: {energy_per_bit_j: 20 pJ/bit}}
  - {name: Muon, to: Trigger, size_bytes: 500 B}
stages:
  - {name: Trigger, kind: trigger, reduction: 400, classifier: {kind: gaussian, skill: 3}, latency_s: 4 us}
  - name: Buffer
    kind: buffer
    inputs: [Trigger]
    service: {time_s: {value: 8 us, range: [6 us, 9 us], estimated: true}}
    places: 4
    link: {bandwidth_bytes_per_s: 10 Gb/s, latency_s: 1 us, energy_per_bit_j: 25 pJ/bit}
  - name: Farm
    kind: farm
    inputs: [Buffer]
    reduction: 10
    classifier: {kind: gaussian, skill: 2}
    service: {time_s: 60 us, law: exponential}
    servers: 8
    idle_power_w: 5 W
    busy_power_w: 9 W
    price_usd: 100
  - {name: Disk, kind: storage, inputs: [Farm]}
events:
  - {name: all of it, horizon_s: 20 ms, warm_up_s: 2 ms, samples: 100}
improvements:
  fast: {stages.Farm.service.time_s: 30 us}
"""
"""Loads: buffer 0.8 (four places: it loses), farm 0.75."""


def shown(text: str = CHAIN, seed: int = 1, replications: int = 1, **settings: Any) -> Pipeline:
    """Simulate a description on callbacks; `__` in the name of a setting stands for the dot of its path."""
    changes = {"engine": "callbacks"} | {key.replace("__", "."): value for key, value in settings.items()}
    return simulate_pipeline(
        parse_yaml(text, Path("folder/small.yaml")), changes, seed, replications, "folder/small.yaml"
    )


@cache
def small() -> Pipeline:
    """Return the chain, simulated once."""
    return shown()


@cache
def overloaded() -> Pipeline:
    """Return the chain with half of the farm: more is offered than it can serve."""
    return shown(stages__Farm__servers=4)
