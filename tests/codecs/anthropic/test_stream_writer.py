"""Streams are written as they came where nothing changed, and as one well-formed message where something did."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.anthropic.blocks import ALTERED
from engine.codecs.base import BadAnswer, Problem
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Failed,
    Finished,
    Frame,
    Other,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support.anthropic_mock import Call, Redacted, Reply, Search, Text, Thinking, reply, whole

from .streams import REPLIES, assembled, documents, heard, rewritten, wire_of, writer

CALLS = reply(Thinking("Hm."), Text("Look:"), Call("bash", '{"a":1}', "a"), Call("read", "{}", "b"), fragment=1)
SEARCHES = reply(Text("Wait."), Search("q"), Text("It rains.", citations=1), usage=(7, 3, 2, 1))


class Governing:
    """What rules do to a stream: hold its calls to the end, and let go those that `kept` says, as they are."""

    def __init__(self, *kept: str, finish: str = "") -> None:
        self.kept = kept
        self.finish = finish
        self.writer = writer()
        self.held: list[tuple[CallOpened, list[str]]] = []

    def __call__(self, frame: Frame, said: Sequence[Chunk]) -> bytes:
        out: list[Chunk] = []
        for chunk in said:
            match chunk:
                case CallOpened():
                    self.held.append((chunk, []))
                case CallDelta(_, index, arguments):
                    self.held[index][1].append(arguments)
                case Finished(choice, finish):
                    kept = [each for each in self.held if each[0].name in self.kept]
                    for index, (opened, fragments) in enumerate(kept):
                        out += [replace(opened, index=index), CallDelta(choice, index, "".join(fragments))]
                    out.append(Finished(choice, self.finish or finish))
                case _:
                    out.append(chunk)
        return self.writer.write(said if out == list(said) else out, frame)


class Lagging:
    """What a hold-back does: each text goes out with the next one of its channel, or with the end; with `late`, before
    its block ends."""

    def __init__(self, change: Callable[[str], str] = str, late: bool = False) -> None:
        self.change = change
        self.late = late
        self.writer = writer()
        self.held: dict[str, TextDelta] = {}

    def __call__(self, frame: Frame, said: Sequence[Chunk]) -> bytes:
        out: list[Chunk] = []
        for chunk in said:
            if isinstance(chunk, TextDelta):
                if chunk.channel in self.held:
                    out.append(self.held.pop(chunk.channel))
                self.held[chunk.channel] = replace(chunk, text=self.change(chunk.text))
            elif isinstance(chunk, Finished) or (self.late and frame.data["type"] == "content_block_stop"):
                out += [*self.held.values(), chunk]
                self.held.clear()
            else:
                out.append(chunk)
        return self.writer.write(out, frame)


def content_of(wire: bytes) -> list[Any]:
    content: list[Any] = assembled(wire)["content"]
    return content


# --- what came -------------------------------------------------------------------------------------------------------


@given(REPLIES, st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_of_which_nothing_changed_is_the_bytes_that_came(scripted: Reply, end: bytes) -> None:
    """Event by event: what went out before anybody looked is not said again."""
    output = writer()
    for frame, said in heard((b": wait\n\n" + wire_of(scripted)).replace(b"\n", end)):
        assert output.write(said, frame) == frame.raw


def test_an_error_event_passes_as_it_came() -> None:
    wire = wire_of(reply(Text("Hello"), fails_after=3))
    output = writer()
    assert rewritten(wire, lambda frame, said: output.write(said, frame)) == wire


def test_what_is_unknown_passes_also_after_a_change() -> None:
    output = writer()
    unknown = b'event: surprise\ndata: {"type":"surprise"}\n\n'
    (frame, said), (_, _) = heard(unknown + b'data: {"type":"message_stop"}\n\n')
    output.write([TextDelta(0, "answer", "x")])
    assert output.write(said, frame) == unknown


# --- text ------------------------------------------------------------------------------------------------------------


def test_changed_text_is_written_into_its_event() -> None:
    output = writer()
    written = rewritten(
        wire_of(reply(Text("a secret"), piece=20)),
        lambda frame, said: output.write(
            [replace(each, text="[x]") if isinstance(each, TextDelta) else each for each in said], frame
        ),
    )
    assert content_of(written) == [{"type": "text", "text": "[x]"}]
    assert b"secret" not in written


@pytest.mark.parametrize(("change", "cited"), [(str, 1), (str.upper, 0)])
def test_altered_text_takes_its_citations_with_it_and_held_text_does_not(
    change: Callable[[str], str], cited: int
) -> None:
    wire = wire_of(reply(Text("it rains", citations=1), piece=3))
    (block,) = content_of(rewritten(wire, Lagging(change)))
    assert len(block.get("citations") or ()) == cited
    assert block["text"] == change("it rains")


@given(REPLIES)
def test_upper_case_changes_text_and_nothing_else(scripted: Reply) -> None:
    output = writer()
    wire = wire_of(scripted)
    upper = [
        [replace(each, text=each.text.upper()) if isinstance(each, TextDelta) else each for each in said]
        for _, said in heard(wire)
    ]
    written = b"".join([output.write(said, frame) for (frame, _), said in zip(heard(wire), upper, strict=True)])
    before, after = assembled(wire), assembled(written)
    for was, now in zip(before["content"], after["content"], strict=True):
        match was["type"]:
            case "text" if was["text"] != was["text"].upper():
                assert now == {"type": "text", "text": was["text"].upper()} | (
                    {"citations": []} if "citations" in now else {}
                )
            case "thinking" if was["thinking"] != was["thinking"].upper():
                assert now == {**was, "thinking": was["thinking"].upper(), "signature": ALTERED}
            case _:
                assert now == was
    assert {**after, "content": 0} == {**before, "content": 0}


@given(REPLIES, st.booleans())
def test_a_stream_whose_text_is_held_back_says_the_same(scripted: Reply, late: bool) -> None:
    """Each text goes out with the next text, or with the end: as a hold-back does it. Order of the channels aside."""
    wire = wire_of(scripted)
    before, after = assembled(wire), assembled(rewritten(wire, Lagging(late=late)))
    for field, kind in (("text", "text"), ("thinking", "thinking")):
        said = ["".join(each[field] for each in it["content"] if each["type"] == kind) for it in (before, after)]
        assert said[0] == said[1]
    for block in after["content"]:
        if block["type"] == "thinking":
            assert block["signature"] == ALTERED or block in before["content"]
    if late:  # what was held is there before its block ends
        assert after == before


def test_text_that_comes_after_the_end_of_its_block_still_goes_into_it() -> None:
    output = writer()
    wire = wire_of(reply(Text("Hello"), piece=5))
    written = rewritten(
        wire,
        lambda frame, said: output.write(
            [TextDelta(0, "answer", "Hello"), *said]
            if isinstance(said[0], Finished)
            else [each for each in said if not isinstance(each, TextDelta)],
            frame,
        ),
    )
    assert assembled(written) == assembled(wire)


def test_a_cut_off_answer_ends_with_the_message_in_the_open_block() -> None:
    output = writer()
    frames = heard(wire_of(reply(Thinking("Hm."), Text("Hello secret"), piece=6)))
    out = []
    for frame, said in frames:
        if said == (TextDelta(0, "answer", "secret"),):
            out.append(output.write([TextDelta(0, "answer", "[no]"), Finished(0, "stop")], frame))
            break
        out.append(output.write(said, frame))
    out.append(output.write([UsageReported(Usage(input=9, output=4)), Closed()]))
    message = assembled(b"".join(out))
    assert message["content"][1]["text"] == "Hello [no]"
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("end_turn", 4)


# --- calls -----------------------------------------------------------------------------------------------------------


def test_calls_that_are_withheld_take_their_blocks_with_them() -> None:
    message = assembled(rewritten(wire_of(CALLS), Governing(finish="stop")))
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["stop_reason"] == "end_turn"


@pytest.mark.parametrize("kept", [("bash", "read"), ("read",), ("bash",)])
def test_calls_that_are_let_go_are_whole_and_numbered_anew(kept: tuple[str, ...]) -> None:
    message = assembled(rewritten(wire_of(CALLS), Governing(*kept)))
    expected = whole(CALLS, {"model": "m"}, 1)["content"]
    assert message["content"] == [block for block in expected if block.get("name", kept[0]) in kept]
    assert message["stop_reason"] == "tool_use"


@given(REPLIES)
def test_held_calls_that_are_all_let_go_are_the_same_calls(scripted: Reply) -> None:
    wire = wire_of(scripted)
    message = assembled(rewritten(wire, Governing("f", "web_search")))
    expected = assembled(wire)
    for kinds in (
        ("tool_use",),
        ("server_tool_use", "web_search_tool_result"),
        ("text", "thinking", "redacted_thinking"),
    ):
        mine = [[block for block in it["content"] if block["type"] in kinds] for it in (message, expected)]
        assert mine[0] == mine[1]
    assert message["stop_reason"] == expected["stop_reason"]


@given(REPLIES)
def test_held_calls_that_are_all_withheld_leave_a_message(scripted: Reply) -> None:
    message = assembled(rewritten(wire_of(scripted), Governing(finish="stop")))
    assert all("tool" not in block["type"] for block in message["content"])


def test_a_server_call_that_is_let_go_is_followed_by_its_result() -> None:
    message = assembled(rewritten(wire_of(SEARCHES), Governing("web_search")))
    assert [block["type"] for block in message["content"]] == [
        *("text", "text", "server_tool_use", "web_search_tool_result")
    ]
    assert message["content"][1]["citations"]


def test_a_server_call_that_is_withheld_takes_its_result_with_it() -> None:
    written = rewritten(wire_of(SEARCHES), Governing())
    assert [block["type"] for block in content_of(written)] == ["text", "text"]
    assert b"encrypted_content" not in written


def test_the_stop_reason_is_that_of_what_went_out() -> None:
    """A rule took the client's calls away and left the provider's own."""
    scripted = reply(Search("q"), Call("bash"))
    assert assembled(rewritten(wire_of(scripted), Governing("web_search")))["stop_reason"] == "end_turn"


def test_changed_arguments_are_written_whole() -> None:
    output = Governing("bash")

    def write(frame: Frame, said: Sequence[Chunk]) -> bytes:
        if isinstance(said[0], Finished):
            output.held[0] = (output.held[0][0], ['{"a":2}'])
        return output(frame, said)

    assert content_of(rewritten(wire_of(CALLS), write))[-1]["input"] == {"a": 2}


def test_a_call_goes_out_as_it_came_beside_text_that_is_changed() -> None:
    output = writer()
    written = rewritten(
        wire_of(CALLS),
        lambda frame, said: output.write(
            [replace(each, text="x") if isinstance(each, TextDelta) else each for each in said], frame
        ),
    )
    assert content_of(written)[2:] == whole(CALLS, {"model": "m"}, 1)["content"][2:]


# --- several attempts in one message ---------------------------------------------------------------------------------


def refused(frame: Frame, said: Sequence[Chunk]) -> list[Chunk]:
    """What is let through of an answer whose calls are refused, so that the model is asked again."""
    return [each for each in said if not isinstance(each, CallOpened | CallDelta | Finished | Closed)]


def test_a_second_answer_goes_on_in_the_same_message() -> None:
    output = writer()
    first = rewritten(wire_of(CALLS), lambda frame, said: output.write(refused(frame, said), frame))
    output.next_attempt()
    second = reply(Thinking("So."), Text("Instead."), Call("bash", "{}", "c"), usage=(20, 8, 4, 2))
    again = rewritten(wire_of(second, 2), lambda frame, said: output.write(said, frame))
    message = assembled(first + again)
    assert message["id"] == "msg_1"
    assert message["content"] == [
        *whole(CALLS, {"model": "m"}, 1)["content"][:2],
        *whole(second, {"model": "m"}, 2)["content"],
    ]
    assert message["stop_reason"] == "tool_use"
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (20, 4, 8)


@given(REPLIES, REPLIES)
def test_any_two_attempts_are_one_message(one: Reply, two: Reply) -> None:
    output = writer()
    first = rewritten(wire_of(one), lambda frame, said: output.write(refused(frame, said), frame))
    output.next_attempt()
    again = rewritten(wire_of(two, 2), lambda frame, said: output.write(said, frame))
    message = assembled(first + again)
    content = assembled(wire_of(two, 2))["content"]
    assert message["content"][len(message["content"]) - len(content) :] == content
    assert message["usage"]["input_tokens"] == two.usage[0]


def test_an_attempt_of_which_half_a_thought_went_out_ends_it_unsigned() -> None:
    output = writer()
    frames = heard(wire_of(reply(Thinking("Hm, well."), piece=3)))[:4]
    out = b"".join([output.write(said, frame) for frame, said in frames])
    output.next_attempt()
    out += rewritten(wire_of(reply(Text("a")), 2), lambda frame, said: output.write(said, frame))
    assert content_of(out)[0] == {"type": "thinking", "thinking": "Hm,", "signature": ALTERED}


def test_what_an_earlier_attempt_withheld_withholds_nothing_of_a_later_one() -> None:
    output = writer()
    searching = reply(Search("q"), Text("a"))
    frames = heard(wire_of(searching))[:8]  # up to the beginning of the result
    assert frames[-1][0].data["content_block"]["type"] == "web_search_tool_result"
    out = b"".join([output.write(refused(frame, said), frame) for frame, said in frames])
    output.next_attempt()
    out += rewritten(wire_of(searching), lambda frame, said: output.write(said, frame))
    assert content_of(out) == whole(searching, {"model": "m"}, 1)["content"]


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [True, False])
def test_changed_usage_is_written_where_it_was_reported(late: bool) -> None:
    output = writer()
    wire = wire_of(reply(Text("a"), usage=(7, 3, 2, 1), late_input=late))
    written = rewritten(
        wire,
        lambda frame, said: output.write(
            [
                UsageReported(replace(each.usage, output=99)) if isinstance(each, UsageReported) else each
                for each in said
            ],
            frame,
        ),
    )
    before, after = (next(d["usage"] for d in documents(it) if d["type"] == "message_delta") for it in (wire, written))
    assert after == {**before, "output_tokens": 99}


# --- events of our own -----------------------------------------------------------------------------------------------


def test_a_stream_made_from_nothing_is_one_to_the_sdk() -> None:
    chunks: list[Chunk] = [
        TextDelta(0, "reasoning", "Hm."),
        TextDelta(0, "answer", "Hi"),
        TextDelta(0, "refusal", "!"),
        Other(),
        CallOpened(0, 0, "call_1", "bash"),
        CallDelta(0, 0, '{"a":'),
        CallDelta(0, 0, "1}"),
        CallOpened(0, 1, "call_2", "read"),
        Finished(0, "tool_calls"),
        UsageReported(Usage(input=5, output=2, cached=1, reasoning=1)),
        Closed(),
    ]
    output = writer()
    message = assembled(b"".join([output.write([chunk]) for chunk in chunks]))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ALTERED},
        {"type": "text", "text": "Hi!"},
        {"type": "tool_use", "id": "call_1", "name": "bash", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "read", "input": {}},
    ]
    assert (message["id"], message["model"], message["stop_reason"]) == ("msg_x1", "m", "tool_use")
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (4, 1, 2)
    assert usage["output_tokens_details"] == {"thinking_tokens": 1}


def test_an_end_without_usage_or_words_is_a_message_all_the_same() -> None:
    assert assembled(writer().write([Finished(0, "stop"), Closed()]))["stop_reason"] == "end_turn"


@given(REPLIES)
def test_a_stream_written_anew_says_the_same(scripted: Reply) -> None:
    """Blocks that chunks cannot say (results, redacted thinking) are not in it."""
    output = writer()
    wire = wire_of(scripted)
    message = assembled(rewritten(wire, lambda frame, said: output.write(said)))
    expected = assembled(wire)
    for field, kind in (("text", "text"), ("thinking", "thinking")):
        said = ["".join(each[field] for each in it["content"] if each["type"] == kind) for it in (message, expected)]
        assert said[0] == said[1]
    calls = [[each for each in it["content"] if each["type"].endswith("tool_use")] for it in (message, expected)]
    assert calls[0] == calls[1]
    assert message["stop_reason"] == expected["stop_reason"]


def test_calls_that_are_interleaved_have_no_form() -> None:
    output = writer()
    with pytest.raises(BadAnswer, match="interleaved"):
        output.write([CallOpened(0, 0, "a", "f"), CallOpened(0, 1, "b", "f"), CallDelta(0, 0, "{}")])


def test_keep_alives_are_pings_and_errors_are_error_events() -> None:
    output = writer()
    assert documents(output.keep_alive()) == [{"type": "ping"}]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "gone\u2028"}}
    problem = Problem(status=529, message="gone\u2028")
    assert documents(output.error(problem)) == [error]
    assert documents(output.write([Failed(529, "overloaded_error", "gone\u2028")])) == [error]
    assert len(output.error(problem).decode().splitlines()) == 3


def test_redacted_thinking_and_unknown_blocks_are_renumbered_whole() -> None:
    output = writer()
    output.write([TextDelta(0, "answer", "x")])
    first = output.write([])
    scripted = reply(Redacted(), Text("y"))
    written = rewritten(wire_of(scripted), lambda frame, said: output.write(said, frame))
    starts = [each for each in documents(first + written) if each["type"] == "content_block_start"]
    assert [(each["index"], each["content_block"]["type"]) for each in starts] == [
        (1, "redacted_thinking"),
        (2, "text"),
    ]
