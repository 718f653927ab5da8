"""OpenAI Embeddings: texts in, a vector for each out; nothing of the answer is for rules to read.

Facts from OpenAI's API reference ("Create embeddings") and from its official SDKs, which ask for base64 by themselves.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.base import Problem, StreamReader, StreamWriter
from engine.codecs.openai_chat.problem import decode_problem, encode_problem
from engine.model.exchange import Answer, Exchange, Protocol, Usage

from .answer import decode_answer, decode_usage, encode_answer
from .request import decode_request, encode_request

__all__ = ["OpenAIEmbeddings"]


class _Reported(msgspec.Struct):
    """What is decoded of an answer that goes on unread."""

    usage: Any = None


_USAGE: Final = msgspec.json.Decoder(_Reported)
_NO_STREAM: Final = "embeddings are not streamed"


class OpenAIEmbeddings:
    """The codec; it holds nothing, so that one serves every exchange. Of a stream it knows nothing: none is asked for."""

    protocol = Protocol.OPENAI_EMBEDDINGS

    def decode_request(
        self,
        body: bytes,
        *,
        id: str,
        headers: Mapping[str, str],
        query: str = "",
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - the contract's; here the path says nothing
    ) -> Exchange:
        """Raises BadRequest."""
        return decode_request(body, id=id, headers=headers, query=query)

    def encode_request(self, exchange: Exchange) -> bytes:
        return encode_request(exchange)

    def upstream_path(self, exchange: Exchange) -> str:
        return f"/embeddings?{exchange.query}" if exchange.query else "/embeddings"

    def ask_for_usage(self, exchange: Exchange) -> Exchange:
        """It is always reported."""
        return exchange

    def decode_answer(self, body: bytes) -> Answer:
        """Raises BadAnswer."""
        return decode_answer(body)

    def encode_answer(self, answer: Answer, exchange: Exchange) -> bytes:
        return encode_answer(answer, exchange)

    def reader(self) -> StreamReader:
        raise AssertionError(_NO_STREAM)

    def writer(self, exchange: Exchange, *, strip_usage: bool = False) -> StreamWriter:  # noqa: ARG002
        raise AssertionError(_NO_STREAM)

    def encode_problem(self, problem: Problem) -> bytes:
        return encode_problem(problem)

    def decode_problem(self, status: int, body: bytes) -> Problem:
        return decode_problem(status, body)

    def may_hold_calls(self, data: bytes) -> bool:  # noqa: ARG002 - no vector is a tool call
        return False

    def usage_of(self, body: bytes) -> Usage | None:
        try:
            return decode_usage(_USAGE.decode(body).usage)
        except msgspec.DecodeError:
            return None

    def usage_in_tail(self, tail: bytes) -> Usage | None:  # noqa: ARG002
        raise AssertionError(_NO_STREAM)
