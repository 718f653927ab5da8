"""Google's Gemini API (generateContent), for clients and for backends.

Facts from Google's API reference (generating content, thought signatures, function calling) and from the types and readers
of its official SDKs.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.codecs.base import Problem, StreamReader, StreamWriter
from engine.codecs.neutral import Carried
from engine.model.exchange import Answer, Exchange, Protocol, Usage

from .answer import decode_answer, encode_answer
from .lift import lift
from .lower import lower
from .problem import decode_problem, encode_problem
from .request import decode_request, encode_request, streams_as_array, upstream_path
from .stream_reader import Reader
from .stream_writer import Writer
from .usage import decode_usage

__all__ = ["Gemini"]


class _Reported(msgspec.Struct):
    """What is decoded of an answer that goes on unread."""

    usageMetadata: Any = None


_USAGE: Final = msgspec.json.Decoder(_Reported)

# The fields that make a part a call. A name may be escaped, so an escape of ASCII counts as one.
_CALL: Final = re.compile(rb'"functionCall"|"function_call"|"executableCode"|"executable_code"|"tool_?[cC]all"|\\u00')
_COUNTS: Final = re.compile(r'"usageMetadata"\s*:\s*(?=\{)')
_JSON: Final = json.JSONDecoder()


class Gemini:
    """The codec; it holds nothing, so that one serves every exchange."""

    protocol = Protocol.GEMINI

    def decode_request(
        self,
        body: bytes,
        *,
        id: str,
        headers: Mapping[str, str],
        query: str = "",
        path: Mapping[str, str] | None = None,
    ) -> Exchange:
        """`path` holds `model` and `method`. Raises BadRequest."""
        return decode_request(body, id=id, headers=headers, query=query, path=path)

    def encode_request(self, exchange: Exchange) -> bytes:
        return encode_request(exchange)

    def lift(self, exchange: Exchange) -> Carried:
        return lift(exchange)

    def lower(self, exchange: Exchange) -> Carried:
        return lower(exchange)

    def upstream_path(self, exchange: Exchange) -> str:
        return upstream_path(exchange)

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

    def streams_as_json(self, exchange: Exchange) -> bool:
        """Whether the stream is one JSON array, whose items no blank line ends."""
        return streams_as_array(exchange)

    def encode_problem(self, problem: Problem) -> bytes:
        return encode_problem(problem)

    def decode_problem(self, status: int, body: bytes) -> Problem:
        return decode_problem(status, body)

    def may_hold_calls(self, data: bytes) -> bool:
        return _CALL.search(data) is not None

    def usage_of(self, body: bytes) -> Usage | None:
        try:
            return decode_usage(_USAGE.decode(body).usageMetadata)
        except msgspec.DecodeError:
            return None

    def usage_in_tail(self, tail: bytes) -> Usage | None:
        """From the last object of counts, in either form of stream: it may stand on several lines."""
        text = tail.decode("utf-8", "replace")
        for found in reversed(list(_COUNTS.finditer(text))):
            try:
                wire, _ = _JSON.raw_decode(text, found.end())
            except ValueError:
                continue
            return decode_usage(wire)
        return None
