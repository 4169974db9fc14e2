"""Whether memory grows under load: half of what the service can bear, for a while, and the slope of what it holds.

    python benchmarks/http_memory.py [--minutes 30] [--every 5] [--json]

The rate is half of what the service bore in a trial before. Resident memory of the server and of its helper is read
every few seconds; the first third of the readings (caches fill) is left out of the fit. The interval of the slope is
that of least squares with the effective number of readings that their correlation leaves. Slopes of each third of the
time tell what fills from what leaks: a cache's falls from third to third to nothing, a leak's stays. `--full` sends
without a pause: growth by requests then shows in a few minutes.
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

NAMES = {"archcast.service.side_process": "helper", "archcast.service.jobs.child": "job"}
"""Module of a child process -> what it is."""
ALL = "all"


@dataclass(frozen=True)
class Slope:
    """Growth of resident memory, in MB an hour, with its 95 % interval, and of each third of the time."""

    mb_per_h: float
    lo_mb_per_h: float
    hi_mb_per_h: float
    first_mb: float
    last_mb: float
    readings: int
    thirds_mb_per_h: tuple[float, ...]


def resident_mb(server: psutil.Process) -> dict[str, float]:
    """Return the resident memory of a server and its children by what they are, in MB."""
    found = {ALL: 0.0, "server": 0.0}
    for process in [server, *server.children(recursive=True)]:
        try:
            words, held_mb = process.cmdline(), process.memory_info().rss / 1e6
        except psutil.Error:
            continue
        name = "server" if process.pid == server.pid else next((NAMES[w] for w in words if w in NAMES), "worker")
        found[name] = found.get(name, 0.0) + held_mb
        found[ALL] += held_mb
    return found


def slope_of(times_s: list[float], held_mb: list[float]) -> Slope:
    """Fit a line through the last two thirds of the readings, and one through each third."""
    start = len(times_s) // 3
    whole_h, whole_mb = np.array(times_s) / 3600, np.array(held_mb)
    hours, mb = whole_h[start:], whole_mb[start:]
    line = np.polyfit(hours, mb, 1)
    left = mb - np.polyval(line, hours)
    together = float(np.corrcoef(left[:-1], left[1:])[0, 1]) if left.std() > 0 else 0.0
    effective = max(3.0, len(mb) * (1 - together) / (1 + together))
    spread = float(np.sqrt((left**2).sum() / (len(mb) - 2) / ((hours - hours.mean()) ** 2).sum()))
    error = spread * float(np.sqrt(len(mb) / effective))
    thirds = zip(np.array_split(whole_h, 3), np.array_split(whole_mb, 3), strict=True)
    return Slope(
        float(line[0]), float(line[0] - 1.96 * error), float(line[0] + 1.96 * error), float(mb[0]), float(mb[-1]),
        len(mb), tuple(float(np.polyfit(h, part, 1)[0]) for h, part in thirds),
    )  # fmt: skip


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
) -> tuple[int, list[float], dict[str, list[float]]]:  # fmt: skip
    """Load for the whole time and read the memory of each process meanwhile."""
    times_s: list[float] = []
    held: dict[str, list[float]] = {}
    load = asyncio.create_task(loaded(port, sent, rate_hz, asked.minutes * 60))
    start = time.perf_counter()
    while not load.done():
        times_s.append(time.perf_counter() - start)
        found = resident_mb(server)
        for name in {*held, *found}:  # one that came later, or has ended, held nothing
            held.setdefault(name, [0.0] * (len(times_s) - 1)).append(found.get(name, 0.0))
        await asyncio.wait([load], timeout=asked.every)
    return load.result(), times_s, held


def main() -> None:
    """Print the slope."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--trial-s", type=float, default=10.0)
    parser.add_argument("--full", action="store_true", help="send as fast as answers come, in place of half of it")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sent, port = mixed(4000), free_port()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "archcast", "serve", "--port", str(port), "--data", data, "--no-log"]
        with running(command, port, "/readyz") as server:
            limit_hz = asyncio.run(loaded(port, sent, 0.0, asked.trial_s)) / asked.trial_s
            rate_hz = 0.0 if asked.full else limit_hz / 2
            answered, times_s, held = asyncio.run(watched(server, port, sent, rate_hz, asked))
    slopes = {name: slope_of(times_s, values) for name, values in held.items()}
    if asked.json:
        each = {name: asdict(slope) for name, slope in slopes.items()}
        print(json.dumps({"limit_hz": limit_hz, "answered": answered, "minutes": asked.minutes, "processes": each}))
        return
    show(slopes, limit_hz, answered, asked.minutes)


def show(slopes: dict[str, Slope], limit_hz: float, answered: int, minutes: float) -> None:
    """Print the table, the whole last."""
    print(f"limit {limit_hz:,.0f} requests/s; {answered:,} answered in {minutes:g} min "
          f"({answered / minutes / 60:,.0f}/s), load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    print("resident memory: MB after a third of the time and at the end, MB/h over what is between (95 %), "
          "MB/h of each third")  # fmt: skip
    for name in sorted(slopes, key=lambda name: (name == ALL, name)):
        x = slopes[name]
        thirds = " ".join(f"{each:+9.1f}" for each in x.thirds_mb_per_h)
        print(f"{name:8}{x.first_mb:9.1f}{x.last_mb:9.1f}{x.mb_per_h:+9.2f} [{x.lo_mb_per_h:+.2f} .. "
              f"{x.hi_mb_per_h:+.2f}]   thirds{thirds}   {x.readings} readings")  # fmt: skip


if __name__ == "__main__":
    main()
