"""`python -m archcast` and the `archcast` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from archcast.cli.app import run

    run()


if __name__ == "__main__":
    main()
