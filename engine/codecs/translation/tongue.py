"""In which tongue a backend is asked: the client's own, where bytes stay bytes, or another, where all is translated."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from engine.codecs.base import Codec, Problem, StreamReader
from engine.codecs.neutral import Translatable
from engine.model.exchange import Answer, Chunk, Exchange, Frame, Message, Part
from engine.model.exchange import Protocol as WireProtocol

from .answer import Inward
from .problems import problem_for
from .request import translated

replace = msgspec.structs.replace

Fitted = Callable[[Exchange], Exchange]
"""Leaves out of a request, in the backend's protocol, what this one backend refuses; the same object where it has none."""

Said = list[tuple[Frame | None, tuple[Chunk, ...]]]


class Speaker(Codec, Translatable, Protocol):
    """A codec whose requests can be translated."""


class Asked(msgspec.Struct, frozen=True):
    """What goes to the backend. `dropped` is what the backend's protocol has no words for, or this backend refuses."""

    path: str
    body: bytes
    exchange: Exchange
    dropped: Sequence[str] = ()


class Listener(Protocol):
    """Hears one streamed answer in the client's terms. A chunk without its frame is the backend's in other words."""

    @property
    def thoughts(self) -> Sequence[Part]:
        """The reasoning that has ended, as it must go back to the backend that thought it."""

    def feed(self, data: bytes) -> Said:
        """Raises BadAnswer."""

    def close(self) -> Said:
        """Raises BadAnswer where the stream was cut."""


class Tongue(Protocol):
    """How one backend is asked, and how its answers are understood. `codec` is the backend's."""

    codec: Codec
    native: bool
    """The client speaks it too: what the backend says goes on as the bytes that came."""

    def ask(self, exchange: Exchange) -> Asked:
        """The request in the backend's protocol. Raises BadRequest where it cannot be said there."""

    def listener(self) -> Listener: ...

    def answer(self, body: bytes) -> tuple[Answer, Sequence[Part]]:
        """A whole answer in the client's terms, and the thoughts in it. Raises BadAnswer."""

    def problem(self, status: int, body: bytes) -> Problem:
        """An error of the backend's; never raises."""


def _as_it_is(exchange: Exchange) -> Exchange:
    return exchange


def _left_out(exchange: Exchange, fits: Exchange) -> Sequence[str]:
    """The parameters that a backend does not get because it refuses them."""
    if fits is exchange:
        return ()
    return [name for name in exchange.params if name not in fits.params]


class Native:
    """The backend is asked in the client's own protocol."""

    native = True

    def __init__(self, codec: Codec, fitted: Fitted = _as_it_is) -> None:
        self.codec = codec
        self._fitted = fitted

    def ask(self, exchange: Exchange) -> Asked:
        fits = self._fitted(exchange)
        dropped = _left_out(exchange, fits)
        return Asked(self.codec.upstream_path(fits), self.codec.encode_request(fits), fits, dropped)

    def listener(self) -> Listener:
        return _Understood(self.codec.reader())

    def answer(self, body: bytes) -> tuple[Answer, Sequence[Part]]:
        answer = self.codec.decode_answer(body)
        return answer, _signed(answer)

    def problem(self, status: int, body: bytes) -> Problem:
        return self.codec.decode_problem(status, body)


class _Understood:
    """A reader of the client's own protocol."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    @property
    def thoughts(self) -> Sequence[Part]:
        return self._reader.thoughts

    def feed(self, data: bytes) -> Said:
        return self._reader.feed(data)  # type: ignore[return-value]

    def close(self) -> Said:
        return self._reader.close()  # type: ignore[return-value]


def _signed(answer: Answer) -> Sequence[Part]:
    """The thoughts of the first choice that stand in objects of their own, with what proves them."""
    parts = answer.choices[0].parts if answer.choices else ()
    return [part for part in parts if part.wire is not None and (part.kind == "reasoning" or _is_redacted(part.wire))]


def _is_redacted(wire: Any) -> bool:
    """Thinking that only its provider can read is opaque to everybody else."""
    inner = getattr(wire, "item", wire)  # of a part that is one place of an item
    return isinstance(inner, dict) and inner.get("type") in ("redacted_thinking", "reasoning")


class Foreign:
    """The backend `to` speaks another protocol than the client: what is said is translated both ways.

    Holds what one request taught it, so that it is one exchange's, for one leg; it may ask several times.
    """

    native = False

    def __init__(self, client: Speaker, codec: Speaker, to: str, fitted: Fitted = _as_it_is) -> None:
        self.client = client
        self.codec: Codec = codec
        self._speaker = codec
        self._to = to
        self._fitted = fitted
        self._times = 0
        self._hears: Inward | None = None

    def ask(self, exchange: Exchange) -> Asked:
        there = translated(exchange, self.client, self._speaker, self._speaker.protocol, self._to)
        asked = self._fitted(self.codec.ask_for_usage(there.exchange))
        self._times += 1
        known = [call.id for message in exchange.messages for call in message.tool_calls]
        self._hears = Inward(
            self.client.protocol,
            there.names,
            there.custom,
            f"{exchange.id}.{self._to}.{self._times}",
            known,
            interleaved=self.codec.protocol is WireProtocol.OPENAI_CHAT,
        )
        dropped = (*there.dropped, *_left_out(there.exchange, asked))
        return Asked(self.codec.upstream_path(asked), self.codec.encode_request(asked), asked, dropped)

    @property
    def _inward(self) -> Inward:
        if self._hears is None:
            raise AssertionError("nothing was asked yet")
        return self._hears

    def listener(self) -> Listener:
        return _Translated(self.codec.reader(), self._inward, self._speaker)

    def answer(self, body: bytes) -> tuple[Answer, Sequence[Part]]:
        answer = self.codec.decode_answer(body)
        return self._inward.answer(answer), _carried(self._speaker, _signed(answer))

    def problem(self, status: int, body: bytes) -> Problem:
        return problem_for(self.codec.decode_problem(status, body), self.client.protocol)


class _Translated:
    """A reader of another protocol, heard in the client's terms."""

    def __init__(self, reader: StreamReader, inward: Inward, speaker: Speaker) -> None:
        self._reader = reader
        self._inward = inward
        self._speaker = speaker

    @property
    def thoughts(self) -> Sequence[Part]:
        return _carried(self._speaker, self._reader.thoughts)

    def feed(self, data: bytes) -> Said:
        return [(None, self._inward.chunks(chunks)) for _, chunks in self._reader.feed(data)]

    def close(self) -> Said:
        return [(None, self._inward.chunks(chunks)) for _, chunks in self._reader.close()]


def _carried(speaker: Speaker, thoughts: Sequence[Part]) -> Sequence[Part]:
    """Thoughts free of their wire, with the signatures by which their provider knows them again."""
    if not thoughts:
        return ()
    message = Message(role="assistant", parts=tuple(thoughts))
    lifted = speaker.lift(_holding(message, speaker.protocol)).exchange.messages
    return [part for each in lifted for part in each.parts if part.kind == "reasoning" and part.signature]


def _holding(message: Message, protocol: Any) -> Exchange:
    return Exchange(id="", protocol=protocol, model="", stream=False, messages=(message,))


def tongue_for(client: Codec, codec: Codec, to: str, fitted: Fitted = _as_it_is) -> Tongue | None:
    """How the client's requests are said to the backend `to`, which speaks `codec`; None where they cannot be."""
    if client is codec or client.protocol is codec.protocol:
        return Native(codec, fitted)
    if isinstance(client, Translatable) and isinstance(codec, Translatable):
        return Foreign(client, codec, to, fitted)
    return None
