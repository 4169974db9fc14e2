"""Pipelines by name or path, with improvements and settings put in before anything is checked.

A catalogue pipeline needs neither pint nor a YAML parser: it comes compiled, its figures in SI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, BadValueError, UnknownNameError, nearest_names
from foundation.overrides import copied, get_at, read_value, set_at
from foundation.yaml_file import Path_, YamlDocument, load_yaml
from hardware_specs.catalogue import compiled_entries, is_path, plain_name
from hardware_specs.pipeline_schema import PipelineSpec
from hardware_specs.reader import GIVEN, plain_figures, validated

KIND = "pipeline"

_SWITCHES = ("improvements", "improved_by")


def pipeline_ids() -> list[str]:
    """Return the ids of all pipelines of the catalogue, sorted."""
    return list(compiled_entries("pipelines"))


def load_pipeline(name_or_path: str | Path, settings: Mapping[str, Any] | None = None) -> PipelineSpec:
    """Return a pipeline by its catalogue id or the path of a YAML file, changed as `read_pipeline` says.

    Raises:
        UnknownNameError: no such name; the nearest are named.
        BadFileError: the file cannot be used; file, line and key are named.
        BadValueError: a setting leads nowhere.
    """
    if is_path(name_or_path):
        return read_pipeline(load_yaml(name_or_path), settings)
    table, name = compiled_entries("pipelines"), plain_name(str(name_or_path))
    if name not in table:
        hint = "A path to a YAML file of kind pipeline works too."
        raise UnknownNameError(KIND, str(name_or_path), table, hint)
    return read_pipeline(YamlDocument(Path(name), table[name]), settings, checked=True)


def read_pipeline(
    document: YamlDocument | Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, checked: bool = False
) -> PipelineSpec:
    """Return the pipeline of a document or of plain data, after the improvements that are on and then the settings.

    `settings` maps dotted paths such as `stages.HLT.operations_factor` to values (see `foundation.overrides`; text is
    read as YAML, a bare number is in the unit that the key ends in). `checked` says that the improvements that are off
    are known to fit.

    Raises:
        BadFileError: with file, line and key, or the improvement or setting that gave the value.
        BadValueError: a setting leads nowhere.
    """
    if not isinstance(document, YamlDocument):
        document = YamlDocument(Path(str(document.get("id", KIND))), dict(document))
    changed = _opened(document)
    given = [(key, read_value(key, value)) for key, value in (settings or {}).items()]
    for key, value in given:
        if key.split(".")[0] in _SWITCHES:
            changed.set(key, value)
    improvements = _improvements(changed)
    on = _switched_on(changed, improvements)
    if not checked:
        for name in improvements:
            if name not in on:
                plain_figures(changed.improved(name, improvements[name]), PipelineSpec, lenient=True)
    for name in on:
        changed = changed.improved(name, improvements[name])
    for key, value in given:
        if key.split(".")[0] not in _SWITCHES:
            changed.set(key, value)
    plain = plain_figures(changed, PipelineSpec, lenient=True)
    plain["sources"] = {GIVEN: "given by the user", **(plain.get("sources") or {})}
    return validated(changed, plain, PipelineSpec)


def compile_pipeline(document: YamlDocument) -> tuple[PipelineSpec, dict[str, Any]]:
    """Return the pipeline of a catalogue file and its data with every figure in SI, as `read_pipeline` takes it.

    In the catalogue every number needs a source or a range, those of improvements too. Raises BadFileError.
    """
    plain = plain_figures(document, PipelineSpec)
    spec = validated(document, plain, PipelineSpec)
    data = _short(plain)
    for name, changes in spec.improvements.items():
        for path in changes:
            data["improvements"][name][path] = _figure_at(document, name, path)
        improved = _opened(document).improved(name, changes)
        validated(improved, plain_figures(improved, PipelineSpec), PipelineSpec)
    return spec, data


@dataclass(frozen=True)
class _Changed(YamlDocument):
    """A document with changes; `origins` has the places of changed values and what changed them."""

    origins: dict[Path_, Path_ | str] = field(default_factory=dict)

    def fault(self, at: Path_, problem: str, hint: str = "") -> BadFileError:
        """Name the improvement or the setting where the value is from one."""
        origin = next((self.origins[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.origins), None)
        if origin is None:
            return super().fault(at, problem, hint)
        if isinstance(origin, str):
            return BadFileError(self.path, problem, key=origin, hint=f"{hint} A setting gave this value.".strip())
        return super().fault(origin, problem, hint)

    def set(self, path: str, value: Any) -> None:
        """Put a setting in. Raises BadValueError."""
        for place in set_at(self.data, path, value):
            self.origins[place] = path

    def improved(self, name: str, changes: Mapping[str, Any]) -> _Changed:
        """Return a copy with an improvement put in. Raises BadFileError."""
        copy = _Changed(self.path, copied(self.data), self.lines, dict(self.origins))
        for path, value in changes.items():
            origin: Path_ = ("improvements", name, path)
            try:
                if path.split(".")[0] in _SWITCHES:
                    raise BadValueError("an improvement cannot change which improvements there are.")
                copy.origins.update(dict.fromkeys(set_at(copy.data, path, value), origin))
            except BadValueError as error:
                raise self.fault(origin, str(error)) from None
        return copy


def _opened(document: YamlDocument) -> _Changed:
    """Return a copy to change, with the keys that a user's file may leave out."""
    data = copied(document.data)
    if not isinstance(data, dict):
        raise document.fault((), "the file must be a table of keys.")
    data.setdefault("id", document.path.stem)
    data.setdefault("name", data["id"])
    if data.get("kind", KIND) != KIND:
        raise document.fault(("kind",), f"expected kind: {KIND}, not {data['kind']!r}.")
    return _Changed(document.path, data, document.lines)


def _improvements(document: _Changed) -> dict[str, dict[str, Any]]:
    improvements = document.data.get("improvements") or {}
    if not isinstance(improvements, dict):
        raise document.fault(("improvements",), "expected a table of improvements.")
    for name, changes in improvements.items():
        if not isinstance(changes, dict) or not changes:
            raise document.fault(("improvements", name), "expected a table of dotted paths and values.")
    return improvements


def _switched_on(document: _Changed, improvements: Mapping[str, Any]) -> list[str]:
    names = document.data.get("improved_by") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list):
        raise document.fault(("improved_by",), "expected a list of improvements.")
    for index, name in enumerate(names):
        if not isinstance(name, str) or name not in improvements:
            near = ", ".join(nearest_names(str(name), improvements) or improvements) or "this file has none"
            raise document.fault(("improved_by", index), f"unknown improvement '{name}'. Nearest: {near}.")
        if name in names[:index]:
            raise document.fault(("improved_by", index), f"the improvement '{name}' stands twice.")
    document.data["improved_by"] = names
    return names


def _figure_at(document: YamlDocument, name: str, path: str) -> Any:
    """Return the value of one change of an improvement in SI."""
    changed = _opened(document)
    copy = changed.improved(name, {path: document.data["improvements"][name][path]})
    place = next(place for place, origin in copy.origins.items() if origin == ("improvements", name, path))
    value = get_at(plain_figures(copy, PipelineSpec), place)
    for part in path.split(".")[len(place) :]:  # the place is that of the first mapping that was made on the way
        value = value[part]
    return _short(value)


def _short(plain: Any) -> Any:
    """Turn figures of the form {value, lo, hi} back to {value, range}, for the compiled file."""
    if isinstance(plain, list):
        return [_short(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {"coefficients"}:
        return _short_polynomial(plain["coefficients"])
    short = {key: _short(value) for key, value in plain.items() if key not in ("lo", "hi")}
    return {**short, "range": [plain["lo"], plain["hi"]]} if "lo" in plain else short


def _short_polynomial(figures: list[dict[str, Any]]) -> dict[str, Any]:
    origin: dict[str, Any] = {key: figures[0][key] for key in ("source", "estimated") if key in figures[0]}
    known = next((f for f in figures if f["value"]), {"value": 1.0, "lo": 1.0, "hi": 1.0})
    factors = [known["lo"] / known["value"], known["hi"] / known["value"]]
    short: dict[str, Any] = {"coefficients": [figure["value"] for figure in figures], **origin}
    return short if factors == [1, 1] else {**short, "range_factor": factors}
