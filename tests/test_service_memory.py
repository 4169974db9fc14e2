"""What a service holds in memory has bounds: caches, kept answers, objects; what is freed goes back."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.cost_models import shipped
from archcast.service.answers import Answers
from archcast.service.cache import AnswerCache
from archcast.service.freed import Freed, hand_back
from archcast.service.settings import Limits

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("archcast", "costmodel", "simulator", "workloads", "hardware_specs", "foundation")
FEW = {
    "workloads.builders.knobs.knob_fields": "classes of builders",
    "workloads.traffic.named.named_specification": "names of files of the package; others raise",
    "simulator.queues.verification_cases.named": "cases of a table",
    "costmodel.measured.llmservingsim._shape": "models of a data set",
    "costmodel.evaluation.llm_edge_terms.token_of": "workloads of a data set",
    "costmodel.edge_llm_shipped.shipped_tokens": "files of the package",
    "costmodel.dataflow_shipped.shipped_costs": "files of the package",
}
"""Caches without a bound that take arguments, and why these are few."""


def body(rows: int, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    sizes = {name: (64 * random.integers(1, 256, rows)).tolist() for name in ("m", "n", "k")}
    return json.dumps({"op": "gemm", "device": "h100-sxm", "dtype": "bf16", **sizes}).encode()


def test_every_cache_that_takes_arguments_has_a_bound() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if "@cache" in text or "functools.cache" in text or "lru_cache" in text:
                importlib.import_module(
                    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                )
    seen, unbounded = 0, []
    for one in gc.get_objects():
        if type(one) is not functools._lru_cache_wrapper:  # isinstance asks proxies of what is gone, too
            continue
        inner = one.__wrapped__
        if inner.__module__.partition(".")[0] not in PACKAGES:
            continue
        seen += 1
        if one.cache_parameters()["maxsize"] is None and inspect.signature(inner).parameters:
            unbounded.append(f"{inner.__module__}.{inner.__qualname__}")
    assert seen > 50
    assert sorted(set(unbounded) - set(FEW)) == []


def test_kept_answers_take_the_memory_that_is_counted() -> None:
    cache, answers = AnswerCache(20_000_000), Answers(Limits())
    answers.predict_ops(body(100, 0), {"model": "physics"})
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(1, 301):
        asked = body(100, number)
        cache.put(("/v1/predict_ops", b"", asked), answers.predict_ops(asked, {"model": "physics"}))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == 300
    assert cache.bytes > 4_000_000
    assert held - before < 1.1 * cache.bytes


def test_a_kept_answer_has_the_same_bytes() -> None:
    cache = AnswerCache(1_000_000)
    key = ("/v1/predict_ops", b"model=physics", body(3, 1))
    answer = Answers(Limits()).predict_ops(key[2], {"model": "physics"})
    cache.put(key, answer)
    assert cache.get(key) == answer


@pytest.mark.parametrize("model", ["physics", ""])
def test_a_hundred_thousand_distinct_rows_leave_the_count_of_objects(model: str) -> None:
    answers, query = Answers(Limits()), {"model": model}
    shipped().warmed()  # type: ignore[attr-defined]

    def asked(first: int, count: int) -> None:
        for seed in range(first, first + count):
            group = [answers.operations(body(500, 10 * seed + i), query) for i in range(4)]
            assert all(found.rows == 500 for found in answers.priced_together(group))

    asked(0, 3)
    gc.collect()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    asked(100, 50)
    gc.collect()
    assert abs(len(gc.get_objects()) - objects) < 100
    assert abs(sys.getallocatedblocks() - blocks) < 2_000


def test_freed_memory_is_handed_back_once_after_many_requests() -> None:
    async def run() -> int:
        freed = Freed(every_s=0.02)
        for _ in range(1000):
            freed.soon()
        assert freed.passes == 0
        await asyncio.sleep(0.1)
        assert freed.passes == 1
        freed.soon()
        await asyncio.sleep(0.1)
        return freed.passes

    assert asyncio.run(run()) == 2


def test_a_loop_hands_back_at_most_once_in_a_while() -> None:
    freed = Freed(every_s=3600)
    freed.between()
    assert freed.passes == 0
    freed = Freed(every_s=0)
    freed.between()
    assert freed.passes == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_handing_back_lowers_what_the_process_holds() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    kept: list[Any] = [bytes(20_000) for _ in range(4000)]
    pins = kept[::50]  # so that the heap cannot shrink from its end
    full = resident_bytes()
    del kept
    assert len(pins) == 80
    if not hand_back():
        pytest.skip("this C library has no malloc_trim")
    assert resident_bytes() < full - 40_000_000
