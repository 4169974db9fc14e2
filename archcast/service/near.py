"""Names near to an unknown one, from an index that is made once: a search through all names takes 30 ms, this 1 ms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MOST_LETTERS = 100
"""A longer word is near to no name."""
SHORTLIST = 40
"""Names that share most pairs of letters with an unknown one; the nearest are chosen among them."""

Index = dict[str, list[str]]


def shortlist(index: Index, name: str) -> list[str]:
    """Return the names that share most pairs of letters with a name, for their size; none for one too long."""
    if len(name) > MOST_LETTERS:
        return []
    shared = Counter(known for pair in _pairs(name) for known in index.get(pair, ()))
    size = len(name)
    return sorted(shared, key=lambda known: (-shared[known] / (len(known) + size), known))[:SHORTLIST]


def index_of(names: Iterable[str]) -> Index:
    """Return pair of letters -> names that have it."""
    found: Index = {}
    for name in dict.fromkeys(names):
        for pair in _pairs(name):
            found.setdefault(pair, []).append(name)
    return found


def _pairs(name: str) -> set[str]:
    plain = f"^{name.lower().replace('_', '').replace('-', '').replace('.', '')}"
    return {plain[at : at + 2] for at in range(len(plain) - 1)}
