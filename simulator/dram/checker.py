"""`violations`: reads a trace of commands against JEDEC's rules anew, knowing nothing of how it was made.

The controller keeps the earliest cycles of commands to come; here each command is held against those before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.dram.device import DramDevice
from simulator.dram.kernel import COMMANDS
from simulator.dram.run import Commands, DramRun

READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
COLUMNS = (*READS, *WRITES)
Event = tuple[int, str, int, int]
POSTPONED_MOST = 8


def violations(run: DramRun) -> list[str]:
    """Return what breaks a rule, as sentences; none where all is well."""
    found = [*_of_commands(run.device, run.commands), *_of_requests(run)]
    return found + _of_refreshes(run) if run.configuration.RefreshPolicy != "NoRefresh" else found


def _events(commands: Commands) -> list[Event]:
    columns = (commands.cycle.tolist(), commands.kind.tolist(), commands.bank.tolist(), commands.row.tolist())
    return [(t, COMMANDS[kind], bank, row) for t, kind, bank, row in zip(*columns, strict=True)]


def _of_commands(device: DramDevice, commands: Commands) -> list[str]:
    """Hold every command against the earlier ones that are near enough to matter."""
    k, found = device.timing, []
    reach = max(k.rc, k.rfc, k.faw, k.wl + k.burst + k.wr + k.rp, k.xp + k.cke) + k.ras
    before: list[Event] = []
    rows: dict[int, int] = {}
    last_active: dict[int, int] = {}
    for event in _events(commands):
        t, name, bank, _ = event
        before = [one for one in before if t - one[0] <= reach]
        for other in before:
            least = _least(device, other, event, last_active)
            if t - other[0] < least:
                found.append(
                    f"{name} of bank {bank} at {t} is {t - other[0]} after {other[1]} of bank {other[2]}: {least}."
                )
        if name == "ACT":
            near = [one for one in before if one[1] == "ACT"]
            if len(near) >= 4 and t - near[-4][0] < k.faw:
                found.append(f"ACT at {t} is the fifth within tFAW.")
            last_active[bank] = t
        found += _of_rows(event, rows)
        before.append(event)
    return found


def _least(device: DramDevice, old: Event, new: Event, active: dict[int, int]) -> int:
    """Return the least cycles from one command to a later one (JESD79-4 chapter 4, JESD209-4 chapter 4)."""
    k, (_, first, bank, _), (_, then, other, _) = device.timing, old, new
    least = k.long_command if first in ("ACT", *COLUMNS) else k.short_command
    if first == "PDX":
        return k.xp
    if then == "PDX":
        return k.cke if first == "PDE" else 0
    if first == "REF":
        return k.rfc if then in ("ACT", "REF", "PDE") else least
    group = bank % device.groups == other % device.groups
    if first in COLUMNS and then in COLUMNS:
        burst_end = k.wl + k.burst
        if first in WRITES and then in READS:
            return burst_end + (k.wtr_l if group else k.wtr_s)
        return k.rtw if first in READS and then in WRITES else (k.ccd_l if group else k.ccd_s)
    if first == "ACT" and then == "ACT":
        return k.rc if bank == other else (k.rrd_l if group else k.rrd_s)
    same = bank == other or then in ("PREA", "REF") or first == "PREA"
    if not same:
        return least
    if first == "ACT" and then in COLUMNS:
        return k.rcd
    if first == "ACT" and then in ("PRE", "PREA"):
        return k.ras
    if first in COLUMNS:
        return max(least, _after_column(device, old, then, active))
    return k.rp if first in ("PRE", "PREA") and then in ("ACT", "REF") else least


def _after_column(device: DramDevice, old: Event, then: str, active: dict[int, int]) -> int:
    """Return the least cycles from a read or write to what closes its row or, where it closes it itself, follows."""
    k, (at, first, bank, _) = device.timing, old
    done = k.rtp if first in READS else k.wl + k.burst + k.wr
    if first in ("RD", "WR"):
        return done if then in ("PRE", "PREA") else 0
    if then in ("ACT", "REF"):
        return max(done, active.get(bank, at) + k.ras - at) + k.rp
    return 0


def _of_rows(event: Event, rows: dict[int, int]) -> Iterator[str]:
    """Follow which row of each bank is open."""
    t, name, bank, row = event
    if name == "ACT":
        if bank in rows:
            yield f"ACT of bank {bank} at {t}: its row {rows[bank]} is open."
        rows[bank] = row
    elif name in COLUMNS:
        if rows.get(bank) != row:
            yield f"{name} of bank {bank} at {t}: row {row} is not open."
        if name in ("RDA", "WRA"):
            rows.pop(bank, None)
    elif name == "PRE":
        if rows.pop(bank, None) is None:
            yield f"PRE of bank {bank} at {t}: nothing is open."
    elif name == "PREA":
        rows.clear()
    elif name == "REF" and rows:
        yield f"REF at {t}: rows of banks {sorted(rows)} are open."


def _of_requests(run: DramRun) -> list[str]:
    """Check that each request has exactly one transfer of its bank, row and kind, between arrival and answer."""
    bank, row = run.trace.placed(run.device)
    asked: dict[tuple[int, int, bool], list[int]] = {}
    for i in range(len(run.trace)):
        asked.setdefault((int(bank[i]), int(row[i]), bool(run.trace.write[i])), []).append(i)
    k, found = run.device.timing, []
    done: dict[tuple[int, int, bool], list[int]] = {}
    for t, name, b, r in _events(run.commands):
        if name in COLUMNS:
            done.setdefault((b, r, name in WRITES), []).append(t)
    for key, requests in asked.items():
        times = done.pop(key, [])
        if len(times) != len(requests):
            found.append(f"{len(requests)} requests of {key} have {len(times)} transfers.")
            continue
        took = (k.wl if key[2] else k.rl) + k.burst
        came, answered = run.trace.arrival[requests].tolist(), sorted(run.final[requests].tolist())
        for first, t, last in zip(came, times, answered, strict=True):  # in rising order: then some pairing exists
            if t < first or last < t + took:
                found.append(f"a request of {key} came at {first}, moved at {t}, was answered at {last}.")
    return found + [f"{len(times)} transfers of {key} that nobody asked for." for key, times in done.items()]


def _of_refreshes(run: DramRun) -> list[str]:
    """Check that no more refreshes are owed or ahead than the configuration allows, with what closing rows takes."""
    k, late = run.device.timing, run.device.timing.rc + run.device.timing.wl + run.device.timing.wr + 64
    times = [t for t, name, _, _ in _events(run.commands) if name == "REF"]
    found = []
    for number, t in enumerate(times, start=1):
        due = number * k.refi
        if t > due + run.configuration.RefreshMaxPostponed * k.refi + late:
            found.append(f"refresh {number} at {t} was due at {due}.")
        if t < due - run.configuration.RefreshMaxPulledin * k.refi:
            found.append(f"refresh {number} at {t} is too far ahead of {due}.")
    last = int(run.commands.cycle.max()) if len(run.commands) else 0
    owed = last // k.refi - len(times)
    if owed > min(run.configuration.RefreshMaxPostponed, POSTPONED_MOST) + 1:
        found.append(f"{owed} refreshes are owed at {last}.")
    return found
