"""What the tests of the page do: open it, choose, and read what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, Locator, Page

from archcast.render.human import shown
from costmodel.estimate import Estimate, Quantity

WAIT_MS = 15_000
REFUSED = re.compile(r"Failed to load resource: .* status of 4\d\d")  # the browser says so of every 4xx
READY = "html[data-ready=yes]"
FIELDS = {"latency_s": "s", "energy_j": "j", "memory_bytes": "bytes", "rate_hz": "per_s"}
GENERATOR = {**FIELDS, "ttft_s": "s", "tpot_s": "s", "cost_usd": "usd", "tokens_per_s": "per_s"}


def opened(browser: Browser, url: str, faults: list[str], **options: Any) -> Iterator[Page]:
    context = browser.new_context(base_url=url, **{"viewport": {"width": 1280, "height": 900}, **options})
    one = context.new_page()
    one.set_default_timeout(WAIT_MS)
    one.on("pageerror", lambda error: faults.append(f"error: {error}"))
    one.on("console", lambda said: None if REFUSED.search(said.text) else faults.append(f"console: {said.text}"))
    one.on(
        "request", lambda asked: None if asked.url.startswith((url, "blob:")) else faults.append(f"left: {asked.url}")
    )
    yield one
    context.close()


def show(page: Page, address: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"/{address}")
    page.wait_for_selector(READY)


def choose(page: Page, label: str, typed: str, value: str) -> None:
    """Pick from a combobox by typing and clicking."""
    page.get_by_role("combobox", name=label, exact=True).fill(typed)
    page.locator(f'[role=option][data-value="{value}"]').first.click()


def card(page: Page, quantity: str) -> tuple[str, str]:
    """Return what a card shows: the number with its unit, and the ends."""
    one = page.locator(f'.stat[data-quantity="{quantity}"]')
    return one.locator(".big").inner_text().replace("\n", " "), one.locator(".ends").inner_text()


def expected(quantity: Quantity, kind: str) -> tuple[str, str]:
    words = shown(quantity, kind)
    number = f"${words.number}" if words.unit == "$" else f"{words.number}{words.unit}"
    return number, f"{words.lo} to {words.hi}"


def assert_shows(page: Page, answer: Estimate, fields: dict[str, str]) -> None:
    for field, kind in fields.items():
        number, ends = card(page, field)
        assert (number.replace(" ", ""), ends) == expected(getattr(answer, field), kind), field


def readout(page: Page) -> str:
    return page.locator(".chief .big").inner_text()


def slider(page: Page) -> Locator:
    return page.locator("#whatif").get_by_role("slider")


def batch_at(page: Page) -> int:
    return int(page.get_by_label("Exactly").input_value())
