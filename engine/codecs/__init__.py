"""The wire protocols: which codec speaks which, and which a path of the server is spoken in."""

from collections.abc import Mapping
from typing import Final

from engine.model.exchange import Protocol

from .anthropic import Anthropic
from .base import Codec
from .openai_chat import OpenAIChat

CODECS: Final[Mapping[Protocol, Codec]] = {Protocol.OPENAI_CHAT: OpenAIChat(), Protocol.ANTHROPIC: Anthropic()}

PATHS: Final[Mapping[str, Codec]] = {
    "/v1/chat/completions": CODECS[Protocol.OPENAI_CHAT],
    "/v1/messages": CODECS[Protocol.ANTHROPIC],
}
