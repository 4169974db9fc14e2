"""How many requests a second the service answers, and what one costs its processes, against the floor in the same run.

    python benchmarks/http_load.py [--seconds 10] [--connections 16] [--rows 100] [--workers 1] [--json]

The generator (wrk, else one in asyncio) runs on the same machine. `us/request` is the processor time of the server
processes, with their children, over the requests: the sturdy figure; requests/s depends on what else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

BODIES = 2_500
"""Distinct bodies of a path whose answers are not to be kept."""
LUA = """
local requests, at = {}, 0
function init(args)
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", args[2], {["Content-Type"] = "application/json"}, line)
  end
  at = math.floor(#requests * (tonumber(args[3]) or 0))
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What one path bore."""

    path: str
    requests_per_s: float
    p50_s: float
    p99_s: float
    cpu_s_per_request: float
    errors: int
    ratio_to_floor: float = 1.0


def bodies(rows: int, count: int, seed: int) -> list[bytes]:
    """Return bodies of random matrix products, no two alike."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sizes = {name: (64 * random.integers(1, 256, rows)).tolist() for name in ("m", "n", "k")}
        batch = random.integers(1, 9, rows).tolist()
        document = {"op": "gemm", "device": "h100-sxm", "dtype": "bf16", **sizes, "batch": batch}
        found.append(json.dumps(document, separators=(",", ":")).encode())
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready: str) -> Iterator[psutil.Process]:
    """Run a server until the block ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait(port, ready, process)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    import httpx

    last = time.monotonic() + 60
    while time.monotonic() < last and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code in (200, 404):
                time.sleep(2.0)  # the helper process loads its models
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def cpu_s(server: psutil.Process) -> float:
    """Return the processor time of a server and its children."""
    total = 0.0
    for process in [server, *server.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def measured(name: str, server: psutil.Process, port: int, route: str, sent: list[bytes], asked: argparse.Namespace,
             seconds: float) -> Load:  # fmt: skip
    """Load one path for a while and return what it bore."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bodies"
        file.write_bytes(b"\n".join(sent) + b"\n")
        before = cpu_s(server)
        run = by_wrk if shutil.which("wrk") and not asked.no_wrk else by_asyncio
        requests, duration_s, p50_s, p99_s, errors = run(port, route, file, asked.connections, seconds)
        used_s = cpu_s(server) - before
    return Load(name, requests / duration_s, p50_s, p99_s, used_s / max(requests, 1), errors)


def by_wrk(
    port: int, route: str, file: Path, connections: int, seconds: float
) -> tuple[int, float, float, float, int]:  # fmt: skip
    """Return (requests, duration, p50, p99, errors) by wrk, one thread."""
    script = file.with_name("load.lua")
    script.write_text(LUA)
    found = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), f"http://127.0.0.1:{port}{route}",
         "--", str(file), route],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    match = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", found.stdout)
    assert match, found.stdout + found.stderr
    requests, duration, p50, p99, refused, broken = map(int, match.groups())
    return requests, duration / 1e6, p50 / 1e6, p99 / 1e6, refused + broken


def by_asyncio(
    port: int, route: str, file: Path, connections: int, seconds: float
) -> tuple[int, float, float, float, int]:  # fmt: skip
    """Return the same by plain asyncio connections: slower, so that it loads less."""
    sent = file.read_bytes().split(b"\n")[:-1]
    head = f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    times: list[float] = []
    errors = 0

    async def one(start: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at = start
        while time.perf_counter() < last:
            body = sent[at % len(sent)]
            at += connections
            began = time.perf_counter()
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            errors += not answer.startswith(b"HTTP/1.1 200")
            times.append(time.perf_counter() - began)
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one(i) for i in range(connections)))

    last = time.perf_counter() + seconds
    asyncio.run(all_of_them())
    p50_s, p99_s = np.percentile(times, [50, 99]).tolist()
    return len(times), seconds, p50_s, p99_s, errors


def run(asked: argparse.Namespace) -> list[Load]:
    """Return the loads of all paths, the floor first."""
    distinct, few = bodies(asked.rows, BODIES, 1), bodies(asked.rows, 20, 2)
    python, found = sys.executable, []
    port = free_port()
    floor = [python, "-m", "uvicorn", "benchmarks.http_floor:app", "--port", str(port), "--no-access-log",
             "--log-level", "warning", "--workers", str(asked.workers)]  # fmt: skip
    with running(floor, port, "/") as server:
        measured("warm-up", server, port, "/v1/predict_ops", few, asked, 1)
        found.append(measured("floor", server, port, "/v1/predict_ops", distinct, asked, asked.seconds))
    least_s = found[0].cpu_s_per_request
    log = [] if asked.log else ["--no-log"]
    for name, route, sent in (
        ("physics, distinct rows", "/v1/predict_ops?model=physics", distinct),
        ("learned, distinct rows", "/v1/predict_ops", distinct),
        ("cached", "/v1/predict_ops", few),
    ):
        port = free_port()  # a server of its own for each: nothing is kept from the path before
        with tempfile.TemporaryDirectory() as data:
            command = [python, "-m", "archcast", "serve", "--port", str(port), "--workers", str(asked.workers),
                       "--data", data, "--cache-bytes", "0" if name != "cached" else "64000000", *log]  # fmt: skip
            with running(command, port, "/readyz") as server:
                measured("warm-up", server, port, route, few, asked, 1)
                load = measured(name, server, port, route, sent, asked, asked.seconds)
        found.append(Load(**{**asdict(load), "ratio_to_floor": load.cpu_s_per_request / least_s}))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="with the log of requests, to a file that nobody reads")
    parser.add_argument("--no-wrk", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = run(asked)
    if asked.json:
        print(json.dumps({"rows": asked.rows, "load_average": os.getloadavg()[0], "paths": [asdict(x) for x in found]}))
        return
    print(f"{asked.rows} rows a body, {asked.connections} connections, {asked.workers} process(es), "
          f"load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"{'path':26}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'us/request':>12}{'to floor':>10}{'errors':>8}")
    for x in found:
        print(f"{x.path:26}{x.requests_per_s:12,.0f}{x.p50_s * 1e3:9.1f}{x.p99_s * 1e3:9.1f}"
              f"{x.cpu_s_per_request * 1e6:12.0f}{x.ratio_to_floor:10.2f}{x.errors:8d}")  # fmt: skip


if __name__ == "__main__":
    main()
