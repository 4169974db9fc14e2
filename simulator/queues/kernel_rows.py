"""Rows of the kernel's tables: `item_at(s, i)` is row i of the table whose address the run record `s` holds.

A row is a pointer to a numpy record, so `item_at(s, i).size` is one load. Functions of the kernel take the run record
alone, a single pointer: with arrays as arguments, numba takes five times as long to compile. Python keeps them alive.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.cgutils import intp_t as word
from numba.extending import intrinsic

from simulator.queues import kernel_layout as layout


def _rows(name: str, dtype: np.dtype[Any]) -> Any:
    """Return the function (run record, index) -> row of a table."""
    record, size = numba.from_dtype(dtype), dtype.itemsize
    run, offset = numba.from_dtype(layout.RUN), layout.RUN_FIELDS.index(name) * 8

    @intrinsic
    def row(context: Any, s: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            field = builder.add(builder.ptrtoint(args[0], word), word(offset))
            address = builder.load(builder.inttoptr(field, word.as_pointer()))
            at = builder.add(address, builder.mul(args[1], word(size)))
            return builder.inttoptr(at, context.get_value_type(record))

        return record(run, types.int64), code

    return row


element_at = _rows("elements", layout.ELEMENT)
server_at = _rows("servers", layout.SERVER)
item_at = _rows("items", layout.ITEM)
event_at = _rows("heap", layout.EVENT)
step_at = _rows("stack", layout.STEP)
service_at = _rows("services", layout.SERVICE)
feed_at = _rows("feeds", layout.FEEDS)
line_at = _rows("lines", layout.LINE)
logged_at = _rows("log", layout.LOGGED)
shared_at = _rows("shares", layout.SHARED)
rule_at = _rows("rules", layout.RULE_ROW)
whole_at = _rows("whole", layout.WHOLE)
drawn_at = _rows("whole", layout.REAL)
fixed_at = _rows("fixed", layout.WHOLE)
target_at = _rows("targets", layout.WHOLE)
cumulative_at = _rows("cumulative", layout.REAL)
free_at = _rows("free", layout.WHOLE)
by_rank_at = _rows("by_rank", layout.WHOLE)
batch_at = _rows("batch_s", layout.REAL)
histogram_at = _rows("histogram", layout.WHOLE)
lost_at = _rows("lost", layout.WHOLE)
sample_at = _rows("samples", layout.WHOLE)
ring_at = _rows("ring", layout.WHOLE)
branch_at = _rows("branch_bytes", layout.WHOLE)
gate_at = _rows("gates", layout.WHOLE)
