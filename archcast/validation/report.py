"""The table of `archcast validate`: for a terminal of 100 columns, as JSON, as a page of the docs, as HTML.

First what must be reached (`archcast.validation.must_reach`), then every case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from archcast.validation.must_reach import TARGETS
from archcast.validation.run import Outcome, Validation
from archcast.validation.scoring import ALL, Errors, Line
from archcast.validation.splits import RULE
from archcast.validation.targets import Reached, reached

WIDTH = 100
HEAD = ("n", "answ.", "MAPE", "median", "p90", "inside", "width")
WIDTHS = (8, 6, 7, 7, 7, 7, 7)
FEWEST_BASES, BASE = 2, 9
RULES = (
    "n: test rows. answ.: share that the model answered from what it learned; the others are scored with what stands "
    "in, the closed form or an answer marked extrapolated (what has no answer at all enters no error). A line with too "
    "few answered is marked * and does not count. MAPE, median, p90: of |predicted / measured - 1|. inside, width: "
    "share of rows in their 90 % interval, and the median of its ends, high over low. Last columns: MAPE of the "
    "baselines on the same rows. With several seeds: means, and the worst seed's MAPE in brackets; n adds up."
)
MORE = ("worst_share", "group_mape_share", "rho_ratio", "auroc_share", "cell_least_share", "cell_most_share",
        "cells_met_share")  # fmt: skip
"""Numbers of a line that only the JSON document holds."""
SUMMARY_HEAD = ("must be reached", "baseline", "bound", "mean", "worst", "inside", "width", "met")
SUMMARY_WIDTHS = (41, 21, 7, 7, 7, 7, 6, 4)


def percent(share: float) -> str:
    """Return a share in percent, `-` for none."""
    if not math.isfinite(share):
        return "-"
    return f"{share:.1%}" if share < 9.995 else ">999%"


def ratio(value: float) -> str:
    """Return a ratio such as `1.23x`, `-` for none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f}x" if value < 99.995 else ">99x"


def cells(line: Line) -> list[str]:
    """Return the numbers of a line, without its baselines."""
    errors = line.errors
    star = "" if line.counts else "*"
    mape = percent(errors.mape_share)
    if line.worst_share > errors.mape_share:
        mape = f"{mape} ({percent(line.worst_share)})"
    return [
        f"{line.rows:,}", f"{line.answered_share:.0%}{star}", mape,
        percent(errors.median_error_share), percent(errors.p90_error_share),
        "-" if math.isnan(line.coverage_share) else f"{line.coverage_share:.0%}", ratio(line.width_ratio),
    ]  # fmt: skip


def name_of(line: Line) -> str:
    return f"{line.device} {line.label}".strip()


def text(found: Validation) -> str:
    """Return the table for a terminal, no line longer than `WIDTH`."""
    out: list[str] = ["", *_summary_text(found)]
    for outcome in found.scored:
        case = outcome.case
        out += ["", *_wrapped(f"{case.name}: {case.title}; {case.split_text}; {outcome.fitted}", "", "    ")]
        bases = [_short(name) for name in case.baselines]
        room = WIDTH - sum(WIDTHS) - BASE * max(len(bases), FEWEST_BASES)
        out.append(
            " " * room + "".join(f"{h:>{w}}" for h, w in zip(HEAD, WIDTHS, strict=True))
            + "".join(f"{b:>{BASE}}" for b in bases)
        )  # fmt: skip
        for line in outcome.lines:
            numbers = "".join(f"{c.split(' (')[0]:>{w}}" for c, w in zip(cells(line), WIDTHS, strict=True))
            base = "".join(f"{percent(line.baseline_mape_share(name)):>{BASE}}" for name in case.baselines)
            out.append(f"{_cut('  ' + name_of(line), room - 1):{room}}{numbers}{base}")
        for note in notes_of(outcome):
            out += _wrapped(note, "    ", "    ")
    out += ["", *_wrapped(RULES, "", "")]
    out += [line for outcome in _skipped(found) for line in
            _wrapped(f"skipped: {outcome.case.name}: {outcome.skipped}", "", "    ")]  # fmt: skip
    return "\n".join(out[1:])


def summary(found: Validation) -> list[Reached]:
    """Return the rows that must be reached and that this run says something about; all where most of them are."""
    rows = reached(found, TARGETS)
    measured = [row for row in rows if row.met is not None]
    return rows if len(measured) > len(rows) // 2 else measured


def summary_cells(row: Reached) -> list[str]:
    """Return the cells of a row under `SUMMARY_HEAD`."""
    target, line = row.target, row.line
    show = (lambda value: "-" if math.isnan(value) else f"{value:.3f}") if target.plain else percent
    met = "-" if row.met is None else "yes" if row.met else "no"
    inside = "-" if line is None or math.isnan(line.coverage_share) else f"{line.coverage_share:.0%}"
    bound = "-" if target.elsewhere else f"{'>' if target.more else '<'}{show(target.bound).replace('.0%', '%')}"
    return [target.row, target.baseline, bound, target.elsewhere or show(row.value), show(row.worst), inside,
            ratio(line.width_ratio) if line is not None else "-", met]  # fmt: skip


def _summary_text(found: Validation) -> list[str]:
    rows = [summary_cells(row) for row in summary(found)]
    if not rows:
        return []
    out = []
    for row in (list(SUMMARY_HEAD), *rows):
        if row[3].startswith("bench"):
            row = [*row[:3], "", "", "", "", ""] if len(row[0]) > 40 else [row[0], row[1], f"  {row[3]}", *[""] * 5]
        cut = [f"{_cut(cell, width - 1):{width}}" for cell, width in zip(row[:2], SUMMARY_WIDTHS, strict=False)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(row[2:], SUMMARY_WIDTHS[2:], strict=True)]
        out.append("".join((*cut, *numbers)).rstrip())
    return out


def notes_of(outcome: Outcome) -> list[str]:
    """Return the sentences of a case: its notes, what its doubt tells, and how even its coverage is."""
    out = list(outcome.notes)
    for line in outcome.lines:
        if not line.device.startswith(ALL):
            continue
        words = f"{line.label}: " if line.label else ""
        if math.isfinite(line.auroc_share):
            out.append(f"{words}doubt tells errors above 10 % with an AUROC of {line.auroc_share:.2f}")
        if math.isfinite(line.cell_least_share):
            out.append(
                f"{words}coverage of each device's third of sizes: {line.cell_least_share:.0%} to "
                f"{line.cell_most_share:.0%}, {line.cells_met_share:.0%} of them as nominal"
            )
        if math.isfinite(line.group_mape_share) and outcome.case.name == "wheel-moe":
            out.append(f"{words}mean over configurations: {percent(line.group_mape_share)}")
    return out


def _skipped(found: Validation) -> Iterable[Outcome]:
    return (outcome for outcome in found.outcomes if not outcome.lines)


def _short(name: str) -> str:
    return name.split()[0][: BASE - 1] if len(name) >= BASE else name


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else words[: width - 1] + "~"


def _wrapped(words: str, first: str, later: str) -> list[str]:
    import textwrap

    return textwrap.wrap(words, WIDTH, initial_indent=first, subsequent_indent=later)


def to_json(found: Validation) -> dict[str, Any]:
    """Return plain values; a number that does not exist is null. Shares are of one, ratios without unit."""
    return {
        "seed": found.seed, "seeds": found.seeds, "full": found.full, "model": found.model, "sampling": RULE,
        "must_reach": [_row(row) for row in summary(found)], "cases": [_case(o) for o in found.outcomes],
    }  # fmt: skip


def _row(row: Reached) -> dict[str, Any]:
    target = row.target
    return {
        "row": target.row, "baseline": target.baseline, "at_least": target.more, "bound_share": _known(target.bound),
        "mean_share": _known(row.value), "worst_share": _known(row.worst), "met": row.met,
        "elsewhere": target.elsewhere,
    }  # fmt: skip


def _case(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "name": case.name, "title": case.title, "data": case.folder or case.package, "importer": case.importer,
        "quantity": case.quantity, "split": case.split_text, "fitted": outcome.fitted,
        "least_answered_share": case.least_answered, "skipped": outcome.skipped, "notes": notes_of(outcome),
        "lines": [_line(line) for line in outcome.lines],
    }  # fmt: skip


def _line(line: Line) -> dict[str, Any]:
    return {
        "device": line.device, "label": line.label, "rows": line.rows, "groups": line.groups, "counts": line.counts,
        "answered_share": _known(line.answered_share), **_errors(line.errors),
        "interval_coverage_share": _known(line.coverage_share), "interval_width_ratio": _known(line.width_ratio),
        **{name: _known(getattr(line, name)) for name in MORE},
        "baselines": {name: _errors(errors) for name, errors in line.baselines.items()},
    }  # fmt: skip


def _errors(errors: Errors) -> dict[str, Any]:
    return {
        "scored_rows": errors.rows, "mape_share": _known(errors.mape_share),
        "median_error_share": _known(errors.median_error_share), "p90_error_share": _known(errors.p90_error_share),
    }  # fmt: skip


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def rows_of(outcome: Outcome) -> list[list[str]]:
    """Return the cells of a case's lines as text, name first, baselines with their median behind a slash."""
    return [
        [
            name_of(line), *cells(line),
            *(f"{percent(e.mape_share)} / {percent(e.median_error_share)}" for e in line.baselines.values()),
        ]
        for line in outcome.lines
    ]  # fmt: skip


def heads_of(outcome: Outcome) -> list[str]:
    """Return the headings of `rows_of`."""
    return ["device", "n", "answered", *HEAD[2:], *(f"{name}: MAPE / median" for name in outcome.case.baselines)]


def page(found: Validation, figure: str = "") -> str:
    """Return the page of the docs (Markdown); `figure` is the path of the drawing beside it, '' for none."""
    out = [
        "# How right the answers are", "",
        f"Written by `archcast validate --page FILE` ({_seeds(found)}); [validate.md](validate.md) says how. Each "
        "case holds whole groups out, never rows: what is fitted saw other groups only. Where nothing is fitted, the "
        "closed form answers as `archcast predict` does without a model.", "",
    ]  # fmt: skip
    out += _summary_page(found)
    out += [RULES.replace("*", r"\*"), "", f"Samples of whole models: {RULE}.", ""]
    if figure:
        out += [f"![Predicted against measured time, by device]({figure})", "",
                "Predicted against measured time of held-out rows, both axes logarithmic; the band is a factor of "
                "two either way.", ""]  # fmt: skip
    for outcome in found.scored:
        case = outcome.case
        out += [f"## {case.title}", "",
                f"`{case.name}`, `{case.quantity}`; {case.split_text}; fitted: {outcome.fitted}.", ""]  # fmt: skip
        heads = heads_of(outcome)
        out += ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        out += ["| " + " | ".join(c.replace("*", r"\*") for c in row) + " |" for row in rows_of(outcome)]
        notes = notes_of(outcome)
        out += ["", *(f"- {note}" for note in notes), *([""] if notes else [])]
    skipped = [f"- `{outcome.case.name}`: {outcome.skipped}" for outcome in _skipped(found)]
    if skipped:
        out += ["## Not scored", "", *skipped, ""]
    return "\n".join(out)


def _seeds(found: Validation) -> str:
    last = found.seed + found.seeds - 1
    return f"seed {found.seed}" if found.seeds == 1 else f"seeds {found.seed} to {last}"


def _summary_page(found: Validation) -> list[str]:
    rows = [summary_cells(row) for row in summary(found)]
    if not rows:
        return []
    out = ["## What must be reached", "", "| " + " | ".join(SUMMARY_HEAD) + " |", "|---|---|" + "---:|" * 6]
    out += ["| " + " | ".join(row) + " |" for row in rows]
    return [*out, "", "Mean and worst over seeds; inside and width are of the row's 90 % intervals. A row is met by "
            "its mean, and only where enough of its rows are answered.", ""]  # fmt: skip


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2430;"
    "background:#fff}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #dde3ea}"
    "th:first-child,td:first-child{text-align:left}h2{margin-top:2rem;font-size:1.1rem}svg{max-width:100%;height:auto}"
    "p,li{color:#4a5666}@media(prefers-color-scheme:dark){body{background:#12161c;color:#e4e9f0}"
    "th,td{border-color:#2a323d}p,li{color:#a5b0be}svg{background:#fff}}"
)


def html(found: Validation, svg: str = "") -> str:
    """Return one self-contained page; `svg` is the drawing, '' for none."""
    from archcast.render.document import document
    from archcast.render.markup import esc

    body = [f"<h1>How right the answers are</h1><p>{esc(RULES)}</p>"]
    if rows := [summary_cells(row) for row in summary(found)]:
        body.append("<h2>What must be reached</h2>" + _table(SUMMARY_HEAD, rows))
    if svg:
        body.append(svg[svg.find("<svg") :])
    for outcome in found.scored:
        case = outcome.case
        notes = "".join(f"<li>{esc(note)}</li>" for note in notes_of(outcome))
        body.append(
            f"<h2>{esc(case.title)}</h2><p>{esc(f'{case.name}: {case.split_text}; fitted: {outcome.fitted}')}</p>"
            f"{_table(heads_of(outcome), rows_of(outcome))}<ul>{notes}</ul>"
        )
    skipped = "".join(f"<li>{esc(f'{o.case.name}: {o.skipped}')}</li>" for o in _skipped(found))
    body.append(f"<h2>Not scored</h2><ul>{skipped}</ul>" if skipped else "")
    return document("archcast validate", STYLE, f"<main>{''.join(body)}</main>")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    from archcast.render.markup import esc

    head = "".join(f"<th>{esc(word)}</th>" for word in heads)
    lines = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
