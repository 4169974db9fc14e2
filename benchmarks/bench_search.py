"""Speed of searches: `python -m pytest benchmarks/bench_search.py -m benchmark`.

`python benchmarks/bench_search.py` prints designs a processor second of `examples/npu_resnet50.yaml` (whole grid, with
energy, area and the front), and what the front alone takes.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytest

from archcast.searching.front import nondominated
from archcast.searching.run import search

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "npu_resnet50.yaml"


@pytest.mark.benchmark
def test_a_million_designs_take_less_than_a_minute_of_one_core() -> None:
    start = time.process_time()
    answer = search(EXAMPLE)
    assert answer.tally.designs >= 10**6
    assert time.process_time() - start < 60


def main() -> None:
    """Print the speeds."""
    start = time.process_time()
    answer = search(EXAMPLE)
    spent = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{answer.tally.designs:,} designs, {len(answer.front):,} on the front: {spent:.1f} CPU-s,")
    print(f"  {answer.tally.designs / spent:,.0f} designs a CPU-s with the answer made, {peak_mb:.0f} MB at the peak")
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=(200_000, 3))
    start = time.process_time()
    front = nondominated(values, np.arange(len(values)))
    print(f"front of 200,000 random points ({len(front):,} on it): {time.process_time() - start:.2f} CPU-s")


if __name__ == "__main__":
    main()
