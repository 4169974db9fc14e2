"""The compiled engine: the law of docs/station-networks.md on flat tables, with numba. Same record as the callbacks.

The kernel runs until a feed, a table or the log is used up; this file fills it up and lets it go on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from foundation.errors import UnknownNameError, UnsupportedError
from simulator.queues import kernel_layout as layout
from simulator.queues.callback_plain import is_plain
from simulator.queues.callback_record import too_large
from simulator.queues.callbacks import MOST_AT_ONE_TICK, checked_ticks, too_many_at
from simulator.queues.compiled import Compiled, compile_network
from simulator.queues.elements import Custom, Gate, Network, Rules, Station
from simulator.queues.feeds import LONGEST_TICKS, Ints
from simulator.queues.invariants_of_run import check_record
from simulator.queues.kernel_build import build
from simulator.queues.kernel_jit import installed, need_numba
from simulator.queues.record import HISTOGRAM_BINS, SUMS, RunRecord, Totals
from simulator.streams import RandomStreams

MOST_ACCEPTS = 10**7
"""Rules keep the ticks of so many accepted items at most (8 bytes each)."""
MOST = 2**62
NEVER = np.array([2**63 - 1])


def unsupported(network: Network) -> str:
    """Return why the kernel cannot run a network, or '' where it can (numba is another matter: `installed`)."""
    for element in network.elements:
        if isinstance(element, Custom):
            return f"'{element.name}' has logic of its own, which runs on the engine 'simpy' alone."
        if isinstance(element, Rules) and sum(accepts for accepts, _ in element.rules) > MOST_ACCEPTS:
            return f"The rules of '{element.name}' look back on more than {MOST_ACCEPTS:,} items."
    return ""


def run_kernel(
    network: Network,
    streams: RandomStreams,
    horizon_ticks: int,
    warm_ticks: int = 0,
    sample_ticks: int = 0,
    observe: Collection[str] = (),
) -> RunRecord:
    """Run a network from tick 0 to the horizon; the arguments are those of `run_callbacks`.

    Raises:
        UnsupportedError: numba is not installed, or the network has what the kernel does not run (`unsupported`).
        BadValueError: a horizon or a step that is not possible, areas beyond 64 bits, or too many events at one tick.
        UnknownNameError: `observe` names no station or gate.
        InvariantError: a law is broken.
    """
    reason = unsupported(network)
    if reason:
        raise UnsupportedError(reason)
    need_numba()
    horizon = checked_ticks("The horizon", horizon_ticks, 1, LONGEST_TICKS)
    warm = checked_ticks("The warm-up", warm_ticks, 0, horizon)
    sample = checked_ticks("The step of samples", sample_ticks, 0, LONGEST_TICKS)
    known = {e.name: at for at, e in enumerate(network.elements) if isinstance(e, (Station, Gate))}
    for name in observe:
        if name not in known:
            raise UnknownNameError("station", name, known, "Its waits were asked for.")
    run = _Run(compile_network(network, streams), horizon, warm, sample, [known[name] for name in observe])
    run.go()
    record = run.record()
    check_record(record, network)
    return record


@functools.cache
def loop() -> Callable[[Any], int]:
    """Return the compiled loop; loads numba, and compiles where its cache has nothing."""
    from simulator.queues.kernel_loop import make_loop

    return make_loop()


class _Run:
    """One run: the tables, and what Python keeps of it."""

    def __init__(self, network: Compiled, horizon: int, warm: int, sample: int, observed: list[int]) -> None:
        self.network, self.horizon, self.observed = network, horizon, sorted(set(observed))
        self.tables = build(network, horizon, sample, self.observed)
        self.run = self.tables["run"]
        self.run["most_at_tick"] = MOST_AT_ONE_TICK
        self.plain = np.flatnonzero([is_plain(network, at) for at in range(len(network.names))])
        self.used, self.room = 0, np.zeros(len(network.feeds), np.int64)
        self.logged: dict[int, list[Ints]] = {}
        events = [(warm, layout.R_WARM, 0, 0)] if warm else []
        events += [(sample, layout.R_SAMPLE, 0, 0)] if sample else []
        self._start([*events, *self._first_events()])
        self.warm = self._totals(0)

    def _first_events(self) -> list[tuple[int, int, int, int]]:
        """Return the first emission of each source and the first stop of each failing server."""
        elements, servers = self.tables["elements"], self.tables["servers"]
        found = []
        for e in np.flatnonzero(elements["kind"] == layout.SOURCE):
            found.append((self._first_of(int(elements["arrivals_feed"][e])), layout.R_EMIT, int(e), 0))
        for e in np.flatnonzero(elements["work"] >= 0):
            first = int(elements["server_at"][e])
            for slot in range(len(self.network.outage_feeds[e])):
                found.append((self._first_of(int(servers["switch_feed"][first + slot])), layout.R_OUTAGE, int(e), slot))
        return found

    def _first_of(self, feed: int) -> int:
        self._fill(feed)
        self.tables["feeds"]["at"][feed] = 1
        return int(self.tables["whole"][self.tables["feeds"]["base"][feed]])

    def _start(self, events: list[tuple[int, int, int, int]]) -> None:
        """Put (tick, rank, element, slot) into the heap: in order, they are one."""
        heap = np.zeros(len(events) + 1, layout.EVENT)
        codes = [(tick, rank << layout.RANK_SHIFT | e << layout.ELEMENT_SHIFT | slot) for tick, rank, e, slot in events]
        for at, (tick, code) in enumerate(sorted(codes)):
            heap["tick"][at], heap["code"][at] = tick, code
        self.run["heap_n"] = len(codes)
        self.tables["heap"] = heap
        for name in layout.TABLES.split():
            self._bind(name)

    def _bind(self, name: str) -> None:
        """Tell the kernel where a table is, and how many rows it has where it can be used up."""
        table = self.tables[name]
        self.run[name] = table.ctypes.data
        if f"{name}_full" in layout.RUN_FIELDS and name != "log":
            self.run[f"{name}_full"] = table.shape[1 if name == "shares" else 0]

    def go(self) -> None:
        """Run to the horizon."""
        go_on = loop()
        while True:
            found = go_on(self.run)
            code, which = found >> layout.NEED_SHIFT, found & 0xFFFFFFFF
            if code == layout.DONE:
                break
            self._help(code, which)
        self._empty_log()

    def _help(self, code: int, which: int) -> None:
        """Give the kernel what it asks for."""
        if code == layout.FEED:
            self._fill(which)
        elif code == layout.LOG:
            self._empty_log()
        elif code == layout.STUCK:
            at = int(self.tables["heap"]["code"][0]) >> layout.ELEMENT_SHIFT & layout.ELEMENTS
            raise too_many_at(int(self.run["now"][0]), self.network.names[at], int(self.run["most_at_tick"][0]))
        elif code == layout.WARM:
            self.warm = self._totals(int(self.run["now"][0]))
        else:
            name = layout.GROWING[code]
            table = self.tables[name]
            self.tables[name] = np.concatenate([table, np.zeros_like(table)], axis=1 if name == "shares" else 0)
            self._bind(name)

    def _fill(self, feed: int) -> None:
        """Fetch the next block of a feed; one that is at its end gives a tick that never comes."""
        block = self.network.feeds[feed].next_block()
        count = len(block)
        if not count:
            block, count = NEVER, 1
        feeds = self.tables["feeds"]
        if count > self.room[feed]:
            feeds["base"][feed], self.room[feed] = self.used, count
            self.used += count
            self._more_numbers()
        base = int(feeds["base"][feed])
        numbers = self.tables["whole"][base : base + count]
        numbers.view(block.dtype)[:] = block
        feeds["at"][feed], feeds["n"][feed] = 0, count

    def _more_numbers(self) -> None:
        whole = self.tables["whole"]
        if self.used > len(whole):
            larger = np.empty(max(self.used, 2 * len(whole)), np.int64)
            larger[: len(whole)] = whole
            self.tables["whole"] = larger
            self._bind("whole")

    def _empty_log(self) -> None:
        """Keep what was recorded, by element, in its order."""
        count = int(self.run["log_n"][0])
        rows = self.tables["log"][:count]
        owners = rows["element"].astype(np.uint16)
        order = np.argsort(owners, kind="stable")
        values, counts = rows["value"][order], np.bincount(owners)
        ends = np.cumsum(counts)
        for e in np.flatnonzero(counts).tolist():
            self.logged.setdefault(e, []).append(values[ends[e] - counts[e] : ends[e]])
        self.run["log_n"] = 0

    def _totals(self, tick: int) -> Totals:
        """Close all elements at a tick and copy their sums."""
        elements, histogram = self.tables["elements"], self.tables["histogram"]
        ticks = tick - elements["last"]
        for column, what in (
            ("area_waiting", "waiting"), ("area_present", "present"), ("busy_ticks", "busy"),
            ("blocked_ticks", "blocked"), ("down_ticks", "down"),
        ):  # fmt: skip
            elements[column] += ticks * elements[what]
        elements["area_bytes"] += elements["waiting_bytes"].astype(float) * ticks.astype(float)
        plain = self.plain  # items of one size: one product, as the callbacks' plain stations have it
        elements["area_bytes"][plain] = elements["area_waiting"][plain].astype(float) * float(self.network.only_bytes)
        histogram[np.arange(len(elements)), np.minimum(elements["waiting"], HISTOGRAM_BINS - 1)] += ticks
        lasted = np.where(ticks > 0, elements["waiting"], 0)
        np.maximum(elements["most_waiting"], lasted, out=elements["most_waiting"])
        elements["last"] = tick
        self._check_areas(tick)
        sums = {name: elements[name].copy() for name in SUMS}
        exits = np.zeros(len(elements), np.int64)
        is_exit = elements["kind"] == layout.EXIT
        exits[is_exit] = elements["left"][is_exit]
        area = elements["area_bytes"].copy()
        return Totals(tick, sums, self.tables["lost"].copy(), histogram.copy(), area, exits)

    def _check_areas(self, tick: int) -> None:
        """Raise BadValueError where a sum may have left 64 bits."""
        elements = self.tables["elements"]
        most = int(self.run["items_n"][0]) * max(tick, 1)  # no area is larger
        for name in SUMS:
            wide = name.startswith("area")
            for e in np.flatnonzero((elements[name] >= MOST) | (elements[name] < 0) | (wide and most >= 2**64)):
                raise too_large(name, self.network.names[e], tick)

    def record(self) -> RunRecord:
        """Return the record of a run that has come to its horizon."""
        end, elements, names = self._totals(self.horizon), self.tables["elements"], self.network.names
        samples = self.tables["samples"]
        taken = int(self.run["samples_n"][0])
        exits = np.flatnonzero(elements["kind"] == layout.EXIT).tolist()
        step = int(self.run["sample"][0])
        return RunRecord(
            names=names,
            ticks_per_second=self.network.ticks_per_second,
            warm=self.warm,
            end=end,
            present=elements["present"].copy(),
            present_since=end.sums["area_present"] - end.sums["sojourn_ticks"] - elements["lost_ticks"],
            most_waiting=elements["most_waiting"].copy(),
            sojourns={names[e]: self._logged(e) for e in exits},
            waits={names[e]: self._logged(e) for e in self.observed},
            sampled_at=np.arange(1, taken + 1, dtype=np.int64) * step,
            sampled_waiting=np.ascontiguousarray(samples[:taken, :, 0].T),
            sampled_busy=np.ascontiguousarray(samples[:taken, :, 1].T),
            hashes=elements["hash"].copy(),
            events=int(self.run["events"][0]),
            engine="kernel",
        )

    def _logged(self, e: int) -> Ints:
        return np.concatenate(self.logged.get(e, [np.zeros(0, np.int64)]))


__all__ = ["installed", "run_kernel", "unsupported"]
