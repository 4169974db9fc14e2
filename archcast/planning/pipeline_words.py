"""Sentences of a plan of a pipeline's farm: what was chosen, what binds, why the next smaller fails, what lacks."""

from __future__ import annotations

import math
from collections.abc import Callable

from archcast.planning.pipeline_answer import Confirmation, Smaller
from archcast.planning.pipeline_binds import load_only, more_words
from archcast.planning.pipeline_confirm import Counted, Ratio, Seen, live_part
from archcast.planning.pipeline_farm import Farm, Site
from archcast.planning.pipeline_file import FarmStudy
from archcast.planning.pipeline_search import Judged, Search
from archcast.render.human import digits, percent, text

BEST = {"servers": "smallest", "price": "cheapest", "power": "coolest"}


def share(loss: float) -> str:
    """Return a loss, e.g. `8.1e-07`; a percentage where it is large, `0` where it is too small for a number."""
    if not math.isfinite(loss):
        return "unknown"
    return percent(loss) if loss >= 0.01 else "0" if loss == 0 else f"{loss:.2g}"


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
    unit = "parts" if farm.parts > 1 else "servers"
    if study.failures is None:
        return f"with {farm.units_down(study.failing):,} of its {unit} down"
    random = f"{percent(study.failures.down_share)} of"
    if study.failing <= 0:
        return f"with {random} its {unit} down at random"
    return f"with {farm.units_down(study.failing):,} of its {unit} down and {random} the others at random"


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


def source_words(best: Judged, study: FarmStudy, ratio: Ratio) -> str:
    """Return whence the loss by events is: seldom of the farm itself, whose losses are too rare to be counted."""
    part = live_part(best.farm, study)
    if any(one.part == part for one in ratio.levels):
        return "by events"
    return "by events at smaller buffers, continued" if part.room else "by events at more load, continued"


def unsure_words(found: Confirmation, study: FarmStudy, seen: Seen) -> str:
    """Return why events leave an answer open or contradict it; empty where they do neither."""
    if found.verdict == "contradicted":
        return (
            f" Events contradict it: of {found.counted.events:,} events of this very farm {found.counted.losses:,} "
            "were lost."
        )
    if found.verdict != "open":
        return ""
    if not found.ratio.known:
        return " Events leave it open: they lose too few at any level to tell; more `confirm.events` may."
    if seen.exact:
        return " Events leave it open: continued they differ from the exact closed form."
    return (
        f" Events leave it open: their upper end, {share(seen.hi)}, is over the limit; more `confirm.events` may tell, "
        "or choices with a larger farm."
    )


def summary_of(study: FarmStudy, best: Judged, seen: Seen, found: Confirmation | None) -> str:
    """Return the answer in a sentence, and whether events leave it open."""
    farm = best.farm
    total = f", {text(farm.buffer_total_bytes, 'traffic_bytes')} in all" if farm.parts > 1 and farm.places else ""
    loses = f"{share(seen.closed) if seen.closed else 'nothing'} by the closed form{', exact' if seen.exact else ''}"
    if found is not None and math.isfinite(seen.lo) and not seen.exact:
        source = source_words(best, study, found.ratio)
        loses = f"{share(seen.value)} {source} ({share(seen.lo)} .. {share(seen.hi)}), {loses}"
    cost = ""
    if study.objective == "price":
        cost = f" It costs {text(best.price_usd, 'usd')}."
    if study.objective == "power":
        cost = f" It draws {text(best.power_w, 'w')}."
    unsure = "" if found is None else unsure_words(found, study, seen)
    head = f"{found.verdict.capitalize()}: the" if found is not None and unsure else "The"
    return (
        f"{head} {BEST[study.objective]} farm for {demand_words(study, farm.site)} is {farm_words(farm)}{total}: "
        f"{down_words(study, farm)} it loses {loses}; the limit is {limits_words(study)}.{cost}{unsure}"
    )


def why_not_smaller(
    study: FarmStudy, smaller: tuple[Smaller, ...], seen: Callable[[Farm], Seen], own: Callable[[Farm], bool]
) -> str:
    """Return why the choices one below fail. `own`: whether levels were run at that very farm."""
    found = []
    for one in smaller:
        farm, limits = one.judged.farm, study.limits
        name = f"{farm.sought:,} {one.what}" if one.what != "buffer" else buffer_words(farm)
        value = seen(farm)
        end = "upper end" if own(farm) else "upper end, by the levels of the chosen farm"
        loss, most = (value.closed, "") if value.exact or math.isnan(value.hi) else (value.hi, f" ({end})")
        near = share(loss) == share(limits.loss)  # two digits would not tell it from the limit
        said = f"with {name} the loss would be {f'{loss:.4g}' if near else share(loss)}{most}"
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
        f"({more_words(1 + abs(change) / first.farm.total).removesuffix(' more')})."
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
