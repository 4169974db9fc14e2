"""The top of the page: the question, the answer in a sentence, the verdict, and the numbers with their intervals."""

from __future__ import annotations

from archcast.render.bars import interval_bar
from archcast.render.breakdown import (
    BOUND_MEANING,
    answers,
    interval_meaning,
    per_token,
    verdict_words,
    what_would_help,
)
from archcast.render.human import Shown, percent, shown, text
from archcast.render.markup import esc
from costmodel.estimate import Estimate
from costmodel.on_chip import Store
from costmodel.spatial.costs import SHORT_BUFFERS


def header(estimate: Estimate) -> str:
    """Return the question, what was asked in chips, the sentence and the verdict."""
    asked = {
        "devices": estimate.devices,
        "mapping": "" if estimate.mapping == "one device" else estimate.mapping,
        **{key: value for key, value in estimate.request.items() if value not in (None, "")},
    }
    chips = "".join(f"<li><i>{esc(k, 40)}</i>{esc(v, 80)}</li>" for k, v in asked.items() if v != "")
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · prediction</p>'
        f"<h1>{esc(estimate.workload, 120)} <span>on</span> {esc(estimate.device, 120)}</h1>"
        f'<ul class="chips">{chips}</ul>{_sentence(estimate)}{_verdict(estimate)}</header>'
    )


def _sentence(estimate: Estimate) -> str:
    if estimate.latency_s is None:
        return ""
    sentence = _service(estimate) or _batch(estimate, shown(estimate.latency_s, "s"))
    if estimate.bound:
        name, share = next(iter(estimate.bound.items()))
        sentence += f" {percent(share)} of the time is bound by {esc(name)} ({esc(BOUND_MEANING.get(name, name))})."
    return f'<p class="answer">{sentence}</p>'


def _batch(estimate: Estimate, time: Shown) -> str:
    words = [f"It takes <b>{time.value}</b> (between {time.lo} and {time.hi} {time.unit})"]
    if estimate.energy_j is not None:
        words.append(f"and <b>{text(estimate.energy_j.value, 'j')}</b>")
    if estimate.cost_usd is not None:
        words.append(f"for <b>{text(estimate.cost_usd.value, 'usd')}</b>")
    return " ".join(words) + "."


def _service(estimate: Estimate) -> str:
    """Return the sentence of users in service ('' where requests start together)."""
    rate, users = estimate.tokens_per_s, estimate.request.get("concurrency")
    if rate is None or not users:
        return ""
    tokens = shown(rate, "per_s")
    unit = f" {size}" if (size := tokens.unit.removesuffix("/s")) else ""
    who = "One user gets" if users == 1 else f"{users:,} users get"
    words = [f"{who} <b>{tokens.number}{unit} tokens</b> a second (between {tokens.lo} and {tokens.hi}{unit})"]
    if estimate.power_w is not None:
        words.append(f"at <b>{text(estimate.power_w.value, 'w')}</b>")
    if estimate.usd_per_million_tokens is not None:
        words.append(f"for <b>{text(estimate.usd_per_million_tokens.value, 'usd')}</b> a million")
    return " ".join(words) + "."


def _verdict(estimate: Estimate) -> str:
    words = verdict_words(estimate)
    if estimate.verdict == "feasible":
        return f'<p class="verdict"><b>Feasible.</b> It fills {esc(words)}.</p>'
    missing = estimate.shortfall_bytes
    if missing > 0 and not estimate.stores and not estimate.reason.startswith(SHORT_BUFFERS):
        capacity = text(estimate.capacity_bytes, "bytes")
        words = f"{text(missing, 'bytes')} ({missing:,.0f} bytes) are missing: the fullest device has {capacity}."
    helps = "".join(f"<li>{esc(advice)}</li>" for advice in what_would_help(estimate))
    helps = f"<div>What would help:<ul>{helps}</ul></div>" if helps else ""
    return f'<div class="verdict no"><b>{esc(estimate.verdict.capitalize())}.</b> {esc(words)}{helps}</div>'


def answer_section(estimate: Estimate) -> str:
    """Return one card a number, each with its interval, and what the intervals rest on."""
    cards = []
    for axis, quantity in (*answers(estimate), *per_token(estimate)):
        if axis.field == "memory_bytes" and estimate.stores:
            cards += [_store_card(store) for store in estimate.stores]
            continue
        as_shown = shown(quantity, axis.kind)
        about = axis.meaning
        if axis.field == "cost_usd" and estimate.price_date:
            about += f", price of {estimate.price_date}"
        if axis.field == "memory_bytes":
            about += f", of {text(estimate.capacity_bytes, 'bytes')}"
        ends = f'<div class="ends">{as_shown.lo} to {as_shown.hi}</div>'
        end = estimate.capacity_bytes if axis.field == "memory_bytes" else 0.0
        interval = interval_bar(quantity, as_shown, end) + ends
        cards.append(_card(axis.label, as_shown.number, as_shown.unit, interval, about))
    if estimate.largest_batch is not None:
        words = "requests whose caches fit, " + (
            "in service" if "concurrency" in estimate.request else "started together"
        )
        cards.append(_card("Largest batch", f"{estimate.largest_batch:,}", "", "", words))
    whose = "" if estimate.devices == 1 else " of one rank, all stages"
    memory = estimate.detail.memory if estimate.detail else "device memory"
    for label, value, about in (
        (
            "Memory traffic",
            estimate.dram_bytes,
            f"to and from {memory}{whose}",
        ),
        ("Link traffic", estimate.link_bytes, f"sent to other devices{whose}"),
    ):
        if value:
            number, _, unit = text(value, "traffic_bytes").partition(" ")
            cards.append(_card(label, number, unit, "", f"{about}; counted, without interval"))
    kind = estimate.interval_kind
    note = f"Intervals are <b>{esc(kind)}</b>: {esc(interval_meaning(estimate))}." if kind else ""
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in estimate.notes)
    return f'<div class="wide"><div class="stats">{"".join(cards)}</div><p class="note">{note}</p>{notes}</div>'


def _store_card(store: Store) -> str:
    number, _, unit = text(store.used_bytes, "bytes").partition(" ")
    about = f"{store.holds}, of {text(store.usable_bytes, 'bytes')} usable"
    return _card(store.name[:1].upper() + store.name[1:], number, unit, "", about)


def _card(label: str, number: str, unit: str, interval: str, about: str) -> str:
    big = f"${esc(number)}" if unit == "$" else f"{esc(number)}<u>{esc(unit)}</u>"
    return (
        f'<div class="stat"><span class="name">{esc(label)}</span><span class="big">{big}</span>{interval}'
        f'<p class="about">{esc(about)}</p></div>'
    )
