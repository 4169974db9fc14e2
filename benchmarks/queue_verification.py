"""The verification of the station engine as a table: what is known in closed form against what it simulates.

    python benchmarks/queue_verification.py [--engine callbacks|kernel] [--times 20] [--only TEXT]

Every check has its own seed, made from its name. Prints Markdown; ends with 1 where a number does not pass.
"""

from __future__ import annotations

import argparse
import sys
import time

from simulator.queues.verification import Row, run_check, table
from simulator.queues.verification_cases import checks


def main() -> int:
    """Run the checks and print their table, family by family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", choices=("callbacks", "kernel"), default="callbacks")
    parser.add_argument("--times", type=int, default=1, help="so many times the replications, and tighter bounds")
    parser.add_argument("--only", default="", help="checks whose family or name has this text")
    given = parser.parse_args()
    chosen = [check for check in checks() if given.only.lower() in f"{check.family} {check.name}".lower()]
    start, rows = time.process_time(), list[Row]()
    for family in dict.fromkeys(check.family for check in chosen):
        found = [
            row
            for check in chosen
            if check.family == family
            for row in run_check(check, given.engine, times=given.times)
        ]
        print(f"\n### {family}\n\n{table(found)}", flush=True)
        rows += found
    failed = [row for row in rows if not row.passed]
    items = sum(check.customers * check.replications * given.times for check in chosen)
    worst = max((abs(row.deviation) for row in rows), default=0.0)
    print(
        f"\n{len(chosen)} checks, {len(rows)} numbers, {items:,} customers, {time.process_time() - start:.1f} CPU s "
        f"({given.engine}); {len(failed)} fail, the largest deviation is {worst:.2f} standard errors."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
