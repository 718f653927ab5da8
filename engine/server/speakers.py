"""In which protocol a client speaks that asks for no exchange: what its path and headers tell."""

from collections.abc import Iterable
from typing import Final

from engine.codecs import CODECS
from engine.codecs.base import Codec
from engine.model.exchange import Protocol

_GOOGLE_PATHS: Final = ("/v1beta/", "/v1alpha/")
_BY_HEADER: Final = {
    b"anthropic-version": Protocol.ANTHROPIC,
    b"x-goog-api-client": Protocol.GEMINI,
    b"x-goog-api-key": Protocol.GEMINI,
}


def protocol_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Protocol:
    """Google's by its paths, Anthropic's by its paths and header; of everybody else OpenAI's."""
    if path.startswith(_GOOGLE_PATHS):
        return Protocol.GEMINI
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Protocol.ANTHROPIC
    return next((_BY_HEADER[name] for name, _ in headers if name in _BY_HEADER), Protocol.OPENAI_CHAT)


def codec_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Codec:
    """The codec whose errors the client can read."""
    return CODECS.get(protocol_of(path, headers), CODECS[Protocol.OPENAI_CHAT])
