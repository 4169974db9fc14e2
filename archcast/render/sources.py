"""The end of the page: what makes the answer repeatable, and where each figure of the device came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archcast.render.breakdown import interval_meaning
from archcast.render.figures import figure_rows
from archcast.render.markup import esc, section
from costmodel.estimate import Estimate
from foundation.errors import ArchcastError

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec


def provenance_section(estimate: Estimate, device: DeviceSpec | None) -> str:
    """Return versions, hashes, the kind of interval, and the device's figures with their ranges and sources."""
    kind = estimate.interval_kind
    facts = [("workload", estimate.workload), ("device", estimate.device), ("mapping", estimate.mapping)]
    if kind:
        facts.append(("intervals", f"{kind}: {interval_meaning(estimate)}"))
    if estimate.price_date:
        facts.append(("price of", estimate.price_date))
    facts += [
        (f"version of {name}" if name != "device" else "hash of the device", value)
        for name, value in estimate.versions.items()
    ]
    items = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in facts)
    spec = device if device is not None else _from_catalogue(estimate)
    lead = "The same question to the same versions gives the same answer, to the last digit."
    body = f'<dl class="facts">{items}</dl>{_figures(spec, estimate.device)}'
    return section("Where it comes from", body, lead=lead, name="sources")


def _from_catalogue(estimate: Estimate) -> DeviceSpec | None:
    """Return the catalogue's description, if it is the one that was used; a file is never opened here."""
    from costmodel.rates import compile_rates
    from hardware_specs import is_path, load_device

    if is_path(estimate.device):
        return None
    try:
        spec = load_device(estimate.device)
    except ArchcastError:
        return None
    used = estimate.versions.get("device") or (estimate.detail.rates.digest() if estimate.detail else "")
    return spec if used in ("", compile_rates(spec).digest()) else None


def _figures(spec: DeviceSpec | None, name: str) -> str:
    if spec is None:
        words = f"The figures of {name} as used here are not the catalogue's: they stand in the file that describes it."
        return f'<p class="note">{esc(words)}</p>'
    rows, estimated, total = [], 0, 0
    for row in figure_rows(spec):
        total, estimated = total + 1, estimated + row.estimated
        style = ' class="est"' if row.estimated else ""
        rows.append(
            f"<tr><td>{esc(row.place)}</td><td class=n>{esc(row.value)}</td><td>{esc(row.range)}</td>"
            f"<td{style}>{esc(row.origin)}</td></tr>"
        )
    head = '<tr><th>figure</th><th class="n">value</th><th>range</th><th>source</th></tr>'
    summary = (
        f"{total} figures of {esc(spec.name)}: {total - estimated} from sources, {estimated} estimated with a range"
    )
    notes = f'<p class="note">{esc(spec.notes.strip(), 2000)}</p>' if spec.notes else ""
    return (
        f'<details><summary>{summary}</summary><div class="scroll"><table><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}</details>"
    )
