"""Importers of other packages: found through real entry points, and broken ones hurt nobody."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_runner import ROOT, archcast, archcast_process

from foundation.errors import BadFileError, UnknownNameError
from workloads.catalogue import SUFFIXES, is_path, load_model
from workloads.importers.base import IMPORTERS, importer_of
from workloads.model import Request

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with entry points on the path, as pip would; its modules are forgotten afterwards."""
    before = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(name: str, source: str, *points: str) -> None:
        (site / f"{name}.py").write_text(source, encoding="utf-8")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        lines = "\n".join(points or (f"{name} = {name}:IMPORTER",))
        (info / "entry_points.txt").write_text(f"[archcast.importers]\n{lines}\n", encoding="utf-8")

    yield put
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(site)):
            del sys.modules[module]


def worked_example() -> str:
    page = (ROOT / "docs" / "importers.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- file: toy_networks\.py -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


def importer(name: str, suffix: str, loader: str = "") -> str:
    return (
        "from workloads.importers.base import Importer\n"
        f"IMPORTER = Importer({name!r}, ({suffix!r},), {loader or name + ':load'!r})\n"
    )


def toy(tmp_path: Path, text: str = "784 4096 10") -> Path:
    path = tmp_path / "digits.toy"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_worked_example_of_the_docs_is_found_by_its_entry_point(tmp_path: Path, install: Install) -> None:
    install("toy_networks", worked_example(), "toy = toy_networks:IMPORTER")
    model = load_model(str(toy(tmp_path)))
    assert model.summary()["macs"] == 784 * 4096 + 4096 * 10
    answer = archcast("predict", toy(tmp_path), "--on", "h100-sxm", "--json")
    assert answer.code == 0, answer.stderr
    with pytest.raises(BadFileError, match=r"digits\.toy:2: 'x' is no width"):
        load_model(str(toy(tmp_path, "784 x")))


def test_without_the_package_the_file_is_refused_and_the_known_endings_named(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"no importer reads '\.toy' files\. Known: .*\.gguf.*\.yaml"):
        load_model(str(toy(tmp_path)))


def test_a_bare_name_with_an_unknown_ending_is_a_file_where_there_is_one(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("toy_networks", worked_example())
    toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert is_path("digits.toy")
    assert load_model("digits.toy").name == "digits"
    with pytest.raises(UnknownNameError):
        load_model("other.toy")


BROKEN = {
    "raises": "raise RuntimeError('no licence today')",
    "imports": "import a_module_that_is_not_there",
    "other": "IMPORTER = 'not an importer'",
    "empty": "",
    "taken": importer("onnx", ".toy"),
    "sniffs": importer("sniffs", ".toy").replace("IMPORTER =", "class Bad(Importer):\n"
        "    def sniff(self, path): raise KeyError('sniff')\nIMPORTER =").replace("= Importer(", "= Bad("),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plug_in_does_not_hide_another(tmp_path: Path, install: Install, kind: str) -> None:
    install(f"a_{kind}", BROKEN[kind], f"a = a_{kind}:IMPORTER")
    install("toy_networks", worked_example(), "toy = toy_networks:IMPORTER")
    assert load_model(str(toy(tmp_path))).name == "digits"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plug_in_is_named_where_nothing_reads_the_file(tmp_path: Path, install: Install, kind: str) -> None:
    install(f"a_{kind}", BROKEN[kind], f"broken-{kind} = a_{kind}:IMPORTER")
    with pytest.raises(BadFileError, match=r"Importers that could not be used: '(broken-)?\w+' \("):
        load_model(str(toy(tmp_path)))


def test_a_broken_plug_in_does_not_touch_the_built_in_formats(tmp_path: Path, install: Install) -> None:
    install("a_raises", BROKEN["raises"])
    assert load_model(str(ROOT / "tests" / "fixtures" / "stablehlo" / "mlp.mlir")).family == "stablehlo"
    assert load_model("resnet-50").name


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("def load(path): raise KeyError('oops')", "failed (KeyError: 'oops')"),
        ("def load(path): return 3", "returned int, not a Model"),
        ("", "failed (AttributeError"),
    ],
)
def test_what_a_plug_in_does_by_mistake_is_an_error_that_names_it(
    tmp_path: Path, install: Install, body: str, problem: str
) -> None:
    install("clumsy", importer("clumsy", ".toy") + body)
    with pytest.raises(BadFileError) as raised:
        load_model(str(toy(tmp_path))).workload(Request())
    assert f"the importer 'clumsy' {problem}" in str(raised.value)


def test_a_plug_in_does_not_take_a_built_in_ending(install: Install, tmp_path: Path) -> None:
    install("greedy", importer("greedy", ".gguf"))
    assert importer_of(tmp_path / "m.gguf") is IMPORTERS["gguf"]


def test_every_built_in_ending_means_a_file_even_where_there_is_none() -> None:
    endings = {suffix for each in IMPORTERS.values() for suffix in each.suffixes}
    assert all(ending.endswith(SUFFIXES) for ending in endings)
    for ending in endings - {".onnx"}:  # its package may be absent
        assert "there is no such file" in archcast("predict", f"absent{ending}", "--on", "h100-sxm").stderr


def test_a_built_in_name_opens_no_plug_in_and_no_importer() -> None:
    code = (
        "import sys; from workloads.catalogue import load_model; load_model('resnet-50');"
        "bad = [m for m in sys.modules if m.startswith('workloads.importers')]; assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reading_a_program_leaves_heavy_packages_alone() -> None:
    code = (
        "import sys; from workloads.catalogue import load_model; load_model('tests/fixtures/stablehlo/mlp.mlir');"
        "load_model('tests/fixtures/tflite/hand_recrop.tflite'); load_model('tests/fixtures/pt2/cnn.pt2');"
        "heavy = {'onnx', 'torch', 'xgboost', 'pint', 'networkx', 'simpy', 'jax'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_error_of_a_file_is_one_sentence_in_a_fresh_process(tmp_path: Path) -> None:
    answer = archcast_process("predict", toy(tmp_path), "--on", "h100-sxm")
    assert answer.code == 2
    assert "no importer reads" in answer.stderr
    assert "Traceback" not in answer.stderr
