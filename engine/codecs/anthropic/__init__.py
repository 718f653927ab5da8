"""Anthropic Messages, for clients and for backends.

Facts from Anthropic's API reference (Messages, Streaming messages, Errors) and from the types of its official SDK.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.base import Problem, StreamReader, StreamWriter
from engine.codecs.json_text import MalformedJson, decode_json
from engine.codecs.neutral import Carried
from engine.model.exchange import Answer, Exchange, Protocol, Usage

from .answer import decode_answer, encode_answer
from .lift import lift
from .lower import lower
from .problem import decode_problem, encode_problem
from .request import decode_request, encode_request
from .stream_reader import Reader
from .stream_writer import Writer
from .usage import decode_usage, merged

__all__ = ["Anthropic"]


class _Reported(msgspec.Struct):
    """What is decoded of an answer that goes on unread."""

    usage: Any = None


_USAGE: Final = msgspec.json.Decoder(_Reported)

# The type of a call's block; as the name of a field it counts the provider's own tools, in every message_start. A name
# may be escaped, so an escape of ASCII counts as one.
_CALL: Final = re.compile(rb'tool_use"\s*[,}]|"input_json|\\u00')


class Anthropic:
    """The codec; it holds nothing, so that one serves every exchange."""

    protocol = Protocol.ANTHROPIC

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

    def lift(self, exchange: Exchange) -> Carried:
        return lift(exchange)

    def lower(self, exchange: Exchange) -> Carried:
        return lower(exchange)

    def upstream_path(self, exchange: Exchange) -> str:
        return f"/v1/messages?{exchange.query}" if exchange.query else "/v1/messages"

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
            return decode_usage(_USAGE.decode(body).usage)
        except msgspec.DecodeError:
            return None

    def usage_in_tail(self, tail: bytes) -> Usage | None:
        """From the last `message_delta`, and from `message_start` where it is there too.

        None where neither says how long the input was: half of what was used is not what was used.
        """
        start: Any = None
        last: Any = None
        for line in tail.splitlines():
            if line.startswith(b"data:") and b'"usage"' in line:
                try:
                    data = decode_json(line[len(b"data:") :])
                except MalformedJson:
                    continue
                if not isinstance(data, dict):
                    continue
                if data.get("type") == "message_delta":
                    last = data.get("usage")
                elif data.get("type") == "message_start" and isinstance(data.get("message"), dict):
                    start = data["message"].get("usage")
        usage = merged(start, last) if last is not None else None
        return decode_usage(usage) if usage is not None and "input_tokens" in usage else None
