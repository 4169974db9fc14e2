"""Whether memory grows under load: half of what the service can bear, for a while, and the slope of what it holds.

    python benchmarks/http_memory.py [--minutes 30] [--every 5] [--json]

The rate is half of what the service bore in a trial before. Resident memory of the server with its children is read
every few seconds; the first third of the readings (caches fill) is left out of the fit. The interval of the slope is
that of least squares with the effective number of readings that their correlation leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import numpy as np
import psutil
from http_load import bodies, free_port, running


@dataclass(frozen=True)
class Slope:
    """Growth of resident memory, in MB an hour, with its 95 % interval."""

    mb_per_h: float
    lo_mb_per_h: float
    hi_mb_per_h: float
    first_mb: float
    last_mb: float
    readings: int


def resident_mb(server: psutil.Process) -> float:
    """Return the resident memory of a server and its children, in MB."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1e6


def slope_of(times_s: list[float], held_mb: list[float]) -> Slope:
    """Fit a line through the last two thirds of the readings."""
    start = len(times_s) // 3
    hours, mb = np.array(times_s[start:]) / 3600, np.array(held_mb[start:])
    line = np.polyfit(hours, mb, 1)
    left = mb - np.polyval(line, hours)
    together = float(np.corrcoef(left[:-1], left[1:])[0, 1]) if left.std() > 0 else 0.0
    effective = max(3.0, len(mb) * (1 - together) / (1 + together))
    spread = float(np.sqrt((left**2).sum() / (len(mb) - 2) / ((hours - hours.mean()) ** 2).sum()))
    error = spread * float(np.sqrt(len(mb) / effective))
    return Slope(float(line[0]), float(line[0] - 1.96 * error), float(line[0] + 1.96 * error), mb[0], mb[-1], len(mb))


async def loaded(port: int, sent: list[tuple[str, bytes]], rate_hz: float, seconds: float) -> int:
    """Send at a rate (0: as fast as answers come) over 8 connections; return how many were answered."""
    answered = 0
    last = time.perf_counter() + seconds
    pause_s = 8 / rate_hz if rate_hz else 0.0

    async def one(start: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at, due = start, time.perf_counter()
        while time.perf_counter() < last:
            route, body = sent[at % len(sent)]
            at += 8
            head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            answered += 1
            due += pause_s
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
        writer.close()

    await asyncio.gather(*(one(i) for i in range(8)))
    return answered


def mixed(count: int) -> list[tuple[str, bytes]]:
    """Return requests of all kinds: columns (distinct), questions, faults and long ones."""
    found: list[tuple[str, bytes]] = []
    for i, body in enumerate(bodies(100, count, 5)):
        found.append(("/v1/predict_ops?model=physics" if i % 2 else "/v1/predict_ops", body))
        question = {"workload": ["resnet-50", "gpt-2", "bert-large"][i % 3], "on": "h100-sxm", "batch": 1 + i % 512}
        if i % 10 == 0:
            found.append(("/v1/predict", json.dumps(question).encode()))
        if i % 25 == 0:
            found.append(("/v1/predict", json.dumps({**question, "on": f"nothing-{i}"}).encode()))
        if i % 50 == 0:
            columns = {"workload": "resnet-50", "on": "h100-sxm", "batch": [1 + i, 2 + i, 3 + i]}
            found.append(("/v1/predict_batch", json.dumps(columns).encode()))
    return found


async def watched(
    server: psutil.Process, port: int, sent: list[tuple[str, bytes]], rate_hz: float, asked: argparse.Namespace
) -> tuple[int, list[float], list[float]]:  # fmt: skip
    """Load for the whole time and read the memory meanwhile."""
    times_s: list[float] = []
    held: list[float] = []
    load = asyncio.create_task(loaded(port, sent, rate_hz, asked.minutes * 60))
    start = time.perf_counter()
    while not load.done():
        times_s.append(time.perf_counter() - start)
        held.append(resident_mb(server))
        await asyncio.wait([load], timeout=asked.every)
    return load.result(), times_s, held


def main() -> None:
    """Print the slope."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--trial-s", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sent, port = mixed(4000), free_port()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "archcast", "serve", "--port", str(port), "--data", data, "--no-log"]
        with running(command, port, "/readyz") as server:
            limit_hz = asyncio.run(loaded(port, sent, 0.0, asked.trial_s)) / asked.trial_s
            answered, times_s, held = asyncio.run(watched(server, port, sent, limit_hz / 2, asked))
    slope = slope_of(times_s, held)
    if asked.json:
        print(json.dumps({"limit_hz": limit_hz, "answered": answered, "minutes": asked.minutes, **asdict(slope)}))
        return
    print(f"limit {limit_hz:,.0f} requests/s; {answered:,} answered in {asked.minutes:g} min "
          f"({answered / asked.minutes / 60:,.0f}/s), load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"resident {slope.first_mb:,.1f} MB after a third of the time, {slope.last_mb:,.1f} MB at the end")
    print(f"slope {slope.mb_per_h:+.2f} MB/h, 95 % from {slope.lo_mb_per_h:+.2f} to {slope.hi_mb_per_h:+.2f}, "
          f"{slope.readings} readings")  # fmt: skip


if __name__ == "__main__":
    main()
