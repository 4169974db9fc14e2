"""The service's page in a real browser: clicks, keys, dragging, a narrow screen, jobs, tokens, on `archcast serve`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.render.human import percent, shown, text
from archcast.service.page import document
from costmodel.estimate import Estimate, Quantity

pytest.importorskip("playwright", reason="archcast[dev] has it")
pytest.importorskip("fastapi", reason="archcast[service] has it")
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TOKEN = "a-token-of-thirty-characters!!"
WAIT_MS = 15_000
REFUSED = re.compile(r"Failed to load resource: .* status of 4\d\d")  # the browser says so of every 4xx
READY = "html[data-ready=yes]"


class Service:
    """`archcast serve` on a free port, in a process of its own."""

    def __init__(self, folder: Path, repository: Path, token: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": str(repository), "ARCHCAST_TOKEN": token}
        command = [sys.executable, "-m", "archcast", "serve", "--port", "0", "--data", str(folder), "--no-log"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.url = ""

    def wait(self) -> Service:
        """Wait until it answers /readyz."""
        assert self.process.stdout is not None
        while not self.url:
            line = self.process.stdout.readline()
            assert line, "archcast serve ended before it said where it listens"
            found = re.search(r"http://\S+?(?=/?\s|/?$)", line)
            self.url = found.group().rstrip("/") if found else ""
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("archcast serve is not ready after 30 s")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a service that is open and of one that wants a token; they start side by side."""
    started = [
        Service(tmp_path_factory.mktemp("open"), repository),
        Service(tmp_path_factory.mktemp("closed"), repository, TOKEN),
    ]
    try:
        yield started[0].wait().url, started[1].wait().url
    finally:
        for service in started:
            service.end()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What must not happen on any page: errors, words on the console, requests to elsewhere."""
    faults: list[str] = []
    yield faults
    assert faults == []


@pytest.fixture
def page(browser: Browser, services: tuple[str, str], watched: list[str]) -> Iterator[Page]:
    yield from opened(browser, services[0], watched)


@pytest.fixture
def phone(browser: Browser, services: tuple[str, str], watched: list[str]) -> Iterator[Page]:
    yield from opened(browser, services[0], watched, viewport={"width": 360, "height": 740}, has_touch=True)


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


FIELDS = {"latency_s": "s", "energy_j": "j", "memory_bytes": "bytes", "rate_hz": "per_s"}
GENERATOR = {**FIELDS, "ttft_s": "s", "tpot_s": "s", "cost_usd": "usd", "tokens_per_s": "per_s"}


def test_a_workload_and_a_device_chosen_by_clicks_show_the_answer_of_predict(page: Page) -> None:
    show(page)
    assert_shows(page, ac.predict("llama-3.1-8b", on="h100-sxm"), GENERATOR)
    choose(page, "Workload", "resnet50", "resnet-50")
    expect(page.locator("#answer-title")).to_have_text("resnet-50 on h100-sxm")
    choose(page, "Device", "l40s", "l40s")
    expect(page.locator("#answer-title")).to_have_text("resnet-50 on l40s")
    page.get_by_label("Batch", exact=True).fill("16")
    answer = ac.predict("resnet-50", on="l40s", batch=16)
    expect(page.locator('.stat[data-quantity="latency_s"] .ends')).to_have_text(expected(answer.latency_s, "s")[1])  # type: ignore[arg-type]
    assert_shows(page, answer, FIELDS)
    assert page.get_by_role("spinbutton", name="Prompt tokens").is_hidden()
    for name, share in answer.source.items():
        expect(page.locator(".origin")).to_contain_text(f"{name} {percent(share)}")
    expect(page.locator("#card-roofline svg.roofline").first).to_be_visible()
    assert page.locator("#card-roofline .dot").count() > 10
    assert "workload=resnet-50&on=l40s&batch=16" in page.url


def test_what_does_not_fit_is_said_with_what_is_short_and_what_would_help(page: Page) -> None:
    show(page, "#workload=llama-3.1-70b")
    expect(page.locator("#verdict")).to_contain_text("Infeasible. 52.8 GiB")
    expect(page.locator("#verdict li").first).to_be_visible()
    assert page.locator("svg.memory .missing").count() == 1
    page.locator("#whatif").get_by_role("slider").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    answer = ac.predict("llama-3.1-70b", on="h100-sxm", count=8)
    assert readout(page) == text(answer.latency_s.value, "s")  # type: ignore[union-attr]
    page.get_by_role("button", name="Ask with 8").click()
    expect(page.locator("#verdict")).to_contain_text("Feasible.")
    assert_shows(page, answer, GENERATOR)


def test_an_address_shows_the_same_view_again_and_the_back_button_leads_back(page: Page) -> None:
    address = (
        "#view=predict&workload=llama-3.1-8b&on=l40s,h100-sxm&batch=4&prompt=2048&knob=prompt&at=2048&metric=energy_j"
    )
    show(page, address)
    answer = ac.predict("llama-3.1-8b", on="l40s", batch=4, prompt=2048)
    assert_shows(page, answer, GENERATOR)
    assert readout(page) == text(answer.energy_j.value, "j")  # type: ignore[union-attr]
    expect(page.get_by_label("Shows")).to_have_value("energy_j")
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("table.compare tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("#answer")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Prompt tokens")).to_have_value("2048")


def test_a_number_that_is_none_is_said_in_the_words_of_the_service(page: Page) -> None:
    show(page, "#workload=llama-3.1-8bb")
    expect(page.locator("#trouble")).to_contain_text("llama-3.1-8b")
    choose(page, "Workload", "llama-3.1-8b", "llama-3.1-8b")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#answer-title")).to_contain_text("llama-3.1-8b")


def test_a_wrong_number_is_said_at_its_box_and_nothing_is_sent(page: Page) -> None:
    show(page, "#workload=resnet-50&on=l40s&batch=4")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    box, stale = page.get_by_label("Batch", exact=True), page.locator("#stale")
    fault = page.locator(f"#{(box.get_attribute('aria-describedby') or '').split()[-1]}")
    expect(fault).to_have_attribute("aria-live", "polite")
    for typed in ("8.5", "1e9", "99999999999999999", "-3", "0"):
        box.fill("")
        box.press_sequentially(typed)
        box.press("Tab")
        page.wait_for_timeout(350)  # longer than typing rests
        expect(fault).to_have_text("Not sent: give a whole number from 1 to 10,000,000.")
        expect(box).to_have_value(typed)
        expect(stale).to_have_text("What stands below was asked with batch 4.")
        assert float(page.locator("#answer").evaluate("(each) => getComputedStyle(each).opacity")) < 0.6
    assert asked == []
    box.fill("8")
    expect(stale).to_be_hidden()
    expect(fault).to_have_text("")
    answer = ac.predict("resnet-50", on="l40s", batch=8)
    expect(page.locator('.stat[data-quantity="latency_s"] .ends')).to_have_text(expected(answer.latency_s, "s")[1])  # type: ignore[arg-type]
    expect(page.locator("#answer")).to_have_css("opacity", "1")


def test_a_wrong_number_under_the_curve_is_said_and_leaves_the_handle(page: Page) -> None:
    show(page, "#workload=resnet-50&on=l40s&batch=4")
    page.get_by_label("Exactly").fill("2.5")
    expect(page.locator(".exactly .fault")).to_contain_text("a whole number from 1 to 10,000,000")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 4")
    page.get_by_label("Exactly").fill("6")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 6")
    expect(page.locator(".exactly .fault")).to_have_text("")


@pytest.mark.parametrize("width", [1280, 360])
def test_a_small_share_of_memory_is_labelled_inside_its_card_and_in_one_unit(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    show(page, "#workload=llama-3.1-405b&on=rtx-4090")
    label = page.locator("#report .scale .cap").first
    expect(label).to_have_text("23.0 GiB usable")
    inner, outer = label.bounding_box(), label.locator("xpath=..").bounding_box()
    assert inner is not None
    assert outer is not None
    assert outer["x"] <= inner["x"]
    assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
    zero = label.locator("xpath=preceding-sibling::span")
    if zero.count():
        box = zero.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] < inner["x"]
    answer = ac.predict("llama-3.1-405b", on="rtx-4090")
    missing, held = text(answer.shortfall_bytes, "bytes"), text(answer.memory_bytes.value, "bytes")
    expect(page.locator(".chief")).to_contain_text(f"{missing} short of the {held} that it must hold")
    assert not re.search(r"\d [GM]B(?!/)", page.locator("#answer, #whatif").all_inner_texts().__str__())


def slider(page: Page) -> Locator:
    return page.locator("#whatif").get_by_role("slider")


def batch_at(page: Page) -> int:
    return int(page.get_by_label("Exactly").input_value())


def test_dragging_the_slider_shows_the_value_of_the_service_at_every_point(page: Page) -> None:
    show(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider(page).scroll_into_view_if_needed()
    box = slider(page).bounding_box()
    assert box is not None
    seen: dict[int, str] = {}
    page.mouse.move(box["x"] + 13, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in np.linspace(0.05, 0.8, 9):
        page.mouse.move(box["x"] + 13 + share * (box["width"] - 26), box["y"] + box["height"] / 2)
        seen[batch_at(page)] = readout(page)
    page.mouse.up()
    assert len(seen) >= 8
    assert asked == []  # the whole curve was there before
    found = ac.predict_batch(workload="llama-3.1-8b", on="h100-sxm", batch=list(seen))
    for at, (batch, words) in enumerate(seen.items()):
        assert words == text(found["latency_s"][at], "s"), batch


def test_arrow_keys_move_the_slider_and_an_exact_value_is_asked_for(page: Page) -> None:
    show(page)
    slider(page).focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowUp", "PageUp", "ArrowLeft"):
        page.keyboard.press(key)
    batch = batch_at(page)
    assert batch > 3
    row = ac.predict("llama-3.1-8b", on="h100-sxm", batch=batch)
    assert row.latency_s is not None
    assert readout(page) == text(row.latency_s.value, "s")
    assert shown(row.latency_s, "s").value in (slider(page).get_attribute("aria-valuetext") or "")
    page.get_by_label("Exactly").fill("137")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 137")
    exact = ac.predict("llama-3.1-8b", on="h100-sxm", batch=137)
    assert readout(page) == text(exact.latency_s.value, "s")  # type: ignore[union-attr]
    page.get_by_label("Shows").select_option("tpot_s")
    assert readout(page) == text(exact.tpot_s.value, "s")  # type: ignore[union-attr]


def test_users_in_service_have_a_curve_too(page: Page) -> None:
    show(page, "#knob=concurrency&metric=tokens_per_s")
    slider(page).focus()
    page.keyboard.press("End")
    answer = ac.predict("llama-3.1-8b", on="h100-sxm", concurrency=256)
    assert readout(page) == text(answer.tokens_per_s.value, "per_s")  # type: ignore[union-attr]


def test_a_drag_event_is_shown_within_fifty_milliseconds(page: Page) -> None:
    show(page)
    slider(page).scroll_into_view_if_needed()
    times = page.evaluate(
        """async () => {
          const slide = document.querySelector("input.slide"), found = [];
          for (let i = 0; i <= 40; i += 1) {
            const before = document.querySelector(".chief .name").textContent, start = performance.now();
            slide.value = (i * 7919) % 10000;
            slide.dispatchEvent(new Event("input", {bubbles: true}));
            const now = document.querySelector(".chief .name").textContent;
            void document.body.offsetHeight;
            if (now !== before) found.push(performance.now() - start);
          }
          return found;
        }"""
    )
    assert len(times) > 30
    print(f"readout after a drag event: median {np.median(times):.2f} ms, worst {max(times):.2f} ms")
    assert np.percentile(times, 95) < 50


def test_an_older_answer_never_overwrites_a_newer_one(page: Page) -> None:
    show(page)
    held: list[Any] = []

    def late(route: Any) -> None:
        if '"batch":7' in (route.request.post_data or ""):
            held.append(route)  # the first question waits
        else:
            route.continue_()

    page.route("**/v1/predict", late)
    batch = page.get_by_label("Batch", exact=True)
    batch.fill("7")
    for _ in range(60):
        if held:
            break
        page.wait_for_timeout(50)
    assert held
    batch.fill("9")
    answer = ac.predict("llama-3.1-8b", on="h100-sxm", batch=9)
    expect(page.locator('.stat[data-quantity="latency_s"] .ends')).to_have_text(expected(answer.latency_s, "s")[1])  # type: ignore[arg-type]
    for route in held:
        with contextlib.suppress(Error):  # the page has given that request up already
            route.continue_()
    page.wait_for_timeout(300)
    assert_shows(page, answer, GENERATOR)


def test_the_comparison_has_the_columns_of_predict_batch_and_sorts(page: Page) -> None:
    on = ["h100-sxm", "l40s", "b200", "rtx-4090", "edge-tpu"]
    show(page, f"#view=compare&on={','.join(on)}&batch=4")
    found = ac.predict_batch(workload="llama-3.1-8b", on=on, batch=4)
    rows = page.locator("table.compare tbody tr")
    expect(rows).to_have_count(len(on))

    def order() -> list[str]:
        return [row.get_attribute("data-device") or "" for row in rows.all()]

    def ranked(field: str, up: bool = True) -> list[str]:
        fits = [i for i in range(len(on)) if np.isfinite(found[field][i])]
        rest = [on[i] for i in range(len(on)) if i not in fits]
        return [on[i] for i in sorted(fits, key=lambda i: found[field][i] * (1 if up else -1))] + rest

    assert order() == ranked("latency_s")
    for at, device in enumerate(on):
        cell = page.locator(f'tr[data-device="{device}"] td[data-field="latency_s"]')
        value = found["latency_s"][at]
        assert cell.inner_text().split("\n")[0] == (text(value, "s") if np.isfinite(value) else "-")
    page.get_by_role("button", name="Energy").click()
    assert order() == ranked("energy_j")
    page.keyboard.press("Enter")  # the heading keeps the focus
    assert order() == ranked("energy_j", up=False)
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("Energy")
    assert "sort=energy_j&up=no" in page.url
    choose(page, "Compare with", "h200", "h200-sxm")
    expect(rows).to_have_count(len(on) + 1)
    page.get_by_role("button", name="Remove l40s").click()
    expect(rows).to_have_count(len(on))
    page.locator('tr[data-device="b200"] button.device').click()
    expect(page.locator("#answer-title")).to_have_text("llama-3.1-8b on b200")


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


def put_file(page: Page, file: str) -> None:
    """Put a YAML file into the form, as JSON where the service has no route that reads YAML."""
    asked = page.request.post("/v1/yaml", data={"text": file})
    page.get_by_label("File", exact=True).fill(json.dumps(document(file)) if asked.status == 404 else file)


def test_a_job_is_sent_followed_and_its_result_kept(page: Page, tmp_path: Path) -> None:
    show(page, "#view=jobs")
    field = page.get_by_label("File", exact=True)
    expect(field).to_have_value(re.compile("kind: edge"))
    put_file(page, field.input_value())
    page.get_by_role("button", name="Send the job").click()
    row = page.locator("table.jobs tbody tr").first
    expect(row).to_have_attribute("data-state", re.compile("queued|running|done"))
    expect(row).to_have_attribute("data-state", "done", timeout=30_000)
    expect(page.locator("#job-result")).to_contain_text("Result: simulate")
    assert page.locator("#job-result dd").count() > 3
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download JSON").click()
    kept.value.save_as(tmp_path / "result.json")
    assert '"versions"' in (tmp_path / "result.json").read_text(encoding="utf-8")
    field.fill("kind: edge\nusers: [")
    page.get_by_role("button", name="Send the job").click()
    expect(page.locator("#job-trouble")).to_contain_text(re.compile("not valid YAML|JSON only"))


LONG_SEARCH = """
kind: search
workload: resnet-50
dtype: int8
space:
  rows: {from: 8, to: 256, step: 2}
  cols: {from: 8, to: 256, step: 2}
  input_buffer_bytes: {from: 8 KiB, to: 4 MiB, times: 2}
  weight_buffer_bytes: [256 KiB]
  output_buffer_bytes: [64 KiB]
  dataflow: [ws, os, is]
  dram_bandwidth_bytes_per_s: [17.1 GB/s]
fixed: {clock_hz: 1 GHz, node_nm: 16, dram: lpddr4}
objectives: [latency_s, energy_j]
"""


def test_a_job_shows_its_progress_and_ends_when_it_is_cancelled(page: Page) -> None:
    show(page, "#view=jobs")
    page.get_by_label("Kind", exact=True).select_option("search")
    put_file(page, LONG_SEARCH)
    page.get_by_role("button", name="Send the job").click()
    row = page.locator("table.jobs tbody tr").first
    expect(row.get_by_role("progressbar")).to_have_attribute("value", re.compile(r"0\.\d+"), timeout=30_000)
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_attribute("data-state", "cancelled", timeout=20_000)


SHORT_SEARCH = """
kind: search
workload: resnet-50
dtype: int8
space:
  rows: [8, 16]
  cols: [8, 16, 32]
  input_buffer_bytes: [64 KiB]
  weight_buffer_bytes: [256 KiB]
  output_buffer_bytes: [64 KiB]
  dataflow: [ws]
  dram_bandwidth_bytes_per_s: [17.1 GB/s]
fixed: {clock_hz: 1 GHz, node_nm: 16, dram: lpddr4}
objectives: [latency_s, energy_j]
"""


def test_a_job_has_a_name_a_time_and_a_count_and_is_deleted_when_asked_once(page: Page) -> None:
    show(page, "#view=jobs")
    form, listed = page.locator("#jobs form").bounding_box(), page.locator("#job-list").bounding_box()
    assert form is not None
    assert listed is not None
    assert form["y"] + form["height"] < listed["y"]
    page.get_by_label("Kind", exact=True).select_option("search")
    put_file(page, SHORT_SEARCH)
    before = page.locator("table.jobs tbody tr").count()
    page.get_by_role("button", name="Send the job").click()
    expect(page.locator("table.jobs tbody tr")).to_have_count(before + 1)
    row = page.locator("table.jobs tbody tr").first
    expect(row).to_have_attribute("data-state", "done", timeout=30_000)
    expect(row.get_by_role("rowheader")).to_have_text(re.compile(r"^resnet-50search, \d\d:\d\d$"))
    expect(row.locator(".progress")).to_have_text("6 designs")
    job = row.get_attribute("data-job")
    row.get_by_role("button", name="Delete search resnet-50").click()
    row.get_by_role("button", name="Keep").click()
    assert page.request.get(f"/v1/jobs/{job}").status == 200
    row.get_by_role("button", name="Delete search resnet-50").click()
    page.keyboard.press("Enter")  # the question has the focus
    expect(page.locator(f'tr[data-job="{job}"]')).to_have_count(0)
    expect(page.locator("#job-result")).to_be_hidden()
    assert page.request.get(f"/v1/jobs/{job}").status == 404


def test_a_wrong_token_is_said_and_the_right_one_answers(
    browser: Browser, services: tuple[str, str], watched: list[str]
) -> None:
    for page in opened(browser, services[1], watched):
        page.goto("/")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("wants its token")
        expect(page.locator("#trouble")).to_have_text(re.compile("wants its token"))
        for given in ("wrong-wrong-wrong", TOKEN):
            page.get_by_label("Token", exact=True).fill(given)
            page.get_by_role("button", name="Use it").click()
            if given != TOKEN:
                expect(dialog).to_be_visible()
                expect(dialog.get_by_role("heading")).to_have_text("The token was not accepted")
                expect(page.get_by_label("Token", exact=True)).to_have_attribute("aria-invalid", "true")
                expect(page.locator("#trouble")).to_contain_text("not accepted")
                assert not re.search("header|Bearer", page.locator("body").inner_text())
                assert page.evaluate("sessionStorage.length") == 0  # a refused token is not kept
                assert page.locator(".stat").count() == 0
        page.wait_for_selector(READY)
        assert_shows(page, ac.predict("llama-3.1-8b", on="h100-sxm"), GENERATOR)
        assert page.evaluate("Object.keys(localStorage).length") == 0
        assert TOKEN not in page.url


def test_numbers_are_written_as_in_every_other_report(page: Page) -> None:
    random = np.random.default_rng(7)
    ties = [2.125, 0.125, 1234.5, 999.5, 99.95, 0.0005, 16.125 * 2**30]
    ends = [0.0, 1e-20, 59.99, 600.0, 7200.0, 172800.0, 1e23]
    drawn = (10 ** random.uniform(-18, 16, 400)).tolist()
    values = [*ties, *ends, *drawn, *np.round(random.uniform(0, 2000, 200), 1).tolist()]
    kinds = ["s", "j", "w", "bytes", "per_s", "usd", "count", "flop_per_s"]
    shares = [0.0, 1.0, 0.9995, 0.99949, 0.0004, 0.0005, 0.125, 0.0625, *random.uniform(0, 1.5, 300).tolist()]
    show(page)
    found = page.evaluate(
        """async ([values, kinds, shares]) => {
          const {text, percent} = await import("/static/format.js");
          return [kinds.map((kind) => values.map((value) => text(value, kind))), shares.map(percent)];
        }""",
        [values, kinds, shares],
    )
    assert found[0] == [[text(value, kind) for value in values] for kind in kinds]
    assert found[1] == [percent(share) for share in shares]


def test_an_answer_that_comes_during_a_drag_leaves_the_handle_where_it_is(page: Page) -> None:
    show(page)
    page.get_by_label("Exactly").fill("137")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 137")
    held: list[Any] = []
    page.route("**/v1/predict_batch", lambda route: held.append(route))
    slider(page).focus()
    page.keyboard.press("Home")  # after a rest this asks for the curve without 137
    for _ in range(60):
        if held:
            break
        page.wait_for_timeout(50)
    assert held
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    batch = batch_at(page)
    for route in held:
        route.continue_()
    page.wait_for_timeout(400)
    assert batch_at(page) == batch > 1
    answer = ac.predict("llama-3.1-8b", on="h100-sxm", batch=batch)
    assert readout(page) == text(answer.latency_s.value, "s")  # type: ignore[union-attr]
