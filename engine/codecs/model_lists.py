"""The models that are served, in the shape that the clients of each protocol expect, and in pages where they ask for such.

Facts from the API references of OpenAI ("List models"), Anthropic ("List Models") and Google ("models.list").
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from engine.codecs.base import BadRequest, Problem

ANTHROPIC_PAGE: Final = (20, 1000)
GOOGLE_PAGE: Final = (50, 1000)
"""Models in a page that the client does not bound, and the most that it may ask for."""

_METHODS: Final = ["generateContent", "streamGenerateContent", "countTokens"]


class Served(msgspec.Struct, frozen=True):
    """A model that is served. `created` is seconds since 1970, 0 where it is not known."""

    id: str
    owned_by: str
    created: int = 0


# --- one model -------------------------------------------------------------------------------------------------------


def openai_model(model: Served) -> dict[str, Any]:
    """`created` is required by the clients' types."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def anthropic_model(model: Served) -> dict[str, Any]:
    """`created_at` is required: "an epoch value if the release date is unknown"."""
    created = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": model.id, "display_name": model.id, "created_at": created, "lifecycle": "active"}


def google_model(model: Served) -> dict[str, Any]:
    return {
        "name": f"models/{model.id}",
        "baseModelId": model.id,
        "version": "",
        "displayName": model.id,
        "supportedGenerationMethods": _METHODS,
    }


# --- lists -----------------------------------------------------------------------------------------------------------


def openai_list(models: Sequence[Served], _query: Mapping[str, str]) -> dict[str, Any]:
    """All of them: OpenAI's list has no pages."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def anthropic_list(models: Sequence[Served], query: Mapping[str, str]) -> dict[str, Any]:
    """The page after `after_id`, or the one that ends before `before_id`. Raises BadRequest."""
    limit = _limit(query, "limit", ANTHROPIC_PAGE)
    after, before = query.get("after_id"), query.get("before_id")
    if after and before:
        raise _refused("before_id and after_id cannot both be given.", "after_id")
    if before:
        rest = models[: _place(models, before, "before_id")]
        page, has_more = rest[-limit:], len(rest) > limit
    else:
        rest = models[_place(models, after, "after_id") + 1 :] if after else models
        page, has_more = rest[:limit], len(rest) > limit
    data = [anthropic_model(model) for model in page]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": has_more, "first_id": ends[0], "last_id": ends[1]}


def google_list(models: Sequence[Served], query: Mapping[str, str]) -> dict[str, Any]:
    """The page of a `pageToken`, which is the last model of the page before it. Raises BadRequest."""
    limit = _limit(query, "pageSize", GOOGLE_PAGE)
    token = query.get("pageToken")
    rest = models[_place(models, token, "pageToken") + 1 :] if token else models
    listed: dict[str, Any] = {"models": [google_model(model) for model in rest[:limit]]}
    if len(rest) > limit:
        listed["nextPageToken"] = rest[limit - 1].id
    return listed


def _limit(query: Mapping[str, str], field: str, bounds: tuple[int, int]) -> int:
    given, (default, most) = query.get(field), bounds
    if not given:
        return default
    if not (given.isdecimal() and given.isascii()) or not 1 <= int(given[:9]) <= most:
        raise _refused(f"{field} must be a number from 1 to {most}.", field)
    return int(given)


def _place(models: Sequence[Served], id: str, field: str) -> int:
    for place, model in enumerate(models):
        if model.id == id:
            return place
    raise _refused(f"{field} names no model of this list.", field)


def _refused(message: str, param: str) -> BadRequest:
    return BadRequest(Problem(status=400, message=message, param=param))
