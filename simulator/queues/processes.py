"""Elements with logic of their own, on simpy: the callback engine runs the network, simpy the custom elements.

Both clocks are whole ticks. The network's events of a tick run before simpy's; what simpy's cause in the network at
that tick runs after them. simpy is imported by a run that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.checks import finite_number
from foundation.errors import InputError, UnknownNameError
from simulator.queues.callback_core import BIRTH, KIND, SERIAL, SIZE, Item
from simulator.queues.callbacks import CallbackNetwork
from simulator.queues.compiled import compile_network
from simulator.queues.elements import Custom, Network
from simulator.queues.feeds import one_rounded
from simulator.queues.record import RunRecord
from simulator.streams import RandomStreams

if TYPE_CHECKING:
    import simpy

MOST_AT_ONCE = 1_000_000
"""Items that leave custom elements within one tick: more go round without end."""
DEEPEST = 5_000
"""Custom elements that an item passes in a row without time."""


class CustomLogicError(InputError):
    """The logic of a custom element failed. `record` has the run until then, with `failure` set: nothing is lost."""

    def __init__(self, message: str, record: RunRecord | None = None) -> None:
        self.record = record
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the record on the way out of a process."""
        return type(self), (str(self), self.record)


@dataclass(frozen=True, slots=True)
class LogicItem:
    """An item as custom logic sees it."""

    serial: int
    kind: int
    """Its class."""
    size_bytes: int
    born_s: float


class LogicNetwork:
    """The network as custom logic sees it: the third argument of `Custom.logic`."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._shared: dict[str, Any] = {}

    @property
    def now_s(self) -> float:
        """The time in seconds."""
        return float(self._run.env.now) / self._run.ticks_per_second

    def ticks(self, seconds: float) -> int:
        """Return a duration as whole ticks, for `env.timeout`. Raises BadValueError for what is no time."""
        return one_rounded(finite_number("A duration", seconds) * self._run.ticks_per_second)

    def random(self, name: str) -> np.random.Generator:
        """Return the random stream of a name (`ELEMENT/purpose`): its numbers depend on seed, replication and name."""
        return self._run.streams.get(name)

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the thing of this run under `key`, made once: e.g. a `simpy.Resource` that items queue for."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def present(self, name: str) -> int:
        """Return how many items an element has now. Raises UnknownNameError."""
        return self._run.network.present(name)

    def waiting(self, name: str) -> int:
        """Return how many items wait at an element now. Raises UnknownNameError."""
        return self._run.network.waiting(name)


def run_processes(
    network: Network,
    streams: RandomStreams,
    horizon_ticks: int,
    warm_ticks: int = 0,
    sample_ticks: int = 0,
    observe: Collection[str] = (),
) -> RunRecord:
    """Run a network with custom elements from tick 0 to the horizon (arguments as `run_callbacks`).

    Raises:
        CustomLogicError: logic raised, waited for a time that is no whole number of ticks, or named a target that its
        route does not have. BadValueError, UnknownNameError, InvariantError: as `run_callbacks`.
    """
    run = _Run(network, streams, (horizon_ticks, warm_ticks, sample_ticks), observe)
    return run.to_the_end()


class _Run:
    """One run: the network's heap and simpy's, the earlier event first."""

    def __init__(
        self, network: Network, streams: RandomStreams, ticks: tuple[int, int, int], observe: Collection[str]
    ) -> None:
        import simpy

        self.env: simpy.Environment = simpy.Environment()
        self.streams, self.ticks_per_second = streams, int(network.ticks_per_second)
        self.custom = {each.name: each for each in network.elements if isinstance(each, Custom)}
        self.network = _Seen(compile_network(network, streams), *ticks, observe, self._taken)
        self.view = LogicNetwork(self)
        self.failure = ""
        self.cause: Exception | None = None
        self._depth = self._left_now = 0
        self._left_at = -1

    def to_the_end(self) -> RunRecord:
        """Run to the horizon and return the record. Raises CustomLogicError."""
        network, env = self.network, self.env
        while not self.failure:
            tick, pending = network.next_tick(), env.peek()
            if tick is not None and tick <= pending:
                network.run_one()
            elif pending <= network.horizon:
                self._step()
            else:
                network.run_until(network.horizon)
                return replace(network.record(), engine="simpy")
        network.now = max(network.now, int(env.now))
        record = replace(network.record(self.failure), engine="simpy")
        raise CustomLogicError(f"{self.failure} The record until then is kept.", record) from self.cause

    def _step(self) -> None:
        """Run simpy's next event."""
        before = self.env.now
        try:
            self.env.step()
        except Exception as error:  # of a process that logic has started beside its own
            self._fail("A process that custom logic started failed", error)
            return
        if not self.failure and not isinstance(self.env.now, Integral):
            self._fail(
                f"A custom element waited until tick {self.env.now!r} (from {before}); times on `env` are whole "
                "ticks: use env.timeout(network.ticks(seconds))"
            )

    def _taken(self, name: str, item: Item, now: int) -> None:
        """Start the logic of an item that has entered a custom element."""
        if self.failure:
            return  # the item stays where it is: the run ends with this event
        if now > self.env.now:
            self.env.run(until=now)  # nothing is pending on simpy before it: this moves the clock alone
        view = LogicItem(item[SERIAL], item[KIND], item[SIZE], item[BIRTH] / self.ticks_per_second)
        try:
            found = self.custom[name].logic(self.env, view, self.view)
        except Exception as error:
            self._logic_failed(name, item, error)
            return
        if isinstance(found, Generator):
            self.env.process(self._live(name, item, found))
            return
        self._depth += 1
        self._leave(name, item, found)
        self._depth -= 1

    def _live(self, name: str, item: Item, logic: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
        """Run the logic of one item as a process; then the item leaves."""
        try:
            target = yield from logic
        except Exception as error:
            self._logic_failed(name, item, error)
            return
        self._leave(name, item, target)

    def _leave(self, name: str, item: Item, target: Any) -> None:
        """Let an item leave a custom element."""
        now = int(self.env.now)
        known = self.custom[name].route.targets
        if self.failure or not isinstance(self.env.now, Integral):
            return  # a wrong time is told after the step
        if target is not None and target not in known:
            self._logic_failed(name, item, None, f"it returned {target!r}, which is none of its route's: {known}")
            return
        self._left_now = self._left_now + 1 if now == self._left_at else 1
        self._left_at = now
        if self._left_now > MOST_AT_ONCE or self._depth > DEEPEST:
            self._logic_failed(name, item, None, "items go round through it without any time passing")
            return
        self.network.leave(name, item, now, target)

    def _logic_failed(self, name: str, item: Item, error: Exception | None, why: str = "") -> None:
        what = f"{type(error).__name__}: {error}" if error is not None else why
        which = f"item {item[SERIAL]} (class {item[KIND]}, born at {item[BIRTH] / self.ticks_per_second:.12g} s)"
        self._fail(f"The logic of '{name}' failed on {which}: {what}", error, told=True)

    def _fail(self, what: str, error: Exception | None = None, *, told: bool = False) -> None:
        """Note the first failure; the run ends after this event."""
        if not self.failure:
            why = f": {type(error).__name__}: {error}" if error is not None and not told else ""
            self.failure = f"{what}{why}. Time {float(self.env.now) / self.ticks_per_second:.12g} s."
            self.cause = error


class _Seen(CallbackNetwork):
    """The callback engine, with a look at what its elements hold."""

    def present(self, name: str) -> int:
        return int(self._element(name).present)

    def waiting(self, name: str) -> int:
        return int(self._element(name).waiting_now())

    def _element(self, name: str) -> Any:
        if name not in self._by_name:
            raise UnknownNameError("element", name, self._by_name)
        return self._by_name[name]


__all__ = ["CustomLogicError", "LogicItem", "LogicNetwork", "run_processes"]
