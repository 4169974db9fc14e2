"""The page of a search: the front, what each knob can reach, where time, energy and area of the knee go, the list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archcast.render.bars import numbered, stacked
from archcast.render.breakdown import Part, grouped
from archcast.render.document import report
from archcast.render.human import percent
from archcast.render.markup import esc, section
from archcast.render.search_course import course_html
from archcast.render.search_front import STYLE, front_html, reach_svgs
from archcast.render.search_text import mark, summary
from archcast.render.search_words import interval, plain, shown, step_words
from archcast.render.waterfall import waterfall_html
from costmodel.explain import Step
from foundation.files import write_text_whole

if TYPE_CHECKING:
    from archcast.searching.answer import SearchAnswer

LISTED = 40
STEPS: dict[str, tuple[str, str]] = {
    "ideal": ("peak", "every processing element busy in every cycle"),
    "shape": ("shape", "rows and columns that are idle at the edges of layers"),
    "fill": ("fill and drain", "filling and draining the array, loads that nothing hides"),
    "onchip": ("on-chip memory", "waits for the ports of buffers and the shared level"),
    "dram": ("device memory", "waits for device memory"),
    "issue": ("launch", "starting tiles"),
    "others": ("other operators", "sums, pools, norms and such: what they move, at the rate of device memory"),
}
"""Stage -> its name in a waterfall, and what it means."""

PARTS = {
    "mac": "multiply-accumulate", "registers": "registers of elements", "noc": "wires", "dram": "device memory",
    "static": "leakage and idle memory", "shared": "shared level", "array": "processing elements",
    "overhead": "wiring and control", "phy": "interface to memory",
}  # fmt: skip
"""Component -> its words."""


def write_search_html(answer: SearchAnswer, path: str | Path) -> None:
    """Write the page whole or not at all. Raises BadFileError: the folder is absent or cannot be written."""
    write_text_whole(path, search_page(answer))


def search_page(answer: SearchAnswer) -> str:
    """Return the page as text."""
    parts = [_header(answer)]
    if answer.front:
        parts += [_cards(answer), _front(answer), *_course(answer), _reach(answer), *_knee(answer), _list(answer)]
    parts += [_refused(answer), _provenance(answer)]
    title = f"{answer.study.name} - search - archcast"
    return report(title, STYLE, parts, answer.versions.get("archcast", ""))


def _header(answer: SearchAnswer) -> str:
    study = answer.study
    asked: dict[str, object] = {"batch": study.batch, "format": study.dtype} if study.request else {}
    chips = {"objectives": ", ".join(plain(name) for name in answer.objectives), **asked,
             **({"method": study.method, "fidelity": plain(study.fidelity)} if answer.run is not None else {}),
             **{plain(k): shown(k, v) for k, v in study.problem.fixed.items()}}  # fmt: skip
    if study.problem.limits:
        chips["limits"] = ", ".join(f"not {limit.text}" for limit in study.problem.limits)
    items = "".join(f"<li><i>{esc(key, 60)}</i>{esc(value, 200)}</li>" for key, value in chips.items())
    verdict = (
        "" if answer.front
        else '<p class="verdict no"><b>Infeasible.</b> No design keeps all limits; the reasons are below.</p>'
    )  # fmt: skip
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · search</p>'
        f"<h1>{esc(study.name, 120)}{f' <span>on</span> {esc(study.design)}' if study.workload else ''}</h1>"
        f'<ul class="chips">{items}</ul><p class="answer">{esc(summary(answer), 2000)}</p>{verdict}</header>'
    )


def _cards(answer: SearchAnswer) -> str:
    assert answer.knee is not None
    design, binds = answer.front[answer.knee], answer.binds[answer.knee]
    cards = []
    for name in answer.objectives:
        words = step_words(binds.get(name, {}))
        about = (
            f"lowered most by {words}" if words else "no single step lowers it" if answer.study.cheap is None else ""
        )
        cards.append((f"Knee: {plain(name)}", shown(name, design[name]["value"]), interval(name, design[name]), about))
    volume = answer.hypervolume
    if volume is not None:
        cards.append(("Hypervolume", percent(volume), "", "of the box from the best to 1.1 times the front's worst"))
    html = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<div class="ends">{esc(ends)}</div><p class="about">{esc(about)}</p></div>'
        for name, value, ends, about in cards
    )
    note = (
        "The knee is the design of the front that is nearest to the best of all objectives at once, each on a "
        "logarithmic scale from its best to its worst."
    )
    return f'<div class="wide"><div class="stats">{html}</div><p class="note">{note}</p></div>'


def _front(answer: SearchAnswer) -> str:
    lead = (
        "Designs that no other beats in all objectives. The dashed stair is the front of the two axes alone; designs "
        "above it are on the front for what the colour shows. The pointer shows a design's knobs."
    )
    return section("Front", front_html(answer), lead=lead, name="front")


def _course(answer: SearchAnswer) -> list[str]:
    body = course_html(answer)
    lead = (
        "What an adaptive method had found when. Volume is that of the box from the best values of the run to "
        "1.1 times the front's worst; best values are over those at the end."
    )
    return [section("Course of the search", body, lead=lead, name="course")] if body else []


def _reach(answer: SearchAnswer) -> str:
    lead = (
        "For each value of a knob the best of each objective that any choice of the other knobs reaches, over the best "
        "of all. A flat line is a knob that does not matter for that objective; a line that still falls at an end "
        "says that the range is too short. Between names, such as dataflows, differences within the interval of a "
        "value are within the model's error."
    )
    if answer.run is not None:
        lead = lead.replace("any choice of the other knobs reaches", "the designs evaluated with it reached")
    body = reach_svgs(answer)
    return section("What each knob can reach", body, lead=lead, name="reach")


def _knee(answer: SearchAnswer) -> list[str]:
    """Return where the time, the energy and the area of the knee go."""
    assert answer.knee is not None
    design = answer.front[answer.knee]
    steps, so_far = [], 0.0
    for stage, added in design.get("stages_s", {}).items():
        name, meaning = STEPS.get(stage, (plain(stage), ""))
        so_far += added
        steps.append(Step(name, meaning, added, 2 * design.get("macs", 0.0) / so_far if so_far > 0 else 0.0))
    knobs = ", ".join(
        f"{plain(knob.name)} {shown(knob.name, design['knobs'][knob.name])}"
        for knob in answer.study.problem.space.knobs if knob.count > 1
    )  # fmt: skip
    lead = f"The knee: {esc(knobs, 400)}. The rows add up to its latency."
    parts = [section("Where time goes", waterfall_html(steps), lead=lead, name="time")] if steps else []
    for title, name, key in (("Where energy goes", "energy_j", "energy_parts_j"),
                             ("Where area goes", "area_mm2", "area_parts_mm2")):  # fmt: skip
        if sum(design.get(key, {}).values()) > 0:
            parts.append(_parts(title, name, design[key]))
    return parts


def _parts(title: str, name: str, parts: dict[str, float]) -> str:
    whole = sum(parts.values())
    ranked = sorted(((key, value) for key, value in parts.items() if value > 0), key=lambda item: -item[1])
    found = [Part(f"{PARTS.get(key, plain(key))}, {shown(name, value)}", value, value / whole) for key, value in ranked]
    body = stacked(grouped(found, 9), "", numbered(found))
    return section(title, body, wide=False, lead="Of the knee.", name=plain(name))


def _list(answer: SearchAnswer) -> str:
    knobs = answer.chosen
    steps = any(answer.binds)
    last = [f"lowers {plain(answer.objectives[0])} most"] if steps else []
    heads = ["", *(plain(name) for name in (*answer.objectives, *knobs)), *last]
    rows = []
    for place in answer.listed(LISTED):
        design = answer.front[place]
        rows.append([
            mark(answer, place), *(shown(name, design[name]["value"]) for name in answer.objectives),
            *(shown(name, design["knobs"][name]) for name in knobs),
            *([step_words(answer.binds[place].get(answer.objectives[0], {}))] if steps else []),
        ])  # fmt: skip
    lead = f"{len(rows)} designs that stand for the {len(answer.front):,} of the front; --json has all, with intervals."
    numbers = 1 + len(answer.objectives) + len(knobs)
    return section("Designs", _table(heads, rows, numbers), lead=lead, name="designs")


def _refused(answer: SearchAnswer) -> str:
    refused = answer.refused()
    if not refused:
        return ""
    rows = []
    for one in refused:
        lacking = one.get("shortfall_bytes")
        ends = f"{shown('_bytes', lacking['least'])} to {shown('_bytes', lacking['most'])}" if lacking else ""
        rows.append([one["reason"], f"{one['designs']:,}", percent(one["designs"] / answer.tally.designs), ends])
    lead = "A design counts for the first limit that it fails: knobs, area, whether its tiles fit, then the rest."
    table = _table(["reason", "designs", "of all", "short by"], rows, 4)
    return section("What was refused", table, lead=lead, name="refused")


def _provenance(answer: SearchAnswer) -> str:
    study, tally, size = answer.study, answer.tally, answer.study.problem.space.size
    rows: dict[str, object] = {
        "space": ", ".join(f"{knob.name} {knob.count:,.0f}" for knob in study.problem.space.knobs),
        "designs": f"{tally.designs:,} of {f'{size:,}' if size else 'endlessly many'}", "method": study.method,
        "seed": answer.seed,
        "digest of the question": study.digest, **answer.versions,
    }  # fmt: skip
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 600)}</dd>" for key, value in rows.items())
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in answer.notes)
    return section("Where it is from", f'<dl class="facts">{items}</dl>{notes}', wide=True)


def _table(heads: list[str], rows: list[list[str]], numbers: int) -> str:
    """Return a table: words, then columns of numbers up to `numbers`, then words, which wrap as heads do."""

    def style(i: int) -> str:
        return ' class="mark"' if i == 0 else ' class="n"' if i < numbers else ' class="wrap"'

    head = "".join(f"<th{style(i)}>{esc(words)}</th>" for i, words in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{style(i)}>{esc(words, 200)}</td>" for i, words in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table class="tight"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
