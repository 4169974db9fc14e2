"""What everything printed on a terminal shares: the console, text that is never markup, tables without frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from archcast.render.human import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

WIDEST = 100


class Narrow:
    """A stream whose encoding has not every character: what it cannot write becomes `u` (micro) or `?`."""

    def __init__(self, stream: IO[str], encoding: str) -> None:
        self.stream, self.encoding = stream, encoding

    def write(self, words: str) -> int:
        plain = words.replace("µ", "u").replace("…", "~")
        return self.stream.write(plain.encode(self.encoding, "replace").decode(self.encoding))

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


def make_console(file: IO[str] | None = None) -> Console:
    """Return a console that neither reads markup nor colours words, at most `WIDEST` columns wide."""
    from rich.console import Console

    stream = sys.stdout if file is None else file
    encoding = getattr(stream, "encoding", None) or "utf-8"
    out = stream if encoding.lower().replace("-", "").startswith("utf") else cast(IO[str], Narrow(stream, encoding))
    console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if console.width > WIDEST:
        console.width = WIDEST
    return console


def styled(words: object, style: str = "") -> RenderableType:
    """Return text as it stands: brackets in it are no markup."""
    from rich.text import Text

    return Text(printable(words, 2000), style=style)


def plain_table(*columns: tuple[str, str], title: str = "") -> Table:
    """Return a table without frame; a column is (heading, "left" or "right")."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    if title:
        table.title, table.title_justify, table.title_style = title, "left", "bold"
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    return table


def name_and_value(rows: Sequence[tuple[str, Any]]) -> Table:
    """Return a two-column table without headings."""
    table = plain_table(("", "left"), ("", "left"))
    table.show_header = False
    for name, value in rows:
        table.add_row(styled(name, "dim"), styled(value))
    return table
