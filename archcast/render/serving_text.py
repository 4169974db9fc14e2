"""The answer of a serving simulation for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archcast.render.human import digits, listed, percent, printable, text, unit_of

if TYPE_CHECKING:
    from archcast.serving import Serving
    from simulator.intervals import Uncertain
    from simulator.serving.run import Study

NAMES = {
    "ttft_s": "time to first token", "tpot_s": "time per output token", "itl_s": "between tokens",
    "latency_s": "end to end", "queue_s": "in the queue",
}  # fmt: skip


def name_of(answer: Serving, name: str) -> str:
    """Return what a time is called; with speculation a step gives several tokens, and gaps are those of steps."""
    if name == "itl_s" and any(plan.policy.speculation for plan in answer.scenario.pools):
        return "between decode steps"
    return NAMES[name]


def count(number: float) -> str:
    """Return how many: whole numbers as such, means with three digits."""
    return f"{number:,.0f}" if number == round(number) else digits(number)


def serving_text(answer: Serving) -> str:
    """Return the head, the verdict, times by percentile, rates, costs and notes."""
    lines = [*head(answer), ""]
    if answer.study is None:
        lines.append(f"infeasible: {answer.reason}.")
    else:
        lines += _study(answer, answer.study)
    lines += [f"note: {printable(note, 1000)}" for note in answer.notes]
    return "\n".join(lines)


def head(answer: Serving) -> list[str]:
    """Return what was asked, one line a pool and one for the traffic."""
    lines = []
    for pool in answer.about["pools"]:
        devices = f"{pool['devices']} x {printable(pool['on'])}"
        layout = "" if pool["mapping"] == "one device" else f", {pool['mapping']}"
        role = "" if pool["role"] == "both" else f", {pool['role']}"
        engines = "1 engine" if pool["instances"] == 1 else f"{pool['instances']} engines"
        lines.append(f"{printable(pool['model'])} ({pool['dtype']}) on {devices}: {engines}{layout}{role}")
    asked = answer.about["traffic"]
    rate = f" {rate_words(asked)}" if asked["rate_hz"] else ""
    name = f" of {printable(asked['name'])}" if asked["name"] else ""
    loop = answer.about.get("closed_loop")
    users = "" if not loop else " from 1 user" if loop["users"] == 1 else f" from {loop['users']:,} users"
    lengths = f"{asked['prompt_mean']:.0f} tokens in, {asked['generate_mean']:.0f} out (means)"
    count = "1 request" if asked["requests"] == 1 else f"{asked['requests']:,} requests"
    return [*lines, f"{count}{name}{rate}{users}, {lengths}"]


def rate_words(asked: Mapping[str, Any]) -> str:
    """Return the rate in words: what was asked for, and what the replications drew."""
    least, most = (digits(rate) for rate in asked["rate_drawn_hz"])
    if asked["rate_asked_hz"] is None:
        return f"at {least}/s" if least == most else f"at {digits(asked['rate_hz'])}/s ({least} to {most}/s)"
    words = f"at {digits(asked['rate_asked_hz'])}/s"
    if least == most == digits(asked["rate_asked_hz"]):
        return words
    return f"{words} (drawn: {least}/s)" if least == most else f"{words} (drawn: {least} to {most}/s)"


def _study(answer: Serving, study: Study) -> list[str]:
    return [
        verdict(answer, study), "", f"{'':22}{'p50':>10}{'p90':>10}{'p99':>10}{'mean':>10}   interval of p99",
        *(_time(name_of(answer, name), found) for name, found in study.times.items()), "", *_rates(answer, study),
    ]  # fmt: skip


def verdict(answer: Serving, study: Study) -> str:
    """Return in a sentence whether it is stable and how many requests meet the limits; too few is said first."""
    state = "UNSTABLE: requests come faster than they are served" if study.unstable else "stable"
    slo = answer.scenario.slo
    if not slo:
        return f"feasible, {state}"
    limits = listed([f"{name.removesuffix('_s')} <= {text(limit, 's')}" for name, limit in slo.items()])
    share = study.numbers["goodput_share"]
    span = f" [{percent(share.lo)} .. {percent(min(share.hi, 1.0))}]" if share.known else ""
    words = f"{percent(share.value)}{span} of the requests meet {limits}"
    if answer.slo_met or study.unstable:
        return f"feasible, {state}; {words}"
    return f"misses its limits: {words}, and {percent(answer.scenario.slo_share)} are asked for; {state}"


def _time(name: str, found: dict[str, Uncertain] | object) -> str:
    times: dict[str, Uncertain] = found  # type: ignore[assignment]
    cells = "".join(f"{text(times[key].value, 's') if math.isfinite(times[key].value) else '-':>10}" for key in (
        "p50", "p90", "p99", "mean"
    ))  # fmt: skip
    return f"{name:22}{cells}   {interval(times['p99'], 's')}".rstrip()


def interval(number: Uncertain, kind: str) -> str:
    """Return `[lo .. hi unit]`, or nothing where no interval is known."""
    if not number.known or not math.isfinite(number.value):
        return ""
    factor, unit = unit_of(number.value, kind)
    return f"[{digits(number.lo / factor)} .. {digits(number.hi / factor)} {unit}]".replace(" ]", "]")


def _rates(answer: Serving, study: Study) -> list[str]:
    numbers = study.numbers
    rows = [
        ("done", "request_rate_hz", "per_s", "requests"), ("", "token_rate_hz", "per_s", "tokens out"),
        ("", "goodput_hz", "per_s", "requests that meet the limits" if answer.scenario.slo else ""),
        ("power", "power_w", "w", "all boards, idle included"),
        ("energy", "energy_per_token_j", "j", "a token out"),
        ("money", "usd_per_million_tokens", "usd", f"a million tokens out{_price(answer)}"),
    ]  # fmt: skip
    lines = []
    for name, key, kind, about in rows:
        number = numbers[key]
        if about and math.isfinite(number.value):
            label = name or " "
            lines.append(f"{label:8}{text(number.value, kind):>12}  {about:32} {interval(number, kind)}".rstrip())
    queue, most = numbers["queue_mean"], numbers["queue_max"]
    lines.append(
        f"queue   {digits(queue.value)} waiting on average, {count(most.value)} at most; KV blocks "
        f"{percent(numbers['kv_mean'].value)} in use, {percent(numbers['kv_max'].value)} at most; lanes busy "
        f"{percent(numbers['utilisation'].value)}"
    )
    extra = [f"{count(numbers['preemptions'].value)} preemptions"]
    if numbers["prefix_hit_share"].value > 0:
        extra.append(f"{percent(numbers['prefix_hit_share'].value)} of the prompts' tokens were cached")
    extra += [f"{count(lost)} requests lost ({cause})" for cause, lost in study.lost.items()]
    lines.append("        " + ", ".join(extra))
    lines += [f"{label:8}{words}" for label, words in fleet_rows(answer, study)]
    runs = f"{study.runs} replications" if study.runs > 1 else "1 run"
    lines.append(f"        {runs}, seed {answer.scenario.seed}, trace hash {study.trace_hashes[0][:16]}")
    return lines


def fleet_rows(answer: Serving, study: Study) -> list[tuple[str, str]]:
    """Return (label, words) on failures, on scaling, and on each of several pools, where there are any."""
    numbers, plans, rows = study.numbers, answer.scenario.pools, list[tuple[str, str]]()
    if any(plan.options.get("failures") for plan in plans):
        outages, hit = (count(numbers[key].value) for key in ("outages", "interrupted"))
        rows.append(("outages", f"{outages} a run; {hit} requests were interrupted and sent to another instance"))
    if any(plan.options.get("autoscaling") for plan in plans):
        mean, most, began = (numbers[f"instances_{key}"].value for key in ("mean", "most", "started"))
        rows.append(
            ("scaling", f"{digits(mean)} instances on average, {count(most)} at most, {count(began)} starts, "
             f"{digits(numbers['instance_s'].value / 3600)} instance-hours a run")
        )  # fmt: skip
    for pool in study.first.pools if len(study.first.pools) > 1 else ():
        many = "1 instance" if pool["instances"] == 1 else f"{pool['instances']} instances"
        rows.append(
            ("pool", f"{printable(pool['name'])}: {many}, lanes busy {percent(pool['utilisation'])}, "
             f"{text(pool['power_w'], 'w')} (first run)")
        )  # fmt: skip
    return rows


def _price(answer: Serving) -> str:
    dates = sorted({plan.price_date for plan in answer.scenario.pools if plan.price_date})
    return f" (price of {dates[-1]})" if dates else ""
