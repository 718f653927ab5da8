"""What clients make of a stream: its grammar is checked, and the official SDK assembles it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine.codecs.anthropic import Anthropic
from engine.codecs.anthropic.stream_reader import Reader
from engine.codecs.base import StreamWriter
from engine.codecs.sse import Decoder
from engine.model.exchange import Chunk, Frame
from tests.support.anthropic_mock import Call, Redacted, Reply, Search, Text, Thinking, stream

CODEC = Anthropic()
EXCHANGE = CODEC.decode_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', id="x1", headers={})
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
BLOCKS = st.one_of(
    st.builds(Text, TEXTS, st.integers(0, 2)),
    st.builds(Thinking, TEXTS),
    st.just(Redacted()),
    st.builds(Call, st.just("f"), st.dictionaries(TEXTS, TEXTS, max_size=2).map(json.dumps)),
    st.builds(Search, TEXTS),
)
REPLIES = st.builds(
    Reply,
    content=st.lists(BLOCKS, max_size=5).map(tuple),
    piece=st.integers(1, 4),
    fragment=st.integers(1, 4),
    late_input=st.booleans(),
    usage=st.tuples(*[st.integers(0, 99)] * 4),
)


def wire_of(reply: Reply, number: int = 1) -> bytes:
    return b"".join(stream(reply, {"model": "m"}, number))


def heard(wire: bytes) -> list[tuple[Frame, tuple[Chunk, ...]]]:
    reader = Reader()
    return [*reader.feed(wire), *reader.close()]


def chunks_of(wire: bytes) -> list[Chunk]:
    return [chunk for _, said in heard(wire) for chunk in said]


def rewritten(wire: bytes, write: Callable[[Frame, Sequence[Chunk]], bytes]) -> bytes:
    return b"".join([write(frame, said) for frame, said in heard(wire)])


def writer() -> StreamWriter:
    return CODEC.writer(EXCHANGE)


def documents(wire: bytes) -> list[Any]:
    """The data of the events, each under the name of its type."""
    found = []
    for event in Decoder().feed(wire):
        if event.data is not None:
            document = json.loads(event.data)
            assert event.name.decode() == document["type"]
            found.append(document)
    return found


def assembled(wire: bytes) -> dict[str, Any]:
    """What the official SDK makes of a stream that keeps the protocol's grammar."""
    events = [document for document in documents(wire) if document["type"] != "ping"]
    opened: int | None = None
    blocks = 0
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert opened is None, "a block began inside another"
                assert event["index"] == blocks, "blocks are numbered without gaps"
                opened, blocks = blocks, blocks + 1
            case "content_block_delta":
                assert event["index"] == opened, "a delta outside its block"
            case "content_block_stop":
                assert event["index"] == opened, "a stop without its start"
                opened = None
    assert opened is None, "a block was left open"
    names = [event["type"] for event in events if not event["type"].startswith("content_block")]
    assert names == ["message_start", "message_delta", "message_stop"]
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    snapshot: Any = None
    pieces: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(event=EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=pieces)
    dumped: dict[str, Any] = snapshot.to_dict()
    return dumped
