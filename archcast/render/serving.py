"""The page of a serving simulation: verdict, times by percentile, times over time, distributions, queue and KV use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archcast.render.document import report
from archcast.render.human import digits, listed, percent, text, unit_of
from archcast.render.markup import esc, section
from archcast.render.serving_charts import STYLE, Axis, Line, chart
from archcast.render.serving_text import NAMES, count, fleet_rows, interval, name_of, rate_words
from simulator.clock import to_seconds
from simulator.serving.results import TIMES
from simulator.serving.run import STATISTICS, Study
from simulator.serving.series import thinned, windows
from workloads.table import Array

if TYPE_CHECKING:
    from archcast.serving import Serving
    from simulator.intervals import Uncertain

WINDOWS = 48
PERCENTILES = (50, 90, 99)
MEANING = {
    "ttft_s": "first token minus arrival", "tpot_s": "(last token - first) / (tokens - 1)",
    "itl_s": "every gap between two tokens", "latency_s": "last token minus arrival",
    "queue_s": "first admitted minus arrival",
}  # fmt: skip


def serving_page(answer: Serving) -> str:
    """Return the page as text."""
    parts = [_header(answer)]
    if answer.study is not None:
        study = answer.study
        parts += [
            _cards(answer, study),
            _times(answer, study),
            _over_time(answer, study),
            _distributions(answer, study),
        ]
        parts += [_load(study), _details(answer, study)]
    parts.append(_provenance(answer))
    title = f"{Path(answer.file).name} - archcast"
    return report(title, STYLE, parts, answer.versions.get("archcast", ""))


def _header(answer: Serving) -> str:
    pools, asked = answer.about["pools"], answer.about["traffic"]
    first = pools[0]
    models = listed(list(dict.fromkeys(str(pool["model"]) for pool in pools)))
    devices = listed(list(dict.fromkeys(f"{pool['devices']} x {pool['on']}" for pool in pools)))
    chips = {
        "engines": sum(pool["instances"] for pool in pools), "mapping": first["mapping"], "format": first["dtype"],
        "router": first["router"], "traffic": asked["name"] or "drawn", "requests": f"{asked['requests']:,}",
        "rate": rate_words(asked).removeprefix("at ") if asked["rate_hz"] else "closed loop",
        "prompt": f"{asked['prompt_mean']:,.0f} tokens", "answer": f"{asked['generate_mean']:,.0f} tokens",
    }  # fmt: skip
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 80)}</li>" for key, value in chips.items())
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · serving</p>'
        f"<h1>{esc(models, 120)} <span>on</span> {esc(devices, 120)}</h1>"
        f'<ul class="chips">{items}</ul>{_sentence(answer)}{_verdict(answer)}</header>'
    )


def _sentence(answer: Serving) -> str:
    if answer.study is None:
        return ""
    times, numbers = answer.study.times, answer.study.numbers
    first, token = times["ttft_s"], times["tpot_s"]
    words = (
        f"Half of the first tokens come within <b>{_value(first['p50'])}</b>, 99 % within <b>{_value(first['p99'])}</b>"
    )
    if math.isfinite(token["p50"].value):
        words += (
            f"; a token takes <b>{_value(token['p50'])}</b>, for 99 % of the requests at most {_value(token['p99'])}"
        )
    rate = text(numbers["token_rate_hz"].value, "per_s")
    return f'<p class="answer">{words}. The fleet gives {rate} tokens.</p>'


def _value(number: Uncertain, kind: str = "s") -> str:
    return text(number.value, kind) if math.isfinite(number.value) else "-"


def _verdict(answer: Serving) -> str:
    if answer.study is None:
        return f'<div class="verdict no"><b>Infeasible.</b> {esc(answer.reason)}.</div>'
    study, slo = answer.study, answer.scenario.slo
    if study.unstable:
        return (
            '<p class="verdict no"><b>Unstable.</b> Requests come faster than they are served: the queue grows as long '
            "as the run lasts, so the times below are those of this run and no steady state.</p>"
        )
    if not slo:
        return '<p class="verdict"><b>Feasible and stable.</b> No limits were given.</p>'
    share = study.numbers["goodput_share"]
    limits = listed([f"{name.removesuffix('_s').upper()} ≤ {text(limit, 's')}" for name, limit in slo.items()])
    span = f" ({percent(share.lo)} to {percent(min(share.hi, 1.0))})" if share.known else ""
    words = f"{percent(share.value)}{span} of the requests meet {esc(limits)}"
    if answer.slo_met:
        return f'<p class="verdict"><b>Feasible, stable and within its limits.</b> {words}.</p>'
    asked = f"{percent(answer.scenario.slo_share)} are asked for"
    return f'<p class="verdict no"><b>Misses its limits.</b> {words}, and {asked}. It is stable.</p>'


def _cards(answer: Serving, study: Study) -> str:
    numbers, dates = study.numbers, {plan.price_date for plan in answer.scenario.pools}
    rows: list[tuple[str, Uncertain, str, str]] = [
        ("TTFT, p99", study.times["ttft_s"]["p99"], "s", MEANING["ttft_s"]),
        ("TPOT, p99", study.times["tpot_s"]["p99"], "s", MEANING["tpot_s"]),
        ("Requests", numbers["request_rate_hz"], "per_s", "done in the window"),
        ("Tokens", numbers["token_rate_hz"], "per_s", "generated for requests that were done"),
        ("Power", numbers["power_w"], "w", "all boards, idle power included"),
        ("Energy", numbers["energy_per_token_j"], "j", "a generated token"),
        ("Money", numbers["usd_per_million_tokens"], "usd", f"a million generated tokens, prices of {max(dates)}"),
        ("KV blocks", numbers["kv_mean"], "share", f"in use on average, {percent(numbers['kv_max'].value)} at most"),
    ]
    cards = [_card(*row) for row in rows if math.isfinite(row[1].value)]
    held = []
    if study.chance:
        held.append("chance (95 %, t over replications)" if study.runs > 1 else "chance (95 %, batch means)")
        if study.model_interval:
            held.append("the error of the step costs")
    note = f"Intervals hold {listed(held)}." if held else ""
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in answer.notes)
    return f'<div class="wide"><div class="stats">{"".join(cards)}</div><p class="note">{note}</p>{notes}</div>'


def _card(label: str, number: Uncertain, kind: str, about: str) -> str:
    if kind == "share":
        shown, unit = percent(number.value).split(" ")[0], "%"
        ends = f"{percent(number.lo)} to {percent(number.hi)}" if number.known else ""
    else:
        factor, unit = unit_of(number.value, kind)
        shown = digits(number.value / factor)
        ends = f"{digits(number.lo / factor)} to {digits(number.hi / factor)}" if number.known else ""
    big = f"${esc(shown)}" if unit == "$" else f"{esc(shown)}<u>{esc(unit)}</u>"
    return (
        f'<div class="stat"><span class="name">{esc(label)}</span><span class="big">{big}</span>'
        f'<div class="ends">{esc(ends)}</div><p class="about">{esc(about)}</p></div>'
    )


def _times(answer: Serving, study: Study) -> str:
    heads = "".join(f'<th class="n">{name}</th>' for name in STATISTICS)
    rows = []
    for name in TIMES:
        cells = []
        for statistic in STATISTICS:
            number = study.times[name][statistic]
            cells.append(f'<td class="n">{esc(_value(number))}<small>{esc(interval(number, "s"))}</small></td>')
        shown = name_of(answer, name)
        meaning = MEANING[name] if shown == NAMES[name] else "of a request; a step gives several tokens (speculation)"
        words = f"<b>{esc(shown)}</b><small>{esc(meaning)}</small>"
        rows.append(f'<tr><td class="what">{words}</td>{"".join(cells)}</tr>')
    table = f'<table class="times"><thead><tr><th>time</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return section("Times", f'<div class="scroll">{table}</div>', lead="Over all counted requests; intervals below.")


def _over_time(answer: Serving, study: Study) -> str:
    sample = study.sample
    at = to_seconds(study.first.requests.arrival[sample.times["request"]])
    edges = np.linspace(
        sample.window.start_s, max(float(at.max(initial=0.0)), sample.window.start_s + 1e-9), WINDOWS + 1
    )
    middle = (edges[1:] + edges[:-1]) / 2
    drawings = []
    for name in ("ttft_s", "tpot_s"):
        lines = [
            Line(f"p{q}", middle, windows(at, sample.times[name], edges, q), style)
            for style, q in enumerate(PERCENTILES)
        ]
        drawing = chart(lines, Axis("arrival", "s"), Axis(NAMES[name], "s"), limit=_limit(answer, name))
        drawings.append(f"<div><h3>{_heading(answer, name)}</h3>{drawing}</div>")
    lead = "Percentiles of the requests that arrived in each of so many equal windows; first replication."
    return section("Latency over time", f'<div class="charts">{"".join(drawings)}</div>', lead=lead, name="latency")


def _heading(answer: Serving, name: str) -> str:
    """Return the name of a time, and its limit, which may lie beyond the drawing."""
    limit = _limit(answer, name)
    words = f" <small>{esc(limit[1])}</small>" if limit else ""
    return esc(NAMES[name].capitalize()) + words


def _limit(answer: Serving, name: str) -> tuple[float, str] | None:
    limit = answer.scenario.slo.get(name)
    return None if limit is None else (limit, f"limit {text(limit, 's')}")


def _distributions(answer: Serving, study: Study) -> str:
    drawings = []
    for name in ("ttft_s", "tpot_s", "latency_s"):
        values, share = thinned(study.sample.times[name])
        line = Line("share of requests", values, share, 0, filled=False)
        drawing = chart(
            [line], Axis(NAMES[name], "s", log=name != "tpot_s"), Axis("share of requests", "share"),
            limit=_limit(answer, name), across=True,
        )  # fmt: skip
        drawings.append(f"<div><h3>{_heading(answer, name)}</h3>{drawing}</div>")
    drawings.append(f"<div><h3>{esc(name_of(answer, 'itl_s').capitalize())}</h3>{_gaps(answer, study)}</div>")
    lead = "The share of requests (of gaps for the last) whose time is at most that of the axis; first replication."
    return section("Distributions", f'<div class="charts">{"".join(drawings)}</div>', lead=lead, name="distributions")


def _gaps(answer: Serving, study: Study) -> str:
    values, weights = study.sample.gaps
    if not len(values):
        return '<p class="note">No request had a second token.</p>'
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order]) / weights.sum()
    place = np.unique(np.searchsorted(total, np.linspace(0, 1, 200)).clip(max=len(total) - 1))
    line = Line("share of gaps", values[order][place], total[place], 0)
    return chart([line], Axis(name_of(answer, "itl_s"), "s", log=True), Axis("share of gaps", "share"))


def _load(study: Study) -> str:
    levels, drawings = study.levels, []
    clock = Axis("time", "s")
    queue = [
        Line("running", levels["running"].at_s, levels["running"].value, 0),
        Line("waiting", levels["queue"].at_s, levels["queue"].value, 2, filled=True),
    ]
    drawings.append(f"<div><h3>Requests in the fleet</h3>{chart(queue, clock, Axis('requests', ''))}</div>")
    kv = [Line("KV blocks in use", levels["kv"].at_s, levels["kv"].value, 0, filled=True)]
    drawings.append(f"<div><h3>KV blocks in use</h3>{chart(kv, clock, Axis('share', 'share'))}</div>")
    made, asked = _throughput(study)
    lines = [Line("generated", *made, 3), Line("asked for", *asked, 1)]
    drawings.append(f"<div><h3>Tokens a second</h3>{chart(lines, clock, Axis('tokens', 'per_s'))}</div>")
    lead = "Means in equal spans of time; first replication. Tokens asked for are those of the requests that arrive."
    return section(
        "Queue, memory and throughput", f'<div class="charts">{"".join(drawings)}</div>', lead=lead, name="load"
    )


def _throughput(study: Study) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return (time, tokens a second) that were generated and that were asked for, in equal spans.

    A request's tokens after the first are spread evenly up to its last.
    """
    run, window = study.first, study.sample.window
    edges = np.linspace(window.start_s, max(window.end_s, window.start_s + 1e-9), WINDOWS + 1)
    width, middle = edges[1] - edges[0], (edges[1:] + edges[:-1]) / 2
    done = np.flatnonzero(np.array(run.log.done) >= 0)
    first, last = (to_seconds(np.array(x, dtype=np.int64)[done]) for x in (run.log.first_token, run.log.done))
    rate = (run.requests.generate[done] - 1) / np.maximum(last - first, 1e-12)
    made = np.histogram(first, edges)[0] + [
        float((rate * _overlap(first, last, a, b)).sum()) for a, b in pairwise(edges)
    ]
    asked = np.histogram(to_seconds(run.requests.arrival), edges, weights=run.requests.generate)[0]
    return (middle, made / width), (middle, asked / width)


def _overlap(begin: Array, end: Array, start_s: float, stop_s: float) -> Array:
    return np.asarray(np.maximum(np.minimum(end, stop_s) - np.maximum(begin, start_s), 0.0))


def _details(answer: Serving, study: Study) -> str:
    numbers = study.numbers
    rows = {
        "lanes busy": percent(numbers["utilisation"].value),
        "waiting": f"{digits(numbers['queue_mean'].value)} on average, {count(numbers['queue_max'].value)} at most",
        "preemptions": count(numbers["preemptions"].value),
        "prompt tokens cached": percent(numbers["prefix_hit_share"].value),
        "lost": listed([f"{count(n)} ({cause})" for cause, n in study.lost.items()]) or "none",
        "energy of a run": _value(numbers["energy_j"], "j"),
        "money of a run": _value(numbers["cost_usd"], "usd"),
    }
    for label, words in fleet_rows(answer, study):
        name, _, rest = words.partition(": ")
        rows[f"pool {name}" if label == "pool" else label] = rest if label == "pool" else words
    if study.first.transfer:
        sent = study.first.transfer
        rows["KV caches sent"] = (
            f"{sent['transfers']:,}, {text(sent['sent_bytes'], 'traffic_bytes')}, "
            f"waited {text(sent['waited_s'] / max(sent['transfers'], 1), 's')} on average"
        )
    return _facts("Beside", rows, wide=False)


def _provenance(answer: Serving) -> str:
    scenario = answer.scenario
    rule, share = scenario.warmup
    rows = {
        "file": Path(answer.file).name, "seed": scenario.seed, "replications": scenario.replications,
        "warm-up": f"the first {share:.0%} of the requests" if rule == "share" else "MSER-5",
    }  # fmt: skip
    if answer.source:
        rows["step costs from"] = listed([f"{percent(part)} {name}" for name, part in answer.source.items()])
    if answer.study is not None:
        rows["trace hash"] = answer.study.trace_hashes[0]
    for name, room in answer.rooms.items():
        rows[f"memory of {name}"] = (
            f"{text(sum(room.held_bytes.values()), 'bytes')} of weights and buffers, {text(room.kv_bytes, 'bytes')} "
            f"for {room.blocks:,} KV blocks an engine, of {text(room.capacity_bytes, 'bytes')}"
        )
    return _facts("Where it is from", rows | answer.versions, wide=answer.study is None)


def _facts(title: str, rows: Mapping[str, object], *, wide: bool) -> str:
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 300)}</dd>" for key, value in rows.items())
    return section(title, f'<dl class="facts">{items}</dl>', wide=wide)
