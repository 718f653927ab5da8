"""An answer on its way back, chunk by chunk and whole."""

import pytest

from engine.codecs.base import BadAnswer
from engine.codecs.translation.answer import Inward, finish_for
from engine.codecs.translation.names import ToolNames
from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Choice,
    Chunk,
    Closed,
    Failed,
    Finished,
    Other,
    Part,
    Protocol,
    TextDelta,
    ToolCall,
    Usage,
    UsageReported,
)

NAMES = ToolNames({"a.b": "a_b_1"}, {"a_b_1": "a.b"})


def inward(client: Protocol = Protocol.ANTHROPIC, *, interleaved: bool = False, known: tuple[str, ...] = ()) -> Inward:
    return Inward(client, NAMES, frozenset({"patch"}), "seed", known, interleaved=interleaved)


def heard(chunks: list[Chunk], *, interleaved: bool = False) -> list[Chunk]:
    """The chunks as the client's side has them, given one by one."""
    hears = inward(interleaved=interleaved)
    return [out for chunk in chunks for out in hears.chunks((chunk,))]


def test_text_goes_on_as_the_same_object() -> None:
    text = TextDelta(0, "answer", "Hello")
    assert inward().chunks((Other(), text))[0] is text


def test_calls_have_the_clients_names_and_nothing_of_the_wire() -> None:
    chunks: list[Chunk] = [CallOpened(0, 0, "x", "a_b_1", wire={"type": "tool_use"}), CallDelta(0, 0, "{}")]
    assert heard(chunks) == [CallOpened(0, 0, "x", "a.b"), CallDelta(0, 0, "{}")]


def test_free_text_waits_until_it_is_whole() -> None:
    chunks: list[Chunk] = [
        CallOpened(0, 0, "x", "patch"),
        CallDelta(0, 0, '{"input": "a\\u00'),
        CallDelta(0, 0, 'e9"}'),
        Finished(0, "tool_calls"),
    ]
    assert heard(chunks) == [CallOpened(0, 0, "x", "patch", "custom"), CallDelta(0, 0, "aé"), Finished(0, "tool_calls")]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    chunks: list[Chunk] = [CallOpened(0, 0, "x", "ls"), CallOpened(0, 1, "y", "ls"), Finished(0, "tool_calls")]
    said = heard(chunks)
    assert said == [
        CallOpened(0, 0, "x", "ls"),
        CallDelta(0, 0, "{}"),
        CallOpened(0, 1, "y", "ls"),
        CallDelta(0, 1, "{}"),
        Finished(0, "tool_calls"),
    ]


def test_interleaved_calls_come_one_after_the_other() -> None:
    chunks: list[Chunk] = [
        CallOpened(0, 0, "x", "ls"),
        CallOpened(0, 1, "y", "ls"),
        CallDelta(0, 1, '{"b":'),
        CallDelta(0, 0, '{"a":1}'),
        CallDelta(0, 1, "2}"),
        Finished(0, "tool_calls"),
    ]
    assert heard(chunks, interleaved=True) == [
        CallOpened(0, 0, "x", "ls"),
        CallDelta(0, 0, '{"a":1}'),
        CallOpened(0, 1, "y", "ls"),
        CallDelta(0, 1, '{"b":2}'),
        Finished(0, "tool_calls"),
    ]


def test_a_call_that_goes_on_after_its_end_is_the_backends_mistake() -> None:
    chunks: list[Chunk] = [CallOpened(0, 0, "x", "ls"), CallOpened(0, 1, "y", "ls"), CallDelta(0, 0, "{}")]
    with pytest.raises(BadAnswer):
        heard(chunks)


def test_what_the_provider_ran_itself_is_not_the_clients() -> None:
    chunks: list[Chunk] = [CallOpened(0, 0, "x", "search", "server"), CallDelta(0, 0, "{}"), Finished(0, "stop")]
    assert heard(chunks) == [Finished(0, "stop")]


def test_ids_are_made_where_there_are_none_or_they_were_given_before() -> None:
    hears = inward(known=("call_0",))
    opened = [
        chunk
        for index, id in enumerate(("", "call_0", "call_1", "call_1"))
        for chunk in hears.chunks((CallOpened(0, index, id, "ls"),))
        if isinstance(chunk, CallOpened)
    ]
    ids = [each.id for each in opened]
    assert ids[2] == "call_1"
    assert len({*ids, "call_0"}) == 5
    assert all(id.startswith("call_") for id in ids)


def test_ids_are_what_the_client_takes() -> None:
    opened = inward().chunks((CallOpened(0, 0, "call:" + "x" * 90, "ls"),))[0]
    assert isinstance(opened, CallOpened)
    assert len(opened.id) <= 64
    assert ":" not in opened.id


@pytest.mark.parametrize(
    ("finish", "calls", "said"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_calls", False, "stop"),
        ("length", True, "length"),
        ("pause_turn", False, "stop"),
        ("content_filter", False, "content_filter"),
    ],
)
def test_why_it_ended_is_said_in_words_that_all_have(finish: str, calls: bool, said: str) -> None:
    assert finish_for(finish, calls=calls) == said


def test_an_overload_has_the_clients_status() -> None:
    chunks: list[Chunk] = [Failed(503, "server_error", "Busy."), Closed()]
    assert heard(chunks) == [Failed(529, "server_error", "Busy."), Closed()]
    assert inward(Protocol.OPENAI_CHAT).chunks((Failed(529, "x", "Busy."),)) == (Failed(503, "x", "Busy."),)


def test_usage_leaves_its_wire() -> None:
    assert heard([UsageReported(Usage(input=1, wire={"a": 1}))]) == [UsageReported(Usage(input=1))]


def test_a_whole_answer_has_one_part_a_kind() -> None:
    parts = (
        Part(kind="text", text="a", wire={"type": "text"}),
        Part(kind="reasoning", text="hm", wire={"type": "thinking"}),
        Part(kind="opaque", wire={"type": "redacted_thinking"}),
        Part(kind="text", text="b"),
    )
    calls = (ToolCall(id="x", name="a_b_1", arguments="", wire={}), ToolCall(id="s", name="search", kind="server"))
    answer = Answer(
        id="msg_1", model="m", choices=(Choice(parts=parts, tool_calls=calls, finish="stop", wire={}),), body=b""
    )
    assert inward().answer(answer) == Answer(
        model="m",
        choices=(
            Choice(
                parts=(Part(kind="reasoning", text="hm"), Part(kind="text", text="ab")),
                tool_calls=(ToolCall(id="x", name="a.b", arguments="{}"),),
                finish="tool_calls",
            ),
        ),
    )
