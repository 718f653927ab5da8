"""What a request's path and query say: which codec speaks there, and what of the request stands in the URL itself."""

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from engine.codecs import CODECS, PATHS
from engine.codecs.base import Codec
from engine.model.exchange import Protocol
from engine.world.http.base import Headers

# A model may hold colons (`llama3:8b`) and slashes (`google/gemma`): its method is what follows the last colon.
_GOOGLE: Final = re.compile(r"/v1(?:alpha|beta)?/(?:models/|(?=tunedModels/))(?P<model>.+):(?P<method>[A-Za-z]+)")
_METHODS: Final = frozenset(("generateContent", "streamGenerateContent", "countTokens"))
_ANTHROPIC_COUNT: Final = "/v1/messages/count_tokens"

_CREDENTIALS: Final = {"key": (b"x-goog-api-key", b""), "access_token": (b"authorization", b"Bearer ")}
"""Credentials that Google's clients may put into the query, and the headers that say the same."""


class GooglePath(msgspec.Struct, frozen=True):
    """A custom method of Google's API on a model: `/v1beta/models/gemini-2.5-pro:countTokens`."""

    model: str
    method: str


def google_path(path: str) -> GooglePath | None:
    """The model and the method that a decoded path names; None where it is no such path."""
    found = _GOOGLE.fullmatch(path)
    return GooglePath(found["model"], found["method"]) if found is not None else None


def codec_for(path: str) -> tuple[Codec, dict[str, str]] | None:
    """The codec that is spoken at a path, with what the path says of the request; None where no exchange begins."""
    codec = PATHS.get(path)
    if codec is not None:
        return codec, {}
    if path == _ANTHROPIC_COUNT:
        return CODECS[Protocol.ANTHROPIC], {"method": "count_tokens"}
    named = google_path(path)
    gemini = CODECS.get(Protocol.GEMINI)
    if named is None or gemini is None or named.method not in _METHODS:
        return None
    return gemini, {"model": named.model, "method": named.method}


def without_credentials(query: str, headers: Headers) -> tuple[str, Headers]:
    """The query without the credentials in it, and the headers with them: one place from which nothing is logged or
    forwarded unasked. A header that is there already wins."""
    if not query:
        return query, headers
    kept: list[str] = []
    known = {name for name, _ in headers}
    moved: Headers = []
    for field in query.split("&"):
        name, _, value = field.partition("=")
        place = _CREDENTIALS.get(unquote(name).lower())
        if place is None:
            kept.append(field)
        elif place[0] not in known and value:
            moved.append((place[0], place[1] + unquote(value).encode("latin-1", "replace")))
    if len(kept) == query.count("&") + 1:
        return query, headers
    return "&".join(kept), [*headers, *moved]
