"""What a wire protocol must be able to say: the contract of every codec, and the blame of every mistake on the wire.

A codec is sans-I/O: bytes in, values out, and back. It never waits, and does not care where the network cut the bytes.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from engine.diagnostics import LexgateError
from engine.model.exchange import Answer, Chunk, Exchange, Frame, Part, Usage
from engine.model.exchange import Protocol as WireProtocol


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a client must see it: `status`, and the words that its own protocol's error shape has room for.

    `kind` is the family in OpenAI's terms (`invalid_request_error`, `not_found_error`, `rate_limit_error`,
    `server_error`); each codec translates it. `param` names the request field at fault. `retry_after` is seconds.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


class WireError(LexgateError):
    """Bytes that are not what the protocol says."""


class BadRequest(WireError):
    """The client's fault: `problem` is what it is told."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class BadAnswer(WireError):
    """The upstream's fault: its answer is not what the protocol says, or was cut."""


class StreamReader(Protocol):
    """Decodes one streamed answer."""

    complete: bool
    """The stream has said its end; what stops before was cut and is never delivered as whole."""

    thoughts: list[Part]
    """The reasoning that has ended and is signed, as it must go back to the provider: each part with its `wire`."""

    def feed(self, data: bytes) -> list[tuple[Frame, tuple[Chunk, ...]]]:
        """The frames that are whole now, each with what it says. Raises BadAnswer."""

    def close(self) -> list[tuple[Frame, tuple[Chunk, ...]]]:
        """The last frames, once the upstream has ended. Raises BadAnswer where the stream was cut."""


class StreamWriter(Protocol):
    """Encodes one streamed answer for the client; learns its envelope (id, model, time) from the frames that pass."""

    def write(self, chunks: Sequence[Chunk], frame: Frame | None = None) -> bytes:
        """The bytes that say `chunks`; b"" where they say nothing.

        With `frame`, the frame that the chunks came in: its bytes unchanged where `chunks` are all that it said, else the
        same frame saying only `chunks`, with the fields that we do not know. Without: frames of our own.
        """

    def next_attempt(self) -> None:
        """What follows is another answer of the model inside the same response: one envelope, no second beginning."""

    def keep_alive(self) -> bytes:
        """Bytes that clients ignore."""

    def error(self, problem: Problem) -> bytes:
        """The protocol's own error event, after output began."""


class Counter(Protocol):
    """How a protocol asks for the number of a request's tokens, where it has a route for that."""

    def decode_count_request(
        self,
        body: bytes,
        *,
        id: str,
        headers: Mapping[str, str],
        query: str = "",
        path: Mapping[str, str] | None = None,
    ) -> Exchange:
        """The request that is to be counted. Raises BadRequest."""

    def count_path(self, exchange: Exchange) -> str:
        """The path and query of the count, below a backend's `base_url`."""

    def encode_count_request(self, exchange: Exchange) -> bytes:
        """The body for the upstream."""

    def decode_count(self, body: bytes) -> int:
        """The tokens of an upstream's count. Raises BadAnswer."""

    def encode_count(self, tokens: int) -> bytes:
        """A count for the client."""


class Codec(Protocol):
    """One wire protocol, for clients and for backends."""

    protocol: WireProtocol

    def decode_request(
        self,
        body: bytes,
        *,
        id: str,
        headers: Mapping[str, str],
        query: str = "",
        path: Mapping[str, str] | None = None,
    ) -> Exchange:
        """The client's request. `path` holds what the URL says (Gemini's model). Raises BadRequest."""

    def encode_request(self, exchange: Exchange) -> bytes:
        """The body for the upstream: the bytes that came where nothing changed; else every unknown field kept."""

    def upstream_path(self, exchange: Exchange) -> str:
        """The path and query below a backend's `base_url`: `/chat/completions`."""

    def ask_for_usage(self, exchange: Exchange) -> Exchange:
        """The same request, so that a streamed answer reports its usage; the same object where it does already."""

    def decode_answer(self, body: bytes) -> Answer:
        """A whole answer. Raises BadAnswer."""

    def encode_answer(self, answer: Answer, exchange: Exchange) -> bytes:
        """A whole answer for the client; one without `wire` is built from nothing (sandbox, respond, block)."""

    def reader(self) -> StreamReader: ...

    def writer(self, exchange: Exchange, *, strip_usage: bool = False) -> StreamWriter:
        """`strip_usage`: the usage that the upstream was asked for on our behalf is not shown to the client."""

    def encode_problem(self, problem: Problem) -> bytes:
        """The body of an error answer, in the protocol's shape."""

    def decode_problem(self, status: int, body: bytes) -> Problem:
        """An upstream's error answer, whatever it holds; never raises."""

    def may_hold_calls(self, data: bytes) -> bool:
        """False only where these bytes of an answer, streamed or whole, cannot be part of a tool call."""

    def usage_of(self, body: bytes) -> Usage | None:
        """Usage of a whole answer that is forwarded unread; nothing else of it is looked at."""

    def usage_in_tail(self, tail: bytes) -> Usage | None:
        """Usage from the last bytes of a stream that was forwarded unread; where it is long, behind its first event."""


@runtime_checkable
class StreamsJson(Protocol):
    """What a codec adds whose clients may ask for a stream that is no stream of events."""

    def streams_as_json(self, exchange: Exchange) -> bool:
        """Whether the stream is one JSON array, whose items no blank line ends."""


def streams_events(codec: Codec, exchange: Exchange) -> bool:
    """Whether a streamed answer is server-sent events, as nearly all are."""
    return not (_may_stream_json(type(codec)) and isinstance(codec, StreamsJson) and codec.streams_as_json(exchange))


@functools.lru_cache(maxsize=32)
def _may_stream_json(kind: type[Codec]) -> bool:
    """Worked out once for a codec: Python takes its time to see whether an object has the methods of a protocol."""
    return issubclass(kind, StreamsJson)
