"""Checks of what is lost: stations with a limit, dead time, trigger rules, buffers behind a trigger."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from simulator.queues import closed_forms as forms
from simulator.queues.arrivals import Arrivals, poisson
from simulator.queues.crossings import Crossings
from simulator.queues.elements import Delay, Exit, Gate, Network, Rules, Service, Source, Station, to
from simulator.queues.fill_patterns import EVERY_CROSSING, FillPattern, lhc_trains
from simulator.queues.laws import CONSTANT, EXPONENTIAL
from simulator.queues.replications import value_of
from simulator.queues.statistics import NetworkRun
from simulator.queues.verification import H2, LAWS, TICKS_PER_SECOND, Check, Measure, exact, single

CROSSING_RATE_HZ = 40.0789e6
"""Of the reference values; here a crossing takes one second, which is one tick, so that slots are exact."""
CMS_DEAD_SHARES = {100e3: 0.00897609307966396, 750e3: 0.3584088598312293}
"""Dead share of the four rules of CMS at two rates of triggers by `rules_live_share`, which takes a minute: a slow test
repeats it."""
DEPTH_SLOTS = 48
"""Readout time of the derandomizer in crossings: a load of 0.898 at 750 kHz."""


def _loss(value: float, bound: float, name: str = "queue") -> Measure:
    return Measure("loss", f"{name}.loss_share", exact(value), bound)


def _busy(value: float, bound: float = 0.015, name: str = "queue") -> Measure:
    return Measure("utilisation", f"{name}.utilisation", exact(value), bound)


def loss_systems() -> list[Check]:
    """M/G/c/c: the same loss for every law of the service."""
    found = []
    for load, servers in ((8.0, 8), (12.0, 16)):
        for name in ("exponential", "constant", "hyperexponential, cv 2"):
            means = forms.mgcc(load, 1.0, servers)
            found.append(
                Check("Losses", f"M/G/{servers}/{servers}, {name}, {load:g} erlang", "Erlang B",
                      partial(single, load, LAWS[name], servers=servers, places=0),
                      (_loss(means.loss, 0.075 if servers == 8 else 0.18), _busy(means.utilisation, 0.025)),
                      4_000, load)
            )  # fmt: skip
    return found


def limited_lines() -> list[Check]:
    """M/M/1/K, M/M/c/K, M/D/1/K and M/G/1/K."""
    found = []
    for places, load, bound in ((5, 0.8, 0.08), (10, 0.95, 0.125), (10, 1.2, 0.07)):
        means = forms.mm1k(load, 1.0, places)
        measures: tuple[Measure, ...] = (_loss(means.loss, bound), _busy(means.utilisation),
                    Measure("number", "queue.mean_present", exact(means.number), 0.05))  # fmt: skip
        found.append(
            Check("Losses", f"M/M/1/{places}, load {load:g}", "loss = (1 - rho) rho^K / (1 - rho^(K+1))",
                  partial(single, load, places=places - 1), measures, 5_000, load)
        )  # fmt: skip
    for servers, places, load in ((3, 8, 2.7), (4, 10, 5.0)):
        means = forms.mmck(load, 1.0, servers, places)
        measures = (_loss(means.loss, 0.1), _busy(means.utilisation),
                    Measure("wait / s", "queue.mean_wait_s", exact(means.wait_s), 0.06))  # fmt: skip
        found.append(
            Check("Losses", f"M/M/{servers}/{places}, {load:g} erlang", "birth and death chain",
                  partial(single, load, servers=servers, places=places - servers), measures, 5_000, load)
        )  # fmt: skip
    laws = (("D", "constant", 4, 0.8, 9_000, 0.08), ("D", "constant", 8, 0.9, 9_000, 0.13),
            ("D", "constant", 16, 0.9, 20_000, 0.3), ("H2", "hyperexponential", 8, 0.9, 9_000, 0.075))  # fmt: skip
    for symbol, law, places, load, customers, bound in laws:
        spread = CONSTANT if symbol == "D" else H2
        means = forms.mg1k(load, 1.0, places, law, spread.cv2)
        measures = (_loss(means.loss, bound), _busy(means.utilisation))
        found.append(
            Check("Losses", f"M/{symbol}/1/{places}, load {load:g}", "embedded chain, loss = 1 - 1 / (pi_0 + rho)",
                  partial(single, load, spread, places=places - 1), measures, customers, load)
        )  # fmt: skip
    return found


def _behind(process: Arrivals, *rules: Rules) -> Network:
    """Return a source, rules in a row, and an exit."""
    return Network((Source("source", process, to(rules[0].name)), *rules, Exit("exit")), TICKS_PER_SECOND)


def dead_times() -> list[Check]:
    """Dead time that is extendable or not, one behind the other, and in slots."""
    found = []
    for load in (0.1, 0.5, 1.0, 2.0):
        for extendable, form in ((False, "lambda / (1 + lambda tau)"), (True, "lambda exp(-lambda tau)")):
            name = f"{'paralyzable' if extendable else 'non-paralyzable'} dead time, lambda tau {load:g}"
            rules = Rules("dead", to("exit"), dead_s=load, extendable=extendable)
            rate_hz = (forms.paralyzable_hz if extendable else forms.non_paralyzable_hz)(1.0, load)
            share = Measure("share recorded", _kept, exact(rate_hz), 0.0075 * (1 + 2 * load))
            found.append(Check("Dead time", name, form, partial(_behind, poisson(1.0), rules), (share,), 4_000, 1.0))
    first, second = Rules("fixed", to("extendable"), dead_s=0.4), Rules("extendable", to("exit"), (), 0.9, True)
    both = Measure("share recorded", _through, exact(forms.hybrid_hz(1.0, 0.4, 0.5)), 0.016)
    found.append(
        Check("Dead time", "fixed 0.4, then extendable 0.5", "lambda exp(-lambda tau_p) / (1 + lambda tau_n)",
              partial(_behind, poisson(1.0), first, second), (both,), 4_000, 1.0)
    )  # fmt: skip
    slots = Rules("dead", to("exit"), dead_s=5.0)
    share = Measure("share recorded", _kept, exact(forms.bernoulli_live_share(0.3, 4)), 0.01)
    found.append(
        Check("Dead time", "4 slots after each trigger, 0.3 a slot", "1 / (1 + p d)",
              partial(_behind, Crossings(1.0, 0.3), slots), (share,), 4_000, 0.3)
    )  # fmt: skip
    return found


def _kept(run: NetworkRun) -> float:
    return 1.0 - value_of(run, "dead.loss_share")


def _through(run: NetworkRun) -> float:
    return value_of(run, "exit.left_hz") / value_of(run, "source.left_hz")


def trigger_rules() -> list[Check]:
    """At most k accepts in n crossings: exact chains, and the published values of the four CMS rules."""
    found = []
    sets = (((2, 25),), ((4, 240),), forms.CMS_RULES[:2], forms.CMS_RULES[:3])
    for rules in sets:
        dead = partial(_dead_share, 0.02, tuple(rules))
        found.append(
            Check("Trigger rules", f"at most {_words(rules)} crossings, 0.02 a crossing", "chain of the last gaps",
                  partial(ruled, Crossings(1.0, 0.02), tuple(rules)),
                  (Measure("dead share", "rules.loss_share", dead, 0.05),), 5_000, 0.02)
        )  # fmt: skip
    for rate_hz, bound in ((100e3, 0.15), (750e3, 0.02)):
        chain = Measure("dead share", "rules.loss_share", exact(CMS_DEAD_SHARES[rate_hz]), bound)
        process = crossings(rate_hz, "uniform")
        found.append(
            Check("Trigger rules", f"the four of CMS at {rate_hz / 1e3:g} kHz", "chain of the last gaps",
                  partial(ruled, process, forms.CMS_RULES), (chain,), 5_000, process.mean_rate_hz())
        )  # fmt: skip
    return found


def _words(rules: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(f"{accepts} in {crossings}" for accepts, crossings in rules)


@lru_cache
def _dead_share(probability: float, rules: tuple[tuple[int, int], ...]) -> float:
    return 1.0 - forms.rules_live_share(probability, rules)


def ruled(process: Arrivals, rules: tuple[tuple[int, int], ...]) -> Network:
    """Return a source behind which rules of (accepts, crossings) stand, on a tick of one crossing."""
    limits = tuple((accepts, float(crossings)) for accepts, crossings in rules)
    return slotted(process, Rules("rules", to("exit"), limits))


def slotted(process: Arrivals, element: Rules | Station, ticks: int = 1) -> Network:
    """Return a network with so many ticks a crossing."""
    return Network((Source("source", process, to(element.name)), element, Exit("exit")), ticks_per_second=ticks)


def pattern(name: str) -> FillPattern:
    """Return the pattern of filled crossings: `uniform` or `trains`."""
    return EVERY_CROSSING if name == "uniform" else lhc_trains()


def crossings(rate_hz: float, name: str) -> Crossings:
    """Return triggers at a mean rate (of crossings that come at CROSSING_RATE_HZ), on a clock of one a second."""
    fill = pattern(name)
    return Crossings(1.0, rate_hz / CROSSING_RATE_HZ / fill.share, fill)


def derandomizers() -> list[Check]:
    """A buffer behind a trigger with a constant readout, for uniform crossings and trains."""
    found = []
    for name in ("uniform", "trains"):
        for places, bound in ((4, 0.06), (8, 0.16)):
            process = crossings(750e3, name)
            queue = Station("queue", Service((float(DEPTH_SLOTS),)), to("exit"), places=places - 1)
            value = partial(_buffer_loss, process.probability, places, name)
            found.append(
                Check("Derandomizers", f"{places} places, {name}, 750 kHz, readout of {DEPTH_SLOTS} crossings",
                      "chain of the work in the buffer", partial(slotted, process, queue),
                      (Measure("loss", "queue.loss_share", value, bound),), 6_500, process.mean_rate_hz())
            )  # fmt: skip
    return found


@lru_cache
def _buffer_loss(probability: float, places: int, name: str) -> float:
    if name == "uniform":
        return forms.slotted_buffer_loss(probability, DEPTH_SLOTS, places)
    fill = pattern(name)
    filled = np.zeros(fill.slots)
    filled[list(fill.filled)] = 1.0
    return forms.filled_buffer_loss(probability, DEPTH_SLOTS, places, filled)


def gates() -> list[Check]:
    """Credits in front of a delay are servers: M/M/c, and M/M/c/K where the gate has a limit."""
    found = []
    for places in (None, 5):
        gate = Gate("gate", 3, to("delay"), places)
        delay = Delay("delay", Service((1.0,), EXPONENTIAL), to("exit"), returns="gate")
        elements = (Source("source", poisson(2.4), to("gate")), gate, delay, Exit("exit"))
        means = forms.mmc(2.4, 1.0, 3) if places is None else forms.mmck(2.4, 1.0, 3, 3 + places)
        wait = Measure("wait / s", "gate.mean_wait_s", exact(means.wait_s), 0.2 if places is None else 0.07)
        held = Measure("number behind", "delay.mean_present", exact(3 * means.utilisation), 0.02)
        if places is None:
            waits = forms.mmc_wait_probability(2.4, 1.0, 3)
            extra = Measure("share that waits", "gate.wait_share", exact(waits), 0.045)
        else:
            extra = _loss(means.loss, 0.14, "gate")
        name = "M/M/3 as 3 credits and a delay" if places is None else "M/M/3/8 as 3 credits, 5 places and a delay"
        found.append(
            Check("Credits", name, "Erlang C" if places is None else "birth and death chain",
                  partial(Network, elements, TICKS_PER_SECOND), (wait, held, extra), 4_000, 2.4)
        )  # fmt: skip
    return found


def limit_checks() -> list[Check]:
    """Return all checks of this file."""
    return [*loss_systems(), *limited_lines(), *dead_times(), *trigger_rules(), *derandomizers(), *gates()]
