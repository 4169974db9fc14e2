"""Questions about operators that wait together are priced together, and each has the answer that it has alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgspec")
pytest.importorskip("orjson")

from archcast.service.answers import Answers
from archcast.service.settings import Limits
from archcast.service.together import Together
from foundation.errors import ArchcastError


def question(seed: int, rows: int = 40, **others: Any) -> bytes:
    rng = np.random.default_rng(seed)
    sizes = {name: rng.integers(1, 4096, rows).tolist() for name in "mnk"}
    return json.dumps({"op": ["gemm"] * rows, "dtype": "bf16", "device": "h100-sxm", **sizes, **others}).encode()


def asked_together(answers: Answers, bodies: list[bytes], query: dict[str, str]) -> list[Any]:
    async def ask() -> list[Any]:
        together = Together(answers)
        return await asyncio.gather(*(together.ask(body, query) for body in bodies), return_exceptions=True)

    return asyncio.run(ask())


@pytest.fixture
def answers() -> Answers:
    return Answers(Limits())


@pytest.mark.parametrize("model", ["physics", ""])
def test_each_has_the_bytes_that_it_has_alone(answers: Answers, model: str) -> None:
    query = {"model": model} if model else {}
    bodies = [question(seed, rows) for seed, rows in enumerate((40, 7, 300, 2, 40, 1500, 1500))]
    bodies += [question(9, device=["h100-sxm", "l40s"] * 20), question(10, dtype=["bf16", "fp16"] * 20)]
    for found, body in zip(asked_together(answers, bodies, query), bodies, strict=True):
        assert found == answers.predict_ops(body, query)


def test_questions_of_one_table_are_priced_once(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    import archcast.service.answers as module

    priced: list[int] = []
    whole = module._priced

    def count(columns: dict[str, Any], *others: Any) -> Any:
        priced.append(len(columns["m"]))
        return whole(columns, *others)

    monkeypatch.setattr(module, "_priced", count)
    asked_together(answers, [question(seed) for seed in range(5)], {"model": "physics"})
    assert priced == [200]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (question(0, m=[0.0] * 40), "gemm needs m"),
        (question(0, device="h100-sxn"), "h100-sxm"),
        (question(0, m=[1.0, 2.0]), "lengths"),
        (b"{", "JSON"),
        (question(0, dtype="fp3"), "fp3"),
    ],
)
def test_what_is_wrong_with_one_is_told_to_that_one_alone(answers: Answers, bad: bytes, words: str) -> None:
    good = [question(1), question(2)]
    first, refused, second = asked_together(answers, [good[0], bad, good[1]], {})
    assert isinstance(refused, ArchcastError)
    assert words in str(refused)
    with pytest.raises(type(refused), match=str(refused)[:20].replace("(", r"\(").replace("[", r"\[")):
        answers.predict_ops(bad, {})
    assert [first, second] == [answers.predict_ops(body, {}) for body in good]


def test_a_sender_that_left_takes_nothing_from_the_others(answers: Answers) -> None:
    async def ask() -> Any:
        together = Together(answers)
        left = asyncio.ensure_future(together.ask(question(1), {}))
        stays = asyncio.ensure_future(together.ask(question(2), {}))
        await asyncio.sleep(0)
        left.cancel()
        return await stays

    assert asyncio.run(ask()) == answers.predict_ops(question(2), {})
