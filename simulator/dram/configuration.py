"""`Configuration`: the knobs of a memory controller, in ArchGym's and DRAMSys's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from foundation.checks import whole_number
from foundation.errors import UnknownNameError

PAGE_POLICIES = ("Open", "OpenAdaptive", "Closed", "ClosedAdaptive")
SCHEDULERS = ("Fifo", "FrFcfs", "FrFcfsGrp")
BUFFERS = ("Bankwise", "ReadWrite", "Shared")
CMD_MUXES = ("Oldest", "Strict")
RESP_QUEUES = ("Fifo", "Reorder")
REFRESH_POLICIES = ("NoRefresh", "AllBank")
POWER_DOWNS = ("NoPowerDown", "Staggered")
ARBITERS = ("Simple", "Fifo", "Reorder")
CHOICES: dict[str, tuple[str, ...]] = {
    "PagePolicy": PAGE_POLICIES, "Scheduler": SCHEDULERS, "SchedulerBuffer": BUFFERS, "CmdMux": CMD_MUXES,
    "RespQueue": RESP_QUEUES, "RefreshPolicy": REFRESH_POLICIES, "PowerDownPolicy": POWER_DOWNS, "Arbiter": ARBITERS,
}  # fmt: skip
NUMBERS: dict[str, tuple[int, int]] = {
    "RequestBufferSize": (1, 256), "RefreshMaxPostponed": (0, 8), "RefreshMaxPulledin": (0, 8),
    "MaxActiveTransactions": (1, 1024),
}  # fmt: skip
"""Least and most. JEDEC lets eight refreshes be postponed or pulled in."""


class Knobs(NamedTuple):
    """A configuration as whole numbers: places in the tuples above, and numbers."""

    page: int
    scheduler: int
    buffer: int
    buffer_size: int
    strict: int
    reorder_responses: int
    refresh: int
    postponed: int
    pulled_in: int
    power_down: int
    arbiter: int
    most_active: int


@dataclass(frozen=True)
class Configuration:
    """One controller. Names and values are those of DRAMSys; docs/dram.md says what each does here.

    Raises:
        UnknownNameError, BadValueError: a value that there is not.
    """

    PagePolicy: str = "Open"
    Scheduler: str = "FrFcfs"
    SchedulerBuffer: str = "Bankwise"
    RequestBufferSize: int = 8
    CmdMux: str = "Oldest"
    RespQueue: str = "Fifo"
    RefreshPolicy: str = "AllBank"
    RefreshMaxPostponed: int = 0
    RefreshMaxPulledin: int = 0
    PowerDownPolicy: str = "NoPowerDown"
    Arbiter: str = "Simple"
    MaxActiveTransactions: int = 128

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), known, f"Known: {', '.join(known)}.")
        for name, (low, high) in NUMBERS.items():
            object.__setattr__(self, name, whole_number(name, getattr(self, name), low=low, high=high))

    @staticmethod
    def of(values: Mapping[str, Any]) -> Configuration:
        """Return the configuration of a mapping. Raises UnknownNameError: a key that is no knob."""
        known = [one.name for one in fields(Configuration)]
        for name in values:
            if name not in known:
                raise UnknownNameError("knob of a memory controller", str(name), known)
        return Configuration(**values)

    @property
    def knobs(self) -> Knobs:
        return Knobs(
            PAGE_POLICIES.index(self.PagePolicy), SCHEDULERS.index(self.Scheduler),
            BUFFERS.index(self.SchedulerBuffer), self.RequestBufferSize, CMD_MUXES.index(self.CmdMux),
            RESP_QUEUES.index(self.RespQueue), REFRESH_POLICIES.index(self.RefreshPolicy), self.RefreshMaxPostponed,
            self.RefreshMaxPulledin, POWER_DOWNS.index(self.PowerDownPolicy), ARBITERS.index(self.Arbiter),
            self.MaxActiveTransactions,
        )  # fmt: skip
