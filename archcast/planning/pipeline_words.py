"""Sentences of a plan of a pipeline's farm: what was chosen, what binds, why the next smaller fails, what lacks."""

from __future__ import annotations

import math

from archcast.planning.pipeline_answer import Smaller
from archcast.planning.pipeline_confirm import Counted, Ratio, Seen, seen_loss
from archcast.planning.pipeline_farm import Farm, Site
from archcast.planning.pipeline_file import FarmStudy
from archcast.planning.pipeline_search import Judged, Search
from archcast.render.human import digits, percent, text

NEAR = 0.02
"""A farm within this of the servers that the load alone takes is bound by the load."""
BEST = {"servers": "smallest", "price": "cheapest", "power": "coolest"}


def share(loss: float) -> str:
    """Return a loss, e.g. `8.1e-07`; a percentage where it is large."""
    if not math.isfinite(loss):
        return "unknown"
    return percent(loss) if loss >= 0.01 else "none" if loss == 0 else f"{loss:.2g}"


def buffer_words(farm: Farm) -> str:
    """Return the buffer of a part, e.g. `4.00 GB of buffer (474 events)`."""
    size = text(farm.buffer_bytes, "traffic_bytes")
    each = " a part" if farm.parts > 1 else ""
    return f"{size} of buffer{each} ({farm.places:,} events)" if farm.places else f"no buffer{each}"


def farm_words(farm: Farm) -> str:
    """Return a farm in words."""
    total = f" ({farm.total:,} servers)" if farm.parts > 1 else ""
    return f"{farm.label}{total} with {buffer_words(farm)}"


def demand_words(study: FarmStudy, site: Site) -> str:
    """Return what is asked for."""
    return f"{text(site.rate_hz, 'hz')} at {site.stage.name} of {site.spec.id}"


def down_words(study: FarmStudy, farm: Farm) -> str:
    """Return how much is down, e.g. `with 1,740 of its parts down`."""
    if study.failing <= 0 and study.failures is None:
        return "with all of it up"
    down, unit = farm.units_down(study.failing), "parts" if farm.parts > 1 else "servers"
    random = "" if study.failures is None else f" and {percent(study.failures.down_share)} of the others at random"
    return f"with {down:,} of its {unit} down{random}"


def limits_words(study: FarmStudy) -> str:
    """Return the limits."""
    limits = study.limits
    found = [f"loss {share(limits.loss)}"]
    kinds = {"latency_p999_s": ("p99.9 latency", "s"), "power_w": ("power", "w"), "price_usd": ("price", "usd")}
    for key, (name, kind) in kinds.items():
        value = getattr(limits, key)
        if math.isfinite(value):
            found.append(f"{name} {text(value, kind)}")
    return ", ".join(found)


def summary_of(study: FarmStudy, best: Judged, seen: Seen) -> str:
    """Return the answer in a sentence."""
    farm = best.farm
    total = f", {text(farm.buffer_total_bytes, 'traffic_bytes')} in all" if farm.parts > 1 and farm.places else ""
    loses = f"{share(seen.closed)} by the closed form{', exact' if seen.exact else ''}"
    if math.isfinite(seen.lo) and not seen.exact:
        loses = f"{share(seen.value)} as events say ({share(seen.lo)} .. {share(seen.hi)}), {loses}"
    cost = ""
    if study.objective == "price":
        cost = f" It costs {text(best.price_usd, 'usd')}."
    if study.objective == "power":
        cost = f" It draws {text(best.power_w, 'w')}."
    return (
        f"The {BEST[study.objective]} farm for {demand_words(study, farm.site)} is {farm_words(farm)}{total}: "
        f"{down_words(study, farm)} it loses {loses}; the limit is {limits_words(study)}.{cost}"
    )


def load_only(study: FarmStudy, farm: Farm) -> int:
    """Return the servers in all that the load alone takes, with the failing share down."""
    up = 1 - study.failing - (0.0 if study.failures is None else study.failures.down_share * (1 - study.failing))
    erlang = farm.site.rate_hz / farm.site.batch * farm.site.service_s[0]
    each = farm.servers if farm.site.seeks_parts else farm.parts
    return math.ceil(erlang / max(up, 1e-12) / each) * each


def binds_of(study: FarmStudy, best: Judged) -> str:
    """Return what binds the servers and the buffer."""
    farm, limits = best.farm, study.limits
    least = load_only(study, farm)
    more = farm.total / least - 1
    if farm.site.sought.below(farm.sought) is None:
        servers = (
            f"The choices bind the servers: they begin at {farm.sought:,}, and the load alone takes {least:,} of the "
            f"{farm.total:,}; they are {percent(best.load)} busy"
        )
    elif more < NEAR:
        servers = (
            f"Load binds the servers: with the failing share down it takes at least {least:,}; the farm has "
            f"{percent(more)} more and is {percent(best.load)} busy"
        )
    else:
        servers = (
            f"Loss binds the servers: the load alone takes {least:,}, and with this buffer the loss asks "
            f"{percent(more)} more; they are {percent(best.load)} busy"
        )
    sizes = farm.site.buffers
    top = sizes.values[-1] if sizes.in_bytes else sizes.values[-1] * farm.site.size_bytes
    if len(sizes.values) == 1:
        buffer = "the buffer is given"
    elif farm.buffer_bytes >= top * (1 - 1e-9):
        buffer = "the largest buffer of the choices binds: a larger one would save servers"
    else:
        buffer = (
            f"the buffer is the smallest at which so {'many parts' if farm.site.seeks_parts else 'many servers'} hold"
        )
    late = ""
    if best.latency_p999_s > 0.95 * limits.latency_p999_s:
        late = f". p99.9 latency is near its limit: {text(best.latency_p999_s, 's')}"
    return f"{servers}; {buffer}{late}."


def why_not_smaller(study: FarmStudy, smaller: tuple[Smaller, ...], ratio: Ratio | None) -> str:
    """Return why the choices one below fail."""
    found = []
    for one in smaller:
        farm, limits = one.judged.farm, study.limits
        name = f"{farm.sought:,} {one.what}" if one.what != "buffer" else buffer_words(farm)
        value = seen_loss(farm, study, ratio)
        loss, most = (value.closed, "") if value.exact or math.isnan(value.hi) else (value.hi, " (upper end)")
        said = f"with {name} the loss would be {share(loss)}{most}"
        if loss <= limits.loss and one.judged.latency_p999_s > limits.latency_p999_s:
            said = f"with {name} p99.9 latency would be {text(one.judged.latency_p999_s, 's')}"
        if one.counted is not None:
            said += f", of {one.counted.events:,} events {one.counted.losses:,} were lost"
        found.append(said)
    return f"One smaller fails: {'; '.join(found)}." if found else ""


def confirmed_words(study: FarmStudy, ratio: Ratio, counted: Counted, seen: Seen) -> tuple[str, str]:
    """Return the verdict of the events (shown, consistent, contradicted, open) and a sentence."""
    limit = study.limits.loss
    direct = (
        f"The farm itself: {counted.losses:,} of {counted.events:,} events lost ({len(counted.arrived)} replications, "
        f"{counted.engine}), upper 95 % bound {share(counted.upper)} with losses in bursts (dispersion "
        f"{digits(counted.dispersion)}), {share(counted.upper_if_single)} if they were independent"
    )
    if counted.lower > limit:
        return "contradicted", f"{direct}: more than the limit."
    if counted.upper <= limit:
        return "shown", f"{direct}: within the limit by events alone."
    needed = 3 / limit * counted.dispersion
    direct += f"; events alone would need {digits(needed)} of them without loss to show {share(limit)}"
    if not ratio.known:
        return "open", f"{direct}. Too few losses at any level to hold the closed form against events."
    lossy = [one for one in ratio.levels if one.losses]
    spans = f"{share(lossy[0].loss)} to {share(lossy[-1].loss)}"
    value, low, high = seen.value, seen.lo, seen.hi
    if seen.exact:
        value, low, high = (ratio.loss(seen.closed, side) for side in (0, -1, 1))
    line = (
        f"At smaller buffers, where events lose {spans}, they are held against the closed form; continued to this farm "
        f"they give {share(value)} ({share(low)} .. {share(high)})"
    )
    if seen.exact:
        agree = low <= seen.closed <= high
        said = "agree with" if agree else "differ from"
        return "consistent" if agree else "open", f"{direct}. {line}: they {said} the exact {share(seen.closed)}."
    inside = seen.hi <= limit * (1 + 1e-9)
    return "consistent" if inside else "open", f"{direct}. {line}, closed form {share(seen.closed)}."


def moved_words(first: Judged, best: Judged, seen: Seen) -> str:
    """Return that events moved the plan from the closed form's farm."""
    change = best.farm.total - first.farm.total
    way = "up" if change > 0 or (change == 0 and best.farm.places > first.farm.places) else "down"
    return (
        f"The closed form alone gives {farm_words(first.farm)} ({share(first.closed_loss)}); events say up to "
        f"{share(seen.hi)} there, so the plan moved {way} by {abs(change):,} servers "
        f"({percent(abs(change) / first.farm.total)})."
    )


def why_none(study: FarmStudy, sites: tuple[Site, ...], search: Search, beyond: Judged | None) -> str:
    """Return why nothing holds, and what would."""
    site = sites[0]
    head = f"No choice serves {demand_words(study, site)} within {limits_words(study)}"
    if search.missing in ("price_usd", "power_w"):
        name = {"price_usd": "price", "power_w": "power"}[search.missing]
        kind = {"price_usd": "usd", "power_w": "w"}[search.missing]
        whole = " of the whole pipeline" if search.missing == "power_w" else ""
        return (
            f"{head}: the {name} binds; every farm that keeps the loss is over it, the least takes "
            f"{text(search.least, kind)}{whole}."
        )
    widest = max(sites, key=lambda s: s.sought.at(len(s.sought) - 1))
    top = widest.sought.at(len(widest.sought) - 1)
    unit = "parts" if widest.seeks_parts else "servers"
    if beyond is None:
        return f"{head}: no number of servers does; the service alone takes too long or the buffer is too small."
    least = load_only(study, beyond.farm)
    lacking = beyond.farm.sought - top
    why = "the load alone takes more than there is" if least > beyond.farm.with_sought(top).total else "the loss binds"
    return (
        f"{head}: {why}. The choices end at {top:,} {unit}; {farm_words(beyond.farm)} would hold, {lacking:,} {unit} "
        f"more (the load alone takes {least:,} servers)."
    )
