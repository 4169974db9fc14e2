"""Prints what replays of real vLLM runs miss by: each way of pricing steps, the peer's, and how much the host matters.

python benchmarks/replay_accuracy.py [FOLDER OF DATA SETS]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from archcast.validation import replays
from archcast.validation.replays import ADDED, FITTED, METRICS, STATISTICS, UNFITTED, Replay, errors, replayed

HOSTS_S = (0.5e-3, 1e-3)


def main(root: Path) -> None:
    """Print one table a replay."""
    for replay in replays.read_replays(root):
        print(f"\n{replay.device}, {replay.workload}: {len(replay.prompt)} requests, vLLM 0.19.0")
        blocks = replays.predicted_blocks(replay)
        noted = f"{replay.blocks:,} noted, error {blocks / replay.blocks - 1:+.1%}" if replay.blocks else "none noted"
        print(f"KV blocks predicted: {blocks:,} ({noted})")
        ways = {
            FITTED: replayed(replay, root), ADDED: replayed(replay, root, ADDED),
            UNFITTED: replayed(replay, root, UNFITTED),
            f"{FITTED}, predicted blocks": replayed(replay, root, blocks=blocks),
        }  # fmt: skip
        ways |= {f"{FITTED}, host {host_s * 1e3:g} ms": replayed(replay, root, host_s=host_s) for host_s in HOSTS_S}
        found = {way: errors(said, replay.seen) for way, said in ways.items()}
        found[f"{replays.PEER} (from queued_ts)"] = errors(replay.peer, replay.seen_by_engine)
        _table(replay, found)


def _table(replay: Replay, found: dict[str, dict[tuple[str, str], float]]) -> None:
    keys = [(metric, name) for metric in METRICS for name in STATISTICS]
    print(f"{'':34}" + "".join(f"{metric.removesuffix('_s')} {name}".rjust(13) for metric, name in keys))
    seen = {metric: replays.statistics(replay.seen[metric]) for metric in METRICS}
    print(f"{'measured, s':34}" + "".join(f"{seen[metric][name]:13.4g}" for metric, name in keys))
    for way, error in found.items():
        print(f"{way:34}" + "".join(f"{error[key]:+13.1%}" for key in keys))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ARCHCAST_DATA", "../shared/data")))
