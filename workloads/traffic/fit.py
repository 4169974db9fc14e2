"""Fit a named traffic to a trace: `python -m workloads.traffic.fit FILE [--rounded 3] > NAME.yaml`.

The result is a file in the words of `traffic:` (docs/traffic.md) with the rate, burstiness, lengths and, where the
trace has prefix ids, the conversations of the trace.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundation.errors import ArchcastError
from workloads.table import Array
from workloads.traffic.bursts import Bursty
from workloads.traffic.fit_dispersion import fit_arrivals
from workloads.traffic.fit_sessions import fit_sessions
from workloads.traffic.lengths import EmpiricalLengths
from workloads.traffic.sessions import Sessions
from workloads.traffic.statistics import WINDOWS_S, dispersion, prefix_share, rank_correlation
from workloads.traffic.stream import Traffic
from workloads.traffic.traces import read_traffic

TAILS = (0.0, 0.001, 0.005)
QUANTILES = (*TAILS, *np.round(np.arange(0.01, 0.991, 0.01), 2).tolist(), *(round(1 - one, 3) for one in TAILS[::-1]))
"""Every percent, and closer at both ends."""
WIDTH = 118


def fit_lengths(tokens: Array) -> EmpiricalLengths:
    """Return the table of quantiles of lengths, rounded to whole tokens."""
    return EmpiricalLengths(QUANTILES, tuple(np.round(np.quantile(tokens, QUANTILES)).tolist()))


def fitted_yaml(traffic: Traffic, *, source: str, rounded_s: float = 0.0) -> str:
    """Return the YAML of traffic like this. Raises BadValueError where there is too little to fit."""
    lines = [
        f"source: {_quoted(source)}",
        f"fitted_by: {_quoted('python -m workloads.traffic.fit' + (f' --rounded {rounded_s:g}' if rounded_s else ''))}",
        "trace:  # what the numbers below were fitted to",
        *(f"  {key}: {value}" for key, value in _facts(traffic).items()),
        *_arrivals_yaml(fit_arrivals(traffic.arrival_s, rounded_s)),
        *_flow("prompt: {kind: empirical, ", _table(fit_lengths(traffic.prompt))),
        *_flow("generate: {kind: empirical, ", _table(fit_lengths(traffic.generate))),
        f"rank_correlation: {rank_correlation(traffic.prompt, traffic.generate):.4f}",
    ]
    if len(traffic.prefix_ids):
        lines += _sessions_yaml(fit_sessions(traffic))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m workloads.traffic.fit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", help="a trace: Azure CSV, Mooncake JSON lines or archcast CSV, also .gz")
    parser.add_argument("--rounded", type=float, default=0.0, help="seconds that its times are rounded to")
    parser.add_argument("--source", default="", help="whose trace it is, for the file")
    given = parser.parse_args(arguments)
    try:
        traffic = read_traffic(given.file)
        text = fitted_yaml(traffic, source=given.source or Path(given.file).name, rounded_s=given.rounded)
    except ArchcastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(text, end="")
    return 0


def _facts(traffic: Traffic) -> dict[str, str]:
    found = {"requests": str(len(traffic)), "span_s": f"{traffic.span_s:.1f}", "rate_hz": f"{traffic.rate_hz:.4f}"}
    for window_s in WINDOWS_S:
        found[f"dispersion_{window_s:g}s"] = f"{dispersion(traffic.arrival_s, window_s):.2f}"
    if len(traffic.prefix_ids):
        found["prefix_share"] = f"{prefix_share(traffic):.4f}"
    return found


def _arrivals_yaml(arrivals: Bursty) -> list[str]:
    lines = ["arrivals:", "  kind: bursty", f"  rate_hz: {arrivals.rate_hz:.4f}"]
    if arrivals.rounded_s:
        lines.append(f"  rounded_s: {arrivals.rounded_s:g}")
    lines.append("  components:" if arrivals.components else "  components: []")
    for part in arrivals.components:
        # Rounded down, so that shares which add up to 1 still do.
        share = np.floor(part.share * 1e5) / 1e5
        lines.append(f"    - {{share: {share:.5f}, on_share: {part.on_share:.5f}, time_s: {part.time_s:g}}}")
    return lines


def _sessions_yaml(sessions: Sessions) -> list[str]:
    lines = ["sessions:", f"  block_tokens: {sessions.block_tokens}", f"  system_blocks: {sessions.system_blocks}"]
    lines += _flow("  age_s: ", _numbers(sessions.age_s))
    lines.append("  classes:")
    for one in sessions.classes:
        start = f"    - {{prompt_up_to: {one.prompt_up_to:.0f}, continues: {one.continues:.4f}, shared: "
        lines += _flow(start, _numbers(one.shared) + "}")
    return lines


def _table(lengths: EmpiricalLengths) -> str:
    return f"quantiles: {_numbers(lengths.quantiles)}, tokens_at: {_numbers(lengths.tokens_at)}}}"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.10g}" for value in values) + "]"


def _flow(start: str, text: str) -> list[str]:
    """Break `start` + `text` after commas into lines of at most `WIDTH` characters."""
    indent = " " * (len(start) - len(start.lstrip()) + 4)
    lines, line = [], start
    for word in text.split(" "):
        if len(line) + len(word) > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return [*lines, line.rstrip()]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "/").replace('"', "'") + '"'


if __name__ == "__main__":
    raise SystemExit(main())
