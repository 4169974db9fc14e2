"""Tasks that come: when, how large, of whom. In physical mode one by one, as published in lots a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from simulator.offloading.settings import OffloadingConfig
from simulator.streams import RandomStreams
from workloads.table import Array


def _checked(sizes: Array, users: Array, config: OffloadingConfig) -> None:
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise BadValueError("size_bits must be finite and at least 0.")
    if len(users) and not (users.min() >= 0 and users.max() < config.users):
        raise BadValueError(f"user must be a whole number from 0 to {config.users - 1}.")


@dataclass(frozen=True)
class Tasks:
    """Physical mode: the tasks of a run in order of arrival."""

    arrival_s: Array
    size_bits: Array
    user: Array

    @classmethod
    def of(cls, config: OffloadingConfig, arrival_s: Array, size_bits: Array, user: Array) -> Tasks:
        """Return given tasks. Raises BadValueError for negative sizes, times that fall, unknown users."""
        times, sizes = np.asarray(arrival_s, dtype=float), np.asarray(size_bits, dtype=float)
        users = np.asarray(user, dtype=np.int64)
        if not len(times) or not len(times) == len(sizes) == len(users):
            raise BadValueError("There must be at least one task, each with a time, a size and a user.")
        if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) < 0).any():
            raise BadValueError("arrival_s must be finite, at least 0 and not fall.")
        _checked(sizes, users, config)
        return cls(times, sizes, users)


@dataclass(frozen=True)
class Lots:
    """Published mode: lot i comes when i steps were made (lot 0 at the reset).

    counts (steps + 1), size_bits and user of all tasks in order, and for each lot the user that is shown where no
    task waits: then a task of size 0 is decided on.
    """

    counts: Array
    size_bits: Array
    user: Array
    idle_user: Array

    @classmethod
    def of(cls, config: OffloadingConfig, counts: Array, size_bits: Array, user: Array, idle_user: Array) -> Lots:
        """Return given lots. Raises BadValueError for sizes, users or counts that cannot be."""
        lots, sizes = np.asarray(counts, dtype=np.int64), np.asarray(size_bits, dtype=float)
        users, idle = np.asarray(user, dtype=np.int64), np.asarray(idle_user, dtype=np.int64)
        if len(lots) != config.steps + 1 or len(idle) != config.steps + 1 or (lots < 0).any():
            raise BadValueError(f"counts and idle_user must have {config.steps + 1} numbers of at least 0.")
        if not len(sizes) == len(users) == lots.sum():
            raise BadValueError("There must be as many sizes and users as the counts say.")
        _checked(sizes, users, config)
        _checked(np.zeros(len(idle)), idle, config)
        return cls(lots, sizes, users, idle)


def draw_tasks(config: OffloadingConfig, mean_bits: float, streams: RandomStreams) -> Tasks:
    """Draw Poisson arrivals with sizes of the law, each of a user drawn at random."""
    count = config.tasks
    gaps = streams.get("offloading/gaps").standard_exponential(count) / config.rate_hz
    sizes = mean_bits * unit_sizes(config, count, streams.get("offloading/size"))
    users = streams.get("offloading/user").integers(0, config.users, count)
    return Tasks(np.cumsum(gaps), np.clip(sizes, config.least_bits, config.most_bits), users)


def unit_sizes(config: OffloadingConfig, count: int, random: np.random.Generator) -> Array:
    """Return sizes of mean 1. `cv` is of lognormal and hyperexponential (balanced means) and, below 1, of Erlang."""
    law, square = config.law, config.spread**2
    if law == "constant":
        return np.ones(count)
    if law == "erlang":
        shape = max(round(1 / square), 1)
        return np.asarray(random.standard_gamma(shape, count) / shape)
    if law == "hyperexponential":
        first = (1 + math.sqrt((square - 1) / (square + 1))) / 2
        chosen = np.where(random.random(count) < first, first, 1 - first)
        return np.asarray(random.standard_exponential(count) / (2 * chosen))
    if law == "lognormal":
        spread = math.sqrt(math.log1p(square))
        return np.asarray(np.exp(spread * random.standard_normal(count) - spread**2 / 2))
    if law == "uniform":
        return 2 * random.random(count)
    return random.standard_exponential(count)


def draw_lots(config: OffloadingConfig, mean_bits: float, streams: RandomStreams) -> Lots:
    """Draw Poisson counts a step, exponential sizes (mean with the published sine), clipped, and users."""
    counts = streams.get("offloading/counts").poisson(config.rate_hz * config.step_s, config.steps + 1)
    step = np.repeat(np.arange(config.steps + 1), counts)
    mean = mean_bits + config.wave_bits * np.sin(step * 2 * np.pi / config.wave_steps)
    sizes = mean * unit_sizes(config, len(step), streams.get("offloading/size"))
    users = streams.get("offloading/user").integers(0, config.users, len(step))
    idle = streams.get("offloading/idle user").integers(0, config.users, config.steps + 1)
    return Lots(counts, np.clip(sizes, config.least_bits, config.most_bits), users, idle)
