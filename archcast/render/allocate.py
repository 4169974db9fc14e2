"""The page of an allocation: who gets what, the frontier, the budgets, what is next best, and what proves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archcast.allocating.words import LEAST_SHOWN, amount, plain
from archcast.render.allocate_front import STYLE, budgets_html, worth_html
from archcast.render.allocate_text import cut, item_rows
from archcast.render.document import report
from archcast.render.human import digits, percent
from archcast.render.markup import esc, section
from foundation.files import write_text_whole

if TYPE_CHECKING:
    from archcast.allocating.answer import Allocation

KEYS = ".c-front{background:var(--accent)}.c-chosen{background:var(--memory)}td.words{white-space:normal}"


def write_allocate_html(answer: Allocation, path: str | Path) -> None:
    """Write the page whole or not at all. Raises BadFileError: the folder is absent or cannot be written."""
    write_text_whole(path, allocate_page(answer))


def allocate_page(answer: Allocation) -> str:
    """Return the page as text."""
    parts = [_header(answer)]
    if answer.chosen:
        parts += [_cards(answer), _frontier(answer), _items(answer), _budgets(answer), _next(answer)]
    else:
        parts.append(_lacking(answer))
    parts += [_refused(answer), _provenance(answer)]
    title = f"{answer.study.name} - allocation - archcast"
    return report(title, STYLE + KEYS, parts, answer.versions.get("archcast", ""))


def _header(answer: Allocation) -> str:
    study = answer.study
    risk = {
        "nominal": "most likely costs", "upper": "upper ends",
        "chance": f"{100 * study.risk.probability:g} % probability{' of all together' if study.risk.joint else ''}",
        "robust": f"upper ends of {study.risk.gamma:g} at once",
    }[study.risk.kind]  # fmt: skip
    chips = {"items": answer.size["items"], "options": answer.size["options"], "each item gets": study.choose,
             "budgets hold for": risk}  # fmt: skip
    chips |= {
        f"{plain(b.name)} {'of all' if b.of == 'total' else 'of each'}": f"at most {amount(b.name, b.most)}"
        for b in study.budgets
    }
    items = "".join(f"<li><i>{esc(key, 60)}</i>{esc(value, 200)}</li>" for key, value in chips.items())
    verdict = "" if answer.chosen else '<p class="verdict no"><b>Infeasible.</b> What is missing is below.</p>'
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · allocation</p>'
        f"<h1>{esc(study.name, 120)}</h1>"
        f'<ul class="chips">{items}</ul><p class="answer">{esc(answer.summary, 2000)}</p>{verdict}</header>'
    )


def _cards(answer: Allocation) -> str:
    by = {
        "prices": "by prices of the budgets",
        "solver": "by the solver's tree",
        "enumeration": "every choice was tried",
    }
    total = answer.totals[answer.main]
    cards = [
        ("Expected worth", digits(answer.worth), "", f"at most {digits(answer.bound)}: {by[answer.bound_by]}"),
        ("Certified gap", "0 %" if answer.gap < 5e-7 else f"{100 * answer.gap:.2g} %", "", answer.status),
        (f"In all: {plain(answer.main)}", amount(answer.main, total.value),
         f"{amount(answer.main, total.lo)} .. {amount(answer.main, total.hi)}", "90 % of joint draws"),
    ]  # fmt: skip
    if answer.study.risk.kind != "nominal":
        lost = answer.price_of_risk
        cards.append(("Price of risk", percent(lost) if lost >= LEAST_SHOWN else "nothing", "",
                      f"of {digits(answer.nominal_worth)} at most likely costs"))  # fmt: skip
    html = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<div class="ends">{esc(ends)}</div><p class="about">{esc(about)}</p></div>'
        for name, value, ends, about in cards
    )
    return f'<div class="wide"><div class="stats">{html}</div></div>'


def _frontier(answer: Allocation) -> str:
    lead = (
        f"What the best choice is worth when {esc(plain(answer.main))} may be more or less, the other budgets as they "
        "are. The pointer shows each point."
    )
    return section(f"Worth against {plain(answer.main)}", worth_html(answer), lead=lead, name="frontier")


def _items(answer: Allocation) -> str:
    rows = item_rows(answer)
    numbers = range(2, len(rows[0]))
    lead = " ".join(["Costs are of one request, with 90 % intervals; success is the caller's.", *cut(answer)])
    return section("Who gets what", _table(rows, numbers), lead=lead, name="items")


def _budgets(answer: Allocation) -> str:
    lead = f"What is held against a shared budget: {esc(answer.basis)}."
    return section("Budgets", budgets_html(answer), lead=lead, name="budgets")


def _next(answer: Allocation) -> str:
    if not answer.nearest:
        return ""
    rows = [["item", "from", "to", "worth"]]
    rows += [[c.item, c.before, c.after, f"{c.worth:+.4g}"] for c in answer.nearest]
    lead = "Changes of one item that keep every budget and lose least."
    return section("Next best", _table(rows, range(3, 4)), lead=lead, name="next")


def _lacking(answer: Allocation) -> str:
    rows = [["what", "item", "least possible", "allowed"]]
    rows += [[plain(one.what), one.item or "all", amount(one.what, one.least), amount(one.what, one.most)]
             for one in answer.lacking]  # fmt: skip
    grown = answer.grown
    note = "" if grown is None else (
        f'<p class="note">{esc(digits(grown))} times as much of every budget is enough.</p>'
    )  # fmt: skip
    return section("What is missing", _table(rows, range(2, 4)) + note, name="missing")


def _refused(answer: Allocation) -> str:
    if not answer.refused:
        return ""
    rows = [["reason", "pairs"], *([why, f"{n:,}"] for why, n in answer.refused.items())]
    lead = "Pairs of an item and an option that are no choice."
    return section("Options left out", _table(rows, range(1, 2)), lead=lead, name="refused", wide=False)


def _provenance(answer: Allocation) -> str:
    rows: dict[str, object] = {
        "method": answer.method, "risk": answer.study.risk.kind, "seed": answer.study.seed,
        "time": f"{answer.wall_s:.2f} s", **answer.versions,
    }  # fmt: skip
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 600)}</dd>" for key, value in rows.items() if value != "")
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in answer.notes)
    return section("Where it is from", f'<dl class="facts">{items}</dl>{notes}', wide=True)


def _table(rows: list[list[str]], numbers: range) -> str:
    def style(i: int) -> str:
        return ' class="n"' if i in numbers else ' class="words"'

    head = "".join(f"<th{style(i)}>{esc(words)}</th>" for i, words in enumerate(rows[0]))
    body = "".join(
        "<tr>" + "".join(f"<td{style(i)}>{esc(words, 200)}</td>" for i, words in enumerate(row)) + "</tr>"
        for row in rows[1:]
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
