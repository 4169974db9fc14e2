"""One run of a network: its engine is chosen, its warm-up found where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.clock import to_ticks
from simulator.intervals import mser_5
from simulator.queues.checks_of_kinds import row
from simulator.queues.elements import Custom, Network, Source, Station
from simulator.queues.record import RunRecord
from simulator.queues.stability import LEAST_SAMPLES
from simulator.queues.statistics import NetworkRun, network_run
from simulator.streams import DEFAULT_SEED, RandomStreams

ENGINES = ("auto", "callbacks", "kernel", "simpy")
EngineName = Literal["auto", "callbacks", "kernel", "simpy"]
FEW_ITEMS = 2_000_000
"""Items x elements below which `auto` takes the plain engine, which needs some seconds for so many: loading compiled
code costs more than it saves there (estimated, 300,000 to 10,000,000). The trace is the same."""
ITEMS_A_SERVER = 4
"""What a server costs the plain engine to make, in items through an element (7 us against 2 us, estimated 2 to 6)."""
PILOT = 0.25
"""Length of the run that finds the warm-up, as a part of the horizon; at most half of it is cut."""
PILOT_REPLICATION = 2**30
"""Its own substream, so that the warm-up is not found on the numbers that it is applied to."""
FEWEST_FOR_WARM_UP = 200
MOST_SAMPLES = 1_000_000


def run_network(
    network: Network, *, horizon_s: float, warm_up_s: float | Literal["auto"] = 0.0, samples: int = 0,
    seed: int = DEFAULT_SEED, replication: int = 0, engine: EngineName = "auto", observe: Sequence[str] = (),
) -> NetworkRun:  # fmt: skip
    """Run a network from 0 to the horizon and return what was recorded.

    Args:
        warm_up_s: left out at the start, in s; `auto` finds it by MSER-5 (White 1997) on the times to the exits of a
            pilot run of a quarter of the horizon.
        samples: points of the series after the warm-up (at least 64 are taken).
        engine: `auto` takes the compiled kernel where numba is installed and knows the network, plain callbacks for
            others and for few items, and simpy where an element has logic of its own. All but simpy give one trace.
        observe: stations whose waits are recorded one by one.

    Raises:
        BadValueError: times that do not fit. UnknownNameError: an engine or a station that is not there.
        UnsupportedError: the engine that was asked for cannot run this network.
        CustomLogicError: the logic of a custom element failed; it holds the record until then.
    """
    if not isinstance(network, Network):
        raise BadValueError(f"What runs is a Network, not {network!r}.")
    horizon_s = finite_number("horizon_s", horizon_s, strict=True)
    row("observe, the names of stations,", observe)
    samples = whole_number("samples", samples, low=0, high=MOST_SAMPLES)
    name = engine_for(network, engine, horizon_s)
    rule = "given"
    if warm_up_s == "auto":
        found_s, rule = warm_up_of(network, horizon_s=horizon_s, seed=seed, engine=name)
    else:
        found_s = finite_number("warm_up_s", warm_up_s)
    record = _record(network, name, (horizon_s, found_s), samples, (seed, replication), observe)
    return network_run(network, record, seed=seed, replication=replication, warm_up_rule=rule)


def warm_up_of(
    network: Network, *, horizon_s: float, seed: int = DEFAULT_SEED, engine: EngineName = "auto"
) -> tuple[float, str]:
    """Return a warm-up in s, and how it was found, in words: the longest that MSER-5 gives for any exit.

    MSER-5 cuts items; the cut item's place in their order stands for its place in time.
    """
    pilot_s = horizon_s * PILOT
    name = engine_for(network, engine, pilot_s)
    record = _record(network, name, (pilot_s, 0.0), 0, (seed, PILOT_REPLICATION), ())
    share, at_bound, used = 0.0, False, 0
    for times in record.sojourns.values():
        if len(times) >= FEWEST_FOR_WARM_UP:
            cut = mser_5(times.astype(float)) / len(times)
            share, at_bound, used = max(share, cut), at_bound or cut > 0.45, used + 1
    if not used:
        raise BadValueError(
            f"The pilot run of {pilot_s:g} s has fewer than {FEWEST_FOR_WARM_UP} items at every exit, too few to find "
            "a warm-up. Give warm_up_s in seconds, or a longer horizon_s."
        )
    doubt = "; the cut lies near its bound, so the system may not have settled" if at_bound else ""
    return share * pilot_s, f"MSER-5 on a pilot run of {pilot_s:g} s{doubt}"


def engine_for(network: Network, engine: EngineName, horizon_s: float) -> EngineName:
    """Return the engine that runs this network. Raises as `run_network`."""
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    custom = [element.name for element in network.elements if isinstance(element, Custom)]
    if engine in ("callbacks", "kernel") and custom:
        raise UnsupportedError(f"Element '{custom[0]}' has logic of its own, which runs on simpy alone, not {engine}.")
    if engine == "kernel":
        if find_spec("numba") is None:
            raise UnsupportedError("The compiled kernel needs numba; run `pip install archcast[fast]`, or `callbacks`.")
        why = _kernel_lacks(network)
        if why:
            raise UnsupportedError(f"The compiled kernel cannot run this network: {why}")
    if engine != "auto":
        return engine
    if custom:
        return "simpy"
    rate_hz = sum(element.arrivals.mean_rate_hz() for element in network.elements if isinstance(element, Source))
    servers = sum(element.servers for element in network.elements if isinstance(element, Station))
    few = rate_hz * horizon_s * len(network.elements) + ITEMS_A_SERVER * servers < FEW_ITEMS
    return "callbacks" if few or find_spec("numba") is None or _kernel_lacks(network) else "kernel"


def _kernel_lacks(network: Network) -> str:
    from simulator.queues.kernel import unsupported

    return unsupported(network)


def _record(
    network: Network, engine: EngineName, times_s: tuple[float, float], samples: int, numbers: tuple[int, int],
    observe: Sequence[str],
) -> RunRecord:  # fmt: skip
    """Run the engine over (horizon, warm-up) with the streams of (seed, replication); it checks its record."""
    horizon, warm = (
        int(to_ticks(x, network.ticks_per_second, what=what))
        for x, what in zip(times_s, ("horizon_s", "warm_up_s"), strict=True)
    )
    if not 0 <= warm < horizon:
        raise BadValueError(
            f"warm_up_s must be below horizon_s by at least a tick, not {times_s[1]:g} of {times_s[0]:g} s."
        )
    asked = max(samples, LEAST_SAMPLES)
    # Spaced over the window; a long warm-up in front of it must not make samples without end.
    every = max(1, (horizon - warm) // asked, horizon // (10 * asked))
    run = _engine(engine)
    return run(network, RandomStreams(*numbers), horizon, warm, every, tuple(observe))


def _engine(name: EngineName) -> Callable[..., RunRecord]:
    """Return the engine, imported when it is needed."""
    if name == "kernel":
        from simulator.queues.kernel import run_kernel

        return run_kernel
    if name == "simpy":
        from simulator.queues.processes import run_processes

        return run_processes
    from simulator.queues.callbacks import run_callbacks

    return run_callbacks
