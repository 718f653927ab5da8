"""What clients make of a stream: its grammar is checked, and the official SDK assembles it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from engine.codecs.base import StreamWriter
from engine.codecs.openai_responses import OpenAIResponses
from engine.codecs.openai_responses.stream_reader import Reader
from engine.codecs.sse import Decoder
from engine.model.exchange import Chunk, Frame
from tests.support.responses_mock import Call, Custom, Refused, Reply, Search, Shell, Text, Thought, stream

CODEC = OpenAIResponses()
EXCHANGE = CODEC.decode_request(b'{"model":"m","input":"x"}', id="x1", headers={})
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
CONTENT = st.one_of(
    st.builds(Text, TEXTS, st.integers(0, 2)),
    st.builds(Refused, TEXTS),
    st.builds(Thought, st.lists(TEXTS, max_size=2).map(tuple), st.booleans()),
    st.builds(Call, st.just("f"), st.dictionaries(TEXTS, TEXTS, max_size=2).map(json.dumps)),
    st.builds(Custom, st.just("patch"), TEXTS),
    st.builds(Shell, st.tuples(TEXTS)),
    st.builds(Search, TEXTS),
)
REPLIES = st.builds(
    Reply,
    content=st.lists(CONTENT, max_size=5).map(tuple),
    piece=st.integers(1, 4),
    fragment=st.integers(1, 4),
    obfuscates=st.booleans(),
    incomplete=st.sampled_from(["", "max_output_tokens"]),
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
    """The response at the end of a stream that keeps the protocol's grammar, and that says nothing else than its events."""
    events = documents(wire)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    _check_items(events[2:-1], events[-1]["response"]["output"])
    assert {event["response"]["id"] for event in events if "response" in event} == {events[-1]["response"]["id"]}
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(EVENT.validate_python(event))
    final: dict[str, Any] = events[-1]["response"]
    return final


def _check_items(events: list[Any], output: list[Any]) -> None:
    """Items begin in order, each has one beginning and one end, and every repetition says what the deltas said."""
    open_items: dict[int, Any] = {}
    texts: dict[Any, str] = {}
    done: dict[int, Any] = {}
    begun = 0
    for event in events:
        kind, index = event["type"], event["output_index"]
        stem, _, last = kind.rpartition(".")
        if kind == "response.output_item.added":
            assert index == begun, "items are numbered without gaps"
            begun += 1
            open_items[index] = event["item"]
            continue
        assert index in open_items, f"{kind} outside its item"
        at = (index, event.get("content_index"), event.get("summary_index"), stem)
        if kind == "response.output_item.done":
            item = open_items.pop(index)
            assert (item["type"], item["id"]) == (event["item"]["type"], event["item"]["id"])
            done[index] = event["item"]
            continue
        assert event["item_id"] == open_items[index]["id"]
        if last == "delta":
            texts[at] = texts.get(at, "") + event["delta"]
        elif last == "done" and not stem.endswith("_part"):
            said = event.get("text", event.get("refusal", event.get("arguments", event.get("input"))))
            assert said == texts.get(at, ""), "a text that is done is that of its deltas"
    assert not open_items, "an item was left open"
    assert [done[index] for index in sorted(done)] == output, "the response repeats its items"
    for (index, content, summary, stem), text in texts.items():
        if "_call" in stem:
            assert text == done[index].get("arguments", done[index].get("input"))
            continue
        part = done[index]["summary" if content is None else "content"][summary if content is None else content]
        assert text == part.get("text", part.get("refusal"))
