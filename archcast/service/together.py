"""Small questions about operators that wait at the same moment are priced as one table.

An evaluation of columns costs as much for a hundred rows as for a thousand, nearly; a row's answer does not depend on
the rows beside it, so that nobody can tell. A question that cannot be answered is asked again by itself, and alone
hears why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from archcast.service.answers import Answers, Encoded, Operations

MOST_ROWS = 2048
"""Of one table: about a millisecond by the closed form, so that the first of them does not wait long (estimated)."""
SMALL_BYTES = 50_000
"""A body above this is priced by itself."""


class Together:
    """Questions of the same turn of the event loop, and their answers."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._waiting: list[tuple[bytes, Mapping[str, str], asyncio.Future[Encoded]]] = []

    async def ask(self, body: bytes, query: Mapping[str, str]) -> Encoded:
        """Return the answer to one question about operators. Raises ArchcastError: as `Answers.predict_ops`."""
        if len(body) > SMALL_BYTES:
            return self.answers.predict_ops(body, query)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._answer)
        future: asyncio.Future[Encoded] = loop.create_future()
        self._waiting.append((body, query, future))
        return await future

    def _answer(self) -> None:
        """Answer all that wait."""
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1:
            self._alone(*waiting[0])
            return
        groups: dict[Any, list[tuple[Operations, asyncio.Future[Encoded]]]] = {}
        for body, query, future in waiting:
            try:
                asked = self.answers.operations(body, query)
            except Exception:
                self._alone(body, query, future)  # which says what is wrong with it
                continue
            groups.setdefault(asked.like, []).append((asked, future))
        for members in groups.values():
            start = 0
            while start < len(members):
                stop, rows = start + 1, members[start][0].rows
                while stop < len(members) and rows + members[stop][0].rows <= MOST_ROWS:
                    rows += members[stop][0].rows
                    stop += 1
                self._priced(members[start:stop])
                start = stop

    def _priced(self, members: Sequence[tuple[Operations, asyncio.Future[Encoded]]]) -> None:
        """Price questions of the same columns as one table."""
        if len(members) > 1:
            try:
                found = self.answers.priced_together([asked for asked, _ in members])
            except Exception:
                found = []
            if found:
                for (_, future), one in zip(members, found, strict=True):
                    if not future.done():
                        future.set_result(one)
                return
        for asked, future in members:
            self._alone(asked.body, asked.query, future)

    def _alone(self, body: bytes, query: Mapping[str, str], future: asyncio.Future[Encoded]) -> None:
        if future.done():  # its sender left
            return
        try:
            future.set_result(self.answers.predict_ops(body, query))
        except Exception as error:
            future.set_exception(error)
