"""Samples of the kernel: waiting and busy of each element, at each multiple of the step."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_heap import push_event
from simulator.queues.kernel_jit import compiled
from simulator.queues.kernel_layout import DELAY, NEED_SHIFT, R_SAMPLE, SAMPLES, State
from simulator.queues.kernel_rows import element_at, sample_at


@compiled
def sample(s: State) -> int:
    """Store waiting and busy of all elements, and set the next sample. Returns what is missing, or 0."""
    if s.samples_n >= s.samples_full:
        return SAMPLES << NEED_SHIFT
    for e in range(s.elements_n):
        el = element_at(s, e)
        at = 2 * (s.samples_n * s.elements_n + e)
        sample_at(s, at).value = el.waiting
        sample_at(s, at + 1).value = el.present if el.kind == DELAY else el.busy
    s.samples_n += 1
    if s.now + s.sample <= s.horizon:
        push_event(s, s.now + s.sample, R_SAMPLE, 0, 0, -1)
    return 0
