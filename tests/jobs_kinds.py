"""Kinds of jobs that tests run: they nap, crash, eat, and read what they may not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import BadValueError

Report = Callable[..., None]
Request = Mapping[str, Any]

KINDS = {
    name: f"jobs_kinds:{name}"
    for name in ("echo", "nap", "refuse", "bug", "crash", "stubborn", "eat", "big", "read", "steps", "beat", "family")
}


def echo(request: Request, report: Report, folder: Path) -> Any:
    return dict(request)


def nap(request: Request, report: Report, folder: Path) -> Any:
    steps = int(request.get("steps", 10))
    for step in range(steps):
        time.sleep(float(request["seconds"]) / steps)
        report(step + 1, steps, "napping")
    return {"napped": request["seconds"]}


def refuse(request: Request, report: Report, folder: Path) -> Any:
    raise BadValueError(f"{folder / 'request.yaml'}: no such thing.")


def bug(request: Request, report: Report, folder: Path) -> Any:
    return 1 / int(request.get("zero", 0))


def crash(request: Request, report: Report, folder: Path) -> Any:
    """Die until the folder, which stays over attempts, says that it was `times` times."""
    mark = folder / "deaths"
    deaths = len(mark.read_text()) if mark.exists() else 0
    if deaths < int(request["times"]):
        mark.write_text("x" * (deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return {"deaths": deaths}


def stubborn(request: Request, report: Report, folder: Path) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(1, 2, "ignoring")
    time.sleep(60)


def eat(request: Request, report: Report, folder: Path) -> Any:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.002)


def big(request: Request, report: Report, folder: Path) -> Any:
    return {"text": "x" * int(request["bytes"]), "number": float("nan")}


def read(request: Request, report: Report, folder: Path) -> Any:
    return {"text": Path(request["path"]).read_text(encoding="utf-8", errors="replace")}


def steps(request: Request, report: Report, folder: Path) -> Any:
    """Take one step an attempt and die between, as a search does that goes on where it was stopped."""
    done = len(list(folder.glob("step-*")))
    (folder / f"step-{done}").touch()
    if done + 1 < int(request["steps"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"begun_at": done}


def beat(request: Request, report: Report, folder: Path) -> Any:
    """Write the time into the folder for `seconds`, so that a survivor is seen."""
    last = time.monotonic() + float(request["seconds"])
    while time.monotonic() < last:
        (folder / "beat").write_text(repr(time.time()))
        time.sleep(0.01)
    return {"number": request["number"]}


def family(request: Request, report: Report, folder: Path) -> Any:
    """Start a process of its own and be stopped while it runs."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    report(child.pid, 0, "parent")
    time.sleep(0.05)
    report(child.pid, child.pid, "parent")
    time.sleep(60)
