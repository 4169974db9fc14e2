"""The files of the service's page: whole, self-contained, served from memory, and in the words of the other reports."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import render_samples as samples

from archcast.render.breakdown import AXES, INTERVAL_MEANING, MIXED_INTERVAL, PER_TOKEN, SOURCE_MEANING
from archcast.service.page import FOLDER, POLICY, asset, assets, document, sections
from foundation.errors import BadFileError, BadValueError

VOID = {"meta", "link", "input", "img", "br", "hr"}
SCRIPTS = sorted(FOLDER.glob("*.js"))
IMPORT = re.compile(r"import\s+\{([^}]*)\}\s+from\s+\"\./([a-z]+\.js)\"")


class Outline(HTMLParser):
    """Checks that every tag is closed in order, and collects ids, what is referenced, and inline code."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.named += [
            word for key in ("aria-labelledby", "for", "aria-describedby") for word in given.get(key, "").split()
        ]
        self.addresses += [given[key] for key in ("href", "src") if key in given]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def outline() -> Outline:
    parser = Outline()
    parser.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    return parser


def test_the_document_is_well_formed_and_its_ids_are_unique(outline: Outline) -> None:
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    made_by_scripts = {"whatif-title", "compare-title"}
    assert set(outline.named) <= set(outline.ids) | made_by_scripts
    everything = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    assert all(f'id: "{name}"' in everything for name in made_by_scripts)


def test_nothing_is_inline_and_every_address_is_served(outline: Outline) -> None:
    assert outline.inline == []
    local = [address for address in outline.addresses if not address.startswith("#") and address != "/"]
    assert local
    for address in local:
        assert address.startswith("/static/")
        assert asset(address.removeprefix("/static/")) is not None


@pytest.mark.parametrize(
    "path", [FOLDER / "index.html", FOLDER / "page.css", FOLDER / "icon.svg", *SCRIPTS], ids=lambda p: p.name
)
def test_no_file_names_another_host_or_evaluates_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(
        r"https?://|[\"'(]//|@import|\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", text
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_imports_of_a_module_are_exports_of_another(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert text.count("import {") == len(IMPORT.findall(text))
    for names, other in IMPORT.findall(text):
        exported = (FOLDER / other).read_text(encoding="utf-8")
        for name in (each.strip() for each in names.split(",") if each.strip()):
            assert re.search(rf"export (?:async )?(?:const|function|class) {name}\b", exported), f"{name} of {other}"
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is not used in {path.name}"


def test_only_known_names_are_served_and_with_their_types() -> None:
    assert {"index.html", "main.js", "page.css", "house.css", "icon.svg"} <= set(assets())
    assert asset("main.js") == ((FOLDER / "main.js").read_bytes(), "text/javascript; charset=utf-8")
    for name in ("../__init__.py", "__init__.py", "report.py", "/etc/passwd", "", "page", "examples", "main.js/", ".."):
        assert asset(name) is None


def test_the_policy_allows_nothing_from_elsewhere() -> None:
    assert POLICY.startswith("default-src 'self';")
    assert "unsafe" not in POLICY
    assert "*" not in POLICY


def test_words_are_those_of_the_other_reports() -> None:
    text = (FOLDER / "quantities.js").read_text(encoding="utf-8")
    found = re.findall(r'\["(\w+)", "([^"]+)", "(\w+)", "([^"]+)"\],', text)
    assert found == [(axis.field, axis.label, axis.kind, axis.meaning) for axis in (*AXES, *PER_TOKEN)]
    for meaning in (*SOURCE_MEANING.values(), *INTERVAL_MEANING.values(), MIXED_INTERVAL):
        assert f'"{meaning}"' in text


def test_sections_are_cards_without_scripts_in_the_order_of_the_report() -> None:
    found = sections(samples.language_model())
    assert list(found)[:2] == ["header", "limits"]
    assert {"roofline", "waterfall", "time", "energy", "memory", "operators", "sources"} <= set(found)
    assert list(found)[-1] == "sources"
    assert not any("<script" in html for html in found.values())


def test_what_does_not_fit_has_no_times_but_says_what_would_help() -> None:
    found = sections(samples.infeasible())
    assert list(found) == ["header", "memory", "sources"]
    assert "What would help" in found["header"]


def test_hostile_names_are_escaped() -> None:
    bad = samples.HOSTILE
    found = sections(samples.estimate_of([samples.gemm(bad), samples.norm("n")], name=bad))
    assert not any("<img" in html or "<script" in html for html in found.values())


def test_text_becomes_the_document_of_a_file() -> None:
    assert document("kind: edge\nusers: 3 # three\n") == {"kind": "edge", "users": 3}
    assert document("success: {256: {1: 0.5}}") == {"success": {"256": {"1": 0.5}}}  # as JSON has it
    assert document('{"kind": "plan", "limits": [1, 2]}') == {"kind": "plan", "limits": [1, 2]}


@pytest.mark.parametrize(
    ("text", "error"),
    [("- a\n", BadFileError), ("a: &x 1\nb: *x\n", BadFileError), ("a: 1\na: 2\n", BadFileError),
     ("", BadFileError), (3, BadValueError), (None, BadValueError),
     ("[" * 100, BadFileError), ("a" * 500_001, BadValueError)],
)  # fmt: skip
def test_text_that_is_no_file_is_refused_in_one_sentence(text: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        document(text)
    assert "\n" not in str(caught.value)


def test_the_examples_are_documents_of_the_kind_that_the_page_sends_them_as() -> None:
    offered = re.findall(
        r'\["(simulate|search|plan|allocate)", "([\w-]+)", "[A-Z]', (FOLDER / "jobs.js").read_text(encoding="utf-8")
    )
    assert len(offered) >= 4
    assert {name for _, name in offered} == {path.stem for path in (FOLDER / "examples").iterdir()}
    for kind, name in offered:
        found = document((FOLDER / "examples" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert found["kind"] in ({kind} if kind != "simulate" else {"serving", "edge", "pipeline"})
