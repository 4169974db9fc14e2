"""Answers that were given before, by the bytes of their questions; bounded in bytes, the longest unasked leave.

Answers of a model of one's own are not kept: they would outlive the model.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection

from archcast.service.answers import Encoded

OVERHEAD_BYTES = 500
"""What an entry takes beside its body and its key, about."""


def exact(body: bytes) -> bytes:
    """Return the same bytes in a block of their size: orjson's is that of its buffer, up to twice as large.

    What such blocks have beyond their answers is not even touched, until others come to stand there: a cache of them
    takes twice what it counts, and the memory of its process seems to grow for hours.
    """
    return bytes(memoryview(body))


class AnswerCache:
    """A dict in the order of last use. One event loop uses it, so that it needs no lock."""

    def __init__(self, most_bytes: int, models: Collection[str] = ("physics", "shipped")) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        names = "|".join(re.escape(name) for name in models)
        self._query = re.compile(f"(model=({names})?)?".encode())
        self._body = re.compile(f'"model"\\s*:\\s*"({names})?"'.encode())
        self._found: OrderedDict[tuple[str, bytes, bytes], Encoded] = OrderedDict()

    def get(self, key: tuple[str, bytes, bytes]) -> Encoded | None:
        """Return the answer to a question (route, query, body), None where it was not asked before."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: tuple[str, bytes, bytes], answer: Encoded) -> None:
        """Keep an answer that is less than a quarter of the whole, and that no model of one's own can have given."""
        size = self._size(key, answer)
        if size > self.most_bytes // 4 or self._of_own_model(key):
            return
        if (old := self._found.pop(key, None)) is not None:
            self.bytes -= self._size(key, old)
        self._found[key] = Encoded(exact(answer.body), answer.rows)
        self.bytes += size
        while self.bytes > self.most_bytes:
            left, gone = self._found.popitem(last=False)
            self.bytes -= self._size(left, gone)

    def _of_own_model(self, key: tuple[str, bytes, bytes]) -> bool:
        """Tell whether a question may name a model that is not of the installation; escapes may hide a name."""
        _, query, body = key
        if self._query.fullmatch(query) is None or b"\\u" in body:
            return True
        named = body.count(b'"model"')
        return named > 0 and named != len(self._body.findall(body))

    def __len__(self) -> int:
        return len(self._found)

    @staticmethod
    def _size(key: tuple[str, bytes, bytes], answer: Encoded) -> int:
        return len(key[1]) + len(key[2]) + len(answer.body) + OVERHEAD_BYTES
