"""YAML files to descriptions. Every fault is one sentence with the file, the line and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from foundation.errors import BadValueError, nearest_names
from foundation.yaml_file import Path_, YamlDocument, load_yaml
from hardware_specs.figures import Figure, Spec
from hardware_specs.units import Quantity, parse_quantity

Model = TypeVar("Model", bound=Spec)

_FIGURE_KEYS = ("value", "range", "source", "estimated")


def read_file(path: str | Path, model: type[Model]) -> Model:
    """Read one description from a YAML file.

    Raises:
        BadFileError: the file cannot be read, or what it says cannot be true.
    """
    document = load_yaml(path)
    plain = _Reader(document).spec(document.data, model, ())
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        raise _first_fault(document, error) from None


class _Reader:
    """Walks a document beside a model: refuses unknown keys, and turns text with units into SI figures."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document

    def spec(self, data: Any, model: type[Spec], at: Path_) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise self.document.fault(at, f"expected a table of keys, not {_short(data)}.")
        self._known_keys(data, tuple(model.model_fields), at)
        plain: dict[str, Any] = {}
        for name, value in data.items():
            place = (*at, name)
            quantity = model.quantities.get(name)
            if quantity is None:
                plain[name] = self._other(value, model, name, place)
            elif Figure in _types_in(model.model_fields[name].annotation) and not _is_table(model, name):
                plain[name] = self.figure(value, quantity, place)
            elif isinstance(value, dict):
                plain[name] = {key: self.figure(item, quantity, (*place, key)) for key, item in value.items()}
            else:
                raise self.document.fault(place, f"expected a table of figures, not {_short(value)}.")
        return plain

    def _other(self, value: Any, model: type[Spec], name: str, at: Path_) -> Any:
        """Fields that are not figures: nested tables, lists of tables, and plain values."""
        inner = next((t for t in _types_in(model.model_fields[name].annotation) if issubclass(t, Spec)), None)
        if inner is None or value is None:
            return str(value) if name in ("released", "date") and isinstance(value, int) else value
        if isinstance(value, list):
            return [self.spec(item, inner, (*at, i)) for i, item in enumerate(value)]
        return self.spec(value, inner, at)

    def figure(self, data: Any, quantity: Quantity, at: Path_) -> dict[str, Any]:
        """Expand the short form {value, source} or {value, range, estimated} to SI numbers."""
        if not isinstance(data, dict):
            hint = "Write e.g. {value: ..., source: KEY} or {value: ..., range: [low, high], estimated: true}."
            raise self.document.fault(at, f"{_short(data)} has neither a source nor a range.", hint)
        self._known_keys(data, _FIGURE_KEYS, at)
        if "value" not in data:
            raise self.document.fault(at, "the key 'value' is missing.")
        plain = {key: data[key] for key in ("source", "estimated") if key in data}
        plain["value"] = self._number(data["value"], quantity, (*at, "value"))
        if "range" in data:
            ends = data["range"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise self.document.fault((*at, "range"), f"expected [low, high], not {_short(ends)}.")
            plain["lo"], plain["hi"] = (self._number(end, quantity, (*at, "range", i)) for i, end in enumerate(ends))
        return plain

    def _number(self, data: Any, quantity: Quantity, at: Path_) -> float:
        try:
            return parse_quantity(data, quantity)
        except BadValueError as error:
            raise self.document.fault(at, str(error)) from None

    def _known_keys(self, data: dict[str, Any], known: tuple[str, ...], at: Path_) -> None:
        for key in data:
            if key not in known:
                near = ", ".join(nearest_names(key, known)) or ", ".join(known)
                raise self.document.fault((*at, key), f"unknown key. Nearest: {near}.")


def _first_fault(document: YamlDocument, error: ValidationError) -> Exception:
    """Turn pydantic's first complaint into a sentence with its place in the file."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    place: Path_ = tuple(part for part in first["loc"] if part != "[key]")
    if first["type"] == "archcast":
        return document.fault((*place, *context["at"]), context["problem"])
    if first["type"] == "missing":
        return document.fault(place[:-1], f"the key '{place[-1]}' is missing.")
    reason = first["msg"][:1].lower() + first["msg"][1:]
    return document.fault(place, f"{_short(first['input'])} cannot be used: {reason}.")


def _types_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation mentions, e.g. [Figure] for `dict[MathFormat, Figure]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _types_in(part)]


def _is_table(model: type[Spec], name: str) -> bool:
    return getattr(model.model_fields[name].annotation, "__origin__", None) is dict


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
