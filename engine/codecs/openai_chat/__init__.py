"""OpenAI Chat Completions, for clients and for every server that calls itself compatible.

Facts from OpenAI's API reference (chat/create, chat-streaming) and from what compatible servers were seen to send.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from engine.codecs.base import Problem, StreamReader, StreamWriter
from engine.codecs.json_text import MalformedJson, decode_json
from engine.codecs.neutral import Carried
from engine.model.exchange import Answer, Exchange, Protocol, Usage

from .answer import decode_answer, encode_answer
from .lift import lift
from .lower import lower
from .problem import decode_problem, encode_problem
from .request import ask_for_usage, decode_request, encode_request
from .stream_reader import Reader
from .stream_writer import Writer
from .usage import decode_usage, reported

__all__ = ["OpenAIChat"]


class _Usage(msgspec.Struct):
    """What is counted of an answer that goes on unread; nothing else of it is decoded."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class OpenAIChat:
    """The codec; it holds nothing, so that one serves every exchange."""

    protocol = Protocol.OPENAI_CHAT

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
        return f"/chat/completions?{exchange.query}" if exchange.query else "/chat/completions"

    def ask_for_usage(self, exchange: Exchange) -> Exchange:
        return ask_for_usage(exchange)

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
        """By the names of its fields; a name may be escaped, so an escape of ASCII counts as one."""
        return b"tool_calls" in data or b"function_call" in data or b"\\u00" in data

    def usage_of(self, body: bytes) -> Usage | None:
        try:
            usage = _ANSWER.decode(body).usage
        except msgspec.DecodeError:
            return None
        return Usage(input=usage.prompt_tokens, output=usage.completion_tokens) if usage is not None else None

    def usage_in_tail(self, tail: bytes) -> Usage | None:
        """From the last event of the tail that reports it; its first line may be half of one."""
        if b'"usage"' not in tail:
            return None
        for line in reversed(tail.splitlines()):
            if line.startswith(b"data:") and b'"usage"' in line:
                try:
                    data = decode_json(line[len(b"data:") :])
                except MalformedJson:
                    continue
                usage = decode_usage(reported(data)) if isinstance(data, dict) else None
                if usage is not None:
                    return usage
        return None
