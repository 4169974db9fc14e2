"""The answer of a cluster replay: as JSON, for a terminal, and as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.render.document import report
from archcast.render.human import digits, percent, printable, text
from archcast.render.markup import esc, section
from archcast.render.serving_charts import STYLE, Axis, Line, chart
from simulator.cluster.metrics import PERCENTILES
from simulator.cluster.trace import RESOURCES

if TYPE_CHECKING:
    from archcast.cluster import Cluster
    from simulator.intervals import Uncertain

SHARES = ("overload_share", "fragmentation")
PLAIN = (
    "duration_s", "energy_j", "power_w", "moved_bytes", "task_rate_hz", "machines_mean", "slowdown_mean",
)  # fmt: skip
SHOWN = {
    "duration_s": "duration", "wait_mean_s": "wait mean", "wait_p99_s": "wait p99", "utilisation_cpu": "cpu",
    "utilisation_memory": "memory", "overload_share": "overload", "unplaced": "unplaced", "energy_j": "energy",
}  # fmt: skip
"""Columns of the comparison of placements. Shares are of the duration, so it stands first."""


INFORMATIVE = 0.02
"""Share of tasks that must have waited for the distribution of waits to show anything."""


def cluster_json(answer: Cluster) -> dict[str, Any]:
    """Return the document; what is not known is null."""
    numbers, metrics = answer.numbers, answer.metrics
    wait = {"mean": numbers["wait_mean_s"], **{f"p{q}": numbers[f"wait_p{q}_s"] for q in PERCENTILES}}
    doc: dict[str, Any] = {
        "kind": "cluster", "file": answer.file, "asked": dict(answer.about), "verdict": "feasible",
        "wait_s": {**numbers["wait_mean_s"].to_json(), **{name: number.to_json() for name, number in wait.items()}},
        "utilisation": {name: numbers[f"utilisation_{name}"].to_json() for name in RESOURCES},
        **{name: numbers[name].to_json() for name in (*SHARES, *PLAIN)},
        "tasks": {
            **metrics.states, "unplaced": numbers["unplaced"].to_json(), "reasons": dict(metrics.reasons),
        },
        "evictions": {**numbers["evictions"].to_json(), "by_cause": dict(metrics.evictions)},
        "migrations": {**numbers["migrations"].to_json(), "counts": dict(metrics.migrations)},
        "series": _series(answer),
    }  # fmt: skip
    if answer.interference:
        doc["interference"] = dict(answer.interference)
    if len(answer.compared) > 1:
        doc["compared"] = {
            name: {key: number.to_json() for key, number in found.items()} for name, found in answer.compared.items()
        }
    chance = "95 % t interval over replications" if answer.replications > 1 else None
    return doc | {
        "interval": {"confidence": 0.95, "chance": chance}, "trace_hash": answer.hashes[0],
        "trace_hashes": list(answer.hashes), "seed": answer.seed, "replications": answer.replications,
        "notes": list(answer.notes), "versions": dict(answer.versions),
    }  # fmt: skip


def _series(answer: Cluster) -> dict[str, Any]:
    series = answer.metrics.series
    return {
        "time_s": series.at_s.tolist(), "waiting_tasks": series.waiting.tolist(),
        "running_tasks": series.running.tolist(),
        "utilisation": {
            name: [x if math.isfinite(x) else None for x in values.tolist()]
            for name, values in series.utilisation.items()
        },
    }  # fmt: skip


def cluster_text(answer: Cluster) -> str:
    """Return the head, waits, how full it was, what moved, the comparison and the notes."""
    about, numbers = answer.about, answer.numbers
    lines = [
        f"{about['tasks']:,} tasks ({about['task_events']:,} events) of {printable(about['trace'])} on "
        f"{about['machines']:,} machines: {about['placement']}, {about['queue']}"
        + (", preemption" if about["preemption"] else ""),
        "",
    ]
    waits = "   ".join(f"p{q} {_value(numbers[f'wait_p{q}_s'], 's')}" for q in PERCENTILES)
    rows = {
        "wait": f"mean {_value(numbers['wait_mean_s'], 's')}   {waits}",
        "utilisation": "   ".join(
            f"{name} {_share(numbers[f'utilisation_{name}'])}"
            for name in RESOURCES
            if math.isfinite(numbers[f"utilisation_{name}"].value)
        ),
        "overloaded": f"{_share(numbers['overload_share'])} of machine time above {percent(answer.keys.overload)}",
        "stranded": f"{_share(numbers['fragmentation'])} of the free room is where the median task does not fit",
        "tasks": ", ".join(f"{count:,} {name}" for name, count in answer.metrics.states.items() if count),
        "evictions": _causes(numbers["evictions"], answer.metrics.evictions),
        "migrations": f"{_count(numbers['migrations'])}, {_value(numbers['moved_bytes'], 'traffic_bytes')} moved",
    }
    if math.isfinite(numbers["energy_j"].value):
        rows["energy"] = f"{_value(numbers['energy_j'], 'j')}, {_value(numbers['power_w'], 'w')} on average"
    for name, score in answer.interference.get("ratio_error", {}).items():
        rows[f"ratio, {name}"] = (
            f"off by {100 * score['mae']:.1f} points on average on workloads left out (median "
            f"{100 * score['median']:.1f}, p90 {100 * score['p90']:.1f}, n {score['n']:,})"
        )
    lines += [f"{name:22}{words}" for name, words in rows.items()]
    if len(answer.compared) > 1:
        lines += ["", *_compared(answer)]
    lines += [f"note: {printable(note, 1000)}" for note in answer.notes]
    return "\n".join([*lines, f"trace hash {answer.hashes[0]}"])


def _compared(answer: Cluster) -> list[str]:
    shown = _shown(answer)
    lines = [f"{'placement':22}" + "".join(f"{SHOWN[key]:>13}" for key in shown)]
    for name, found in answer.compared.items():
        lines.append(f"{name:22}" + "".join(f"{_cell(key, found[key]):>13}" for key in shown))
    return lines


def _shown(answer: Cluster) -> list[str]:
    return [key for key in SHOWN if any(math.isfinite(found[key].value) for found in answer.compared.values())]


def _cell(key: str, number: Uncertain) -> str:
    if key.startswith("utilisation") or key == "overload_share":
        return _share(number)
    return _count(number) if key == "unplaced" else _value(number, key.rsplit("_", 1)[-1])


def _value(number: Uncertain, kind: str) -> str:
    return text(number.value, kind) if math.isfinite(number.value) else "-"


def _share(number: Uncertain) -> str:
    return percent(number.value) if math.isfinite(number.value) else "-"


def _count(number: Uncertain) -> str:
    return f"{number.value:,.0f}" if number.value == round(number.value) else digits(number.value)


def _causes(number: Uncertain, causes: Mapping[str, int]) -> str:
    words = ", ".join(f"{cause} {count:,}" for cause, count in causes.items())
    return _count(number) + (f" ({words})" if words else "")


def cluster_page(answer: Cluster) -> str:
    """Return one self-contained page: cards, levels over time, waits, the comparison, and provenance."""
    parts = (_header(answer), _cards(answer), _over_time(answer), _placements(answer), _provenance(answer))
    return report(f"{Path(answer.file).name} - archcast", STYLE, parts, answer.versions.get("archcast", ""))


def _header(answer: Cluster) -> str:
    about = answer.about
    chips = {
        "machines": f"{about['machines']:,}", "tasks": f"{about['tasks']:,}", "trace": about["trace"],
        "placement": about["placement"], "queue": about["queue"],
    }  # fmt: skip
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 80)}</li>" for key, value in chips.items())
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in answer.notes)
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · cluster</p>'
        f"<h1>{esc(about['trace'], 120)} <span>on</span> {about['machines']:,} machines</h1>"
        f'<ul class="chips">{items}</ul>{notes}</header>'
    )


def _cards(answer: Cluster) -> str:
    numbers = answer.numbers
    rows = [
        ("Wait, p99", _value(numbers["wait_p99_s"], "s"), "time in the queue"),
        ("CPU", _share(numbers["utilisation_cpu"]), "requested over available, weighted by time"),
        ("Memory", _share(numbers["utilisation_memory"]), "requested over available, weighted by time"),
        ("Overloaded", _share(numbers["overload_share"]), f"machine time above {percent(answer.keys.overload)}"),
        ("Unplaced", _count(numbers["unplaced"]), "waiting at the end, or larger than any machine"),
        ("Evictions", _count(numbers["evictions"]), "tasks that lost their machine"),
        (
            "Migrations",
            _count(numbers["migrations"]),
            f"{_value(numbers['moved_bytes'], 'traffic_bytes')} moved",
        ),
        ("Energy", _value(numbers["energy_j"], "j"), "idle and busy power of machines that are there"),
    ]
    cards = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<p class="about">{esc(about)}</p></div>'
        for name, value, about in rows
    )
    return f'<div class="wide"><div class="stats">{cards}</div></div>'


def _over_time(answer: Cluster) -> str:
    series, record = answer.metrics.series, answer.record
    full = [Line(name, series.at_s, values, i) for i, (name, values) in enumerate(series.utilisation.items())]
    tasks = [Line("running", series.at_s, series.running, 0), Line("waiting", series.at_s, series.waiting, 2, True)]
    waits = np.sort(record.waited[record.first_start >= 0]) / 1e6
    place = np.unique(np.linspace(0, max(len(waits) - 1, 0), 200).astype(int))
    shares = (place + 1) / max(len(waits), 1)
    drawings = [
        ("Utilisation", chart(full, Axis("time", "s"), Axis("share", "share"))),
        ("Tasks", chart(tasks, Axis("time", "s"), Axis("tasks", "count"))),
    ]
    if len(waits) and (waits > 0).mean() >= INFORMATIVE:
        lines = [Line("share of tasks", waits[place], shares, 0)]
        drawings.append(("Time in the queue", chart(lines, Axis("wait", "s"), Axis("share of tasks", "share"))))
    else:
        waiting = int((waits > 0).sum())
        queue = f"{waiting:,} of {len(waits):,} tasks waited at all" if waiting else "No task waited"
        drawings.append(("Time in the queue", f'<p class="note">{queue}: there is no distribution to draw.</p>'))
    body = "".join(f"<div><h3>{esc(name)}</h3>{drawing}</div>" for name, drawing in drawings)
    lead = "Means over equal spans of time; first replication."
    return section("Over time", f'<div class="charts">{body}</div>', lead=lead, name="time")


def _placements(answer: Cluster) -> str:
    if len(answer.compared) < 2:
        return ""
    shown = _shown(answer)
    head = "".join(f"<th>{esc(words)}</th>" for words in ("placement", *(SHOWN[key] for key in shown)))
    rows = "".join(
        f'<tr><td class="what"><b>{esc(name, 80)}</b></td>'
        + "".join(f"<td>{esc(_cell(key, found[key]))}</td>" for key in shown)
        + "</tr>"
        for name, found in answer.compared.items()
    )
    table = f'<table class="times"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    lead = "On the same tasks and machines. Shares are of each one's own duration, from the start to the last end."
    return section("Placements compared", table, lead=lead)


def _provenance(answer: Cluster) -> str:
    rows = {
        "file": Path(answer.file).name, "seed": answer.seed, "replications": answer.replications,
        "trace hash": answer.hashes[0], **answer.versions,
    }  # fmt: skip
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 300)}</dd>" for key, value in rows.items())
    return section("Provenance", f'<dl class="facts">{items}</dl>')
