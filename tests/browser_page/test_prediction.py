"""Questions, answers, comparisons, links and tokens, by clicks in a real browser."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.render.human import percent, text
from costmodel.estimate import Quantity

pytest.importorskip("playwright", reason="archcast[dev] has it")
pytest.importorskip("fastapi", reason="archcast[service] has it")
from playwright.sync_api import Browser, Error, Page, expect

from browser_page.conftest import TOKEN
from browser_page.pages import (
    FIELDS,
    GENERATOR,
    READY,
    assert_shows,
    card,
    choose,
    expected,
    opened,
    readout,
    show,
)

pytestmark = pytest.mark.browser


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("batch=8.5", "batch=8.5 (takes a whole number from 1 to 10,000,000)"),
        ("batch=-3&prompt=x", "batch=-3 (takes a whole number from 1 to 10,000,000), prompt=x (takes a whole"),
        ("count=65537", "count=65537 (takes a whole number from 1 to 65,536)"),
        ("knob=batch&at=1e999", "at=1e999 (takes a whole number from 1 to 10,000,000)"),
        ("view=nowhere", "view=nowhere (takes predict, compare, jobs)"),
        ("batchh=8", "batchh=8 (there is no such word)"),
        (f"batch={'9' * 300}", f"batch={'9' * 34}… (takes a whole number"),
        ("batch=<b>8</b>", "batch=<b>8</b> (takes a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_number_in_the_address_is_said_and_left_out(page: Page, words: str, said: str) -> None:
    show(page, f"#workload=resnet-50&on=l40s&{words}")
    expect(page.locator("#ignored")).to_contain_text(f"Left out of the address: {said}")
    assert_shows(page, ac.predict("resnet-50", on="l40s"), FIELDS)
    page.get_by_label("Batch", exact=True).fill("2")
    expect(page.locator("#answer-title")).to_be_visible()
    expect(page.locator("#ignored")).to_be_hidden()
    assert words not in page.url


def test_an_address_that_is_mended_by_hand_says_no_more_what_was_wrong(page: Page) -> None:
    show(page, "?batch=8#workload=resnet-50&on=l40s")
    expect(page.locator("#ignored")).to_have_text("Left out of the address: ?batch=8 (write it behind a #).")
    show(page, "#workload=resnet-50&on=l40s")
    expect(page.locator("#ignored")).to_be_hidden()
    page.evaluate("location.hash = '#workload=resnet-50&on=l40s&batch=x'")
    expect(page.locator("#ignored")).to_contain_text("batch=x")
    page.evaluate("location.hash = '#workload=resnet-50&on=l40s&batch=2'")
    expect(page.locator("#ignored")).to_be_hidden()


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


def test_a_model_of_ones_own_is_chosen_by_its_name_and_answers(page: Page, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    from test_calibration import measured

    measured(tmp_path, groups=30, rows=6)
    kind = {"content-type": "text/csv"}
    sent = page.request.post("/v1/uploads?name=m.csv", data=(tmp_path / "m.csv").read_bytes(), headers=kind).json()
    asked = {"kind": "calibrate", "request": {"uploads": [sent["name"]]}, "name": "our gemms", "wait_s": 15}
    job = page.request.post("/v1/jobs", data=asked).json()["id"]
    for _ in range(60):
        if page.request.get(f"/v1/jobs/{job}").json()["state"] == "done":
            break
        page.wait_for_timeout(500)
    show(page, "#workload=llama-3.1-8b&on=h100-sxm&prompt=512&generate=64")
    chosen = page.get_by_label("Cost model", exact=True)
    expect(chosen).to_have_value("")
    chosen.select_option("our gemms")
    expect(page.locator("#versions")).not_to_contain_text(ac.predict("resnet-50", on="l40s").versions["cost_model"])
    question = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 512, "generate": 64}
    found = page.request.post("/v1/predict", data={**question, "model": job}).json()
    expect(page.locator("#versions")).to_contain_text(found["versions"]["cost_model"])
    number, ends = card(page, "latency_s")
    assert (number.replace(" ", ""), ends) == expected(Quantity(**found["latency_s"]), "s")
    assert f"model={job}" in page.url
    assert readout(page) == text(found["latency_s"]["value"], "s")  # the curve is the model's too
    show(page, f"#workload=resnet-50&on=l40s&model={'A' * 22}")
    expect(page.locator("#trouble")).to_contain_text("Unknown cost model 'AAAA")
    page.get_by_label("Cost model", exact=True).select_option("closed form")
    expect(page.locator("#trouble")).to_be_hidden()
    assert_shows(page, ac.predict("resnet-50", on="l40s", model="physics"), FIELDS)
