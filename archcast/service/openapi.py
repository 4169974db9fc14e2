"""The OpenAPI 3.1 document: FastAPI's for its routes, the structs' own schemas for those that the frame answers."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from archcast.service.oracle_shapes import SHAPES as ORACLE
from archcast.service.service import Service
from archcast.service.settings import UPLOADS
from archcast.service.shapes import MODEL_NAMES, Batch, JobRequest, Operators, Question, Questions

SHAPES: dict[str, tuple[Any, str, str]] = {
    "/v1/predict": (Question, "One question", "The document of `archcast predict --json`."),
    "/v1/predict_rows": (Questions, "Several questions, as rows", "`rows` of documents; one in error has `error`."),
    "/v1/predict_batch": (Batch, "Many questions, as columns", "`columns` of answers, a row a question."),
    "/v1/predict_ops": (Operators, "Many operators, as columns", "`columns` of costs, a row an operator."),
    "/v1/report": (Question, "One question, as cards of a page", "`html` by card, and the `estimate`."),
}
"""Route -> the struct that its body is decoded into, a title, and what it answers."""
SHAPES |= {
    f"/v1/oracle/{verb}": (shape, f"Oracle: {verb}", f"The answer of `archcast.{verb}`.")
    for verb, shape in ORACLE.items()
}

ERROR = {
    "type": "object", "required": ["error", "request_id"],
    "properties": {
        "error": {
            "type": "object", "required": ["message", "kind", "at", "hint"],
            "properties": {name: {"type": "string"} for name in ("message", "kind", "at", "hint")},
        },
        "request_id": {"type": "string"},
        "versions": {"type": "object"},
    },
}  # fmt: skip


def openapi(app: FastAPI, service: Service) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, openapi_version="3.1.0", summary=app.summary,
                               routes=app.routes)  # fmt: skip
        _add_answers(document, service)
        app.openapi_schema = document
    return app.openapi_schema


def struct_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (route -> schema of its body, name -> component) of the structs."""
    bodies, components = msgspec.json.schema_components(
        [*(shape for shape, _, _ in SHAPES.values()), JobRequest], ref_template="#/components/schemas/{name}"
    )
    return dict(zip(SHAPES, bodies[:-1], strict=True)), components


def _add_answers(document: dict[str, Any], service: Service) -> None:
    bodies, components = struct_schemas()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= {**components, "Error": ERROR}
    failed = {"description": "One sentence on what to change.",
              "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}  # fmt: skip
    for route, (_, title, answer) in SHAPES.items():
        document["paths"][route] = {"post": _operation(title, answer, bodies[route], failed)}
    for route in ("/v1/predict_ops", "/v1/predict_batch"):
        document["paths"][route]["post"]["parameters"] = [{
            "name": "model", "in": "query", "required": False, "schema": {"type": "string", "maxLength": 100},
            "description": f"{MODEL_NAMES} none.",
        }]  # fmt: skip
    if "/v1/jobs" in document["paths"]:
        job = {"$ref": "#/components/schemas/JobRequest"}
        document["paths"]["/v1/jobs"]["post"]["requestBody"] = _body(job)
        octets = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOADS}
        document["paths"]["/v1/uploads"]["post"]["requestBody"] = {"required": True, "content": octets}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["4XX"] = failed
    if service.settings.token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]


def _operation(title: str, answer: str, body: dict[str, Any], failed: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": ["answers"], "summary": title,
        "requestBody": _body(body),
        "responses": {
            "200": {"description": answer, "content": {"application/json": {"schema": {"type": "object"}}}},
            "4XX": failed,
        },
    }  # fmt: skip


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
