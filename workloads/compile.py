"""Compile the architecture files to `compiled.json.gz`, and pack those of `examples/`: `python -m workloads.compile`.

After any change of the YAML.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foundation.errors import UnknownNameError
from foundation.packed_text import write_packed
from foundation.yaml_file import YamlDocument, load_yaml
from workloads.catalogue import ARCHITECTURES, COMPILED, DOMAINS, EXAMPLES, plain_name
from workloads.families import FACTS, FAMILIES, VARIANT_FACTS

EXAMPLES_FOLDER = Path(__file__).with_name("examples")


def compile_architectures(folder: Path = ARCHITECTURES) -> dict[str, Any]:
    """Return every built-in architecture by name, sorted: family, domain, knobs and facts, variants written out.

    Raises:
        BadFileError: a file cannot be used, or it gives a name that another has taken.
    """
    entries: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.yaml")):
        document = load_yaml(path)
        for name, facts in _entries(document, path.parent.name).items():
            if name in entries:
                raise document.fault(("variants", name), f"'{name}' is taken by another architecture.")
            entries[name] = facts
    _check_aliases(entries)
    return dict(sorted(entries.items()))


def text_of(entries: dict[str, Any]) -> str:
    """Return the one text that the architectures compile to: one line an architecture."""
    lines = (f"{json.dumps(name)}: {json.dumps(facts, sort_keys=True)}" for name, facts in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entries(document: YamlDocument, domain: str) -> dict[str, Any]:
    data = document.data
    if not isinstance(data, dict):
        raise document.fault((), "the file must be a mapping of keys to values.")
    if domain not in DOMAINS:
        raise document.fault((), f"it stands in '{domain}'; the folders are {', '.join(DOMAINS)}.")
    _known(document, (), FACTS)
    if str(data.get("family")) not in FAMILIES:
        raise document.fault(("family",), str(UnknownNameError("family", str(data.get("family")), FAMILIES)))
    variants = data.get("variants")
    shared = {key: value for key, value in data.items() if key != "variants"} | {"domain": domain}
    if variants is None:
        return {document.path.stem: shared}
    if not isinstance(variants, dict) or not variants:
        raise document.fault(("variants",), "this must be a mapping of names to what differs.")
    found = {}
    for name in variants:
        own = variants[name] or {}
        _known(document, ("variants", name), VARIANT_FACTS)
        found[name] = {**shared, **own, "knobs": {**(shared.get("knobs") or {}), **(own.get("knobs") or {})}}
    return found


def _known(document: YamlDocument, at: tuple[str, ...], keys: tuple[str, ...]) -> None:
    table = document.data
    for part in at:
        table = table[part] or {}
    for key in table:
        if key not in keys:
            raise document.fault((*at, key), str(UnknownNameError("key", str(key), keys)))


def _check_aliases(entries: dict[str, Any]) -> None:
    taken = {name: name for name in entries}
    for name, facts in entries.items():
        if name != plain_name(name):
            raise ValueError(f"The name '{name}' must be lower case with hyphens.")
        facts["aliases"] = [plain_name(str(alias)) for alias in facts.get("aliases") or ()]
        for alias in facts["aliases"]:
            if alias in taken:
                raise ValueError(f"The alias '{alias}' of '{name}' is taken by '{taken[alias]}'.")
            taken[alias] = name


def examples_text(folder: Path = EXAMPLES_FOLDER) -> str:
    """Return the one text that the examples are packed to: one line a file."""
    files = sorted(folder.rglob("*.yaml"), key=lambda path: path.stem)
    lines = (f"{json.dumps(path.stem)}: {json.dumps(path.read_text(encoding='utf-8'))}" for path in files)
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Write `compiled.json.gz` and `examples.json.gz`."""
    write_packed(COMPILED, text_of(compile_architectures()))
    write_packed(EXAMPLES, examples_text())


if __name__ == "__main__":
    main()
