"""Write `docs/books.md`, the page of the books: `python -m hardware_specs.book_document` (after a compile)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foundation.files import write_text_whole
from hardware_specs.books import PURCHASES, REGIONS, TRENDS, BookSpec, load_book
from hardware_specs.figures import Figure

PAGE = Path(__file__).parents[1] / "docs" / "books.md"

_INTRO = """# Books: prices, electricity, carbon and trends

<!-- written by `python -m hardware_specs.book_document`; a test compares the two -->

What [growth plans](growth.md) are made with, with ranges in brackets. Figures marked (est.) no document states; the
others are within the sources below each table. A file of your own takes the place of a book:
`growth: {books: {regions: mine.yaml}}`, in the form of `hardware_specs/catalogue/books/`. Rental prices are those of
the [devices](devices.md).
"""


def page() -> str:
    """Return the page."""
    parts = [_INTRO, _purchases(load_book(PURCHASES)), _regions(load_book(REGIONS)), _trends(load_book(TRENDS))]
    return "\n".join(parts)


def _purchases(book: BookSpec) -> str:
    rows = [
        [one.device, one.date, _shown(one.price_usd), _shown(one.server_usd), _shown(one.embodied_kg)]
        for one in book.purchases
    ]
    heads = ["device", "date", "a device, USD", "its share of the box, USD", "CO2e of making it, kg"]
    return f"## Purchase prices\n\n{_table(heads, rows)}\n{_about(book)}"


def _regions(book: BookSpec) -> str:
    rows = []
    for one in book.regions:
        power, grid = one.electricity[-1], one.grid[-1]
        rows.append([
            one.region, f"{_shown(power.usd_per_kwh)}, {power.date[:7]}", f"{_shown(grid.g_per_kwh)}, {grid.date[:4]}",
            _shown(one.pue), _shown(one.hosting_usd_per_kw_month),
        ])  # fmt: skip
    heads = ["region", "electricity, USD/kWh", "grid, g CO2e/kWh", "PUE", "hall, USD/kW a month"]
    return f"## Regions\n\nThe latest entries.\n\n{_table(heads, rows)}\n{_about(book)}"


def _trends(book: BookSpec) -> str:
    assert book.trends is not None
    words = {
        "purchase_decline": "a device of today costs less to buy", "rental_decline": "an hour of it costs less",
        "resale_decline": "a used device is worth less", "resale_first": "of its price, just after it was bought",
        "reserved_share": "of the price by the hour, when reserved for a year",
        "maintenance": "of the price, for repair and support", "electricity_rise": "electricity costs more",
        "grid_decline": "the grid emits less", "performance_per_usd": "new devices do more for a dollar",
        "performance_per_w": "new devices do more for a watt",
    }  # fmt: skip
    rows = [[name, _shown(getattr(book.trends, name)), about] for name, about in words.items()]
    return f"## Trends\n\nShares a year (0.1 is 10 %).\n\n{_table(['name', 'a year', 'what'], rows)}\n{_about(book)}"


def _shown(figure: Figure) -> str:
    value = f"{figure.value:,.4g}" if abs(figure.value) < 1e4 else f"{figure.value:,.0f}"
    ends = "" if figure.lo == figure.hi else f" [{_plain(figure.lo)} .. {_plain(figure.hi)}]"
    return f"{value}{ends}{' (est.)' if figure.estimated else ''}"


def _plain(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _about(book: BookSpec) -> str:
    sources = "\n".join(f"- {words}." for words in book.sources.values())
    return f"{' '.join(book.notes.split())}\n\nSources:\n\n{sources}\n"


def main() -> None:
    """Write the page."""
    write_text_whole(PAGE, page())


if __name__ == "__main__":
    main()
