"""The page of an offloading simulation: the front, all policies, delays, tasks over time, where tasks went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archcast.render.document import report
from archcast.render.human import digits, percent, text
from archcast.render.markup import esc, section
from archcast.render.offloading_json import asked, servers
from archcast.render.offloading_text import headline, named
from archcast.render.serving_charts import STYLE, Axis, Line, chart
from archcast.render.serving_text import interval
from workloads.table import Array

if TYPE_CHECKING:
    from archcast.offloading import Offloading
    from simulator.offloading.study import Outcome, Study

POINTS = 300
OF_ASKED = "delay minus that of the asked"


def offloading_page(answer: Offloading) -> str:
    """Return the page as text."""
    study = answer.study
    parts = [_header(answer), _front(study), _table(study), _over_time(study), _servers(study), _provenance(answer)]
    return report(f"{Path(answer.file).name} - archcast", STYLE, parts, answer.versions.get("archcast", ""))


def _header(answer: Offloading) -> str:
    study, main = answer.study, answer.study.main
    about = asked(study)
    chips = {
        "policy": named(main), "users": about["users"], "tasks": f"{digits(about['rate_hz'])}/s",
        "load": digits(about["offered_load"]), "sizes": about["law"], "replications": study.plan.replications,
    }  # fmt: skip
    if about["mode"] == "paper":
        del chips["load"]
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 80)}</li>" for key, value in chips.items())
    if main.unstable:
        words = f'<p class="verdict no"><b>Unstable.</b> Under {esc(named(main))} {esc(main.overload)}.</p>'
    else:
        delay, energy = main.numbers["delay_s"], main.numbers["energy_per_task_j"]
        words = (
            f'<p class="answer">A task takes <b>{text(delay.value, "s")}</b> on average and '
            f"<b>{text(energy.value, 'j')}</b>.</p>"
        )
        if main.stable:
            words += '<p class="verdict"><b>Stable.</b> Tasks are served as fast as they come.</p>'
        else:
            words += f'<p class="note">Stability: {esc(main.overload)}.</p>'
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · edge offloading</p>'
        f'<h1>{esc(headline(answer), 200)}</h1><ul class="chips">{items}</ul>{words}</header>'
    )


def _front(study: Study) -> str:
    """Draw delay against energy: what a policy reaches over the weights as a line with a cross at each."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in study.outcomes:
        if not outcome.unstable:
            groups.setdefault(outcome.policy, []).append(outcome)
    if not groups:
        return section("Delay against energy", '<p class="note">No policy is stable: there is nothing to draw.</p>')
    points = {name: np.array(sorted(one.point for one in found)) for name, found in groups.items()}
    reach = np.array([study.reference]) if study.reference else np.zeros((0, 2))
    widest = np.concatenate([*points.values(), reach]).max(axis=0)
    lines = [_marked(name, found, style % 5, widest) for style, (name, found) in enumerate(points.items())]
    if len(reach):
        lines.append(_marked("reference", reach, len(lines) % 5, widest))
    drawing = chart(lines, Axis("mean delay", "s"), Axis("energy a task", "j"))
    lead = (
        "Each cross is the mean over the replications. Left and below is better; along a line the weight falls from "
        f"left to right ({esc(_weights(groups))}). The reference is the corner of the hypervolume."
    )
    return section(
        "Delay against energy",
        f'<div class="charts"><div>{drawing}</div><div>{_volumes(study)}</div></div>',
        lead=lead,
        name="front",
    )


def _marked(name: str, points: Array, style: int, widest: Array) -> Line:
    """Return a line through points with a cross at each."""
    half = np.array([0.007, 0.02]) * widest
    gap = np.array([np.nan])
    xs, ys = [points[:, 0], gap], [points[:, 1], gap]
    for x, y in points:
        xs.append(np.array([x - half[0], x + half[0], np.nan, x, x, np.nan]))
        ys.append(np.array([y, y, np.nan, y - half[1], y + half[1], np.nan]))
    return Line(name, np.concatenate(xs), np.concatenate(ys), style)


def _weights(groups: dict[str, list[Outcome]]) -> str:
    """Return which weights the lines have points at, as `greedy: 1, 0.8, 0.6`."""
    found = {name: sorted({one.weight for one in group if one.weight is not None}) for name, group in groups.items()}
    words = [f"{name}: {', '.join(f'{w:g}' for w in reversed(ws))}" for name, ws in found.items() if ws]
    return "; ".join(words) or "no policy here looks at it"


def _volumes(study: Study) -> str:
    """Return the hypervolumes of the points drawn, and the intervals of those of single replications."""
    delay_s, energy_j = study.reference or (0.0, 0.0)
    rows = "".join(
        f'<tr><td class="what"><b>{esc(name, 80)}</b></td><td>{digits(value)} J s</td>'
        f"<td>{esc(interval(study.hypervolumes_each[name], ''))}</td></tr>"
        for name, value in study.hypervolumes.items()
    )
    head = "<th>policy</th><th>of the points drawn</th><th>of each replication in</th>"
    return (
        f"<h3>Hypervolume up to {text(delay_s, 's')} and {text(energy_j, 'j')}</h3>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _table(study: Study) -> str:
    rows = []
    for i, outcome in enumerate(study.outcomes):
        if outcome.unstable:
            cells = f'<td colspan="5">unstable: {esc(outcome.overload)}</td>'
        else:
            numbers = outcome.numbers
            delay, energy = numbers["delay_s"], numbers["energy_per_task_j"]
            cells = "".join(
                f"<td>{esc(words)}</td>"
                for words in (
                    f"{text(delay.value, 's')} {interval(delay, 's')}", text(numbers["delay_p99_s"].value, "s"),
                    f"{text(energy.value, 'j')} {interval(energy, 'j')}", _difference(outcome),
                    "yes" if i in study.front else "",
                )
            )  # fmt: skip
        rows.append(f'<tr><td class="what"><b>{esc(named(outcome), 80)}</b></td>{cells}</tr>')
    head = "".join(
        f"<th>{name}</th>" for name in ("policy", "mean delay", "p99", "energy a task", OF_ASKED, "on the front")
    )
    return section(
        "All policies",
        f'<table class="times"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>',
        lead="All saw the same systems and tasks, so differences are surer than means. What is unstable has no mean.",
        name="policies",
    )


def _difference(outcome: Outcome) -> str:
    found = outcome.difference.get("delay_s")
    if found is None or found.value == 0:
        return ""
    return f"{text(found.value, 's')} {interval(found, 's')}"


def _over_time(study: Study) -> str:
    record, counted = study.first.record, study.first.counted
    arrival_s, finish_s = record.column("arrival_s"), record.column("finish_s")
    real = record.column("size_bits") > 0
    at_s, level = _level(arrival_s[real], finish_s[real])
    delays = np.sort((finish_s - arrival_s)[counted])
    place = np.unique(np.linspace(len(delays) // 100, len(delays) - 1, min(200, len(delays))).astype(int))
    share = (place + 1) / len(delays)
    inside = chart([Line("tasks", at_s, level, 0, filled=True)], Axis("time", "s"), Axis("tasks", ""))
    delay_axis, share_axis = Axis("delay", "s", log=True), Axis("share of tasks", "share")
    spread = chart([Line("share of tasks", delays[place], share, 1)], delay_axis, share_axis)
    drawings = (("Tasks in the system", inside), ("Distribution of delays", spread))
    body = "".join(f"<div><h3>{name}</h3>{drawing}</div>" for name, drawing in drawings)
    lead = f"{esc(named(study.main))}, first replication."
    return section("Over time", f'<div class="charts">{body}</div>', lead=lead, name="time")


def _level(arrival_s: Array, finish_s: Array) -> tuple[Array, Array]:
    """Return (times, tasks that have come and not ended) at evenly spaced times."""
    at_s = np.linspace(0.0, float(finish_s.max()), POINTS)
    inside = np.searchsorted(np.sort(arrival_s), at_s, "right") - np.searchsorted(np.sort(finish_s), at_s, "right")
    return at_s, inside.astype(float)


def _servers(study: Study) -> str:
    rows = "".join(
        f'<tr><td class="what"><b>{esc(one["name"])}</b></td><td>{text(one["frequency_hz"], "hz")}</td>'
        f"<td>{digits(one['median_rate_bits_per_s'] / 1e6)} Mb/s</td><td>{percent(one['task_share'])}</td>"
        f"<td>{digits(one['offered_share'])}</td></tr>"
        for one in servers(study)
    )
    head = "".join(f"<th>{name}</th>" for name in ("server", "frequency", "median link", "tasks", "load"))
    lead = f"Frequencies and links of the first replication; tasks and loads under {esc(named(study.main))} over all."
    return section("Servers", f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", lead=lead)


def _provenance(answer: Offloading) -> str:
    plan = answer.study.plan
    rows = {
        "file": Path(answer.file).name, "seed": plan.seed, "trace hash": answer.study.main.trace_hashes[0],
        **{f"note {i + 1}": note for i, note in enumerate(answer.notes)}, **answer.versions,
    }  # fmt: skip
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 500)}</dd>" for key, value in rows.items())
    return section("Where it is from", f'<dl class="facts">{items}</dl>')
