"""Checks of single stations with room for everyone, in steady state (Pollaczek and Khinchine, Erlang, sharing)."""

from __future__ import annotations

from functools import partial
from math import factorial

from simulator.queues import closed_forms as forms
from simulator.queues.arrivals import Periodic, Renewal, poisson
from simulator.queues.bursts import Switching, Together
from simulator.queues.closed_means import QueueMeans
from simulator.queues.elements import Batch, Delay, Exit, Network, Outages, Service, Source, Station, to
from simulator.queues.laws import CONSTANT, EXPONENTIAL, Law
from simulator.queues.verification import (
    E4,
    H2,
    LAWS,
    TICKS_PER_SECOND,
    Check,
    Measure,
    before_exit,
    beyond,
    by_class,
    exact,
    single,
)
from simulator.queues.verification_chains import (
    constant_gaps,
    erlang_gaps,
    gi_m_1_wait_s,
    lossy_failures,
    switching_line,
    two_speeds,
)

LONE_LAWS = (
    ("M/D/1", CONSTANT, 0.8), ("M/E4/1", E4, 0.8), ("M/H2/1, cv 2", H2, 0.6),
    ("M/LN/1, cv 1.5", Law("lognormal", cv=1.5), 0.6), ("M/gamma/1, cv 1.5", Law("gamma", cv=1.5), 0.6),
    ("M/Weibull/1, cv 1.5", Law("weibull", cv=1.5), 0.6), ("M/uniform/1, cv 0.5", Law("uniform", cv=0.5), 0.7),
)  # fmt: skip


def _wait(means: QueueMeans, bound: float, name: str = "queue") -> Measure:
    return Measure("wait / s", f"{name}.mean_wait_s", exact(means.wait_s), bound)


def _busy(share: float, bound: float, name: str = "queue") -> Measure:
    return Measure("utilisation", f"{name}.utilisation", exact(share), bound)


def mm1() -> list[Check]:
    """M/M/1 at four loads: wait, number, utilisation, share that waits, tail of the response."""
    found = []
    for load, customers, bound in (
        (0.3, 4_000, 0.025),
        (0.5, 5_000, 0.025),
        (0.8, 20_000, 0.015),
        (0.9, 10_000, 0.015),
    ):
        means = forms.mm1(load, 1.0)
        measures = [_busy(load, bound), Measure("share that waits", "queue.wait_share", exact(load), 1.3 * bound)]
        if load < 0.9:
            late_s = forms.mm1_response_quantile_s(load, 1.0, 0.9)
            measures += [
                _wait(means, 0.08),
                Measure("number", "queue.mean_present", exact(means.number), 0.08),
                Measure("share beyond the 90 % quantile of the response", beyond("exit", late_s), exact(0.1), 0.15),
            ]
        found.append(
            Check("One server", f"M/M/1, load {load:g}", "wait = rho s / (1 - rho), number = rho / (1 - rho)",
                  partial(single, load), tuple(measures), customers, load)
        )  # fmt: skip
    return found


def mg1() -> list[Check]:
    """M/G/1 of several laws, and of a service that is a polynomial of an exponential size."""
    form = "wait = rho s (1 + cv^2) / (2 (1 - rho))"
    found = [
        Check("One server", f"{name}, load {load:g}", form, partial(single, load, law),
              (_wait(forms.mg1(load, 1.0, law.cv2), 0.14 if law.cv2 > 2 else 0.09), _busy(load, 0.025)), 8_000, load)
        for name, law, load in LONE_LAWS
    ]  # fmt: skip
    a = (0.2, 0.3, 0.1)
    mean_s = sum(x * factorial(k) for k, x in enumerate(a))
    square_s2 = sum(x * y * factorial(j + k) for j, x in enumerate(a) for k, y in enumerate(a))
    means = forms.mg1(0.9, mean_s, square_s2 / mean_s**2 - 1)
    measures = (_wait(means, 0.12), _busy(means.utilisation, 0.025),
                Measure("bytes/s", "queue.out_bytes_per_s", exact(0.9e6), 0.025))  # fmt: skip
    found.append(
        Check("One server", "M/G/1, service 0.2 + 0.3 x + 0.1 x^2 of exponential bytes", form, _sized,
              measures, 5_000, 0.9)
    )  # fmt: skip
    return found


def _sized() -> Network:
    queue = Station("queue", Service((0.2, 0.3e-6, 0.1e-12)), to("exit"))
    source = Source("source", poisson(0.9), to("queue"), size_bytes=Law("exponential", 1e6))
    return Network((source, queue, Exit("exit")), TICKS_PER_SECOND)


def other_arrivals() -> list[Check]:
    """GI/M/1, arrivals in groups, and a rate that switches."""
    found = []
    gaps = (("D/M/1", Periodic(0.8), constant_gaps(1.25)),
            ("E4/M/1", Renewal(Law("erlang", 1.25, 0.5)), erlang_gaps(3.2, 4)))  # fmt: skip
    for name, process, transform in gaps:
        wait = Measure("wait / s", "queue.mean_wait_s", partial(gi_m_1_wait_s, transform, 1.0), 0.11)
        found.append(
            Check("One server", f"{name}, load 0.8", "wait = sigma s / (1 - sigma), sigma = A*((1 - sigma) / s)",
                  partial(single, process), (wait, _busy(0.8, 0.012)), 8_000, 0.8)
        )  # fmt: skip
    sizes = Law("table", values=(1.0, 2.0, 6.0), weights=(5.0, 3.0, 2.0))
    groups = (("constant groups of 3", Law("constant", 3.0), 0.2, EXPONENTIAL),
              ("groups of 1, 2 or 6", sizes, 0.6 / sizes.mean, EXPONENTIAL),
              ("groups of 1, 2 or 6, constant service", sizes, 0.6 / sizes.mean, CONSTANT))  # fmt: skip
    for name, size, rate_hz, law in groups:
        means = forms.batch_arrivals(rate_hz, 1.0, size.mean, size.cv2 * size.mean**2, law.cv2)
        found.append(
            Check("One server", f"M^[X]/G/1, {name}",
                  "wait = [rho s (1 + cv^2) + s (E[X^2] / E[X] - 1)] / (2 (1 - rho))",
                  partial(single, Together(poisson(rate_hz), size), law),
                  (_wait(means, 0.08), _busy(0.6, 0.025)), 8_000, 0.6)
        )  # fmt: skip
    line = switching_line(1.2, 0.2, 10.0, 15.0, 1.0)
    found.append(
        Check("One server", "MMPP/M/1", "chain of (number, rate)", lambda: single(Switching(1.2, 0.2, 10.0, 15.0)),
              (Measure("number", "queue.mean_present", exact(line.number), 0.12), _busy(0.6, 0.03)), 8_000, 0.6)
    )  # fmt: skip
    return found


def several_servers() -> list[Check]:
    """M/M/c, M/G/inf, and servers of two speeds."""
    found = []
    cases = ((2, 0.8, 8_000, 0.03, 0.12), (8, 0.9, 10_000, 0.06, 0.12), (64, 0.9, 12_000, 0.18, 0.025))
    for servers, load, customers, bound, wide in cases:
        rate_hz = load * servers
        means = forms.mmc(rate_hz, 1.0, servers)
        waits = forms.mmc_wait_probability(rate_hz, 1.0, servers)
        measures: tuple[Measure, ...] = (Measure("share that waits", "queue.wait_share", exact(waits), bound),
                    Measure("number", "queue.mean_present", exact(means.number), wide),
                    _busy(load, 0.018))  # fmt: skip
        found.append(
            Check("Several servers", f"M/M/{servers}, load {load:g}", "Erlang C; number = a + C a / (c - a)",
                  partial(single, rate_hz, servers=servers), measures, customers, rate_hz)
        )  # fmt: skip
    delay = Delay("delay", Service((3.0,), Law("lognormal", cv=2.0)), to("exit"))
    number = Measure("number", "delay.mean_present", exact(6.0), 0.05)
    found.append(
        Check("Several servers", "M/LN/inf (delay)", "number = lambda s",
              lambda: Network((Source("source", poisson(2.0), to("delay")), delay, Exit("exit")), TICKS_PER_SECOND),
              (number,), 4_000, 2.0)
    )  # fmt: skip
    for most, name, customers in ((300, "", 5_000), (4, ", 2 places", 4_000)):
        line = two_speeds(1.0, 1.0, 0.5, most)
        places = None if most == 300 else most - 2
        queue = Station("queue", Service((1.0,), EXPONENTIAL), to("exit"), 2, places=places, speeds=(0.5, 1.0))
        measures = (Measure("number", "queue.mean_present", exact(line.number), 0.065 if places is None else 0.025),
                    _busy(line.utilisation, 0.02))  # fmt: skip
        if places is not None:
            measures += (Measure("loss", "queue.loss_share", exact(line.loss), 0.08),)
        found.append(
            Check("Several servers", f"M/M/2 of speeds 1 and 0.5, the fast one first{name}", "chain of (number, which)",
                  partial(before_exit, poisson(1.0), queue), measures, customers, 1.0)
        )  # fmt: skip
    return found


def sharing() -> list[Check]:
    """Processor sharing: insensitive to the law of the work, also with a limit."""
    found = []
    for name in ("exponential", "constant", "hyperexponential, cv 2"):
        queue = Station("queue", Service((1.0,), LAWS[name]), to("exit"), discipline="share")
        response = Measure(
            "response / s",
            "exit.sojourn_mean_s",
            exact(forms.mg1_ps(0.7, 1.0).response_s),
            0.14 if "cv" in name else 0.08,
        )
        found.append(
            Check("Processor sharing", f"M/G/1-PS, {name}, load 0.7", "response = s / (1 - rho)",
                  partial(before_exit, poisson(0.7), queue), (response, _busy(0.7, 0.03)), 4_500, 0.7)
        )  # fmt: skip
    for name in ("constant", "hyperexponential, cv 2"):
        queue = Station("queue", Service((1.0,), LAWS[name]), to("exit"), discipline="share", places=4)
        loss = Measure("loss", "queue.loss_share", exact(forms.mm1k(0.9, 1.0, 5).loss), 0.13 if "cv" in name else 0.08)
        found.append(
            Check("Processor sharing", f"M/G/1/5-PS, {name}, load 0.9", "loss of M/M/1/5",
                  partial(before_exit, poisson(0.9), queue), (loss,), 3_000, 0.9)
        )  # fmt: skip
    return found


def priorities() -> list[Check]:
    """Cobham: three classes of their own services at one server; two at two servers."""
    rates, services, laws = (0.2, 0.15, 0.1), (0.8, 1.0, 3.0), (EXPONENTIAL, CONSTANT, H2)
    means = forms.mg1_priority(rates, services, [law.cv2 for law in laws])
    line = Station("queue", {k: Service((s,), law) for k, (s, law) in enumerate(zip(services, laws, strict=True))},
                   by_class(3), discipline="priority")  # fmt: skip
    one = Check("Priorities", "M/G/1, three classes", "wait_k = R / ((1 - sigma_{k-1}) (1 - sigma_k))",
                lambda: _classes(rates, line), _responses(means, (0.13, 0.13, 0.18), sum(x.utilisation for x in means)),
                6_000, sum(rates))  # fmt: skip
    pair = (0.6, 0.9)
    shared = forms.mmc_priority(pair, 1.0, 2)
    line_2 = Station("queue", Service((1.0,), EXPONENTIAL), by_class(2), 2, discipline="priority")
    two = Check("Priorities", "M/M/2, two classes", "wait_k = C s / c / ((1 - sigma_{k-1}) (1 - sigma_k))",
                lambda: _classes(pair, line_2), _responses(shared, (0.035, 0.11), 0.75), 5_000, sum(pair))  # fmt: skip
    return [one, two]


def _classes(rates_hz: tuple[float, ...], queue: Station) -> Network:
    source = Source("source", poisson(sum(rates_hz)), to("queue"), rates_hz)
    return Network((source, queue, *(Exit(f"exit {k}") for k in range(len(rates_hz)))), TICKS_PER_SECOND)


def _responses(means: list[QueueMeans], bounds: tuple[float, ...], busy: float) -> tuple[Measure, ...]:
    found = [
        Measure(f"response of class {k} / s", f"exit {k}.sojourn_mean_s", exact(x.response_s), bound)
        for k, (x, bound) in enumerate(zip(means, bounds, strict=True))
    ]
    return (*found, _busy(busy, 0.03))


def batches() -> list[Check]:
    """A server that takes several at once: as many as wait, or only full batches."""
    found = []
    for name, law in (("exponential", EXPONENTIAL), ("constant", CONSTANT)):
        times = (0.7, 0.8, 0.9, 1.0)
        means = forms.bulk_service(2.5, times, 4, 1, name)
        queue = Station("queue", Service((1.0,), law), to("exit"), batch=Batch(4, times))
        measures = (Measure("wait / s", "queue.mean_wait_s", exact(means.wait_s), 0.12 if law is EXPONENTIAL else 0.03),
                    _busy(means.utilisation, 0.012))  # fmt: skip
        found.append(
            Check("Batches", f"M/G^[1,4]/1, {name}", "chain of those left behind",
                  partial(before_exit, poisson(2.5), queue), measures, 4_000, 2.5)
        )  # fmt: skip
    full = forms.bulk_service(1.5, 1.0, 3, 3)
    queue = Station("queue", Service((1.0,), EXPONENTIAL), to("exit"), batch=Batch(3, (1.0, 1.0, 1.0), 1e6))
    measures = (Measure("wait / s", "queue.mean_wait_s", exact(full.wait_s), 0.06), _busy(full.utilisation, 0.03))
    found.append(
        Check("Batches", "M/M^[3,3]/1, full batches only", "chain of those left behind",
              partial(before_exit, poisson(1.5), queue), measures, 4_000, 1.5)
    )  # fmt: skip
    return found


def breakdowns() -> list[Check]:
    """Servers that fail, idle or not: work resumes, begins anew, or is lost."""
    up, down = Law("exponential", 20.0), Law("exponential", 4.0)
    gone = Measure("share of time down", "queue.down_share", exact(4.0 / 24.0), 0.1)
    found = []
    for name, law, work in (("resumed, exponential", EXPONENTIAL, "resume"), ("resumed, constant", CONSTANT, "resume"),
                            ("restarted, constant", CONSTANT, "restart")):  # fmt: skip
        means = forms.mg1_breakdowns(0.5, 1.0, law.cv2, 20.0, 4.0, 1.0, work)
        queue = Station("queue", Service((1.0,), law), to("exit"), outages=Outages(up, down, work))  # type: ignore[arg-type]
        measures: tuple[Measure, ...] = (Measure("number", "queue.mean_present", exact(means.number), 0.12), gone)
        if work == "resume":
            measures += (_busy(0.5, 0.025),)
        found.append(
            Check("Breakdowns", f"M/G/1, work {name}", "M/G/1 of completion times + repair of an idle server",
                  partial(before_exit, poisson(0.5), queue), measures, 4_500, 0.5)
        )  # fmt: skip
    line = lossy_failures(0.5, 1.0, 1 / 20, 1 / 4)
    queue = Station("queue", Service((1.0,), EXPONENTIAL), to("exit"), outages=Outages(up, down, "lose"))
    measures = (Measure("number", "queue.mean_present", exact(line.number), 0.12), _busy(line.utilisation, 0.025),
                Measure("loss", "queue.loss_share_failure", exact(line.loss), 0.07))  # fmt: skip
    found.append(
        Check("Breakdowns", "M/M/1, work lost", "chain of (number, up)", partial(before_exit, poisson(0.5), queue),
              measures, 4_500, 0.5)
    )  # fmt: skip
    return found


def station_checks() -> list[Check]:
    """Return all checks of this file."""
    return [
        *mm1(), *mg1(), *other_arrivals(), *several_servers(), *sharing(), *priorities(), *batches(), *breakdowns(),
    ]  # fmt: skip
