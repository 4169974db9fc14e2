"""The command line for tests: in this process (fast), or in a fresh one as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from archcast.cli import (  # noqa: F401  each adds its commands
    allocate,
    calibrate,
    catalogue,
    measure,
    oracle,
    plan,
    predict,
    search,
    serve,
    simulate,
)
from archcast.cli.app import app

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return the answer as strict JSON: NaN and infinity are refused."""

        def refuse(name: str) -> Any:
            raise AssertionError(f"{name} is not JSON")

        return json.loads(self.stdout, parse_constant=refuse)


def archcast(*arguments: object) -> Ended:
    """Run a command in this process; an exception that is not the command's own way out is raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="archcast", catch_exceptions=False)
    return Ended(result.exit_code, result.stdout, result.stderr)


def archcast_process(*arguments: object, cwd: Path | None = None, **environment: str) -> Ended:
    """Run a command in a fresh process, with the checkout as the installed package."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ARCHCAST_DEBUG")}
    done = subprocess.run(
        [sys.executable, "-m", "archcast", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        timeout=120,
        check=False,
        env=plain | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return Ended(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def refused(*arguments: object) -> str:
    """Run a command that must be refused as wrong input, and return its one sentence."""
    ended = archcast(*arguments)
    assert ended.code == 2, f"exit {ended.code}: {ended.stderr[-300:]}"
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert 0 < len(ended.stderr) < 1500
    return ended.stderr.strip()
