"""`python -m archcast` and the `archcast` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from archcast.cli import calibrate, catalogue, predict, simulate  # noqa: F401  each adds its commands
    from archcast.cli.app import app

    app(prog_name="archcast")


if __name__ == "__main__":
    main()
