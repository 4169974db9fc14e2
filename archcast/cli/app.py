"""The commands and what they have in common: errors become one sentence on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

START = """archcast: what a workload costs on hardware that you do not have.

  archcast predict llama-3.1-8b --on h100-sxm --batch 8 --prompt 1024 --generate 256
  archcast devices
  archcast predict resnet-50 --on jetson-agx-orin --html report.html

`archcast --help` lists every command."""

MAX_MESSAGE = 1200
"""Characters of one message on stderr; a longer one (a long name in it) loses its middle."""

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


def run() -> None:
    """Run the command line; what fails outside of a command (an import, help into a full disk) ends as inside one."""
    import os

    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins opens every installed package
    try:
        with one_sentence_errors():
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
                validate,
            )

            app(prog_name="archcast")
    except typer.Exit as end:
        sys.exit(end.exit_code)


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn every error into one sentence on stderr and an exit code: 2 the input, 1 our fault, 0 a reader that left."""
    from foundation.errors import ArchcastError

    try:
        yield
    except ArchcastError as error:
        fail(str(error), error.exit_code)
    except (typer.Exit, typer.Abort):
        raise
    except OSError as error:
        _environment_fault(error)
    except SystemExit as error:  # rich ends the process so where the reader of a pipe has left
        if isinstance(error.__context__, BrokenPipeError):
            _environment_fault(error.__context__)
        raise
    except MemoryError:
        fail("the sizes asked for need more memory than this machine has; ask for smaller ones or fewer at once.", 2)
    except Exception as error:
        our_fault(error)


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one line on stderr and leave."""
    typer.echo(f"Error: {one_line(message)}", err=True)
    raise typer.Exit(exit_code) from None


def one_line(message: str) -> str:
    """Return text that may hold a stranger's words as one printable line of bounded length."""
    cut = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 60]} ... {message[-50:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(cut.split("\n")))


def our_fault(error: Exception) -> NoReturn:
    """Say that archcast failed, and where; the traceback only with ARCHCAST_DEBUG=1. Exit code 1."""
    import os
    import traceback

    if os.environ.get("ARCHCAST_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    detail = f"{type(error).__name__}: {error}"[:300]
    fail(
        f"archcast failed, and it is not your fault: {detail}{place}. Please report it with the command that you ran; "
        "ARCHCAST_DEBUG=1 shows the traceback.",
        1,
    )


def _environment_fault(error: OSError) -> NoReturn:
    """End on what the system refused: a reader that left is no error, a file or a full disk is one sentence."""
    import os
    from contextlib import suppress

    if error.filename is None:  # stdout is unusable: Python's own flush at exit must not fail on it again
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None
        fail(f"the answer could not be written ({error.strerror or error}).", 2)
    fail(f"{error.filename} cannot be used ({error.strerror}).", 2)


def print_text(text: str) -> None:
    """Print lines; a character that the terminal's encoding lacks becomes `?`."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    typer.echo(text.encode(encoding, "replace").decode(encoding))


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
            raise BadValueError(f"--set takes NAME=VALUE, such as --set layers=24, not '{item}'.")
        found[key.strip()] = value.strip()
    return found
