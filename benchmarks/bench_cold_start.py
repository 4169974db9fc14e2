"""Cold start: how long a fresh process takes to help, to predict, and, for scale, to import numpy alone.

    python benchmarks/bench_cold_start.py [--runs 9]

Prints medians of wall time and the ratio to `python -c "import numpy"` measured in the same round, so that a busy
machine slows all alike. Both cases of bytecode are measured: a first start compiles every module (as does an
environment with PYTHONDONTWRITEBYTECODE=1), later ones read `.pyc` files.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASK = ["predict", "llama-3.1-8b", "--on", "h100-sxm", "--batch", "8", "--prompt", "1024", "--generate", "256"]
COMMANDS: Mapping[str, Sequence[str]] = {
    "import numpy": ["-c", "import numpy"],
    "archcast --help": ["-m", "archcast", "--help"],
    "archcast predict --json": ["-m", "archcast", *ASK, "--json"],
    "archcast predict": ["-m", "archcast", *ASK],
}
BUDGET_S: Mapping[str, float] = {"archcast --help": 0.3, "archcast predict --json": 1.0}


def seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the wall time of one fresh interpreter, in seconds. Raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, env=dict(environment), stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def medians(runs: int, environment: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Return (median seconds, median ratio to the import of numpy) of each command, over interleaved rounds."""
    rounds = [{name: seconds(arguments, environment) for name, arguments in COMMANDS.items()} for _ in range(runs)]
    return {
        name: (
            statistics.median(each[name] for each in rounds),
            statistics.median(each[name] / each["import numpy"] for each in rounds),
        )
        for name in COMMANDS
    }


def main() -> None:
    """Measure and print one table a case of bytecode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=9, help="rounds; the median is printed")
    runs = max(1, parser.parse_args().runs)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    plain["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as cache:
        cached = plain | {"PYTHONPYCACHEPREFIX": cache}
        medians(1, cached)  # writes the bytecode
        cases = {"with bytecode": cached, "without": plain | {"PYTHONPYCACHEPREFIX": "/nonexistent"}}
        cases["without"]["PYTHONDONTWRITEBYTECODE"] = "1"
        for case, environment in cases.items():
            print(f"{case:26} {'median':>9} {'x numpy':>8} {'budget':>8}")
            for name, (median_s, ratio) in medians(runs, environment).items():
                budget = f"{BUDGET_S[name]:6.1f} s" if name in BUDGET_S else ""
                print(f"  {name:24} {median_s:7.3f} s {ratio:8.2f} {budget:>8}")


if __name__ == "__main__":
    main()
