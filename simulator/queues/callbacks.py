"""The engine of plain callbacks: one heap of (tick, code), one method an event. Law: docs/station-networks.md.

A run of its own is `run_callbacks`. `CallbackNetwork` is the same engine driven from outside, an event at a time, so
that elements with logic of their own can run beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from numbers import Integral

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.queues.callback_batches import BatchStation, FailingBatchStation, FailingStation
from simulator.queues.callback_control import CustomElement, Delay, Gate, Rules
from simulator.queues.callback_core import SAMPLE, WARM, Element, Item, Shared
from simulator.queues.callback_ends import Exit, Source
from simulator.queues.callback_parts import Fork, Join, Pack, Unpack
from simulator.queues.callback_plain import in_order_station, serves_in_order
from simulator.queues.callback_record import Samples, make_record, totals
from simulator.queues.callback_servers import Station
from simulator.queues.callback_shared import SharedStation
from simulator.queues.compiled import Compiled, Kind, compile_network
from simulator.queues.elements import Gate as GateElement
from simulator.queues.elements import Network
from simulator.queues.elements import Station as StationElement
from simulator.queues.feeds import LONGEST_TICKS
from simulator.queues.invariants_of_run import check_record
from simulator.queues.record import RunRecord, Totals
from simulator.streams import RandomStreams

CHUNK = 1 << 16
"""Events between two times at which departures are taken into the hashes: it bounds the memory of a run."""
MOST_AT_ONE_TICK = 1 << 22
"""Events at one tick beyond which a run is taken to go round without time (times that round to 0 ticks in a loop)."""
DEEPEST = 10**6
"""Depth of calls: what one event causes may go through every blocked station of a network, one within the other."""

Taken = Callable[[str, Item, int], None]


def run_callbacks(
    network: Network,
    streams: RandomStreams,
    horizon_ticks: int,
    warm_ticks: int = 0,
    sample_ticks: int = 0,
    observe: Collection[str] = (),
) -> RunRecord:
    """Run a network from tick 0 to the horizon; the record has kept every law (`check_record`).

    `warm_ticks` is the end of the warm-up, `sample_ticks` the step of the series (0: none), `observe` names stations
    and gates whose waits are recorded one by one. The streams must be fresh.

    Raises:
        BadValueError: a horizon or a step that is not possible, areas beyond 64 bits, or too many events at one tick.
        UnknownNameError: `observe` names no station or gate. UnsupportedError: an element with logic of its own.
        InvariantError: a law is broken.
    """
    custom = [element.name for element in network.elements if type(element).__name__ == "Custom"]
    if custom:
        raise UnsupportedError(f"'{custom[0]}' has logic of its own, which runs on the engine 'simpy' alone.")
    run = CallbackNetwork(compile_network(network, streams), horizon_ticks, warm_ticks, sample_ticks, observe)
    run.run_until(run.horizon)
    return run.record()


def checked_ticks(what: str, value: int, low: int, high: int) -> int:
    """Return a number of ticks, exactly (a float would round it). Raises BadValueError."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
        raise BadValueError(f"{what} must be a whole number of ticks from {low} to {high}, not {value!r}.")
    return int(value)


def too_many_at(tick: int, where: str, most: int) -> BadValueError:
    """Return the error of a run that does not leave a tick."""
    return BadValueError(
        f"More than {most} events at tick {tick}, the next one at '{where}': items go round in times that round to 0 "
        "ticks. Declare a finer tick (ticks_per_second)."
    )


class _Halt(Exception):
    """The tick was reached up to which a run was asked for."""


class CallbackNetwork:
    """A network that runs on callbacks. Times are ticks; `now` is the tick of the last event that ran.

    `taken(name, item, now)` is called for each item that enters a Custom element; `leave` lets it go on.
    """

    def __init__(
        self,
        compiled: Compiled,
        horizon_ticks: int,
        warm_ticks: int = 0,
        sample_ticks: int = 0,
        observe: Collection[str] = (),
        taken: Taken | None = None,
    ) -> None:
        self.horizon = checked_ticks("The horizon", horizon_ticks, 1, LONGEST_TICKS)
        warm = checked_ticks("The warm-up", warm_ticks, 0, self.horizon)
        self._step = checked_ticks("The step of samples", sample_ticks, 0, LONGEST_TICKS)
        known = [e.name for e in compiled.network.elements if isinstance(e, (StationElement, GateElement))]
        for name in observe:
            if name not in known:
                raise UnknownNameError("station", name, known, "Its waits were asked for.")
        self.compiled, self.now, self.events = compiled, 0, 0
        self._shared = Shared()
        self._heap = self._shared.heap
        self._warm: Totals | None = None
        self._samples = Samples()
        self._at_one_tick = (-1, 0)  # a tick, and about how many events it has had
        self.elements = [_make(compiled, at, self._shared, observe, taken) for at in range(len(compiled.names))]
        self._by_name = {element.name: element for element in self.elements}
        for element in self.elements:
            element.link(compiled, self.elements)
        self._handlers = self._codes(warm)
        for element in self.elements:
            element.start()

    def _codes(self, warm: int) -> list[Callable[[int], None]]:
        """Number the handlers in the order of the law; the last one halts, and has the code -1."""
        shared = self._shared
        if self._step:
            shared.handle(SAMPLE, 0, 0, self._sample, self._first_sample)
        if warm:
            shared.handle(WARM, 0, 0, self._warmed, lambda code: heappush(self._heap, (warm, code)))
        ordered = sorted(shared.events, key=lambda event: event[:3])
        for code, (_, _, _, _, known) in enumerate(ordered):
            known(code)
        self._owners = [self.elements[at].name for _, at, _, _, _ in ordered]
        return [handler for _, _, _, handler, _ in ordered] + [self._halt]

    def next_tick(self) -> int | None:
        """Return the tick of the next event, or None where none is left up to the horizon."""
        return self._heap[0][0] if self._heap and self._heap[0][0] <= self.horizon else None

    def run_one(self) -> bool:
        """Run the next event; return whether there was one up to the horizon."""
        tick = self.next_tick()
        if tick is None:
            return False
        self.now = tick
        with _deep():
            self._handlers[self._heap[0][1]](tick)
        self.events += 1
        if self.events % CHUNK == 0:
            self._fold(tick)
            self._check_progress(tick)
        return True

    def run_until(self, tick: int) -> None:
        """Run all events up to and including a tick (not beyond the horizon); `now` is then that tick."""
        tick = min(tick, self.horizon)
        heap, handlers, done, now = self._heap, self._handlers, 0, self.now
        heappush(heap, (tick + 1, -1))
        with _deep():
            try:
                while True:
                    for done in range(CHUNK):  # noqa: B007 (it counts the events before the halt)
                        now, code = heap[0]
                        handlers[code](now)
                    self.events += CHUNK
                    self._fold(now)
                    self._check_progress(now)
            except _Halt:
                self.events += done
                self.now = tick
            except BaseException:
                self.events += done
                self.now = now
                heap.remove((tick + 1, -1))
                heapify(heap)
                raise

    def new_item(self, kind: int, size_bytes: int, now: int) -> Item:
        """Return a new item, born now, with the next serial number."""
        serial = self._shared.serial
        self._shared.serial = serial + 1
        return [serial, kind, size_bytes, now, now, 0, None, None]

    def enter(self, name: str, item: Item, now: int) -> bool:
        """Let an item enter an element from outside; return whether it could (a full blocking one does not take it)."""
        target = self._by_name[name]
        with _deep():
            if target.blocks and not target.room(item):
                return False
            target.enter(item, now)
        return True

    def leave(self, name: str, item: Item, now: int, target: str | None = None) -> None:
        """Let an item leave a Custom element, to an element by name or by its route.

        Raises:
            UnknownNameError: there is no such target.
        """
        element = self._by_name[name]
        assert isinstance(element, CustomElement)
        if target is not None and target not in self._by_name:
            raise UnknownNameError("element", target, self._by_name, f"'{name}' sent an item there.")
        with _deep():
            element.leave(item, now, target)

    def record(self, failure: str = "") -> RunRecord:
        """Return what was recorded up to `now`; every law is checked. Raises InvariantError."""
        tps = self.compiled.ticks_per_second
        made = make_record(self.elements, tps, self.now, self._warm, self._samples, self.events, failure)
        check_record(made, self.compiled.network)
        return made

    def _fold(self, now: int) -> None:
        for element in self.elements:
            element.fold(now)

    def _check_progress(self, now: int) -> None:
        tick, count = self._at_one_tick
        self._at_one_tick = (now, count + CHUNK if now == tick else 0)
        if count >= MOST_AT_ONE_TICK:
            where = self._owners[self._heap[0][1]]
            raise too_many_at(now, where, MOST_AT_ONE_TICK)

    def _halt(self, now: int) -> None:
        heappop(self._heap)
        raise _Halt

    def _first_sample(self, code: int) -> None:
        self._sample_code = code
        heappush(self._heap, (self._step, code))

    def _sample(self, now: int) -> None:
        heappop(self._heap)
        heappush(self._heap, (now + self._step, self._sample_code))
        self._samples.at.append(now)
        self._samples.waiting.append([element.waiting_now() for element in self.elements])
        self._samples.busy.append([element.busy_now() for element in self.elements])

    def _warmed(self, now: int) -> None:
        heappop(self._heap)
        self._warm = totals(self.elements, now)


@contextmanager
def _deep() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _make(compiled: Compiled, at: int, shared: Shared, observe: Collection[str], taken: Taken | None) -> Element:
    kind, observed = Kind(compiled.kind[at]), compiled.names[at] in observe
    if kind == Kind.STATION:
        return _make_station(compiled, at, shared, observed)
    if kind == Kind.GATE:
        return Gate(compiled, at, shared, observed)
    if kind == Kind.CUSTOM:
        assert taken is not None, "A network with Custom elements needs `taken`."
        return CustomElement(compiled, at, shared, taken)
    classes: dict[Kind, type[Element]] = {
        Kind.SOURCE: Source, Kind.DELAY: Delay, Kind.RULES: Rules, Kind.FORK: Fork, Kind.JOIN: Join, Kind.PACK: Pack,
        Kind.UNPACK: Unpack, Kind.EXIT: Exit,
    }  # fmt: skip
    return classes[kind](compiled, at, shared)


def _make_station(compiled: Compiled, at: int, shared: Shared, observed: bool) -> Element:
    if compiled.discipline[at] == 2:
        return SharedStation(compiled, at, shared, observed)
    if serves_in_order(compiled, at):
        return in_order_station(compiled, at, shared, observed)
    if compiled.outage_work[at] >= 0:
        failing = FailingBatchStation if compiled.batch_size[at] else FailingStation
        return failing(compiled, at, shared, observed)
    return (BatchStation if compiled.batch_size[at] else Station)(compiled, at, shared, observed)
