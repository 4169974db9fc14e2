"""The compiled kernel: the same record as the callbacks, whatever the sizes of blocks and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_networks import random_network

pytest.importorskip("numba", reason="the compiled kernel needs numba: pip install archcast[fast]")

from queue_records import SECONDS, differences, observed, random_mesh, same_on_both

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.queues import kernel, kernel_build, kernel_layout
from simulator.queues.arrivals import Periodic, Recorded, poisson
from simulator.queues.callbacks import run_callbacks
from simulator.queues.compiled import Compiled, compile_network
from simulator.queues.elements import (
    Batch,
    Custom,
    Delay,
    Exit,
    Gate,
    Network,
    Outages,
    Pack,
    Route,
    Rules,
    Service,
    Source,
    Station,
    to,
)  # fmt: skip
from simulator.queues.feeds import Block, Feed
from simulator.queues.kernel import run_kernel, unsupported
from simulator.queues.kernel_jit import entry
from simulator.queues.laws import EXPONENTIAL, Law
from simulator.streams import RandomStreams

SERVICE = Service((1.0,), EXPONENTIAL)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans())
def test_a_random_network_gives_the_record_of_the_callbacks(seed: int, more: bool) -> None:
    same_on_both(random_network(seed), seed, more=more)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans())
def test_a_network_whose_items_go_anywhere_gives_the_record_of_the_callbacks(seed: int, more: bool) -> None:
    same_on_both(random_mesh(seed), seed, more=more)


@pytest.mark.demand
@settings(max_examples=1_500)
@given(st.integers(0, 10**9), st.booleans())
def test_many_random_networks_give_the_record_of_the_callbacks(seed: int, more: bool) -> None:
    same_on_both(random_network(seed), seed, more=more)
    same_on_both(random_mesh(seed), seed, more=more)


class Pieces(Feed):
    """A feed whose blocks are cut into small pieces."""

    __slots__ = ("_inner", "_rest", "_size")

    def __init__(self, inner: Feed, size: int) -> None:
        super().__init__(inner.name, inner.next_block, inner.ready)
        self._inner, self._rest, self._size = inner, inner.next_block(), size

    def next_block(self) -> Block:
        if not len(self._rest):
            self._rest = self._inner.next_block()
        piece, self._rest = self._rest[: self._size], self._rest[self._size :]
        return piece


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_the_sizes_of_blocks_and_tables_do_not_matter(seed: int, size: int) -> None:
    network = random_network(seed)
    horizon, waits = SECONDS * network.ticks_per_second, observed(network)
    whole = run_kernel(network, RandomStreams(seed), horizon, horizon // 2, 5, waits)

    def in_pieces(network: Network, streams: RandomStreams) -> Compiled:
        made = compile_network(network, streams)
        made.feeds = [Pieces(feed, size) for feed in made.feeds]
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "compile_network", in_pieces)
        patch.setattr(kernel_build, "ROWS_AT_FIRST", 1)
        patch.setattr(kernel_build, "LOG_ROWS", 1)
        assert differences(whole, run_kernel(network, RandomStreams(seed), horizon, horizon // 2, 5, waits)) == []


def test_many_blocks_and_millions_of_events_end_as_on_callbacks() -> None:
    network = Network((Source("in", poisson(0.8), to("q")), Station("q", SERVICE, to("out")), Exit("out")), 10**9)
    horizon = 100_000 * 10**9  # five blocks of 16,384 arrivals
    plain = run_callbacks(network, RandomStreams(4), horizon, horizon // 10, observe=["q"])
    fast = run_kernel(network, RandomStreams(4), horizon, horizon // 10, observe=["q"])
    assert differences(plain, fast) == []
    assert fast.end.sums["left"][0] > 4 * 16_384


def test_a_returned_credit_that_fills_the_blocking_target_leaves_nobody_dropped() -> None:
    """u ends and returns its credit; the gate then sends another item to t, the only place of which u's own wanted."""
    elements = (
        Source("in", Recorded((0.0, 1.0, 2.0)), to("g")),
        Gate("g", 1, Route(("u", "t"), how="cycle")),
        Station("u", Service((5.0,)), to("t"), returns="g"),
        Station("t", Service((100.0,)), to("out"), places=0, when_full="block"),
        Exit("out"),
    )
    record = same_on_both(Network(elements, 1), 1)
    assert record.end.lost.sum() == 0
    assert record.end.sums["left"].tolist() == [3, 2, 1, 0, 0]
    assert record.present.tolist() == [0, 1, 0, 1, 0]  # u's item is in flight: it has left u, and t holds it


def test_a_held_item_keeps_the_credit_that_it_takes_after_it_has_left() -> None:
    """S returns credits of G and feeds it: its items hold none when they leave. One at a time is in D, for 1 s."""
    elements = (
        Source("in", poisson(3.0), to("S")),
        Station("S", Service((0.1,)), to("G"), returns="G"),
        Gate("G", 1, to("D"), places=0, when_full="block"),
        Delay("D", Service((1.0,)), to("out")),
        Exit("out"),
    )
    record = same_on_both(Network(elements, 1000), 1, more=True)
    assert record.sampled_busy[3].max() == 1
    assert 75 <= record.end.sums["left"][4] <= SECONDS


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_no_more_items_hold_credits_than_a_gate_has_where_items_come_back_to_it(seed: int, credits: int) -> None:
    """All in S hold a credit, which they give up when they leave, and they may come to the gate again."""
    elements = (
        Source("in", poisson(2.0), to("A")),
        Station("A", SERVICE, to("G"), servers=3),
        Gate("G", credits, to("S"), places=seed % 2, when_full="block"),
        Station("S", SERVICE, Route(("G", "out"), (0.3, 0.7)), servers=9, returns="G"),
        Exit("out"),
    )
    record = same_on_both(Network(elements, 10), seed, more=True)
    assert record.sampled_busy[3].max() <= credits
    assert record.present[3] <= credits


def test_a_packet_that_ends_at_an_exit_gives_back_the_credits_of_its_items() -> None:
    elements = (
        Source("in", Periodic(1.0), to("g")),
        Gate("g", 4, to("p")),
        Pack("p", 2, to("pp")),
        Pack("pp", 2, to("h")),
        Gate("h", 1, to("s")),
        Station("s", Service((0.5,)), to("out")),
        Exit("out"),
    )
    record = same_on_both(Network(elements, 10), 1, more=True)
    # packets of four, complete at 3, 7, ... s, are at the exit half a second later
    assert record.end.sums["left"].tolist() == [SECONDS + 1, SECONDS + 1, SECONDS, SECONDS // 2, 20, 20, 20]


def test_items_that_go_round_within_a_tick_are_refused_as_on_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("kernel", "callbacks"):
        monkeypatch.setattr(f"simulator.queues.{module}.MOST_AT_ONE_TICK", 1 << 17)
    loop = Station("q", Service((0.1,)), Route(("q", "q"), how="cycle"))
    network = Network((Source("in", Recorded((3.0,)), to("q")), loop, Exit("out")), 1)
    for run in (run_callbacks, run_kernel):
        with pytest.raises(BadValueError, match=r"More than 131072 events at tick 3, the next one at 'q'.*finer tick"):
            run(network, RandomStreams(1), 10)


def test_every_field_of_the_tables_has_8_bytes_as_the_kernel_counts_them() -> None:
    tables = [each for each in vars(kernel_layout).values() if isinstance(each, np.dtype)]
    assert kernel_layout.RUN in tables
    assert len(tables) > 10
    for table in tables:
        assert table.itemsize == 8 * len(table.names or ())
        assert [table.fields[name][1] for name in table.names or () if table.fields] == list(
            range(0, table.itemsize, 8)
        )


def test_a_farm_whose_servers_stop_together_goes_on_together() -> None:
    outages = Outages(Law("constant", 10.0), Law("constant", 5.0), together=True)
    farm = Station("farm", Service((3.0,), EXPONENTIAL), to("out"), servers=300, outages=outages)
    record = same_on_both(Network((Source("in", poisson(90.0), to("farm")), farm, Exit("out")), 1000), 2, more=True)
    assert record.end.sums["down_ticks"][1] == 300 * 25_000  # 10-15, 25-30, ..., 70-75 of 80 s


def test_large_batches_and_sizes_in_fractions_of_ticks_are_rounded_alike() -> None:
    batch = Batch(500, tuple(0.01 * n for n in range(1, 501)), 1.5)
    service = Service((0.05, 5e-5, 1e-9, 1e-15), Law("gamma", cv=1.3))
    elements = (
        Source("in", poisson(60.0), to("a"), (0.2, 0.8), Law("lognormal", 1e3, 2.0)),
        Station("a", service, to("b"), 7, "priority", speeds=(0.3, 0.7, 1.1, 1.3, 1.7, 1.9, 2.3)),
        Station("b", SERVICE, to("out"), 2, batch=batch),
        Exit("out"),
    )
    record = same_on_both(Network(elements, 10**12), 3, more=True)
    assert record.end.sums["left"][-1] > 2_000
    assert record.end.area_bytes[1] > 2.0**53  # in floats: the order of operations shows


def test_areas_beyond_64_bits_are_refused_as_on_callbacks() -> None:
    elements = (Source("in", poisson(10.0), to("q")), Station("q", Service((1e9,)), to("out")), Exit("out"))
    network = Network(elements, 10**15)
    for run in (run_callbacks, run_kernel):
        with pytest.raises(BadValueError, match=r"near the end of 64 bits.*coarser tick"):
            run(network, RandomStreams(1), 2_000 * 10**15)


def test_what_cannot_run_is_named() -> None:
    custom = Custom("own", lambda env, item, network: iter(()), to("out"))
    network = Network((Source("in", poisson(1.0), to("own")), custom, Exit("out")))
    assert "'own' has logic of its own" in unsupported(network)
    with pytest.raises(UnsupportedError, match="'own'"):
        run_kernel(network, RandomStreams(1), 1)
    deep = Rules("deep", to("out"), ((10**8, 1.0),))
    assert "'deep'" in unsupported(Network((Source("in", poisson(1.0), to("deep")), deep, Exit("out"))))
    plain = Network((Source("in", poisson(1.0), to("q")), Station("q", SERVICE, to("out")), Exit("out")))
    assert unsupported(plain) == ""
    with pytest.raises(BadValueError, match="The horizon"):
        run_kernel(plain, RandomStreams(1), 0)
    with pytest.raises(UnknownNameError, match="'p'"):
        run_kernel(plain, RandomStreams(1), 1, observe=["p"])


def test_without_numba_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.queues.kernel_jit.installed", lambda: False)
    network = Network((Source("in", poisson(1.0), to("q")), Station("q", SERVICE, to("out")), Exit("out")))
    with pytest.raises(UnsupportedError, match=r"pip install archcast\[fast\]"):
        run_kernel(network, RandomStreams(1), 1)


def test_without_a_folder_for_its_cache_the_kernel_is_compiled_in_memory() -> None:
    names: dict[str, Any] = {}
    exec(compile("def double(x):\n    return 2 * x\n", "<nowhere>", "exec"), names)
    double = entry(names["double"])
    assert double(21) == 42
    assert isinstance(double(np.int64(4)), int)
