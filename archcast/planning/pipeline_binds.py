"""What binds a planned farm: the load, the loss, the latency, or the ends of its choices."""

from __future__ import annotations

import math

from archcast.planning.pipeline_answer import Smaller
from archcast.planning.pipeline_farm import Farm
from archcast.planning.pipeline_file import FarmStudy
from archcast.planning.pipeline_search import Judged
from archcast.render.human import digits, percent, text

NEAR = 0.02
"""A farm within this of the servers that the load alone takes is bound by the load."""


def more_words(factor: float) -> str:
    """Return how much more a factor is: `40.0 % more`, and from twice on `15,500 times as many`."""
    return f"{percent(factor - 1)} more" if factor < 2 else f"{digits(factor)} times as many"


def degraded_words(study: FarmStudy) -> str:
    """Return in what state the farm is looked at, e.g. `with the failing share down`; empty where all of it is up."""
    if study.failing > 0:
        return "with the failing share down"
    return "" if study.failures is None else "with what breaks at random down"


def load_only(study: FarmStudy, farm: Farm) -> int:
    """Return the least servers in all that the load alone takes, of which the failing share (rounded up) is down."""
    random = 1 - (0.0 if study.failures is None else study.failures.down_share)
    erlang = farm.site.rate_hz / farm.site.batch * farm.site.service_s[0] / max(random, 1e-12)
    if farm.parts > 1 and not farm.site.seeks_parts:
        left = max(1, farm.parts - farm.units_down(study.failing))
        return math.ceil(erlang / left - 1e-9) * farm.parts
    each = farm.servers if farm.site.seeks_parts else 1
    needed = max(1, math.ceil(erlang / each - 1e-9))
    units = math.ceil(needed / (1 - study.failing) - 1e-9)
    while units - math.ceil(study.failing * units - 1e-9) < needed:
        units += 1
    return units * each


def binds_of(study: FarmStudy, best: Judged, smaller: tuple[Smaller, ...] = ()) -> str:
    """Return what binds the servers and the buffer; `smaller` are the choices one below."""
    late = ""
    if best.latency_p999_s > 0.95 * study.limits.latency_p999_s:
        late = f". p99.9 latency is near its limit: {text(best.latency_p999_s, 's')}"
    return f"{_servers_words(study, best, smaller)}; {_buffer_words(best.farm)}{late}."


def _servers_words(study: FarmStudy, best: Judged, smaller: tuple[Smaller, ...]) -> str:
    farm, span = best.farm, best.farm.site.sought
    least, busy = load_only(study, farm), f"they are {percent(best.load)} busy"
    unit, down = "parts" if farm.site.seeks_parts else "servers", degraded_words(study)
    if len(span) == 1:
        return (
            f"The choices bind the servers: they have one number alone, {farm.label}; the load alone takes {least:,} "
            f"of the {farm.total:,}; {busy}"
        )
    if span.below(farm.sought) is None:
        return (
            f"The choices bind the servers: their smallest number of {unit}, {farm.sought:,}, holds, and fewer might; "
            f"the load alone takes {least:,} of the {farm.total:,}; {busy}"
        )
    more = more_words(farm.total / least)
    if farm.total / least - 1 < NEAR:
        return (
            f"Load binds the servers: {f'{down} ' if down else ''}it takes at least {least:,}; the farm has {more} and "
            f"is {percent(best.load)} busy"
        )
    asks = "Loss" if _loss_fails(study, smaller) else "Latency"
    return (
        f"{asks} binds the servers: the load alone takes {least:,}, and with this buffer the {asks.lower()} asks "
        f"{more}; {busy}"
    )


def _loss_fails(study: FarmStudy, smaller: tuple[Smaller, ...]) -> bool:
    """Tell whether the next smaller number of servers loses too much (else it is too late)."""
    fewer = [one.judged for one in smaller if one.what != "buffer"]
    late = [one.loss <= study.limits.loss and one.latency_p999_s > study.limits.latency_p999_s for one in fewer]
    return not any(late)


def _buffer_words(farm: Farm) -> str:
    sizes = farm.site.buffers
    scale = 1.0 if sizes.in_bytes else farm.site.size_bytes
    if len(sizes.values) == 1:
        return "the buffer is given"
    if farm.buffer_bytes >= sizes.values[-1] * scale * (1 - 1e-9):
        return "the largest buffer of the choices binds: a larger one would save servers"
    if farm.buffer_bytes <= sizes.values[0] * scale * (1 + 1e-9):
        return "the buffer is the smallest of the choices"
    return f"the buffer is the smallest at which so many {'parts' if farm.site.seeks_parts else 'servers'} hold"
