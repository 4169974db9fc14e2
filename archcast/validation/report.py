"""The table of `archcast validate`: for a terminal of 100 columns, as JSON, as a page of the docs, as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from archcast.validation.run import Outcome, Validation
from archcast.validation.scoring import Errors, Line
from archcast.validation.splits import RULE

WIDTH = 100
HEAD = ("n", "answ.", "MAPE", "median", "p90", "inside", "width")
WIDTHS = (9, 7, 8, 8, 8, 7, 8)
NAME, BASE = 27, 9
RULES = (
    "n: test rows. answ.: share that the model answered from what it learned; the others are scored with what stands "
    "in, the closed form or an answer marked extrapolated (what has no answer at all enters no error). A line with too "
    "few answered is marked * and does not count. MAPE, median, p90: of |predicted / measured - 1|. inside, width: "
    "share of rows in their 90 % interval, and the median of its ends, high over low. Last columns: MAPE of the "
    "baselines on the same rows."
)


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
    return [
        f"{line.rows:,}", f"{line.answered_share:.0%}{star}", percent(errors.mape_share),
        percent(errors.median_error_share), percent(errors.p90_error_share),
        "-" if math.isnan(line.coverage_share) else f"{line.coverage_share:.0%}", ratio(line.width_ratio),
    ]  # fmt: skip


def name_of(line: Line) -> str:
    return f"{line.device} {line.label}".strip()


def text(found: Validation) -> str:
    """Return the table for a terminal, no line longer than `WIDTH`."""
    out: list[str] = []
    for outcome in found.scored:
        case = outcome.case
        out += ["", *_wrapped(f"{case.name}: {case.title}; {case.split_text}; {outcome.fitted}", "", "    ")]
        bases = [_short(name) for name in case.baselines]
        out.append(
            " " * NAME + "".join(f"{h:>{w}}" for h, w in zip(HEAD, WIDTHS, strict=True))
            + "".join(f"{b:>{BASE}}" for b in bases)
        )  # fmt: skip
        for line in outcome.lines:
            numbers = "".join(f"{c:>{w}}" for c, w in zip(cells(line), WIDTHS, strict=True))
            base = "".join(f"{percent(line.baselines[name].mape_share):>{BASE}}" for name in case.baselines)
            out.append(f"{_cut('  ' + name_of(line), NAME - 1):{NAME}}{numbers}{base}")
        for note in outcome.notes:
            out += _wrapped(note, "    ", "    ")
    out += ["", *_wrapped(RULES, "", "")]
    out += [line for outcome in _skipped(found) for line in
            _wrapped(f"skipped: {outcome.case.name}: {outcome.skipped}", "", "    ")]  # fmt: skip
    return "\n".join(out[1:])


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
    return {"seed": found.seed, "model": found.model, "sampling": RULE, "cases": [_case(o) for o in found.outcomes]}


def _case(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "name": case.name, "title": case.title, "data": case.folder or case.package, "importer": case.importer,
        "quantity": case.quantity, "split": case.split_text, "fitted": outcome.fitted,
        "least_answered_share": case.least_answered, "skipped": outcome.skipped, "notes": list(outcome.notes),
        "lines": [_line(line) for line in outcome.lines],
    }  # fmt: skip


def _line(line: Line) -> dict[str, Any]:
    return {
        "device": line.device, "label": line.label, "rows": line.rows, "groups": line.groups, "counts": line.counts,
        "answered_share": _known(line.answered_share), **_errors(line.errors),
        "interval_coverage_share": _known(line.coverage_share), "interval_width_ratio": _known(line.width_ratio),
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
        f"Written by `archcast validate --page FILE` (seed {found.seed}); [validate.md](validate.md) says how. Each "
        "case holds whole groups out, never rows: what is fitted saw other groups only. Where nothing is fitted, the "
        "closed form answers as `archcast predict` does without a model.", "",
    ]  # fmt: skip
    out += [RULES.replace("*", r"\*"), "", f"Samples: {RULE}.", ""]
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
        out += ["", *(f"- {note}" for note in outcome.notes), *([""] if outcome.notes else [])]
    skipped = [f"- `{outcome.case.name}`: {outcome.skipped}" for outcome in _skipped(found)]
    if skipped:
        out += ["## Not scored", "", *skipped, ""]
    return "\n".join(out)


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
    if svg:
        body.append(svg[svg.find("<svg") :])
    for outcome in found.scored:
        case = outcome.case
        heads = "".join(f"<th>{esc(head)}</th>" for head in heads_of(outcome))
        cells_of = ("".join(f"<td>{esc(cell)}</td>" for cell in row) for row in rows_of(outcome))
        lines = "".join(f"<tr>{cell}</tr>" for cell in cells_of)
        notes = "".join(f"<li>{esc(note)}</li>" for note in outcome.notes)
        body.append(
            f"<h2>{esc(case.title)}</h2><p>{esc(f'{case.name}: {case.split_text}; fitted: {outcome.fitted}')}</p>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
            f"<ul>{notes}</ul>"
        )
    skipped = "".join(f"<li>{esc(f'{o.case.name}: {o.skipped}')}</li>" for o in _skipped(found))
    body.append(f"<h2>Not scored</h2><ul>{skipped}</ul>" if skipped else "")
    return document("archcast validate", STYLE, f"<main>{''.join(body)}</main>")
