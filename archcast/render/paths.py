"""Dynamic networks: the paths of inputs, quantiles over them, and what batches of unequal inputs lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archcast.render.console import plain_table, styled
from archcast.render.human import percent, printable, shown, text
from archcast.render.markup import esc, section
from costmodel.estimate import Distribution, Estimate

if TYPE_CHECKING:
    from rich.console import Console

BATCHING: tuple[tuple[str, str], ...] = (
    ("regrouped", "batches filled up again with inputs of their own kind"),
    ("compact", "each part runs the inputs that need it"),
    ("padded", "every input runs what the hardest of its batch needs"),
)


def quantile_words(estimate: Estimate) -> list[str]:
    """Return one sentence a distribution: p50, p90 and p99 of time and energy."""
    found = []
    whole = "inputs" if estimate.request.get("batch", 1) == 1 else "batches"
    for name, kind, quantity in (("latency", "s", estimate.latency_s), ("energy", "j", estimate.energy_j)):
        if isinstance(quantity, Distribution):
            marks = zip(("p50", "p90", "p99"), (quantity.p50, quantity.p90, quantity.p99), strict=True)
            found.append(f"{name} over {whole}: " + ", ".join(f"{mark} {text(value, kind)}" for mark, value in marks))
    return found


def batching_rows(estimate: Estimate) -> list[tuple[str, str, str, str]]:
    """Return (way, time, loss, meaning) of each way to batch unequal inputs; none for a batch of one."""
    found = estimate.batching
    losses = {"regrouped": 0.0, "compact": found.get("compact_loss_share"), "padded": found.get("padded_loss_share")}
    return [
        (name, text(found[f"{name}_s"], "s"), percent(losses[name] or 0.0), meaning)
        for name, meaning in BATCHING
        if found
    ]


def print_paths(console: Console, estimate: Estimate) -> None:
    """Print the paths of a dynamic network; nothing for any other."""
    if not estimate.paths:
        return
    table = plain_table(("path", "left"), ("share", "right"), ("latency", "right"), ("interval", "left"),
                        ("energy", "right"), title="Paths of one input")  # fmt: skip
    for path in estimate.paths:
        latency = shown(path.latency_s, "s")
        table.add_row(styled(printable(path.name, 40)), percent(path.share), latency.value, latency.interval,
                      text(path.energy_j.value, "j"))  # fmt: skip
    console.print()
    console.print(table)
    for line in quantile_words(estimate):
        console.print(styled(line))
    if rows := batching_rows(estimate):
        table = plain_table(("batching", "left"), ("a batch", "right"), ("lost", "right"), ("", "left"))
        for name, time, loss, meaning in rows:
            table.add_row(styled(name), time, loss, styled(meaning, "dim"))
        console.print(table)


def paths_section(estimate: Estimate) -> str:
    """Return the card of a dynamic network's paths; an empty text for any other."""
    if not estimate.paths:
        return ""
    rows = "".join(
        f'<tr><td class="name">{esc(p.name, 60)}</td><td class="n">{percent(p.share)}</td>'
        f'<td class="n">{text(p.latency_s.value, "s")}</td><td>{esc(shown(p.latency_s, "s").interval)}</td>'
        f'<td class="n">{text(p.energy_j.value, "j")}</td></tr>'
        for p in estimate.paths
    )
    heads = "".join(
        f'<th scope="col"{" class=n" if numeric else ""}>{word}</th>'
        for word, numeric in (("path", 0), ("share", 1), ("latency", 1), ("interval", 0), ("energy", 1))
    )
    body = (
        f'<div class="scroll"><table class="plain"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    body += "".join(f'<p class="note">{esc(line)}</p>' for line in quantile_words(estimate))
    if ways := batching_rows(estimate):
        cells = "".join(
            f'<tr><td class="name">{name}</td><td class="n">{time}</td><td class="n">{loss}</td><td>{meaning}</td></tr>'
            for name, time, loss, meaning in ways
        )
        words = (("batching", ""), ("a batch", " class=n"), ("lost", " class=n"), ("", ""))
        heads = "".join(f'<th scope="col"{style}>{word}</th>' for word, style in words)
        body += f'<h3>batches of unequal inputs</h3><div class="scroll"><table class="plain"><thead><tr>{heads}</tr>'
        body += f"</thead><tbody>{cells}</tbody></table></div>"
    lead = "Each input takes one path; what is answered above is the mean. Costs here are of an input by itself."
    return section("Paths", body, lead=lead, name="paths")
