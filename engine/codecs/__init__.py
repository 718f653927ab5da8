"""The wire protocols: which codec speaks which, and which a path of the server is spoken in."""

from collections.abc import Mapping
from typing import Final

from engine.model.exchange import Protocol

from .anthropic import Anthropic
from .anthropic import count as anthropic_count
from .base import Codec, Counter
from .gemini import Gemini
from .gemini import count as gemini_count
from .openai_chat import OpenAIChat
from .openai_embeddings import OpenAIEmbeddings
from .openai_responses import OpenAIResponses

CODECS: Final[Mapping[Protocol, Codec]] = {
    Protocol.OPENAI_CHAT: OpenAIChat(),
    Protocol.OPENAI_RESPONSES: OpenAIResponses(),
    Protocol.OPENAI_EMBEDDINGS: OpenAIEmbeddings(),
    Protocol.ANTHROPIC: Anthropic(),
    Protocol.GEMINI: Gemini(),
}

COUNTERS: Final[Mapping[Protocol, Counter]] = {
    Protocol.ANTHROPIC: anthropic_count,
    Protocol.GEMINI: gemini_count,
}
"""The protocols that have a route for counting tokens."""

COUNT_METHODS: Final = frozenset(("count_tokens", "countTokens"))
"""The methods, as a path names them, that count instead of answering."""

PATHS: Final[Mapping[str, Codec]] = {
    "/v1/chat/completions": CODECS[Protocol.OPENAI_CHAT],
    "/v1/responses": CODECS[Protocol.OPENAI_RESPONSES],
    "/v1/messages": CODECS[Protocol.ANTHROPIC],
    "/v1/embeddings": CODECS[Protocol.OPENAI_EMBEDDINGS],
}
