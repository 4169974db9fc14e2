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
_POLYNOMIAL_KEYS = ("coefficients", "range_factor", "source", "estimated")
_NUMBER = Quantity("", -1e300, 1e300)

_EXPECTED = {
    "tuple_type": "a list is expected", "list_type": "a list is expected", "string_type": "text is expected",
    "dict_type": "a table of keys is expected", "model_type": "a table of keys is expected",
    "bool_type": "true or false is expected", "int_type": "a whole number is expected",
    "float_type": "a number is expected",
}  # fmt: skip
"""What pydantic's kinds of faults say to people who write files."""

GIVEN = "given"
"""The source of a figure that stands in a user's file without one."""


def read_file(path: str | Path, model: type[Model]) -> Model:
    """Read one description from a YAML file.

    Raises:
        BadFileError: the file cannot be read, or what it says cannot be true.
    """
    document = load_yaml(path)
    return validated(document, plain_figures(document, model), model)


def plain_figures(document: YamlDocument, model: type[Spec], *, lenient: bool = False) -> dict[str, Any]:
    """Return the data of a document with every figure in SI, as `validated` takes it.

    Where `lenient`, a bare number (in the unit that the key ends in) or a text with a unit is a figure as well; its
    source is GIVEN. Raises BadFileError.
    """
    return _Reader(document, lenient).spec(document.data, model, ())


def validated(document: YamlDocument, plain: dict[str, Any], model: type[Model]) -> Model:
    """Return the description that plain data makes. Raises BadFileError with the place in the document."""
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        raise _first_fault(document, error) from None


class _Reader:
    """Walks a document beside a model: refuses unknown keys, and turns text with units into SI figures."""

    def __init__(self, document: YamlDocument, lenient: bool) -> None:
        self.document, self.lenient = document, lenient

    def spec(self, data: Any, model: type[Spec], at: Path_) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise self.document.fault(at, f"expected a table of keys, not {_short(data)}.")
        self._known_keys(data, tuple(name for name in model.model_fields if name != "counts"), at)
        plain: dict[str, Any] = {}
        for name, value in data.items():
            place = (*at, name)
            quantity = model.quantities.get(name)
            if value is None and self.lenient:
                plain[name] = None
            elif name in model.wholes and value is not None:
                plain[name] = value if self.lenient and not isinstance(value, dict) else self.whole(value, place)
            elif name in model.polynomials and value is not None:
                plain[name] = self.polynomial(value, place)
            elif quantity is None:
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
            if self.lenient:
                return {"value": self._number(data, quantity, at), "source": GIVEN}
            hint = "Write e.g. {value: ..., source: KEY} or {value: ..., range: [low, high], estimated: true}."
            raise self.document.fault(at, f"{_short(data)} has neither a source nor a range.", hint)
        self._known_keys(data, _FIGURE_KEYS, at)
        if "value" not in data:
            raise self.document.fault(at, "the key 'value' is missing.")
        plain = self._origin(data)
        plain["value"] = self._number(data["value"], quantity, (*at, "value"))
        if "range" in data:
            ends = data["range"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise self.document.fault((*at, "range"), f"expected [low, high], not {_short(ends)}.")
            plain["lo"], plain["hi"] = (self._number(end, quantity, (*at, "range", i)) for i, end in enumerate(ends))
        return plain

    def whole(self, data: Any, at: Path_) -> dict[str, Any]:
        """Expand the figure of a whole number."""
        plain = self.figure(data, _NUMBER, at)
        if plain["value"] != int(plain["value"]):
            raise self.document.fault((*at, "value"), f"{plain['value']:g} is not a whole number.")
        return plain

    def polynomial(self, data: Any, at: Path_) -> dict[str, Any]:
        """Expand {coefficients: [a0, a1], source} or {.., range_factor: [low, high], estimated} to figures."""
        if isinstance(data, list):
            data = {"coefficients": data}
        if not isinstance(data, dict) or not isinstance(data.get("coefficients"), list):
            hint = "Write e.g. {coefficients: [0, 1e-6], source: KEY}: the factors of 1, x, x^2, ... of x bytes."
            raise self.document.fault(at, "a polynomial needs a list of coefficients.", hint)
        self._known_keys(data, _POLYNOMIAL_KEYS, at)
        origin, place = self._origin(data), (*at, "coefficients")
        if not origin:
            raise self.document.fault(at, "the polynomial has neither a source nor a range.")
        low, high = self._range_factor(data.get("range_factor", [1, 1]), (*at, "range_factor"))
        values = [self._number(item, _NUMBER, (*place, i)) for i, item in enumerate(data["coefficients"])]
        return {"coefficients": [{**origin, "value": v, "lo": v * low, "hi": v * high} for v in values]}

    def _range_factor(self, data: Any, at: Path_) -> tuple[float, float]:
        if not isinstance(data, list) or len(data) != 2:
            raise self.document.fault(at, f"expected [low, high], not {_short(data)}.")
        low, high = (self._number(end, _NUMBER, (*at, i)) for i, end in enumerate(data))
        if not 0 <= low <= 1 <= high:
            raise self.document.fault(at, f"expected a factor of at most 1 and one of at least 1, not {_short(data)}.")
        return low, high

    def _origin(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the source of a figure or that it is estimated."""
        origin: dict[str, Any] = {key: data[key] for key in ("source", "estimated") if key in data}
        return origin if origin or not self.lenient else {"source": GIVEN}

    def _number(self, data: Any, quantity: Quantity, at: Path_) -> float:
        if self.lenient and isinstance(data, (int, float)) and not isinstance(data, bool):
            return float(data)
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
    if first["type"] == "extra_forbidden":
        return document.fault(place, "unknown key.")
    reason = _EXPECTED.get(first["type"]) or first["msg"][:1].lower() + first["msg"][1:]
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
