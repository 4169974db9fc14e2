"""archcast's own trace: a CSV that anybody can write, and the writer of it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from foundation.errors import nearest_names
from foundation.files import written_whole
from workloads.traffic.stream import Traffic
from workloads.traffic.traces.base import Row, TraceReader, Wrong, cells, finite, whole

NEEDED = ("arrival_s", "prompt", "generate")
OPTIONAL = ("session", "priority", "prefix")


class OwnReader(TraceReader):
    """`arrival_s`, `prompt` and `generate`, in any order, and where wanted `session`, `priority` and `prefix`.

    `prefix` holds ids of the prompt's blocks of 512 tokens, divided by spaces. An empty optional cell is its default.
    """

    format: ClassVar[str] = "archcast"
    header: ClassVar[str] = "arrival_s,prompt,generate[,session,priority,prefix]"

    def __init__(self) -> None:
        self._names: list[str] = []

    @staticmethod
    def knows(first_line: str) -> bool:
        return "arrival_s" in [cell.strip() for cell in first_line.split(",")]

    def begin(self, text: str) -> None:
        names = [cell.strip() for cell in text.split(",")]
        for name in names:
            if name not in NEEDED + OPTIONAL:
                near = nearest_names(name, NEEDED + OPTIONAL)
                raise Wrong(f"unknown column '{name[:40]}'." + (f" Nearest: {', '.join(near)}." if near else ""))
        missing = [name for name in NEEDED if name not in names]
        if missing or len(set(names)) != len(names):
            raise Wrong(
                f"the column '{missing[0]}' is missing." if missing else "a column stands twice; each may stand once."
            )
        self._names = names

    def row(self, text: str) -> Row:
        found = dict(zip(self._names, cells(text, len(self._names)), strict=True))
        ids = found.get("prefix", "").split()
        return Row(
            finite("arrival_s", found["arrival_s"]), whole("prompt", found["prompt"]),
            whole("generate", found["generate"]), whole("session", found.get("session") or -1),
            whole("priority", found.get("priority") or 0), [whole("prefix", one) for one in ids],
        )  # fmt: skip


def write_traffic(traffic: Traffic, path: str | Path) -> None:
    """Write requests as an archcast CSV (gzip where the name ends in `.gz`), whole or not at all.

    Raises:
        BadFileError: the place cannot be written.
    """
    with written_whole(path) as part, (gzip.open if str(path).endswith(".gz") else open)(part, "wt") as stream:
        stream.writelines(_lines(traffic))


def _lines(traffic: Traffic) -> Iterator[str]:
    yield ",".join(NEEDED + OPTIONAL) + "\n"
    start = traffic.prefix_start.tolist()
    columns = (traffic.arrival_s, traffic.prompt, traffic.generate, traffic.session, traffic.priority)
    for i, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        ids = " ".join(str(one) for one in traffic.prefix_ids[start[i] : start[i + 1]].tolist())
        yield f"{row[0]!r},{row[1]},{row[2]},{row[3]},{row[4]},{ids}\n"
