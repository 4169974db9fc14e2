"""The commands and what they have in common: errors become one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

START = """archcast: what a workload costs on hardware that you do not have.

  archcast predict llama-3.1-8b --on h100-sxm --batch 8 --prompt 1024 --generate 256
  archcast devices
  archcast predict resnet-50 --on jetson-agx-orin --html report.html

`archcast --help` lists every command."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """What a workload costs on hardware: time, energy, memory, money and traffic, each with an interval."""
    if version:
        from archcast import __version__

        typer.echo(f"archcast {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(START)


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn archcast's errors into a sentence on stderr and an exit code: 2 the input, 1 our fault."""
    from foundation.errors import ArchcastError

    try:
        yield
    except ArchcastError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(0) from None


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document: finite numbers only, keys as they stand."""
    import json

    typer.echo(json.dumps(document, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as JSON values."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def parse_settings(settings: list[str] | None) -> dict[str, str]:
    """Return `--set KEY=VALUE` options as a dict.

    Raises:
        BadValueError: one has no `=`.
    """
    from foundation.errors import BadValueError

    found: dict[str, str] = {}
    for item in settings or []:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise BadValueError(f"--set takes KNOB=VALUE, not '{item}'.")
        found[key.strip()] = value.strip()
    return found


Command = Callable[..., None]
