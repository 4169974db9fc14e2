"""`create_app`: the FastAPI application with every route, inside the frame."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from archcast.service.catalogue_routes import catalogue_routes
from archcast.service.faults import RefusedError, ShapeError, fault, status_of
from archcast.service.frame import Call, Frame
from archcast.service.health_routes import health_routes
from archcast.service.openapi import openapi
from archcast.service.page_routes import page_routes
from archcast.service.service import Service
from archcast.service.settings import Settings
from foundation.errors import ArchcastError, UnknownNameError

SENTENCES = {404: "There is nothing at this path; GET /openapi.json lists the routes.",
             405: "This path does not take that method; GET /openapi.json lists the routes."}  # fmt: skip


SEVERAL = frozenset({"state"})
"""Query parameters that may stand more than once."""


class Application(FastAPI):
    """A FastAPI application that is asked through the frame: the hot routes are answered before it comes to it."""

    frame: Frame

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.frame(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Return the application. It loads the cost model when it starts; until then /readyz says so."""
    from archcast import __version__

    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(_warm(service))
        try:
            yield
        finally:
            starting.cancel()
            with contextlib.suppress(BaseException):
                await starting
            if service.side is not None:
                await service.side.close()
            service.log.flush()

    app = Application(
        title="archcast", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        swagger_ui_oauth2_redirect_url=None, redirect_slashes=False, openapi_url="/openapi.json",
        dependencies=[Depends(_known_query)],
        summary="What a workload costs on hardware that you do not have, with an interval and a source.",
    )  # fmt: skip
    app.state.service = service
    for add in (health_routes, catalogue_routes, page_routes):
        add(app, service)
    if settings.data is not None:
        from archcast.service.job_routes import job_routes

        job_routes(app, service)
    _error_answers(app, service)
    app.openapi = lambda: openapi(app, service)  # type: ignore[method-assign]
    app.frame = Frame(super(Application, app).__call__, service)
    return app


async def _known_query(request: Request) -> None:
    """Refuse query parameters that the route does not take, or one twice. Raises UnknownNameError, RefusedError."""
    given = request.query_params
    if not given or not request.url.path.startswith("/v1/"):
        return
    known = {one.alias for one in request.scope["route"].dependant.query_params}
    for name in given:
        if name not in known:
            raise UnknownNameError("query parameter", name[:100], known, "" if known else "This route takes none.")
        if name not in SEVERAL and len(given.getlist(name)) > 1:
            raise RefusedError(422, f"The query parameter '{name}' stands twice.", at=name)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that a path takes, in any of its routes."""
    found: set[str] = set()
    for route in app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    if "GET" in found and not request.url.path.endswith("/events"):
        found.add("HEAD")
    return sorted(found)


async def _warm(service: Service) -> None:
    """Load what the first question would wait for, and start the helper process."""
    await asyncio.to_thread(_load, service)
    service.ready = True
    if service.side is not None:
        try:
            await service.side.start()
        except Exception as error:  # the first long question tries again
            service.log.add({"error": f"the helper process did not start: {error}"[:300]})


def _load(service: Service) -> None:
    from archcast.cost_models import shipped

    model = shipped()
    if hasattr(model, "warmed"):
        model.warmed()  # trees in compiled loops from the first request on, instead of a second's pause in the middle
    service.answers.predict_ops(b'{"op": "gemm", "m": 64, "n": 64, "k": 64, "on": "h100-sxm"}', {})
    service.answers.predict(b'{"workload": "resnet-50", "on": "h100-sxm"}', {})


def _error_answers(app: FastAPI, service: Service) -> None:
    """Give every error of a route the shape that the frame's have."""

    def answer(request: Request, error: ArchcastError) -> Response:
        call: Call = request.scope["archcast"]
        status = status_of(error)
        if status == 500:
            raise error
        if status == 503:
            call.more.append((b"retry-after", b"%d" % (getattr(error, "retry_s", 0) or 1)))
        body = service.fault_body(fault(error, status=status), call.request_id)
        return Response(body, status, media_type="application/json")

    @app.exception_handler(ArchcastError)
    async def refused(request: Request, error: ArchcastError) -> Response:
        return answer(request, error)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return Response(request.scope["archcast"].failure(error), 500, media_type="application/json")

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        found = answer(request, RefusedError(error.status_code, SENTENCES.get(error.status_code, str(error.detail))))
        for name, value in (error.headers or {}).items():
            found.headers[name] = value
        if error.status_code == 405:
            found.headers["allow"] = ", ".join(_methods(app, request))
        return found

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"][1:])
        return answer(request, ShapeError(f"{at or 'The request'}: {first['msg'][:1].lower()}{first['msg'][1:]}.", at))
