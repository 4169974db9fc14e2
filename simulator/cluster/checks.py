"""Laws that every replay keeps, checked after each run on its log."""

from __future__ import annotations

import numpy as np

from simulator.cluster.bins import Bins
from simulator.cluster.curves import curves_of
from simulator.cluster.record import DONE, LOST, RUNNING, STATES, WAITING, Record
from simulator.engine import InvariantError


def check_record(record: Record, bins: Bins) -> None:
    """Check that no task is lost sight of, no bin is above its capacity, and what was taken is given back or held.

    Raises:
        InvariantError: naming the law and the first attempt or machine that breaks it.
    """
    _check_attempts(record)
    _check_work(record)
    _check_machines(record, bins)


def _check_attempts(record: Record) -> None:
    """Attempts = not reached + waiting + running + done + withdrawn + unplaceable + lost, each with a record to fit."""
    state, attempts = record.state, record.attempts
    if sum(record.counts().values()) != len(attempts) or int(state.max(initial=0)) >= len(STATES):
        raise InvariantError(f"The states of {len(attempts)} attempts do not add up: {record.counts()}.")
    ended = np.isin(state, (DONE, LOST))
    _refuse(ended != (record.finished >= 0), "has ended without a time, or has a time without an end")
    _refuse(np.isin(state, (RUNNING, DONE, LOST)) & (record.first_start < 0), "ran, but never started")
    _refuse((record.first_start >= 0) & (record.first_start < attempts.submit), "started before it was submitted")
    _refuse(ended & (record.finished < record.first_start), "ended before it started")
    _refuse(record.waited < 0, "waited for less than no time")
    lost = sum(count for cause, count in record.reasons.items() if cause.startswith("lost"))
    if lost != record.counts()["lost"]:
        raise InvariantError(f"{record.counts()['lost']} attempts are lost, but causes are known of {lost}.")


def _check_work(record: Record) -> None:
    """Who is done ran for at least its work; a stay ends after it begins; running is being on one machine."""
    log, count = record.segments, len(record.attempts)
    if (log["end"] < log["begin"]).any():
        bad = int(np.argmax(log["end"] < log["begin"]))
        raise InvariantError(f"Attempt {int(log['attempt'][bad])} left a machine before it came.")
    own = log["copy"] == 0
    ran = np.zeros(count, dtype=np.int64)
    np.add.at(ran, log["attempt"][own], (log["end"] - log["begin"])[own])
    known = (record.attempts.duration >= 0) & (record.state == DONE)
    _refuse(known & (ran < record.attempts.duration), "was done before its work was")
    waits = (record.state == WAITING) & (record.finished >= 0)
    _refuse(waits, "waits although it has ended")


def _check_machines(record: Record, bins: Bins) -> None:
    """No bin is above its capacity at any time, and the bins agree with the log at the end."""
    curves = curves_of(record)
    over = ((curves.used > curves.capacity) & (curves.ticks > 0)[:, None]).any(axis=1) | (curves.used < 0).any(axis=1)
    if over.any():
        at = int(np.argmax(over))
        name = record.machines.names[int(curves.machine[at])]
        raise InvariantError(
            f"Machine '{name}' held {curves.used[at].tolist()} of {curves.capacity[at].tolist()} at tick "
            f"{int(curves.time[at])}."
        )
    log, held = record.segments, np.zeros((3, bins.machines), dtype=np.int64)
    on = (log["end"] == record.end) & _still_there(record)
    for r, name in enumerate(("cpu", "memory", "disk")):
        np.add.at(held[r], log["machine"][on], log[name][on])
    taken = np.where(bins.up, bins.capacity - bins.free, 0)
    wrong = (taken != held).any(axis=0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvariantError(
            f"Machine '{record.machines.names[at]}' has {taken[:, at].tolist()} taken, but tasks there hold "
            f"{held[:, at].tolist()}."
        )


def _still_there(record: Record) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return the stays that were only cut off by the end of the record: the last ones in the log."""
    found = np.zeros(len(record.segments["end"]), dtype=bool)
    found[len(found) - record.still_there :] = True
    return found


def _refuse(bad: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], law: str) -> None:
    if bad.any():
        raise InvariantError(f"Attempt {int(np.argmax(bad))} {law}.")
