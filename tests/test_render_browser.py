"""The page in a real browser: the script runs without error, drawings are there, hostile names stay text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import render_samples as samples

from archcast.render.html import write_html
from archcast.simulation import timeline_of
from costmodel.estimate import Estimate

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(
            f"no headless browser: none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)"
        )
    return found


def dom(browser: str, page: Path, profile: Path) -> str:
    """Return the document after its scripts have run."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000",
        f"--user-data-dir={profile}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def rendered(browser: str, estimate: Estimate, folder: Path) -> str:
    write_html(estimate, folder / "page.html", timeline_of(estimate))
    return dom(browser, folder / "page.html", folder / "profile")


def test_the_script_runs_and_every_drawing_is_there(browser: str, tmp_path: Path) -> None:
    estimate = samples.language_model()
    tree = rendered(browser, estimate, tmp_path)
    assert 'data-ready="yes"' in tree
    assert "data-error" not in tree
    dots = sum(1 for o in estimate.explain().operators if o.work_flop > 0)
    assert tree.count('<circle class="dot ') == 2 * dots  # once for wide screens, once for narrow ones
    assert tree.count("data-tip=") > 100
    assert 'id="tip"' in tree
    assert "makespan" in tree
    assert tree.count('<div class="fall ') == 2 + len(estimate.explain().steps)


def test_hostile_names_do_not_run(browser: str, tmp_path: Path) -> None:
    bad = samples.HOSTILE
    tree = rendered(browser, samples.estimate_of([samples.gemm(bad), samples.norm("n")], name=bad), tmp_path)
    assert 'data-ready="yes"' in tree
    assert "data-hacked=" not in tree
    assert "<img" not in tree


def test_the_policy_stops_a_script_that_slipped_in(browser: str, tmp_path: Path) -> None:
    write_html(samples.small(), tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    planted = html.replace("</main>", "</main><script>document.documentElement.dataset.hacked='3'</script>")
    (tmp_path / "planted.html").write_text(planted, encoding="utf-8")
    tree = dom(browser, tmp_path / "planted.html", tmp_path / "profile")
    assert 'data-ready="yes"' in tree
    assert "data-hacked=" not in tree


def test_what_does_not_fit_renders(browser: str, tmp_path: Path) -> None:
    tree = rendered(browser, samples.infeasible(), tmp_path)
    assert 'data-ready="yes"' in tree
    assert "Infeasible." in tree
    assert 'id="hatch"' in tree


def test_a_click_on_a_heading_sorts_the_table(browser: str, tmp_path: Path) -> None:
    estimate = samples.language_model()
    write_html(estimate, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    click = "<script>document.querySelectorAll('table.sortable th button')[0].click()</script>"
    (tmp_path / "clicked.html").write_text(html.replace("</body>", f"{click}</body>"), encoding="utf-8")
    tree = dom(browser, tmp_path / "clicked.html", tmp_path / "profile")
    names = re.findall(r'<tr><td class="name" data-v="([^"]*)"', tree)
    assert sorted(names, key=str.lower) == names
    assert len(names) == len(estimate.explain().operators)
    assert 'aria-sort="ascending"' in tree
