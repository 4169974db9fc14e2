"""Measure this machine, calibrate, predict five networks, and run them: measured against predicted.

    python benchmarks/host_cpu.py [--budget 120] [--table FILE.csv]

`--table` takes a table of `archcast measure` in place of a new sweep. Networks are run after the sweep, each in several
sessions; the run-to-run spread is that of the sessions' times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import archcast
from archcast.calibration import calibrate
from archcast.cost_models import find_cost_model
from archcast.measuring.backends.base import Network
from archcast.measuring.machine import busy_share, pinned
from archcast.measuring.sweep import measure

SESSIONS, SESSION_S = 3, 1.5


@dataclass(frozen=True)
class Compared:
    """One network: seconds measured (median of the sessions), their spread over the median, and predicted."""

    network: str
    measured_s: float
    run_to_run: float
    predicted_s: float
    lo_s: float
    hi_s: float
    physics_s: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1|."""
        return abs(self.predicted_s / self.measured_s - 1)


def networks() -> Sequence[Network]:
    """Return the five networks: all of the sweep's but the decode step, which is a part of one of them."""
    from archcast.measuring.backends.onnxruntime_host import NETWORKS

    return [network for network in NETWORKS if not network.decode]


def compare(folder: Path, budget_s: float, table: Path | None = None) -> list[Compared]:
    """Run the chain in a folder."""
    from archcast.measuring.backends.onnxruntime_host import OnnxRuntimeBackend

    if table is None:
        table = folder / "m.csv"
        print(measure(table, budget_s=budget_s).text())
    print(calibrate(table, out=folder / "host").text())
    model = find_cost_model(folder / "host")
    found = []
    with pinned() as cores:
        backend = OnnxRuntimeBackend(len(cores))
        for network in networks():
            times = [backend.measure_network(network, SESSION_S).latency_s for _ in range(SESSIONS)]
            middle = statistics.median(times)
            generate = 1 if network.workload.startswith("gpt") else None
            asked = {"on": "host-cpu", "batch": network.batch, "prompt": network.prompt, "generate": generate,
                     "knobs": dict(network.knobs) or None}  # fmt: skip
            learned = archcast.predict(network.workload, model=model, **asked).latency_s
            physics = archcast.predict(network.workload, **asked).latency_s
            assert learned is not None
            assert physics is not None
            spread = (max(times) - min(times)) / middle
            found.append(
                Compared(network.workload, middle, spread, learned.value, learned.lo, learned.hi, physics.value)
            )
    return found


def text(found: Sequence[Compared]) -> str:
    """Return the comparison as a table."""
    lines = [
        f"{'network':16}{'measured':>10}{'spread':>8}{'predicted':>11}{'interval':>18}{'error':>8}{'closed form':>13}"
    ]
    for c in found:
        interval = f"{c.lo_s * 1e3:.1f} to {c.hi_s * 1e3:.1f}"
        physics = c.physics_s / c.measured_s - 1
        lines.append(
            f"{c.network:16}{c.measured_s * 1e3:7.2f} ms{c.run_to_run:8.1%}{c.predicted_s * 1e3:8.2f} ms{interval:>18}"
            f"{c.predicted_s / c.measured_s - 1:+8.1%}{physics:+13.1%}"
        )
    spread, busy = np.median([c.run_to_run for c in found]), busy_share(1.0)
    lines.append(
        f"median error {np.median([c.error for c in found]):.1%}, worst {max(c.error for c in found):.1%}; "
        f"median run-to-run spread {spread:.1%}; other work uses {busy:.0%} of the cores"
    )
    return "\n".join(lines)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--table", type=Path, default=None, metavar="FILE.csv")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(text(compare(Path(folder), chosen.budget, chosen.table)))


if __name__ == "__main__":
    main()
