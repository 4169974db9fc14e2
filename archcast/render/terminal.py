"""The answer on a terminal: one compact table, what limits it, where it comes from; plain text where it is piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from archcast.render.breakdown import (
    BOUND_MEANING,
    answers,
    interval_meaning,
    per_token,
    verdict_words,
    what_would_help,
)
from archcast.render.console import make_console, plain_table, styled
from archcast.render.human import listed, percent, printable, shown, shown_s, text
from archcast.render.listings import print_device, print_devices, print_workload, print_workloads
from archcast.render.paths import print_paths
from costmodel.estimate import Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from costmodel.explain import Explanation, OperatorCost, Step

BOUND_STYLE: dict[str, str] = {"compute": "blue", "memory": "yellow", "network": "green", "overhead": "magenta"}
BAR = 20

__all__ = ["print_device", "print_devices", "print_estimate", "print_workload", "print_workloads"]


def print_estimate(estimate: Estimate, *, explain: bool = False, file: IO[str] | None = None) -> None:
    """Print an answer; with `explain` also the waterfall and fifteen operators in place of five.

    Args:
        file: where to print; None is stdout. Colours appear on a terminal only.
    """
    console = make_console(file)
    _head(console, estimate)
    _verdict(console, estimate)
    console.print(_answers(estimate))
    print_paths(console, estimate)
    _context(console, estimate)
    if estimate.detail is not None and estimate.latency_s is not None:
        explanation: Explanation = estimate.explain()
        if explain:
            console.print()
            console.print(_ladder(console, explanation.steps))
            if lost := _lost_to(explanation.steps):
                console.print(styled(lost))
        console.print()
        console.print(_operators(explanation.operators, 15 if explain else 5))
    for note in estimate.notes:
        console.print(styled(f"note: {printable(note, 1000)}", "dim"))


def _head(console: Console, estimate: Estimate) -> None:
    from rich.text import Text

    line = Text()
    line.append(printable(estimate.workload), style="bold")
    line.append(" on ", style="dim")
    line.append(printable(estimate.device), style="bold")
    count = "1 device" if estimate.devices == 1 else f"{estimate.devices:,} devices"
    layout = "" if estimate.mapping in ("", "one device") else f", {printable(estimate.mapping)}"
    line.append(f"  {count}{layout}", style="dim")
    console.print(line)
    asked = [f"{printable(k, 40)}={printable(v, 60)}" for k, v in estimate.request.items() if v not in (None, "")]
    if asked:
        console.print(styled("  ".join(asked), "dim"))


def _verdict(console: Console, estimate: Estimate) -> None:
    style = "green" if estimate.verdict == "feasible" else "bold red"
    console.print(styled(f"{estimate.verdict}: {verdict_words(estimate)}", style))
    for advice in what_would_help(estimate):
        console.print(styled(f"  what would help: {advice}"))


def _answers(estimate: Estimate) -> Table:
    table = plain_table(("", "left"), ("value", "right"), ("interval", "left"), ("", "left"))
    for axis, quantity in (*answers(estimate), *per_token(estimate)):
        if axis.field == "memory_bytes" and estimate.stores:
            for store in estimate.stores:
                held = f"of {text(store.usable_bytes, 'bytes')} usable, {store.holds}"
                label = store.name[:1].upper() + store.name[1:]
                table.add_row(label, styled(text(store.used_bytes, "bytes"), "bold"), "", styled(held, "dim"))
            continue
        print_as = shown(quantity, axis.kind)
        meaning = axis.short
        if axis.field == "cost_usd" and estimate.price_date:
            meaning = f"price of {printable(estimate.price_date, 30)}"
        if axis.field == "memory_bytes":
            meaning = f"of {text(estimate.capacity_bytes, 'bytes')} usable"
        table.add_row(axis.label, styled(print_as.value, "bold"), print_as.interval, styled(meaning, "dim"))
    if estimate.largest_batch is not None:
        table.add_row("Largest batch", styled(f"{estimate.largest_batch:,}", "bold"), "", styled("requests", "dim"))
    for label, value in (("Memory traffic", estimate.dram_bytes), ("Link traffic", estimate.link_bytes)):
        if value:
            whose = "" if estimate.devices == 1 else "a rank, all stages"
            table.add_row(label, styled(text(value, "traffic_bytes"), "bold"), "", styled(whose, "dim"))
    return table


def _context(console: Console, estimate: Estimate) -> None:
    """Say what limits the time, where it comes from, and what the intervals rest on."""
    if estimate.bound:
        bounds = estimate.bound.items()
        shares = [f"{percent(share)} {name} ({BOUND_MEANING.get(name, name)})" for name, share in bounds]
        console.print(styled(f"bound: {listed(shares)}"))
    if estimate.source:
        console.print(styled(f"source: {listed([f'{percent(s)} {name}' for name, s in estimate.source.items()])}"))
    if estimate.interval_kind:
        meaning = interval_meaning(estimate)
        console.print(styled(f"intervals: {estimate.interval_kind}{f', {meaning}' if meaning else ''}"))
    if estimate.versions:
        pairs = "  ".join(f"{printable(k, 40)} {printable(v, 40)}" for k, v in estimate.versions.items())
        console.print(styled(f"versions: {pairs}", "dim"))


def _operators(operators: Sequence[OperatorCost], limit: int) -> Table:
    table = plain_table(
        ("operator", "left"), ("phase", "left"), ("time", "right"), ("share", "right"), ("bound", "left"),
        ("source", "left"),
        title=f"Top {min(limit, len(operators))} of {len(operators):,} operators",
    )  # fmt: skip
    for o in operators[:limit]:
        table.add_row(
            styled(printable(o.name, 40)), styled(printable(o.phase, 12), "dim"), text(o.latency_s, "s"),
            percent(o.share), styled(o.bound, BOUND_STYLE.get(o.bound, "")), styled(o.source, "dim"),
        )  # fmt: skip
    return table


def _ladder(console: Console, steps: Sequence[Step]) -> Table:
    """Return the waterfall: where in the whole time each loss lies, and the rate that is left after it."""
    table = plain_table(
        ("step", "left"), ("", "left"), ("adds", "right"), ("rate left", "right"), ("of peak", "right"),
        title="From peak to achieved",
    )  # fmt: skip
    whole = sum(step.added_s for step in steps)
    peak = steps[0].rate_flop_per_s if steps else 0.0
    mark = "█" if console.encoding.lower().startswith("utf") else "#"
    before = 0.0
    for step in steps:
        share = step.rate_flop_per_s / peak if peak > 0 else 0.0
        style = "" if abs(step.added_s) > 1e-3 * whole else "dim"
        table.add_row(
            styled(step.name, style), styled(_bar(before, step.added_s, whole, mark), style or "cyan"),
            text(shown_s(step.added_s, whole), "s"), text(step.rate_flop_per_s, "flop_per_s"), percent(share),
            style=style,
        )  # fmt: skip
        before += step.added_s
    table.add_row(styled("achieved", "bold"), styled(mark * BAR, "bold"), styled(text(whole, "s"), "bold"), "", "")
    return table


def _lost_to(steps: Sequence[Step]) -> str:
    """Return which layers the losses of a spatial array are those of; of steps that take 1 % of the time."""
    whole = sum(step.added_s for step in steps)
    named = [f"{step.name}: {step.mostly}" for step in steps[1:] if step.mostly and step.added_s > 0.01 * whole]
    return f"lost mostly to: {'; '.join(named)}" if named else ""


def _bar(before: float, added: float, whole: float, mark: str) -> str:
    """Return a bar of `BAR` characters that begins where the last step ended."""
    if whole <= 0:
        return ""
    ends = sorted(max(0, min(BAR, round(BAR * x / whole))) for x in (before, before + added))
    return " " * ends[0] + mark * (ends[1] - ends[0])
