"""A backend that gives the answers of a transcript, in the client's own protocol, and remembers what it was asked."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec

from engine.codecs import CODECS
from engine.codecs.base import Problem
from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Channel,
    Choice,
    Chunk,
    Closed,
    Exchange,
    Finished,
    Other,
    Part,
    Protocol,
    TextDelta,
    ToolCall,
    Usage,
    UsageReported,
)
from engine.opening import UPSTREAM_PATHS
from engine.policy.spec import AnswerSpec
from engine.world import MadeResponse
from engine.world.http.base import Request

_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class Script:
    """The model of a transcript, behind the HTTP contract."""

    def __init__(self) -> None:
        self.answers: list[AnswerSpec] = []
        self.asked: list[Exchange] = []
        """What it was asked in this turn."""
        self._given = 0

    def begin(self, answers: Sequence[AnswerSpec]) -> None:
        """The answers of the next turn."""
        self.answers = list(answers)
        self.asked = []

    async def send(self, request: Request, _timeouts: object) -> MadeResponse:
        target, _, query = request.target.decode().partition("?")
        model, _, method = unquote(target.removeprefix("/")).rpartition(":")
        codec = UPSTREAM_PATHS.get(target) or CODECS[Protocol.GEMINI]
        digest = hashlib.blake2b(request.body, digest_size=8).hexdigest()
        path = {"model": model, "method": method} if method else None
        exchange = codec.decode_request(request.body, id=digest, headers={}, query=query, path=path)
        self.asked.append(exchange)
        self._given += 1
        if len(self.asked) > len(self.answers):
            problem = Problem(status=500, message="The transcript has no further answer.", kind="server_error")
            return MadeResponse(500, _JSON, [codec.encode_problem(problem)])
        said = self.answers[len(self.asked) - 1]
        if said.status >= 400:
            problem = Problem(status=said.status, message=said.text or "The backend refuses.", kind="server_error")
            return MadeResponse(said.status, _JSON, [codec.encode_problem(problem)])
        answer = _answer(said, exchange, self._given)
        if not exchange.stream:
            return MadeResponse(200, _JSON, [codec.encode_answer(answer, exchange)])
        writer = codec.writer(exchange)
        pieces = [
            writer.write([chunk]) for chunk in _chunks(answer, said.chunk, codec.ask_for_usage(exchange) is exchange)
        ]
        return MadeResponse(200, _EVENT_STREAM, [piece for piece in pieces if piece])

    async def aclose(self) -> None:
        """There is nothing to close."""


def _answer(said: AnswerSpec, exchange: Exchange, number: int) -> Answer:
    parts = tuple(
        Part(kind=kind, text=text)  # type: ignore[arg-type]
        for kind, text in (("reasoning", said.reasoning), ("text", said.text))
        if text
    )
    calls = tuple(
        ToolCall(id=f"call_{number}_{place}", name=call.tool, arguments=msgspec.json.encode(call.args).decode())
        for place, call in enumerate(said.calls)
    )
    choice = Choice(parts=parts, tool_calls=calls, finish="tool_calls" if calls else "stop")
    usage = Usage(input=len(exchange.messages), output=len(said.text) // 4 + 1)
    return Answer(id=f"answer-{number}", model=exchange.model, choices=(choice,), usage=usage)


def _chunks(answer: Answer, size: int, usage: bool) -> Iterator[Chunk]:
    """The answer in pieces of so many characters."""
    (choice,) = answer.choices
    yield Other()
    for part in choice.parts:
        channel: Channel = "reasoning" if part.kind == "reasoning" else "answer"
        for piece in _cut(part.text, size):
            yield TextDelta(0, channel, piece)
    for index, call in enumerate(choice.tool_calls):
        yield CallOpened(0, index, call.id, call.name)
        for piece in _cut(call.arguments, size):
            yield CallDelta(0, index, piece)
    yield Finished(0, choice.finish)
    if usage and answer.usage is not None:
        yield UsageReported(answer.usage)
    yield Closed()


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
