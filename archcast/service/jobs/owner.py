"""Who a process is, so that another can tell whether it lives: its id, when it began, the boot and the namespace.

A process id alone is reused; with the start time it is not. Where neither can be read (other systems than Linux, or
a process of another container) only the lease of a job decides.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process. `host` is the boot and the namespace of process ids; `start` the clock ticks at which it began."""

    pid: int
    start: str
    host: str

    @classmethod
    def of(cls, pid: int | None = None) -> Owner:
        """Return the process of an id, by default this one."""
        pid = os.getpid() if pid is None else pid
        return cls(pid, _start(pid), _host())

    def is_dead(self) -> bool:
        """Return whether it surely is no more; False where that cannot be told."""
        if self.host != _host() or not self.start:
            return False
        return _start(self.pid) != self.start

    def kill(self) -> None:
        """Kill it and its process group, where it is still the same process."""
        if not self.start or self.host != _host() or _start(self.pid) != self.start:
            return
        try:
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _start(pid: int) -> str:
    """Return field 22 of /proc/PID/stat (proc(5)): ticks after boot; '' for none, a zombie, or another system."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return "" if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import platform

        return platform.node()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 where it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
