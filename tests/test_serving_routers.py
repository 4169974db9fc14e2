"""Routers choose as they say, and a choice of two keeps the tail short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from serving_fleets import constant_costs, exponential, slots

from foundation.errors import UnknownNameError
from simulator.serving.fleet import Pool, run_fleet
from simulator.serving.requests import Requests
from simulator.serving.results import times_s
from simulator.serving.routers import ROUTERS, router_of
from simulator.streams import RandomStreams
from workloads.table import Array
from workloads.traffic.stream import Traffic


@dataclass
class Seen:
    """A target whose state is given."""

    number: int
    load: int
    tokens_waiting: int = 0
    hits: int = 0

    def prefix_hits(self, request: int) -> int:
        return self.hits


def targets(*loads: int, tokens: tuple[int, ...] = (), hits: tuple[int, ...] = ()) -> list[Seen]:
    every = range(len(loads))
    return [Seen(i, loads[i], tokens[i] if tokens else 0, hits[i] if hits else 0) for i in every]


def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_round_robin_takes_one_after_the_other() -> None:
    router = router_of("round-robin", random())
    assert [router.choose(i, targets(9, 0, 0)) for i in range(5)] == [0, 1, 2, 0, 1]


def test_least_loaded_takes_the_fewest_requests_and_of_equals_the_first() -> None:
    assert router_of("least-loaded", random()).choose(0, targets(3, 1, 2, 1)) == 1


def test_least_tokens_looks_at_prompts_and_not_at_requests() -> None:
    assert router_of("least-tokens", random()).choose(0, targets(1, 5, tokens=(4000, 10))) == 1


def test_a_prefix_is_followed_unless_its_holder_is_overloaded() -> None:
    router = router_of("prefix-aware", random())
    assert router.choose(0, targets(9, 1, 0, hits=(512, 1024, 0))) == 1
    assert router.choose(0, targets(60, 1, 0, hits=(512, 0, 0))) == 2
    assert router.choose(0, targets(2, 1, 3)) == 1


def test_power_of_two_never_takes_the_most_loaded_and_two_targets_differ() -> None:
    router = router_of("power-of-two", random())
    chosen = [router.choose(i, targets(5, 1, 3)) for i in range(3000)]
    shares = np.bincount(chosen, minlength=3) / 3000
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(2 / 3, abs=0.04)


def test_random_takes_all_alike() -> None:
    router = router_of("random", random())
    counts = np.bincount([router.choose(i, targets(5, 1, 3, 0)) for i in range(8000)], minlength=4)
    assert np.abs(counts - 2000).max() < 4 * np.sqrt(8000 * 0.25 * 0.75)


def test_a_session_stays_and_when_an_instance_goes_only_its_sessions_move() -> None:
    session = list(range(300))
    router = router_of("session", random(), session)
    every = targets(0, 0, 0, 0)
    before = [every[router.choose(i, every)].number for i in session]
    left = [one for one in every if one.number != 2]
    after = [left[router.choose(i, left)].number for i in session]
    assert {b for b, a in zip(before, after, strict=True) if b != a} == {2}
    assert min(np.bincount(before)) > 40


def test_all_requests_of_a_session_go_to_one_instance() -> None:
    traffic = Traffic.of(np.arange(40) * 0.01, np.ones(40), np.full(40, 9), session=np.arange(40) % 5)
    one = Pool("a", constant_costs(), slots(4), instances=4, router="session")
    run = run_fleet([one], Requests.from_traffic(traffic), RandomStreams(1))
    assert all(len(set(run.instance[s::5].tolist())) == 1 for s in range(5))
    assert len(set(run.instance.tolist())) > 1


def test_an_unknown_router_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="power-of-two"):
        router_of("power-of-too", random())
    assert len(ROUTERS) == 7


def ttft_s(router: str, seed: int) -> Array:
    """Times to the first token of the same requests on ten servers at 0.85 of their capacity."""
    streams = RandomStreams(seed)
    requests = exponential(streams, 5_000, 1 / 8.5, 1000.0)
    pool = Pool("a", constant_costs(), slots(1), instances=10, router=router)
    return np.asarray(times_s(requests, run_fleet([pool], requests, streams).log)["ttft_s"])


def test_a_choice_of_two_has_a_shorter_tail_than_chance_on_the_same_requests() -> None:
    for seed in (1, 2, 3):
        chance, two, least = (np.quantile(ttft_s(name, seed), 0.99) for name in ROUTERS_BY_TAIL)
        assert least <= two < 0.6 * chance


ROUTERS_BY_TAIL = ("random", "power-of-two", "least-loaded")
