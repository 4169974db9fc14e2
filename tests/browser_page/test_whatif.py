"""The curve of a knob: dragging, keys and exact values, each a value of the service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.render.human import shown, text

pytest.importorskip("playwright", reason="archcast[dev] has it")
pytest.importorskip("fastapi", reason="archcast[service] has it")
from playwright.sync_api import Page, expect

from browser_page.pages import batch_at, readout, show, slider

pytestmark = pytest.mark.browser


def test_a_wrong_number_under_the_curve_is_said_and_leaves_the_handle(page: Page) -> None:
    show(page, "#workload=resnet-50&on=l40s&batch=4")
    page.get_by_label("Exactly").fill("2.5")
    expect(page.locator(".exactly .fault")).to_contain_text("a whole number from 1 to 10,000,000")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 4")
    page.get_by_label("Exactly").fill("6")
    expect(page.locator(".chief .name")).to_have_text("Latency at batch 6")
    expect(page.locator(".exactly .fault")).to_have_text("")


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
