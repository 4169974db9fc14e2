"""Write `docs/networks.md`, the page of all built-in networks: `python -m workloads.document` (after a compile)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foundation.files import write_text_whole
from foundation.formats import number_format
from workloads.catalogue import DOMAINS, architecture_facts, load_model, workload_names
from workloads.model import Model, Request

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"

TITLES = {
    "language": "Language models",
    "multimodal": "Speech, images and text together",
    "vision": "Image networks",
    "generative": "Generators of images and video",
    "graph": "Graph networks",
    "search": "Spaces of architecture searches",
}
_INTRO = """# Networks of the catalogue

<!-- written by `python -m workloads.document`; a test compares the two -->

{names} networks of {families} families, from {sources} sources. `archcast workloads NAME` shows one with its knobs;
[workloads.md](workloads.md) says how to add one, [techniques.md](techniques.md) how to change one.

Parameters and MACs (multiply-accumulates of one forward pass at batch 1 and the default sizes, attention included) are
counted on the graph that is predicted; *off* is how far the parameters are from the published ones, and `-` where none
are published. KV is what one more token of context adds to the caches, in the network's own format, before any window
is full. The number at the end is that of the source below the table.
"""


def page() -> str:
    """Return the page of all networks."""
    names = workload_names()
    facts = {name: architecture_facts(name) for name in names}
    families = {entry["family"] for entry in facts.values()}
    sources = {entry["source"] for entry in facts.values()}
    parts = [_INTRO.format(names=len(names), families=len(families), sources=len(sources))]
    for domain in DOMAINS:
        chosen = {name: entry for name, entry in facts.items() if entry["domain"] == domain}
        if chosen:
            parts.append(_section(TITLES[domain], chosen, caches=domain in ("language", "multimodal")))
    return "\n".join(parts)


def _section(title: str, facts: Mapping[str, Mapping[str, Any]], *, caches: bool) -> str:
    numbers: dict[str, int] = {}
    rows = []
    ordered = sorted(facts, key=lambda name: (facts[name]["family"], facts[name]["source"], name))
    for name in ordered:
        entry, model = facts[name], load_model(name)
        summary = model.summary()
        number = numbers.setdefault(_cited(entry), len(numbers) + 1)
        off = _off(summary["parameters"], entry.get("published_parameters"))
        cells = [f"`{name}`", entry["family"], _count(summary["parameters"]), off, _count(summary["macs"])]
        cells += [_bytes(cache_bytes_per_token(model))] if caches else []
        rows.append([*cells, str(number)])
    head = ["network", "family", "parameters", "off", "MACs", *(["KV a token"] if caches else []), "source"]
    listed = "\n".join(f"{number}. {source}" for source, number in numbers.items())
    return f"## {title} ({len(rows)})\n\n{_table(head, rows)}\n\nSources:\n\n{listed}\n"


def cache_bytes_per_token(model: Model) -> float:
    """Return the bytes that one more token of context adds to the caches of a request (0: the model keeps none)."""
    if not model.defaults["prompt"]:
        return 0.0
    few, more = (_cache_bytes(model, prompt) for prompt in (2, 3))
    return more - few


def _cache_bytes(model: Model, prompt: int) -> float:
    total = 0.0
    for block in model.workload(Request(prompt=prompt, generate=1)).distinct_blocks():
        for o in block.operators:
            bits = number_format(o.state_dtype or o.kv_dtype or o.dtype).weight_bits
            total += float(np.max(o.state_elements)) * block.count * bits / 8
    return total


def _cited(entry: Mapping[str, Any]) -> str:
    published = entry.get("published_source")
    return f"{entry['source']}; counts: {published}" if published else str(entry["source"])


def _off(counted: float, published: float | None) -> str:
    if not published:
        return "-"
    off = counted / float(published) - 1
    return "exact" if counted == float(published) else f"{off:+.2%}"


def _count(value: float) -> str:
    """Return a count with three digits and K, M, G or T."""
    for factor, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= factor * 0.9995:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    return f"{value:,.0f} B" if value else "-"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return an aligned markdown table; columns of numbers stand right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = [name in ("parameters", "off", "MACs", "KV a token", "source") for name in head]

    def text(cells: list[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join([text(head), text(rule), *(text(line) for line in lines[1:])])


def main() -> None:
    """Write the page."""
    write_text_whole(PAGE, page())


if __name__ == "__main__":
    main()
