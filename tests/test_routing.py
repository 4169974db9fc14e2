"""Loads of experts: every choice lands somewhere, no expert has more rows than there are tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.routing import TILES, Routed, busiest


def loads(tokens: float, experts: int, topk: int, ep: int = 1, skew: float = 0.0) -> Routed:
    return busiest(*(np.array([float(x)]) for x in (tokens, experts, topk, ep, skew)))


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.integers(1, 3_000), experts=st.integers(1, 96), topk=st.integers(1, 8), ep=st.sampled_from([1, 2, 4, 8]),
    skew=st.sampled_from([0.0, 0.5, 1.0, 1.01, 1.2, 3.0]),
)  # fmt: skip
def test_loads_stay_within_what_tokens_can_choose(tokens: int, experts: int, topk: int, ep: int, skew: float) -> None:
    topk, ep = min(topk, experts), min(ep, experts)
    found = loads(tokens, experts, topk, ep, skew)
    held = max(1, experts // ep)
    assert 0 <= found.hit[0] <= min(held, found.rows[0])
    assert found.largest[0] <= min(tokens, found.rows[0])
    assert found.rows[0] <= tokens * topk + 1e-9
    assert (np.diff(found.tiles[0]) <= 1e-9).all()
    for count, tile in zip(found.tiles[0], TILES, strict=True):
        assert found.rows[0] / tile <= count + 1e-9
        assert count <= found.rows[0] / tile + found.hit[0] + 1e-9


@pytest.mark.parametrize("skew", [1.0, 1.01, 1.2])
def test_one_device_gets_every_choice(skew: float) -> None:
    for tokens, experts, topk in ((1, 256, 8), (7, 60, 4), (64, 256, 8), (4_096, 8, 2), (16_384, 16, 1)):
        assert loads(tokens, experts, topk, 1, skew).rows[0] == pytest.approx(tokens * topk)


def test_even_loads_differ_by_one_row_at_most() -> None:
    found = loads(48, 256, 8, 16)  # 384 choices of 256 experts: those below 16 of each 32 get two
    assert (found.rows[0], found.hit[0], found.largest[0]) == (32, 16, 2)
    few = loads(8, 256, 8)
    assert (few.rows[0], few.hit[0], few.largest[0]) == (64, 64, 1)
    assert loads(1_024, 256, 8).tiles[0].tolist() == [4 * 256, 2 * 256, 256, 256, 256]


def test_the_busiest_of_more_devices_has_fewer_rows_but_more_than_its_share() -> None:
    rows = [float(loads(4_096, 256, 8, ep, 1.2).rows[0]) for ep in (1, 2, 8, 32)]
    assert rows == sorted(rows, reverse=True)
    assert all(found > 4_096 * 8 / ep for found, ep in zip(rows[1:], (2, 8, 32), strict=True))


def test_a_steeper_law_loads_the_largest_expert_more() -> None:
    largest = [float(loads(8_192, 128, 8, 1, skew).largest[0]) for skew in (0.0, 1.01, 1.2)]
    assert largest == sorted(largest)


def test_rows_together_get_what_each_gets_alone() -> None:
    rng = np.random.default_rng(3)
    tokens, ep = rng.integers(1, 2_000, 40).astype(float), rng.choice([1.0, 4.0, 8.0], 40)
    skew = rng.choice([0.0, 1.01, 1.2], 40)
    many = busiest(tokens, np.full(40, 64.0), np.full(40, 4.0), ep, skew)
    for i in range(40):
        alone = loads(tokens[i], 64, 4, int(ep[i]), float(skew[i]))
        assert (many.rows[i], many.hit[i]) == (alone.rows[0], alone.hit[0])
        assert many.tiles[i].tolist() == alone.tiles[0].tolist()
