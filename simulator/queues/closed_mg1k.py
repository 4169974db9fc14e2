"""One server with a limit and any service law: M/D/1/K, M/G/1/K, and their kin in slotted time.

The chain of what is left behind at departures is solved by the crossing of levels: upward over j happens as often as
downward, so x_{j+1} a_0 = x_0 P(A > j) + sum_i x_i P(A > j + 1 - i), sums of positive terms without cancellation.
Sources: Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory (4th ed., 2008), section 5.1.8 (the
chain, and loss = 1 - 1 / (pi_0 + rho)); Tijms, A First Course in Stochastic Models (2003), section 9.6 (crossings).
"""

from __future__ import annotations

import numpy as np

from foundation.checks import finite_number
from simulator.queues.closed_counts import Counts, arrivals_in_a_service, binomial_counts
from simulator.queues.closed_means import Array, QueueMeans, count, not_negative, positive, share, with_loss

_STEADY = 6
"""So many equal ratios in a row (to 2e-15) end the recursion: what is left of the chain is geometric."""


def md1k(arrival_hz: float, service_s: float, places: int) -> QueueMeans:
    """Return the means of M/D/1/K; `places` counts the customer in service. Raises as `mg1k`."""
    return mg1k(arrival_hz, service_s, places)


def mg1k(
    arrival_hz: float, service_s: float, places: int, law: str = "constant", cv2: float | None = None
) -> QueueMeans:
    """Return the means of M/G/1/K for a law of `closed_counts.LAWS`; `places` counts the customer in service.

    The loss is the mean number lost in a service over the mean number that arrives per departure: it keeps its digits
    down to 1e-300, where 1 - 1 / (pi_0 + rho) has lost them at 1e-16.

    Raises:
        BadValueError: a negative rate, a service time not above 0, no place, or a cv2 that the law cannot have.
        UnknownNameError: no such law.
    """
    places = count("places", places)
    load = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    if load == 0.0:
        return with_loss(arrival_hz, service_s, 1, 0.0, 0.0)
    counts = arrivals_in_a_service(load, places, law, cv2)
    left = _left_behind(counts, counts, places)
    # From an empty system the service starts with one customer, as from a system where one was left behind.
    lost = float(left[0] * counts.beyond[places - 1] + left[1:] @ counts.beyond[places - 1 : 0 : -1])
    arrivals = float(left[0]) + load
    return _means(arrival_hz, service_s, left, arrivals, lost / arrivals)


def mg1k_distribution(
    arrival_hz: float, service_s: float, places: int, law: str = "constant", cv2: float | None = None
) -> Array:
    """Return the probabilities of 0..`places` customers at any time in M/G/1/K. Raises as `mg1k`."""
    means = mg1k(arrival_hz, service_s, places, law, cv2)
    load = arrival_hz * service_s
    if load == 0.0:
        nobody: Array = np.eye(1, places + 1)[0]
        return nobody
    counts = arrivals_in_a_service(load, places, law, cv2)
    left = _left_behind(counts, counts, places)
    return np.append(left / (left[0] + load), means.loss)


def slotted_buffer_loss(probability: float, service_slots: float, places: int) -> float:
    """Return the share of arrivals lost by a buffer fed by Bernoulli arrivals in slots, with constant service.

    In each slot one customer arrives with `probability`; a service lasts `service_slots` slots and ends before the
    arrival of its last slot's successor. A derandomizer behind a trigger is one (`places` counts the one in service).
    Exact where `service_slots` is whole; between, the count of arrivals mixes its two neighbours (an approximation,
    within 1 % of the loss of a continuous service at 10 slots and more).

    Raises:
        BadValueError: a probability outside [0, 1], a service shorter than one slot, or no place.
    """
    probability, places = share("probability", probability), count("places", places)
    slots = finite_number("service_slots", service_slots, low=1.0)
    if probability == 0.0:
        return 0.0
    counts = binomial_counts(slots, probability, places)
    first = binomial_counts(slots - 1.0, probability, places)
    if counts.exactly[0] == 0.0:
        # Every slot has an arrival: one in `slots` is served, unless a service takes one slot.
        return 1.0 - 1.0 / slots
    left = _left_behind(counts, first, places)
    lost = float(left[0] * first.beyond[places - 1] + left[1:] @ counts.beyond[places - 1 : 0 : -1])
    return lost / (slots * probability + float(left[0]) * (1.0 - probability))


def filled_buffer_loss(
    probability: float, service_slots: float, places: int, filled: Array, ticks_per_slot: int = 1
) -> float:
    """Return the share of arrivals lost where only some slots of a cycle (the bunches of an orbit) can have one.

    The work in the buffer, in ticks, is a Markov chain over the slots of the cycle; it is iterated until a cycle
    repeats (loss to 1e-10). Exact where `service_slots` is a whole number of ticks. Cost: a few microseconds for each
    filled slot and cycle, so tenths of a second for an LHC orbit.

    Args:
        filled: one value a slot of the cycle, true where an arrival is possible.
    Raises:
        BadValueError: as `slotted_buffer_loss`, or no slot is filled.
    """
    probability, places = share("probability", probability), count("places", places)
    ticks = count("ticks_per_slot", ticks_per_slot)
    work = count("service_slots", round(positive("service_slots", service_slots) * ticks))
    places_filled = np.flatnonzero(np.asarray(filled))
    count("filled slots", len(places_filled))
    gaps = np.diff(np.append(places_filled, places_filled[0] + len(filled))) * ticks
    limit = (places - 1) * work + 1
    state = np.zeros(places * work + 1)
    state[0] = 1.0
    if probability == 0.0:
        return 0.0
    loss, before, steps = 1.0, np.zeros_like(state), gaps.tolist()
    for _ in range(20_000):
        before = state.copy()
        lost = 0.0
        for gap in steps:
            lost += float(state[limit:].sum())
            taken = probability * state[:limit]
            state[:limit] -= taken
            state[work : work + limit] += taken
            state[0] = state[: gap + 1].sum()
            state[1:-gap] = state[gap + 1 :]
            state[-gap:] = 0.0
        loss = lost / len(steps)
        if float(np.abs(state - before).sum()) < 1e-10 * max(loss, 1e-300) or np.array_equal(state, before):
            break
    return loss


def _left_behind(counts: Counts, first: Counts, places: int) -> Array:
    """Return the probabilities of 0..K-1 customers left behind by a departure.

    `counts` are the arrivals during a service, `first` those during a service that ends an empty spell.
    """
    x = np.zeros(places)
    x[0] = 1.0
    zero = float(counts.exactly[0])
    tails = counts.at_least[2:][::-1]  # P(A >= m) of m = K, .., 2, so that a slice faces x[1:]
    ratio, steady = 0.0, 0
    for j in range(places - 1):
        rising = x[0] * float(first.at_least[j + 1]) + float(x[1 : j + 1] @ tails[places - 1 - j :])
        x[j + 1] = rising / zero
        if x[j + 1] > 1e200:
            x[: j + 2] *= 1e-200
        before, ratio = ratio, float(x[j + 1] / x[j]) if x[j] > 0.0 else 0.0
        steady = steady + 1 if abs(ratio - before) <= 2e-15 * ratio else 0
        if steady >= _STEADY and ratio <= 1.0:
            x[j + 2 :] = x[j + 1] * ratio ** np.arange(1, places - 1 - j)
            break
    left: Array = x / x.sum()
    return left


def _means(arrival_hz: float, service_s: float, left: Array, arrivals: float, loss: float) -> QueueMeans:
    """Return the means from what departures leave behind: at any time p_n = pi_n / (pi_0 + rho), and p_K the loss."""
    number = float(left @ np.arange(len(left))) / arrivals + len(left) * loss
    busy = arrival_hz * (1.0 - loss) * service_s
    return with_loss(arrival_hz, service_s, 1, loss, max(0.0, number - busy))
