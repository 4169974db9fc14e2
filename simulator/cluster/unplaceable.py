"""Tasks that no machine could ever hold: said at once and with a reason, instead of a wait without end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simulator.cluster.attempts import Attempts
from simulator.cluster.bins import Request
from simulator.cluster.constraints import Allowed
from simulator.cluster.record import UNPLACEABLE
from simulator.cluster.trace import REMOVE, MachineTrace, Sizes

if TYPE_CHECKING:
    from simulator.cluster.state import State

TOO_LARGE = "asks for more than any machine has"
NO_ATTRIBUTES = "no machine meets its constraints"
UNMET = "no machine that meets its constraints is large enough"
NOT_IN_TRACE = "had no machine in the trace"


class Reach:
    """The sizes of all machines that there are at any time, by set of constraints."""

    def __init__(self, machines: MachineTrace, allowed: Allowed) -> None:
        there = machines.event != REMOVE
        self._machine, self._capacity = machines.machine[there], machines.capacity[there]
        self._allowed = allowed
        self._sizes: dict[int, Sizes] = {}

    def sizes(self, constraint: int) -> Sizes:
        """Return the different capacities of machines that may meet a set of constraints, shape (kinds, 3)."""
        if constraint not in self._sizes:
            found = self._capacity
            if constraint:
                found = found[self._allowed.ever(constraint)[self._machine]]
            self._sizes[constraint] = np.unique(found, axis=0) if len(found) else found
        return self._sizes[constraint]

    def too_large(self, requests: Sizes, constraint: int) -> npt.NDArray[np.bool_]:
        """Return which requests, shape (requests, 3), fit on no machine."""
        fits = np.zeros(len(requests), dtype=bool)
        for size in self.sizes(constraint):
            fits |= (requests <= size).all(axis=1)
        return ~fits

    def reason(self, request: Request, constraint: int) -> str:
        if not len(self.sizes(constraint)):
            return NO_ATTRIBUTES
        return UNMET if constraint and not self.too_large(np.array([request]), 0)[0] else TOO_LARGE


def hopeless(attempts: Attempts, reach: Reach) -> list[bool]:
    """Return which attempts fit on no machine, as they ask when they come."""
    found = np.zeros(len(attempts), dtype=bool)
    for constraint in np.unique(attempts.constraint).tolist():
        mine = attempts.constraint == constraint
        found[mine] = reach.too_large(attempts.request[mine], constraint)
    return [bool(x) for x in found]


def reasons_of(state: State, reach: Reach, as_in_trace: bool) -> Counter[str]:
    """Return why attempts could not be placed, counted by reason."""
    found = Counter[str]()
    for attempt in np.flatnonzero(np.array(state.state) == UNPLACEABLE).tolist():
        request, constraint = state.request[attempt], state.constraint[attempt]
        if reach.too_large(np.array([request]), constraint)[0] or not as_in_trace:
            found[reach.reason(request, constraint)] += 1
        else:
            found[NOT_IN_TRACE] += 1
    return found
