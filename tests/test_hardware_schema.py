"""The types: names that end in their unit, figures with an origin, and values that can be true."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

import hardware_specs
from hardware_specs import Figure, load_device
from hardware_specs.figures import Spec
from hardware_specs.schema import DeviceSpec, MemoryLevel
from hardware_specs.systems import ClusterSpec, LinkSpec, NodeSpec

SUFFIX_UNITS = {
    "_bytes_per_s": "B/s",
    "_flop_per_s": "FLOP/s",
    "_k_per_w": "K/W",
    "_j_per_k": "J/K",
    "_per_flop_j": "J/FLOP",
    "_per_byte_j": "J/B",
    "usd_per_hour": "USD/h",
    "_bytes": "B",
    "_hz": "Hz",
    "_s": "s",
    "_w": "W",
    "_j": "J",
    "_k": "K",
    "_nm": "nm",
    "efficiency": "",
    "oversubscription": "",
}
"""Closed list: how the name of a quantity may end, longest first, and the unit that this ending promises."""


def models() -> list[type[Spec]]:
    found: list[type[Spec]] = []
    todo: list[Any] = [DeviceSpec, LinkSpec, NodeSpec, ClusterSpec]
    while todo:
        model = todo.pop()
        if isinstance(model, type) and issubclass(model, Spec) and model not in found:
            found.append(model)
            todo += [field.annotation for field in model.model_fields.values()]
        todo += get_args(model)
    return found


def mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(mentions(part, wanted) for part in get_args(annotation))


@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.__name__))
def test_the_name_of_every_quantity_ends_in_its_si_unit(model: type[Spec]) -> None:
    for name, field in model.model_fields.items():
        if mentions(field.annotation, Figure) or mentions(field.annotation, float):
            unit = next((unit for end, unit in SUFFIX_UNITS.items() if name.endswith(end)), None)
            assert unit is not None, f"{model.__name__}.{name} does not end in a unit"
            assert model.quantities[name].unit == unit, f"{model.__name__}.{name} promises {unit}"


def test_the_lint_above_sees_every_part_of_a_device() -> None:
    names = {model.__name__ for model in models()}
    assert {"DeviceSpec", "ComputeUnit", "MemoryLevel", "Power", "Price", "LinkSpec", "NodeSpec"} <= names


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 1.0}, "needs a source"),
        ({"value": 1.0, "estimated": True}, "needs a range"),
        ({"value": 1.0, "lo": 2.0, "hi": 3.0, "estimated": True}, "outside its range"),
        ({"value": float("nan"), "source": "x"}, "finite"),
        ({"value": float("inf"), "source": "x"}, "finite"),
    ],
)
def test_a_figure_without_an_origin_or_outside_its_range_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Figure(**fields)


def test_a_sourced_figure_is_its_own_range() -> None:
    figure = Figure.model_validate({"value": 3.0, "source": "datasheet"})
    assert (figure.lo, figure.hi) == (3.0, 3.0)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e5, 1e15])
def test_a_memory_bandwidth_that_no_dram_has_is_refused(value: float) -> None:
    level = load_device("h100-sxm").dram.model_dump()
    level["bandwidth_bytes_per_s"] = {"value": value, "source": "x"}
    level["bus_width_bits"] = None
    with pytest.raises(ValidationError, match="outside what is possible"):
        MemoryLevel.model_validate(level)


def test_a_bandwidth_that_its_pins_cannot_carry_is_refused() -> None:
    level = load_device("l40s").dram.model_dump()
    level["bus_width_bits"] = 256
    with pytest.raises(ValidationError, match=r"pins x transfer rate is 5\.76e"):
        MemoryLevel.model_validate(level)


def test_descriptions_are_frozen_and_equal_ones_have_equal_digests() -> None:
    one, two = load_device("gap8"), load_device("gap8")
    with pytest.raises(ValidationError):
        setattr(one, "name", "other")  # noqa: B010
    assert one.digest() == two.digest() != load_device("rk3588").digest()


def test_figures_walks_every_number_with_its_place() -> None:
    device = load_device("h100-sxm")
    places = dict(device.figures())
    assert places[("memory", 0, "bandwidth_bytes_per_s")].value == 3.35e12
    assert places[("units", 0, "peak_flop_per_s", "bf16")].value == 989.4e12
    assert places[("power", "limit_w")].value == 700


def test_everything_public_is_exported() -> None:
    assert all(hasattr(hardware_specs, name) for name in hardware_specs.__all__)
    assert issubclass(hardware_specs.DeviceSpec, BaseModel)
