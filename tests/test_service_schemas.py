"""What the OpenAPI document says is what the decoders take, and both are the arguments of the functions."""

from __future__ import annotations

import inspect
import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_server import ask

import archcast
from archcast.batches import DEFAULTS as BATCH
from archcast.service.app import create_app
from archcast.service.openapi import SHAPES
from archcast.service.oracle_shapes import SHAPES as ORACLE
from archcast.service.settings import Settings
from archcast.service.shapes import Batch, JobRequest, Operators, Question
from workloads.table import CATEGORIES
from workloads.table import DEFAULTS as OPERATORS


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = ask(create_app(Settings(side=False)), "GET", "/openapi.json").json()
    return found


def test_the_document_is_openapi_3_1_and_every_reference_in_it_resolves(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names
    assert names <= set(document["components"]["schemas"])


@pytest.mark.parametrize("route", sorted(SHAPES))
def test_the_schema_of_a_route_in_the_document_is_that_of_its_struct(route: str, document: dict[str, Any]) -> None:
    (body,), components = msgspec.json.schema_components([SHAPES[route][0]], ref_template="#/components/schemas/{name}")
    stated = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert stated == body
    for name, component in components.items():
        assert document["components"]["schemas"][name] == component


def test_a_question_has_the_arguments_of_predict() -> None:
    taken = {*inspect.signature(archcast.predict).parameters}
    assert {*Question.__struct_fields__} - {"explain"} == taken


def test_a_batch_has_the_columns_of_predict_batch() -> None:
    assert {*Batch.__struct_fields__} == {"workload", "on", *BATCH}


def test_operators_have_the_columns_of_the_table() -> None:
    assert {*Operators.__struct_fields__} == {"device", "on", "software", *CATEGORIES, *OPERATORS}


@pytest.mark.parametrize("verb", sorted(set(ORACLE) - {"scenarios"}))
def test_a_verb_of_the_oracle_has_the_arguments_of_its_function(verb: str) -> None:
    from archcast import oracle

    taken = {*inspect.signature(getattr(oracle, verb)).parameters}
    also = {"model"} if verb == "sensitivities" else set()  # 'physics' or nothing: what it is of
    assert {*ORACLE[verb].__struct_fields__} == taken | also


_number = st.one_of(st.integers(-3, 3), st.floats(-1e3, 1e3), st.integers(10**17, 10**19), st.just(1e18))
_value: st.SearchStrategy[Any] = st.one_of(
    _number, st.none(), st.booleans(), st.sampled_from(["", "gemm", "h100-sxm", "x" * 250]),
    st.lists(_number, max_size=3), st.lists(st.sampled_from(["gemm", "", "bf16"]), max_size=3), st.just({}),
)  # fmt: skip


def _agrees(struct: Any, body: dict[str, Any]) -> None:
    """Hold that the schema takes a body where the decoder does. Whole floats (1.0) are integers to a schema only."""
    (schema,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    checker = jsonschema.Draft202012Validator({**schema, "$defs": components})
    try:
        msgspec.json.decode(json.dumps(body), type=struct)
        decoded = True
    except msgspec.DecodeError:
        decoded = False
    assert checker.is_valid(body) == decoded, (body, decoded)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*Operators.__struct_fields__, "other"]), _value, max_size=5), st.booleans())
def test_the_decoder_of_operators_takes_what_its_schema_takes(body: dict[str, Any], named: bool) -> None:
    _agrees(Operators, {**({"op": "gemm"} if named else {}), **body})


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "request", "key", "wait_s", "other"]),
        _value.filter(lambda v: not (isinstance(v, float) and v.is_integer())),
        max_size=4,
    )
)
def test_the_decoder_of_jobs_takes_what_its_schema_takes(body: dict[str, Any]) -> None:
    _agrees(JobRequest, {"kind": "simulate", "request": {}, **body})


def test_documents_name_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "http://" not in text
    assert "https://" not in text
