"""The pages that list models, in the shape that the asking client expects: OpenAI's, Anthropic's or Google's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response, get

from engine.access.scopes import Grant
from engine.codecs.base import BadRequest, Problem
from engine.codecs.json_text import encode_json
from engine.codecs.model_lists import (
    Served,
    anthropic_list,
    anthropic_model,
    google_list,
    google_model,
    openai_list,
    openai_model,
)
from engine.model.exchange import Protocol
from engine.passage.replies import House
from engine.passage.routing import NotServed, with_model
from engine.server.speakers import codec_of, protocol_of

AnyRequest = Request[Any, Any, Any]


class _Shape(msgspec.Struct, frozen=True):
    """How a protocol's clients expect a list of models, and one of them."""

    all: Callable[[Sequence[Served], Mapping[str, str]], dict[str, Any]]
    one: Callable[[Served], dict[str, Any]]


_OPENAI: Final = _Shape(openai_list, openai_model)
_SHAPES: Final[Mapping[Protocol, _Shape]] = {
    Protocol.ANTHROPIC: _Shape(anthropic_list, anthropic_model),
    Protocol.GEMINI: _Shape(google_list, google_model),
}


def served_models(house: House, grant: Grant) -> list[Served]:
    """The models that are served by an exact name, as far as they are in the caller's scope."""
    listed = (Served(each["id"], each["owned_by"]) for each in house.routes.models())
    return [model for model in listed if grant.sees(model.owned_by, model.id)]


def served_model(house: House, grant: Grant, id: str) -> Served | None:
    """One model, also one that only a glob names; None where it is not served, or not to this caller."""
    try:
        plan = house.routes.for_model(id)
    except NotServed:
        return None
    leg = with_model(plan.legs[0], id)
    return Served(id, leg.backend) if grant.sees(leg.backend, leg.model) else None


def _grant(request: AnyRequest) -> Grant:
    grant: Grant = request.app.state.edge.visitor(request.scope).grant
    return grant


def _shape(request: AnyRequest) -> _Shape:
    return _SHAPES.get(protocol_of(request.url.path, request.scope["headers"]), _OPENAI)


def problem_response(
    request: AnyRequest, problem: Problem, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """A problem in the shape that the client can read."""
    body = codec_of(request.scope["path"], request.scope["headers"]).encode_problem(problem)
    return Response(body, status_code=problem.status, media_type=MediaType.JSON, headers=headers)


@get(["/v1/models", "/v1beta/models"], media_type=MediaType.JSON, sync_to_thread=False)
def models(request: AnyRequest) -> Response[bytes]:
    """The models that are served by name."""
    listed = served_models(request.app.state.edge.house, _grant(request))
    try:
        return Response(encode_json(_shape(request).all(listed, request.query_params)), media_type=MediaType.JSON)
    except BadRequest as bad:
        return problem_response(request, bad.problem)


@get(["/v1/models/{id:path}", "/v1beta/models/{id:path}"], media_type=MediaType.JSON, sync_to_thread=False)
def model(request: AnyRequest) -> Response[bytes]:
    """One model by its name, which may hold slashes."""
    name = request.scope["path"].partition("/models/")[2]
    found = served_model(request.app.state.edge.house, _grant(request), name)
    if found is None:
        message = f"The model '{name}' is not served here."
        missing = Problem(status=404, message=message, code="model_not_found", param="model")
        return problem_response(request, missing)
    return Response(encode_json(_shape(request).one(found)), media_type=MediaType.JSON)
