"""The kernel's state: flat tables of 8-byte fields, so that a run can stop anywhere between two steps and go on.

Rows refer to each other by index; -1 is none. Units: ticks, bytes, items.
"""

from __future__ import annotations

from typing import Any

import numpy as np

RANK_SHIFT, ELEMENT_SHIFT = 58, 44
SLOTS = (1 << ELEMENT_SHIFT) - 1
ELEMENTS = (1 << (RANK_SHIFT - ELEMENT_SHIFT)) - 1

# ranks of events (docs/station-networks.md)
R_OUTAGE, R_END, R_DELAY, R_BATCH, R_EMIT, R_SAMPLE, R_WARM = range(7)

# kinds of elements, as in compiled.Kind: also the steps in which an item enters one
SOURCE, STATION, DELAY, RULES, GATE, FORK, JOIN, PACK, UNPACK, EXIT = range(10)
# further steps; those left last run first: what a step causes runs before what it left for later
ROUTE, FREE, MORE, NEXT, ADMIT, GIVE, CREDITS, FAMILY, MEMBERS, BRANCH, UNTIE, SHARED_NEXT, FAIL = range(10, 23)
# steps that events start
OUTAGE, SHARED_END, EMIT, SAMPLE = range(23, 27)

# what a run may ask of Python before it goes on; the argument says which
DONE, WARM, FEED, ITEMS, HEAP, STACK, LOG, SHARES, SAMPLES, STUCK = range(10)
NEED_SHIFT = 32
GROWING = {ITEMS: "items", HEAP: "heap", STACK: "stack", SHARES: "shares", SAMPLES: "samples"}

CAUSES = 5
FULL, RULE, FAILURE, PART_LOST, BLOCKED = range(CAUSES)  # causes of losses, in the order of elements.CAUSES
IDLE, WORKING, HOLDING, STOPPED, FAILING = range(5)  # states of a server; HOLDING: a full target holds its item
BY_ROWS, IN_TURN, SHORTEST = range(3)  # routes, as in compiled.How
RESUME, RESTART, LOSE, FINISH = range(4)  # what becomes of the work of a server that stops


def _table(ints: str, floats: str = "", hashes: str = "") -> np.dtype[Any]:
    kinds = ((ints, np.int64), (floats, np.float64), (hashes, np.uint64))
    return np.dtype([(name, kind) for names, kind in kinds for name in names.split()])


TABLES = (
    "heap stack elements servers items services fixed targets cumulative feeds whole lines free by_rank batch_s "
    "histogram lost log samples shares rules ring branch_bytes gates"
)
RUN = _table(
    "now horizon serial events tick_from most_at_tick heap_n heap_full stack_n stack_full free_item items_n items_full "
    "log_n log_full sample samples_n samples_full shares_full elements_n classes targets_n " + TABLES,
    "ticks_per_second",
)
RUN_FIELDS = RUN.names or ()
EVENT = _table("tick code item")
STEP = _table("step element item server")
ELEMENT = _table(
    "kind how n_targets route_feed turn server_at servers speeds share places places_bytes blocks log_waits returns "
    "line_at lines batch max_wait batch_at credits bit work together share_at rules_at rules_n dead extendable "
    "arrivals_feed class_feed only_class size_feed only_size join pack "
    "waiting waiting_bytes present most_waiting busy blocked down idle free_n timer held_head held_tail held_n last "
    "rounds round_ends share_n leaving dead_until "
    "arrived left started waited wait_ticks busy_ticks blocked_ticks down_ticks area_waiting area_present "
    "sojourn_ticks lost_ticks bytes_in bytes_out bytes_lost",
    "area_bytes",
    "hash",
)
SERVER = _table("state up first ends work rank in_free switch_feed", "speed")
ITEM = _table(
    "serial kind size born entered at next server credits parent head "
    "missing join first_part parts last_part parts_lost parts_size"
)
SERVICE = _table("ticks feed ready", "a0 a1 a2 a3")
LINE = _table("head tail")
WHOLE = _table("value")
REAL = _table("", "value")
FEEDS = _table("base at n")
LOGGED = _table("element value")
SHARED = _table("round serial item")
RULE_ROW = _table("accepts window ring_at turn")


State = Any
"""The run record: counters, and the addresses of the tables."""
