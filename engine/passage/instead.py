"""An answer that a rule gives in a backend's place, in the client's protocol, as if it had come from there."""

from typing import Final

from engine.codecs.base import Codec, streams_events
from engine.model.exchange import Answer, Choice, Exchange, Part, Usage
from engine.world import MadeResponse, answer_chunks

_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


def made_answer(codec: Codec, exchange: Exchange, message: str) -> MadeResponse:
    """The message as the assistant's whole answer, streamed where the client asked for that."""
    choice = Choice(parts=(Part(kind="text", text=message),), finish="stop")
    answer = Answer(model=exchange.model, choices=(choice,), usage=Usage())
    if not exchange.stream:
        return MadeResponse(200, _JSON, [codec.encode_answer(answer, exchange)])
    writer = codec.writer(exchange)
    wants_usage = codec.ask_for_usage(exchange) is exchange
    pieces = [writer.write([chunk]) for chunk in answer_chunks(answer, usage=wants_usage)]
    kind = _EVENT_STREAM if streams_events(codec, exchange) else _JSON
    return MadeResponse(200, kind, [piece for piece in pieces if piece])
