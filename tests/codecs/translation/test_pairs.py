"""There and back, over every pair of protocols: what was said, called, answered and counted is the same."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.codecs import CODECS
from engine.codecs.neutral import Translatable
from engine.codecs.translation.tongue import Foreign, Speaker, tongue_for
from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Choice,
    Chunk,
    Closed,
    Exchange,
    Finished,
    Message,
    Part,
    Protocol,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
    UsageReported,
)

replace = msgspec.structs.replace

SPEAKERS: Mapping[Protocol, Any] = {
    protocol: codec for protocol, codec in CODECS.items() if isinstance(codec, Translatable)
}
PAIRS = list(itertools.permutations(SPEAKERS, 2))
pairs = pytest.mark.parametrize(("client", "backend"), PAIRS, ids=[f"{one}-{other}" for one, other in PAIRS])
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = ("bash", "read_file", "fs.list")
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() == text
)
arguments = st.dictionaries(
    st.sampled_from(["command", "n", "é"]), words | st.integers(-5, 5) | st.booleans(), max_size=2
)
usages = st.builds(
    lambda fresh, cached, plain, reasoning: Usage(
        input=fresh + cached, output=plain + reasoning, cached=cached, reasoning=reasoning
    ),
    *[st.integers(0, 90)] * 4,
)


def call(number: int, name: str, args: Mapping[str, Any]) -> ToolCall:
    return ToolCall(id=f"call_{number}", name=name, arguments=msgspec.json.encode(args).decode())


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns of user and assistant, some with calls and their results, the user's last."""
    turns: list[Message] = [Message(role="system", parts=(said(draw(words)),))] if draw(st.booleans()) else []
    numbers = itertools.count()
    for _ in range(draw(st.integers(0, 3))):
        turns.append(Message(role="user", parts=(said(draw(words)),)))
        made = draw(st.lists(st.tuples(st.sampled_from(NAMES), arguments), max_size=2))
        calls = tuple(call(next(numbers), name, args) for name, args in made)
        turns.append(Message(role="assistant", parts=(said(draw(words)),), tool_calls=calls))
        turns += [Message(role="tool", parts=(said(draw(words)),), tool_call_id=each.id) for each in calls]
        if calls:
            turns.append(Message(role="assistant", parts=(said(draw(words)),)))
    return [*turns, Message(role="user", parts=(said(draw(words)),))]


def said(text: str) -> Part:
    return Part(kind="text", text=text)


def neutral(messages: Sequence[Message], stream: bool = False) -> Exchange:
    schema = {"type": "object", "properties": {"command": {"type": "string"}}}
    return Exchange(
        id="x1",
        protocol=Protocol.OPENAI_CHAT,
        model="model",
        stream=stream,
        messages=tuple(messages),
        tools=tuple(Tool(name=name, description="Does.", schema=schema) for name in NAMES),
        params={"max_tokens": 100},
    )


def as_sent(client: Any, exchange: Exchange) -> Exchange:
    """The exchange as a client of the protocol would have sent it: written, and read again."""
    lowered = client.lower(exchange).exchange
    path = {"model": exchange.model, "action": "streamGenerateContent" if exchange.stream else "generateContent"}
    decoded: Exchange = client.decode_request(client.encode_request(lowered), id="x1", headers={}, path=path)
    return decoded


def told(messages: Sequence[Message]) -> list[tuple[str, str, list[tuple[str, dict[str, Any]]]]]:
    """Who says what and calls what; side by side turns of one role are one, ids are told apart by `answered`."""
    turns: list[tuple[str, str, list[tuple[str, dict[str, Any]]]]] = []
    for message in messages:
        calls = [(each.name, each.args) for each in message.tool_calls]
        if turns and turns[-1][0] == message.role != "tool":
            turns[-1] = (message.role, turns[-1][1] + message.text, [*turns[-1][2], *calls])
        else:
            turns.append((message.role, message.text, calls))
    return turns


def answered(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Of each result the tool that it is of, and its text."""
    named = {each.id: each.name for message in messages for each in message.tool_calls}
    return [(named[message.tool_call_id], message.text) for message in messages if message.role == "tool"]


def simple_names(messages: Sequence[Message]) -> list[Message]:
    """A name that a client's protocol could not hold, it would not have sent."""
    return [
        replace(each, tool_calls=tuple(replace(made, name=made.name.replace(".", "_")) for made in each.tool_calls))
        for each in messages
    ]


@pairs
@quick
@given(messages=conversations())
def test_a_conversation_says_the_same_on_the_other_side(
    client: Protocol, backend: Protocol, messages: list[Message]
) -> None:
    messages = simple_names(messages)
    there = SPEAKERS[backend].lower(SPEAKERS[client].lift(as_sent(SPEAKERS[client], neutral(messages))).exchange)
    assert there.losses == []
    back = SPEAKERS[backend].lift(as_sent_again(SPEAKERS[backend], there.exchange)).exchange.messages
    assert told(back) == told(messages)
    assert answered(back) == answered(messages)


def as_sent_again(codec: Any, lowered: Exchange) -> Exchange:
    path = {"model": lowered.model, "action": "generateContent"}
    decoded: Exchange = codec.decode_request(codec.encode_request(lowered), id="x1", headers={}, path=path)
    return decoded


def foreign(client: Protocol, backend: Protocol, stream: bool) -> tuple[Foreign, Exchange]:
    """A tongue that was just asked, with the client's request."""
    sent = as_sent(SPEAKERS[client], neutral([Message(role="user", parts=(said("Go."),))], stream))
    tongue = tongue_for(SPEAKERS[client], SPEAKERS[backend], "other")
    assert isinstance(tongue, Foreign)
    tongue.ask(sent)
    return tongue, sent


@pairs
@quick
@given(text=words, thought=words, calls=st.lists(arguments, max_size=2), usage=usages)
def test_a_whole_answer_says_the_same_to_the_client(
    client: Protocol, backend: Protocol, text: str, thought: str, calls: list[dict[str, Any]], usage: Usage
) -> None:
    tongue, sent = foreign(client, backend, stream=False)
    made = tuple(call(number, "bash", args) for number, args in enumerate(calls))
    parts = (Part(kind="reasoning", text=thought), said(text))
    answer = Answer(
        model="model",
        choices=(Choice(parts=parts, tool_calls=made, finish="tool_calls" if made else "stop"),),
        usage=usage,
    )
    body = SPEAKERS[backend].encode_answer(answer, replace(sent, protocol=backend, wire=None))
    heard, _ = tongue.answer(body)
    again: Answer = SPEAKERS[client].decode_answer(SPEAKERS[client].encode_answer(heard, sent))
    choice = again.choices[0]
    assert choice.said("text") == text
    assert [(each.name, each.args) for each in choice.tool_calls] == [("bash", args) for args in calls]
    assert len({each.id for each in choice.tool_calls}) == len(calls)
    assert choice.finish == ("tool_calls" if calls else "stop")
    assert counted(again.usage) == counted(usage)


def counted(usage: Usage | None) -> tuple[int, int, int]:
    assert usage is not None
    return (usage.input, usage.output, usage.cached)


@pairs
@quick
@given(text=words, calls=st.lists(arguments, max_size=2), usage=usages, cut=st.integers(1, 40))
def test_a_stream_says_the_same_to_the_client(
    client: Protocol, backend: Protocol, text: str, calls: list[dict[str, Any]], usage: Usage, cut: int
) -> None:
    tongue, sent = foreign(client, backend, stream=True)
    chunks: list[Chunk] = [TextDelta(0, "answer", text[:2]), *([TextDelta(0, "answer", text[2:])] if text[2:] else [])]
    for number, args in enumerate(calls):
        whole = call(number, "bash", args)
        chunks += [CallOpened(0, number, whole.id, "bash"), CallDelta(0, number, whole.arguments)]
    chunks += [Finished(0, "tool_calls" if calls else "stop"), UsageReported(usage), Closed()]
    upstream = SPEAKERS[backend].writer(replace(sent, protocol=backend, wire=None, params={}))
    wire = b"".join(upstream.write([chunk]) for chunk in chunks)
    listener, writer = tongue.listener(), SPEAKERS[client].writer(sent)
    pieces = [wire[start : start + cut] for start in range(0, len(wire), cut)]
    frames = [frame for piece in pieces for frame in listener.feed(piece)] + listener.close()
    out = b"".join(writer.write(heard, frame) for frame, heard in frames)
    reader = SPEAKERS[client].reader()
    last = [chunk for _, heard in [*reader.feed(out), *reader.close()] for chunk in heard]
    assert "".join(each.text for each in last if isinstance(each, TextDelta)) == text
    opened = {each.index: each for each in last if isinstance(each, CallOpened)}
    given_args = dict.fromkeys(opened, "")
    for each in last:
        if isinstance(each, CallDelta):
            given_args[each.index] += each.arguments
    assert [each.name for each in opened.values()] == ["bash"] * len(calls)
    assert [msgspec.json.decode(each or "{}") for each in given_args.values()] == calls
    assert [each.finish for each in last if isinstance(each, Finished)] == ["tool_calls" if calls else "stop"]
    assert counted([each.usage for each in last if isinstance(each, UsageReported)][-1]) == counted(usage)


def test_a_client_and_a_backend_of_one_protocol_need_no_translation() -> None:
    codec: Speaker = SPEAKERS[Protocol.ANTHROPIC]
    tongue = tongue_for(codec, codec, "same")
    assert tongue is not None
    assert tongue.native


def test_embeddings_are_not_translated() -> None:
    assert tongue_for(CODECS[Protocol.OPENAI_EMBEDDINGS], CODECS[Protocol.ANTHROPIC], "other") is None
