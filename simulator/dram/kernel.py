"""The controller in time: what it admits, which command it issues in which cycle, when it refreshes and rests.

Time goes from event to event. Every function takes the `Machine`, whose columns are lists here and arrays where numba
compiles this very source (`kernel_compiled`), so that both give the same commands. `v` holds its single numbers.
A cycle's order: responses leave, requests enter, refresh, then of the commands that may go the oldest request's.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import NamedTuple

from simulator.dram.configuration import Knobs
from simulator.dram.device import Timing

ACT, PRE, RD, RDA, WR, WRA, REF, PREA, PDE, PDX = range(10)
COMMANDS = ("ACT", "PRE", "RD", "RDA", "WR", "WRA", "REF", "PREA", "PDE", "PDX")
(PENDING, READS, WRITES, ENTERED, SERVED, RANK_ACT, RANK_RD, RANK_WR, FAW_AT, LAST_TYPE, REFRESHES, ISSUED, OUT,
 ANSWERED, ANSWER_AT, QUIET, HEAD, OLDEST, REFRESHING) = range(19)  # fmt: skip
NUMBERS = 19
NEVER = 2**60
Ints = MutableSequence[int]


class Machine(NamedTuple):
    """Columns by request: arrival, bank, row, write, thread, follower (next of the thread), after (next in its bank's
    buffer), entry (request by order of entry), ready (cycle of its data, -1 before), released, final (cycle of its
    answer). By bank: open_row (-1: closed), act_ok, pre_ok, col_ok, first, last, held, chosen (-2: to be chosen anew).
    By group: act_group, rd_group, wr_group. faw: cycles from which a fifth activate may follow. By thread: heads,
    active, out_head, out_last. out_*: answers under way. cmd_*: the commands issued."""

    timing: Timing
    knobs: Knobs
    groups: int
    v: Ints
    arrival: Ints
    bank: Ints
    row: Ints
    write: Ints
    thread: Ints
    follower: Ints
    after: Ints
    entry: Ints
    ready: Ints
    released: Ints
    final: Ints
    open_row: Ints
    act_ok: Ints
    pre_ok: Ints
    col_ok: Ints
    first: Ints
    last: Ints
    held: Ints
    chosen: Ints
    act_group: Ints
    rd_group: Ints
    wr_group: Ints
    faw: Ints
    heads: Ints
    active: Ints
    out_head: Ints
    out_last: Ints
    out_time: Ints
    out_thread: Ints
    cmd_cycle: Ints
    cmd_kind: Ints
    cmd_bank: Ints
    cmd_row: Ints


def record(m: Machine, t: int, kind: int, bank: int, row: int) -> None:
    at = m.v[ISSUED]
    m.cmd_cycle[at] = t
    m.cmd_kind[at] = kind
    m.cmd_bank[at] = bank
    m.cmd_row[at] = row
    m.v[ISSUED] = at + 1


def room(m: Machine, i: int) -> bool:
    """Say whether the buffer has a place for a request."""
    if m.knobs.buffer == 0:
        return m.held[m.bank[i]] < m.knobs.buffer_size
    if m.knobs.buffer == 1:
        return m.v[WRITES if m.write[i] else READS] < m.knobs.buffer_size
    return m.v[PENDING] < m.knobs.buffer_size


def next_to_enter(m: Machine, t: int) -> int:
    """Return the request that may enter now, -1 for none: the first by arrival of those at the head of a queue."""
    if m.knobs.arbiter == 0:
        i = m.v[HEAD]
        return i if i < len(m.arrival) and m.arrival[i] <= t and room(m, i) else -1
    best = -1
    for k in range(len(m.heads)):
        i = m.heads[k]
        if i >= 0 and m.arrival[i] <= t and m.active[k] < m.knobs.most_active and (best < 0 or i < best) and room(m, i):
            best = i
    return best


def enter(m: Machine, t: int) -> None:
    """Let answers that are due leave, and admit all requests that may enter."""
    v = m.v
    at = 0
    while at < v[OUT]:
        if m.out_time[at] <= t:
            m.active[m.out_thread[at]] -= 1
            v[OUT] -= 1
            m.out_time[at] = m.out_time[v[OUT]]
            m.out_thread[at] = m.out_thread[v[OUT]]
        else:
            at += 1
    i = next_to_enter(m, t)
    while i >= 0:
        if m.knobs.arbiter == 0:
            v[HEAD] += 1
        else:
            m.heads[m.thread[i]] = m.follower[i]
            m.active[m.thread[i]] += 1
        b = m.bank[i]
        m.entry[v[ENTERED]] = i
        v[ENTERED] += 1
        v[PENDING] += 1
        v[WRITES if m.write[i] else READS] += 1
        m.held[b] += 1
        if m.first[b] < 0:
            m.first[b] = i
        else:
            m.after[m.last[b]] = i
        m.last[b] = i
        m.chosen[b] = -2
        i = next_to_enter(m, t)


def next_entry(m: Machine, t: int) -> int:
    """Return the next cycle at which a request arrives or an answer makes place for one."""
    soonest = NEVER
    if m.knobs.arbiter == 0:
        i = m.v[HEAD]
        return m.arrival[i] if i < len(m.arrival) and m.arrival[i] > t else NEVER
    full = False
    for k in range(len(m.heads)):
        i = m.heads[k]
        if i >= 0 and m.arrival[i] > t:
            soonest = min(soonest, m.arrival[i])
        elif i >= 0 and m.active[k] >= m.knobs.most_active:
            full = True
    if full:
        for at in range(m.v[OUT]):
            soonest = min(soonest, m.out_time[at])
    return soonest


def oldest(m: Machine) -> int:
    """Return the oldest request that still needs its data, -1 for none."""
    v = m.v
    while v[OLDEST] < v[ENTERED] and m.ready[m.entry[v[OLDEST]]] >= 0:
        v[OLDEST] += 1
    return m.entry[v[OLDEST]] if v[OLDEST] < v[ENTERED] else -1


def choose(m: Machine, b: int, eldest: int) -> int:
    """Return the request that a bank works on: by the scheduler, unless `eldest` must go first."""
    if m.knobs.strict and eldest >= 0 and m.bank[eldest] == b:
        return eldest
    i = m.first[b]
    if m.knobs.scheduler == 0 or m.open_row[b] < 0:
        return i
    hit = -1
    while i >= 0:
        if m.row[i] == m.open_row[b]:
            if m.knobs.scheduler == 1 or m.write[i] == m.v[LAST_TYPE]:
                return i
            if hit < 0:
                hit = i
        i = m.after[i]
    return hit if hit >= 0 else m.first[b]


def earliest(m: Machine, b: int, i: int, eldest: int) -> int:
    """Return the cycle from which the next command for a request may go."""
    g = b % m.groups
    if m.open_row[b] == m.row[i]:
        if m.knobs.strict and i != eldest:
            return NEVER
        if m.write[i]:
            return max(m.col_ok[b], m.v[RANK_WR], m.wr_group[g])
        return max(m.col_ok[b], m.v[RANK_RD], m.rd_group[g])
    if m.open_row[b] >= 0:
        return m.pre_ok[b]
    return max(m.act_ok[b], m.v[RANK_ACT], m.act_group[g], m.faw[m.v[FAW_AT]])


def activate(m: Machine, b: int, i: int, t: int) -> None:
    k, g = m.timing, b % m.groups
    m.open_row[b] = m.row[i]
    m.col_ok[b] = t + k.rcd
    m.pre_ok[b] = t + k.ras
    m.act_ok[b] = t + k.rc
    m.v[RANK_ACT] = t + k.rrd_s
    m.act_group[g] = t + k.rrd_l
    m.faw[m.v[FAW_AT]] = t + k.faw
    m.v[FAW_AT] = (m.v[FAW_AT] + 1) % 4
    m.chosen[b] = -2
    record(m, t, ACT, b, m.row[i])


def close(m: Machine, b: int, t: int) -> None:
    m.open_row[b] = -1
    m.act_ok[b] = max(m.act_ok[b], t + m.timing.rp)
    m.chosen[b] = -2


def take_out(m: Machine, b: int, i: int) -> bool:
    """Remove a request from its bank's buffer; say whether the row is then to be closed (auto-precharge)."""
    before, hits, others, at = -1, False, False, m.first[b]
    while at >= 0:
        follower = m.after[at]
        if at == i:
            if before < 0:
                m.first[b] = follower
            else:
                m.after[before] = follower
            if follower < 0:
                m.last[b] = before
        else:
            others = True
            hits = hits or m.row[at] == m.row[i]
            before = at
        at = follower
    m.after[i] = -1
    page = m.knobs.page
    return page == 2 or (page == 1 and others and not hits) or (page == 3 and not hits)


def transfer(m: Machine, b: int, i: int, t: int) -> None:
    """Issue the read or write of a request."""
    k, v, g = m.timing, m.v, b % m.groups
    closing = take_out(m, b, i)
    writes = m.write[i]
    if writes:
        end = t + k.wl + k.burst
        v[RANK_WR] = max(v[RANK_WR], t + k.ccd_s)
        m.wr_group[g] = max(m.wr_group[g], t + k.ccd_l)
        v[RANK_RD] = max(v[RANK_RD], end + k.wtr_s)
        m.rd_group[g] = max(m.rd_group[g], end + k.wtr_l)
        m.pre_ok[b] = max(m.pre_ok[b], end + k.wr)
    else:
        end = t + k.rl + k.burst
        v[RANK_RD] = max(v[RANK_RD], t + k.ccd_s)
        m.rd_group[g] = max(m.rd_group[g], t + k.ccd_l)
        v[RANK_WR] = max(v[RANK_WR], t + k.rtw)
        m.pre_ok[b] = max(m.pre_ok[b], t + k.rtp)
    v[QUIET] = max(v[QUIET], end + 1, m.pre_ok[b])
    record(m, t, (WR if writes else RD) + (1 if closing else 0), b, m.row[i])
    if closing:
        close(m, b, m.pre_ok[b])
    m.chosen[b] = -2
    if v[LAST_TYPE] != writes:
        v[LAST_TYPE] = writes
        for other in range(len(m.chosen)):
            m.chosen[other] = -2
    v[PENDING] -= 1
    v[WRITES if writes else READS] -= 1
    m.held[b] -= 1
    v[SERVED] += 1
    answer(m, i, end)


def answer(m: Machine, i: int, end: int) -> None:
    """Hand the data of a request to the queue of responses."""
    v = m.v
    m.ready[i] = end
    if not m.knobs.reorder_responses:
        release(m, i, end)
        return
    while v[ANSWERED] < v[ENTERED] and m.ready[m.entry[v[ANSWERED]]] >= 0:
        j = m.entry[v[ANSWERED]]
        v[ANSWER_AT] = max(v[ANSWER_AT], m.ready[j])
        release(m, j, v[ANSWER_AT])
        v[ANSWERED] += 1


def release(m: Machine, i: int, at: int) -> None:
    """Hand a response to the arbiter, which may hold it until those before it of its thread have gone."""
    m.released[i] = at
    if m.knobs.arbiter < 2:
        finish(m, i, at)
        return
    k = m.thread[i]
    while m.out_head[k] >= 0 and m.released[m.out_head[k]] >= 0:
        j = m.out_head[k]
        m.out_last[k] = max(m.out_last[k], m.released[j])
        finish(m, j, m.out_last[k])
        m.out_head[k] = m.follower[j]


def finish(m: Machine, i: int, at: int) -> None:
    m.final[i] = at
    if m.knobs.arbiter > 0:
        m.out_time[m.v[OUT]] = at
        m.out_thread[m.v[OUT]] = m.thread[i]
        m.v[OUT] += 1


def refresh_from(m: Machine) -> int:
    """Return the cycle from which the next refresh goes: at once where nothing waits, else when it must."""
    if m.knobs.refresh == 0:
        return NEVER
    ahead = -m.knobs.pulled_in if m.v[PENDING] == 0 else m.knobs.postponed
    return (m.v[REFRESHES] + 1 + ahead) * m.timing.refi


def refresh(m: Machine, t: int) -> int:
    """Close all rows, or refresh where all are closed; returns the cycle of the next command."""
    is_open, when = False, t
    for b in range(len(m.open_row)):
        if m.open_row[b] >= 0:
            if not is_open:
                is_open, when = True, t
            when = max(when, m.pre_ok[b])
        elif not is_open:
            when = max(when, m.act_ok[b])
    if is_open:
        record(m, when, PREA, -1, -1)
        for b in range(len(m.open_row)):
            if m.open_row[b] >= 0:
                close(m, b, when)
        m.v[REFRESHING] = 1
        return when + m.timing.short_command
    record(m, when, REF, -1, -1)
    for b in range(len(m.open_row)):
        m.act_ok[b] = max(m.act_ok[b], when + m.timing.rfc)
    m.v[QUIET] = max(m.v[QUIET], when + m.timing.rfc)
    m.v[REFRESHES] += 1
    m.v[REFRESHING] = 0
    return when + m.timing.short_command


def rest(m: Machine, t: int) -> int:
    """Wait for the next arrival or refresh, powered down where that is on; returns the cycle of the next command."""
    wake = min(next_entry(m, t), refresh_from(m))
    begin = max(t, m.v[QUIET])
    if m.knobs.power_down and wake > begin:
        leave = max(wake, begin + m.timing.cke)
        record(m, begin, PDE, -1, -1)
        record(m, leave, PDX, -1, -1)
        return leave + m.timing.xp
    return max(wake, t + 1)


def command(m: Machine, t: int) -> int:
    """Issue the command of the oldest request that has one that may go now; returns the cycle of the next event."""
    eldest = oldest(m) if m.knobs.strict else -1
    best, soonest = -1, NEVER
    for b in range(len(m.first)):
        if m.first[b] < 0:
            continue
        if m.chosen[b] == -2 or m.knobs.strict:
            m.chosen[b] = choose(m, b, eldest)
        i = m.chosen[b]
        when = earliest(m, b, i, eldest)
        if when <= t and (best < 0 or i < best):
            best = i
        soonest = min(soonest, when)
    if best < 0:
        return max(t + 1, min(soonest, next_entry(m, t), refresh_from(m)))
    b = m.bank[best]
    if m.open_row[b] == m.row[best]:
        transfer(m, b, best, t)
        return t + m.timing.long_command
    if m.open_row[b] >= 0:
        record(m, t, PRE, b, m.open_row[b])
        close(m, b, t)
        return t + m.timing.short_command
    activate(m, b, best, t)
    return t + m.timing.long_command


def serve(m: Machine) -> None:
    """Serve all requests."""
    t = 0
    while m.v[SERVED] < len(m.arrival):
        enter(m, t)
        if m.v[REFRESHING] or t >= refresh_from(m):
            t = refresh(m, t)
        elif m.v[PENDING] == 0:
            t = rest(m, t)
        else:
            t = command(m, t)
