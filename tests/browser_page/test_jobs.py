"""Jobs on the page: sent, followed, named, cancelled and deleted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from archcast.service.page import document

pytest.importorskip("playwright", reason="archcast[dev] has it")
pytest.importorskip("fastapi", reason="archcast[service] has it")
from playwright.sync_api import Page, expect

from browser_page.pages import show

pytestmark = pytest.mark.browser


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


def test_a_job_of_another_tab_shows_its_name_and_what_it_is_about(page: Page) -> None:
    def sent(**more: str) -> str:
        asked = {"kind": "simulate", "request": {"file": "overlap"}, **more}
        return str(page.request.post("/v1/jobs", data=asked).json()["id"])

    named, plain, hostile = sent(name="night run"), sent(), sent(name="<img src=x onerror=alert(1)>")
    show(page, "#view=jobs")
    heading = '[data-job="{}"] th'
    expect(page.locator(heading.format(named))).to_have_text(re.compile(r"^night runsimulate, overlap, \d\d:\d\d$"))
    expect(page.locator(heading.format(plain))).to_have_text(re.compile(r"^overlapsimulate, \d\d:\d\d$"))
    expect(page.locator(heading.format(hostile))).to_contain_text("<img src=x onerror=alert(1)>")
    page.get_by_label("Name", exact=True).fill("from the form")
    put_file(page, SHORT_SEARCH)
    page.get_by_label("Kind", exact=True).select_option("search")
    page.get_by_role("button", name="Send the job").click()
    expect(page.locator("table.jobs tbody th").first).to_contain_text("from the form")
    expect(page.locator("table.jobs tbody th").first).to_contain_text("search, resnet-50, ")
    expect(page.get_by_label("Name", exact=True)).to_have_value("")


def test_a_job_that_cannot_tell_how_far_it_is_says_since_when_it_runs(page: Page) -> None:
    asked = {"kind": "simulate", "request": {"file": "cms-run5-pu200", "replications": 50}}
    job = page.request.post("/v1/jobs", data=asked).json()["id"]
    waits = page.request.post("/v1/jobs", data=asked).json()["id"]
    show(page, "#view=jobs")
    rows = [page.locator(f'[data-job="{one}"]') for one in (job, waits)]
    expect(rows[0].locator(".progress")).to_have_text(re.compile(r"running since \d\d:\d\d"), timeout=30_000)
    assert rows[0].get_by_role("progressbar").get_attribute("value") is None
    expect(rows[1].locator(".progress")).to_have_text("waits for its turn")
    for row in (rows[1], rows[0]):
        row.get_by_role("button", name="Cancel").click()
        expect(row).to_have_attribute("data-state", "cancelled", timeout=20_000)
