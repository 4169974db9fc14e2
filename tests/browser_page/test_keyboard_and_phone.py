"""The page without a mouse, without eyes and on a narrow screen."""

from __future__ import annotations

import pytest

import archcast as ac

pytest.importorskip("playwright", reason="archcast[dev] has it")
pytest.importorskip("fastapi", reason="archcast[service] has it")
from playwright.sync_api import Page, expect

from browser_page.pages import expected, show

pytestmark = pytest.mark.browser


def test_the_keyboard_alone_reaches_everything(page: Page) -> None:
    show(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "answer"
    page.get_by_role("combobox", name="Workload").focus()
    page.keyboard.type("bert-large")
    active = page.get_by_role("combobox", name="Workload").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_contain_text("bert-large on")
    page.keyboard.press("Tab")
    page.keyboard.type("rtx 4090")
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_have_text("bert-large on rtx-4090")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("listbox", name="Device")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox", name="Device")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.type("8")
    answer = ac.predict("bert-large", on="rtx-4090", batch=8)
    expect(page.locator('.stat[data-quantity="latency_s"] .ends')).to_have_text(expected(answer.latency_s, "s")[1])  # type: ignore[arg-type]
    expect(page.locator("#live")).to_contain_text("bert-large on rtx-4090")
    kinds = []
    for _ in range(14):
        page.keyboard.press("Tab")
        kinds.append(page.evaluate("document.activeElement.type || document.activeElement.tagName"))
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none", kinds[-1]
    assert "range" in kinds


OVERFLOW = """() => [...document.querySelectorAll("body *")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !each.closest(".scroll, pre, svg, .unseen, [hidden]");
}).map((each) => each.tagName + "." + each.className)"""


SMALL = """() => [...document.querySelectorAll("button, select, nav a, input:not([type=checkbox])")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && box.height < 40 && !each.closest("[hidden], #report, .skip");
}).map((each) => each.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize(
    "address",
    ["", "#workload=llama-3.1-70b", "#view=compare&on=h100-sxm,l40s,b200,edge-tpu", "#view=jobs",
     "#workload=resnet-50&on=hailo-8"],
)  # fmt: skip
def test_a_phones_width_holds_everything(phone: Page, address: str) -> None:
    show(phone, address)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    assert phone.evaluate(OVERFLOW) == []
    assert phone.evaluate(SMALL) == []


def test_every_field_and_picture_has_a_name(page: Page) -> None:
    for view in ("predict", "compare", "jobs"):
        show(page, f"#view={view}&on=h100-sxm,l40s")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button")].filter((each) =>
              !(each.labels && each.labels.length) && !each.getAttribute("aria-label") && !each.textContent.trim()
            ).map((each) => each.outerHTML.slice(0, 90))"""
        )
        assert nameless == []
        assert page.evaluate(
            "[...document.querySelectorAll('svg[role=img]')].every((each) => each.getAttribute('aria-label'))"
        )
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert len(ids) == len(set(ids))
