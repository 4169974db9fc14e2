"""Writes the page of the docs and its figure: `python -m archcast.validation.document docs/accuracy.md [DATA]`."""

from __future__ import annotations

import sys
from pathlib import Path

from archcast.validation.figure import svg
from archcast.validation.report import page
from archcast.validation.run import Validation, validate
from foundation.files import write_text_whole

FIGURE = Path("images") / "accuracy.svg"


def write_page(found: Validation, path: str | Path) -> None:
    """Write the page, and its figure to `images/accuracy.svg` beside it.

    Raises:
        BadFileError: the folder cannot be written. UnsupportedError: matplotlib is absent.
    """
    drawing = svg(found)
    folder = Path(path).parent / FIGURE.parent
    folder.mkdir(parents=True, exist_ok=True)
    write_text_whole(Path(path).parent / FIGURE, drawing)
    write_text_whole(path, page(found, FIGURE.as_posix()))


def main(arguments: list[str]) -> int:
    """Validate and write the page; exit 2 where the arguments are wrong."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m archcast.validation.document PAGE [DATA]", file=sys.stderr)
        return 2
    write_page(validate(*arguments[1:]), arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
