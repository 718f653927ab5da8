"""OpenAI Responses, for clients and for backends that speak it natively.

Facts from OpenAI's API reference (Responses, Streaming events) and from the types of its official SDK.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from engine.codecs.base import Problem, StreamReader, StreamWriter
from engine.codecs.neutral import Carried
from engine.codecs.openai_chat.problem import decode_problem, encode_problem
from engine.model.exchange import Answer, Exchange, Protocol, Usage

from .answer import decode_answer, encode_answer
from .lift import lift
from .lower import lower
from .request import decode_request, encode_request
from .stream_reader import Reader
from .stream_writer import Writer
from .usage import decode_usage, usage_in

__all__ = ["OpenAIResponses"]

# Types of items and events of calls; a name may be escaped, so an escape of ASCII counts as one.
_CALL: Final = re.compile(rb'_call(?:"|\.|_arguments|_input)|\\u00')


class _Counts(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Answer(msgspec.Struct):
    """What is decoded of an answer that goes on unread."""

    usage: _Counts | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class OpenAIResponses:
    """The codec; it holds nothing, so that one serves every exchange."""

    protocol = Protocol.OPENAI_RESPONSES

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
        return f"/responses?{exchange.query}" if exchange.query else "/responses"

    def ask_for_usage(self, exchange: Exchange) -> Exchange:
        """It is always reported."""
        return exchange

    def decode_answer(self, body: bytes) -> Answer:
        """Raises BadAnswer."""
        return decode_answer(body)

    def encode_answer(self, answer: Answer, exchange: Exchange) -> bytes:
        return encode_answer(answer, exchange)

    def reader(self) -> StreamReader:
        return Reader()

    def writer(self, exchange: Exchange, *, strip_usage: bool = False) -> StreamWriter:
        return Writer(exchange, strip_usage=strip_usage)

    def encode_problem(self, problem: Problem) -> bytes:
        return encode_problem(problem)

    def decode_problem(self, status: int, body: bytes) -> Problem:
        return decode_problem(status, body)

    def may_hold_calls(self, data: bytes) -> bool:
        return _CALL.search(data) is not None

    def usage_of(self, body: bytes) -> Usage | None:
        try:
            counts = _ANSWER.decode(body).usage
        except msgspec.DecodeError:
            return None
        return decode_usage(msgspec.to_builtins(counts)) if counts is not None else None

    def usage_in_tail(self, tail: bytes) -> Usage | None:
        """From the response at the end, of which the tail may hold only the last part."""
        return usage_in(tail)

    def lift(self, exchange: Exchange) -> Carried:
        return lift(exchange)

    def lower(self, exchange: Exchange) -> Carried:
        return lower(exchange)
