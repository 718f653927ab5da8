"""The admin interface: `/admin/v1`, its OpenAPI document, and a record in the audit log for every change."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Tag

from engine import __version__
from engine.server.door import VISITOR, Visitor
from engine.server.edge import Edge
from engine.world.fleet import Fleet

from . import admin_backends, admin_decisions, admin_keys, admin_policies, admin_sessions, admin_usage
from .admin_base import HANDLERS, NOTE, SAFE, Problem, by_role
from .admin_docs import document

PATH: Final = "/admin/v1"
MAX_BODY: Final = 1_000_000
_TAGS: Final = {
    "keys": "Virtual keys of callers. Changing them needs the role admin.",
    "teams and roles": "What the callers of a team, or with a role, may use. Changing them needs the role admin.",
    "usage": "Requests, tokens and money, for people to read. Limits and budgets are exact, and elsewhere.",
    "sessions": "What rules remember of conversations.",
    "decisions": "The audit log of the machine that is asked.",
    "policies": "The rules in force on every process.",
    "backends": "Providers, and taking one out of service.",
}

_ROUTES: Final[Sequence[HTTPRouteHandler]] = (
    *admin_keys.ROUTES,
    *admin_usage.ROUTES,
    *admin_sessions.ROUTES,
    *admin_decisions.ROUTES,
    *admin_policies.ROUTES,
    *admin_backends.ROUTES,
)
_DESCRIPTION: Final = (
    "For keys with the role admin, operator or auditor. An auditor reads; an operator does all but keys, teams and "
    "roles. Every change is recorded in the audit log, with who made it."
)

Scope = Any
Send = Callable[[Any], Awaitable[None]]


@functools.cache
def schema() -> Mapping[str, Any]:
    """The OpenAPI document, made when somebody asks for it: of an application of its own, which serves nothing."""
    described = Litestar(
        route_handlers=[Router(PATH, route_handlers=list(_ROUTES))],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Lexgate admin interface",
            version=__version__,
            description=_DESCRIPTION,
            operation_id_creator=lambda handler, _method, _path: handler.handler_name,
            tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
            components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"key": []}],
        ),
    )
    # Plain data: defaults of fields are Structs in it.
    plain: Mapping[str, Any] = msgspec.to_builtins(described.openapi_schema.to_schema())
    return plain


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi() -> Response[bytes]:
    """What can be asked here, for programs."""
    return Response(msgspec.json.encode(schema()), media_type="application/vnd.oai.openapi+json")


@get("/docs", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def docs() -> Response[str]:
    """The same for people."""
    return Response(document(schema()), media_type=MediaType.HTML)


def make_admin(edge: Edge, fleet: Callable[[], Fleet]) -> Litestar:
    """The routes, without the door in front of them and the log behind them: `audited` adds that."""
    app = Litestar(
        route_handlers=[Router(PATH, route_handlers=[openapi, docs, *_ROUTES], guards=[by_role])],
        exception_handlers=HANDLERS,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        openapi_config=None,
    )
    app.state.edge = edge
    app.state.fleet = fleet
    return app


def audited(app: Any, edge: Edge) -> Callable[[Scope, Any, Send], Awaitable[None]]:
    """The routes with a record of every change, whether it was done or refused; none is done that could not be recorded."""

    async def inside(scope: Scope, receive: Any, send: Send) -> None:
        if scope["method"] in SAFE:
            await app(scope, receive, send)
            return
        assert edge.house is not None  # the door was passed, so there is one
        world = edge.house.world
        if world.settings.audit.when_full == "refuse" and not world.audit_has_room:
            await _say(send, 503, Problem(code="audit_full", message="The audit log cannot take a record."))
            return
        id = world.new_id()

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                world.record(_record(scope, id, world.clock(), message["status"]))
                message = {**message, "headers": [*message["headers"], (b"x-lexgate-decision", id.encode())]}
            await send(message)

        await app(scope, receive, sent)

    return inside


def _record(scope: Scope, id: str, now: float, status: int) -> dict[str, Any]:
    """Who did what, and whether it was done. A path is named by its template: people paste keys into paths."""
    found: Visitor = scope[VISITOR]
    note = scope.get(NOTE, {})
    return {
        "kind": "admin",
        "id": id,
        "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "caller": found.caller.id,
        "key": found.caller.key,
        "roles": list(found.caller.roles),
        "address": found.caller.ip,
        "method": scope["method"],
        "route": scope.get("path_template", ""),
        "status": status,
        "done": status < 400,
        "action": note.get("action", ""),
        "target": note.get("target", ""),
        "change": note.get("change", {}),
    }


async def _say(send: Send, status: int, problem: Problem) -> None:
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
