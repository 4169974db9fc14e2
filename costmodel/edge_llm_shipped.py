"""Coefficients of `costmodel.edge_llm` that come along: fitted on all measured rows, no data at hand.

`python -m costmodel.evaluation.llm_edge DATA` writes the file. The half widths of its 90 % intervals are from systems
left out of the fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from costmodel.edge_llm import AT, COEFFICIENTS, Surroundings, Terms, Token, add_card, add_cores
from foundation.errors import BadFileError
from hardware_specs import DeviceSpec
from workloads.table import Array

FILE = Path(__file__).with_name("edge_llm.json")


@dataclass(frozen=True)
class ShippedTokens:
    """Coefficients in the order of `COEFFICIENTS`, half widths of the log interval on cores and on graphics units, how
    many rows they rest on, and the median error of a rate where its system was left out."""

    values: Array
    half_cores: float
    half_graphics: float
    rows: int
    median_error: float


def write_tokens(found: ShippedTokens, path: Path = FILE) -> None:
    """Write coefficients to a file of six digits."""
    values = {name: float(f"{value:.6g}") for name, value in zip(COEFFICIENTS, found.values.tolist(), strict=True)}
    rest = {"half_cores": round(found.half_cores, 4), "half_graphics": round(found.half_graphics, 4),
            "rows": found.rows, "median_error": round(found.median_error, 4)}  # fmt: skip
    path.write_text(json.dumps({**rest, "coefficients": values}, indent=1) + "\n", encoding="utf-8")


@cache
def shipped_tokens(path: Path = FILE) -> ShippedTokens:
    """Return the coefficients that come along. Raises BadFileError: not such a file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = np.array([found["coefficients"][name] for name in COEFFICIENTS], float)
        halves = (float(found["half_cores"]), float(found["half_graphics"]))
        return ShippedTokens(values, *halves, int(found["rows"]), float(found["median_error"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(path, f"not coefficients of tokens ({type(error).__name__}: {error}).") from None


_instead: list[ShippedTokens] = []


@contextmanager
def others_instead(found: ShippedTokens) -> Iterator[None]:
    """Within the block, let other coefficients answer than those that come along (a system held out)."""
    _instead.append(found)
    try:
        yield
    finally:
        _instead.pop()


def shipped_answer() -> bool:
    """Say whether the coefficients that come along answer, as they do outside of every `others_instead`."""
    return not _instead


def known_tokens() -> ShippedTokens:
    """Return the coefficients that answer."""
    return _instead[-1] if _instead else shipped_tokens()


def has_class(spec: DeviceSpec) -> bool:
    """Say whether the coefficients know a device's class: processors, and graphics units of four vendors."""
    return spec.kind == "cpu" or (spec.kind == "gpu" and f"{spec.vendor.lower()}_layer_s" in AT)


def card_link(spec: DeviceSpec) -> str:
    """Return the link over which a card's logits reach its host, '' where both share a memory."""
    ports = (port.link for port in spec.links if port.link.startswith("pcie"))
    return next((link for link in ports if not link.endswith("-x1")), "")


def half_width(spec: DeviceSpec) -> float:
    """Return the half width of the log interval that held 90 % of the rows whose system was left out."""
    known = known_tokens()
    return known.half_cores if spec.kind == "cpu" else known.half_graphics


def seconds_of(token: Token, spec: DeviceSpec, *, ollama: bool = False) -> Array:
    """Return seconds of passes that stream the weights once, shape (passes,); cards stand in a PC.

    `token` has an entry a pass: on cores `weights` counts each weight as often as it is multiplied.
    """
    shape = np.broadcast_shapes(np.shape(token.read_bytes), np.shape(token.weights), np.shape(token.vocab))
    added, stream, work = (np.zeros((*shape, len(COEFFICIENTS))) for _ in range(3))
    if spec.kind == "cpu":
        add_cores(token, spec, 1.0, (added, stream, work))
    else:
        add_card(token, spec, 1.0, Surroundings(link=card_link(spec), ollama=ollama), added)
    return Terms(added, stream, work, np.zeros(shape), np.zeros(shape)).seconds(known_tokens().values)
