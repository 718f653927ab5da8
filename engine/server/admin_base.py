"""What all of the admin interface shares: what it needs, who may do what, how a problem is said, how a change is noted."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

import litestar
import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from msgspec import Meta

from engine.access.registry import Registry, RegistryError
from engine.diagnostics import LexgateError
from engine.passage.replies import House
from engine.policy.live import Live
from engine.server.door import VISITOR, Visitor
from engine.world.fleet import Fleet
from engine.world.store.base import StoreDown
from engine.world.world import World

AnyRequest = Request[Any, Any, Any]
Role = Literal["admin", "operator", "auditor"]

NEEDS: Final = "needs"
"""The option of a route that changes something: the roles that may. Reading is for all of them."""

FOR_ADMINS: Final = frozenset({"admin"})
FOR_OPERATORS: Final = frozenset({"admin", "operator"})
FOR_ALL: Final = frozenset({"admin", "operator", "auditor"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NOTE: Final = "lexgate.note"
"""Where the scope of a request holds what is recorded of it."""

Limit = Annotated[int, QueryParameter(ge=1, le=500, description="Rows of this page at most.")]
After = Annotated[str, QueryParameter(max_length=2000, description="`next` of the page before.")]

_LOG: Final = structlog.get_logger("lexgate")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why it was not done."""

    code: Annotated[str, Meta(description="For programs; it does not change.")]
    message: Annotated[str, Meta(description="For people.")]
    help: Annotated[str, Meta(description="What can be done about it.")] = ""


class Refusal(LexgateError):
    """A request that cannot be done, with the status that says whose fault it is."""

    def __init__(self, status: int, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code=code, message=message, help=help)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request brings: a field that is not known is refused."""


class Desk:
    """What the routes work with: of the running server, whatever there is at the moment of a request."""

    def __init__(self, house: House, live: Live, fleet: Fleet) -> None:
        self.house = house
        self.live = live
        self.fleet = fleet

    @property
    def world(self) -> World:
        return self.house.world

    @property
    def registry(self) -> Registry:
        assert self.house.registry is not None
        return self.house.registry


def desk(state: State) -> Desk:
    """The desk of this process. The routes are reached only while it serves, in team mode."""
    edge = state.edge
    return Desk(edge.house, edge.live, state.fleet())


def visitor(request: AnyRequest) -> Visitor:
    scope: Any = request.scope
    found: Visitor = scope[VISITOR]
    return found


def noted(request: AnyRequest, action: str, target: str, **change: Any) -> None:
    """Say what a change is, for its record: never a secret, and never text that could be one."""
    scope: Any = request.scope
    scope[NOTE] = {"action": action, "target": target, "change": change}


def by_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Whether the caller's role may do this. A route that changes something and names no role is for admins."""
    scope: Any = connection.scope
    if scope["method"] in SAFE:
        return
    needed = handler.opt.get(NEEDS, FOR_ADMINS)
    found: Visitor = scope[VISITOR]
    if needed.isdisjoint(found.caller.roles):
        named = " or ".join(sorted(needed))
        raise Refusal(403, "role_not_allowed", f"This needs the role {named}.", "use a key that has it")


RESPONSES: Final = {
    status: ResponseSpec(Problem, description=description, generate_examples=False)
    for status, description in {
        400: "The request is wrong.",
        401: "No key, or a wrong one.",
        403: "The role may not do this.",
        404: "There is no such thing.",
        405: "Another method is possible here.",
        409: "It cannot be done as things are.",
        413: "The request is too large.",
        415: "The body must be JSON.",
        429: "Too many wrong keys.",
        503: "The state store cannot be reached, or the audit log cannot take a record.",
    }.items()
}

get: Final = partial(litestar.get, responses=RESPONSES)
post: Final = partial(litestar.post, responses=RESPONSES)
put: Final = partial(litestar.put, responses=RESPONSES)
delete: Final = partial(litestar.delete, responses=RESPONSES)
"""Litestar's, with the problems that every route can answer."""


def problem_response(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MediaType.JSON, headers=headers)


def _refused(_: AnyRequest, refusal: Refusal) -> Response[bytes]:
    return problem_response(refusal.status, refusal.problem)


def _store_down(_: AnyRequest, __: StoreDown) -> Response[bytes]:
    message = "The state store cannot be reached."
    return problem_response(503, Problem(code="store_down", message=message, help="it is tried again by itself"))


def _not_registered(_: AnyRequest, wrong: RegistryError) -> Response[bytes]:
    text = str(wrong)
    missing = text.startswith("there is no key")
    message = text.partition(";")[0] if missing else text
    problem = Problem(
        code="key_not_found" if missing else "not_possible", message=f"{message[:1].upper()}{message[1:]}."
    )
    return problem_response(404 if missing else 409, problem)


def _invalid(_: AnyRequest, wrong: ValidationException) -> Response[bytes]:
    found = wrong.extra if isinstance(wrong.extra, list) else []
    said = "; ".join(
        f"{each.get('key', 'body')}: {each.get('message', '')}" for each in found if isinstance(each, dict)
    )
    problem = Problem(code="invalid_request", message=said or wrong.detail, help="the OpenAPI document says what fits")
    return problem_response(400, problem)


_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}


def _http(request: AnyRequest, wrong: HTTPException) -> Response[bytes]:
    status = wrong.status_code
    message = wrong.detail
    if status in (404, 405):
        how = f"There is no {request.method} {request.scope['path']} here."
        message = how if status == 404 else f"{request.method} is not possible here."
    code = _CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    return problem_response(status, Problem(code=code, message=message), dict(wrong.headers or {}))


def _broken(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The outermost edge of the interface: the log has the reason, the client does not."""
    _LOG.error("admin request failed", path=request.scope.get("path_template", ""), exc_info=error)
    return problem_response(500, Problem(code="internal_error", message="The proxy failed; its log has the reason."))


HANDLERS: Final[dict[Any, Callable[..., Response[bytes]]]] = {
    Refusal: _refused,
    StoreDown: _store_down,
    RegistryError: _not_registered,
    ValidationException: _invalid,
    HTTPException: _http,
    Exception: _broken,
}
