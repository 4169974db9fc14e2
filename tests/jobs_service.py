"""A stand-in for the service: `python jobs_service.py STORE LEDGER LEASE_S`. It runs jobs until it is killed.

Each job that has ended is one line of the ledger, written after the commit.
"""

from __future__ import annotations

import os
import sys
import time

from jobs_kinds import KINDS

from archcast.service.jobs import JobLimits, JobStore, Runner

if __name__ == "__main__":
    store = JobStore(sys.argv[1], kinds=KINDS, limits=JobLimits(lease_s=float(sys.argv[3])))
    ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Runner(store, workers=3, on_end=lambda id: os.write(ledger, f"{id}\n".encode()) and None):
        print("ready", flush=True)
        while True:
            time.sleep(1)
