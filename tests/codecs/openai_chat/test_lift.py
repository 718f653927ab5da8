"""A request of Chat Completions in neutral form."""

import json
from typing import Any

from engine.codecs import CODECS
from engine.codecs.neutral import Carried
from engine.codecs.openai_chat.lift import lift
from engine.model.exchange import Media, Protocol

CODEC = CODECS[Protocol.OPENAI_CHAT]


def lifted(*messages: dict[str, Any], **more: Any) -> Carried:
    said = {"model": "gpt-4o", "messages": list(messages) or [{"role": "user", "content": "Go."}], **more}
    return lift(CODEC.decode_request(json.dumps(said).encode(), id="x", headers={}))


def losses(carried: Carried) -> list[tuple[str, str]]:
    return [(loss.feature, loss.where) for loss in carried.losses]


def test_nothing_of_the_wire_is_left() -> None:
    carried = lifted({"role": "user", "content": [{"type": "text", "text": "a"}]}, tools=[_tool("bash")])
    exchange = carried.exchange
    assert (exchange.wire, exchange.body, exchange.tools[0].wire) == (None, None, None)
    assert all(part.wire is None for message in exchange.messages for part in message.parts)


def _tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_pictures_sounds_and_files_are_media() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "aGk="}},
    ]
    parts = lifted({"role": "user", "content": content}).exchange.messages[0].parts
    assert [part.media for part in parts] == [
        Media(mime="image/png", data="aGk=", detail="low"),
        Media(mime="audio/mpeg", data="aGk="),
        Media(file_id="file-1"),
        Media(mime="application/pdf", data="aGk=", name="a.pdf"),
    ]


def test_parameters_have_one_form() -> None:
    params = lifted(stop="x", max_completion_tokens=9, n=1, safety_identifier="me", stream_options=None).exchange.params
    assert params == {"stop": ["x"], "max_tokens": 9, "user": "me"}


def test_what_only_openai_has_is_lost_by_name() -> None:
    carried = lifted(prediction={}, web_search_options={}, store=True, future=1, modalities=["text", "audio"])
    assert sorted(losses(carried)) == [
        ("audio_output", "modalities"),
        ("prediction", "prediction"),
        ("server_tools", "web_search_options"),
        ("store", "store"),
        ("unknown_parameter", "future"),
    ]


def test_a_choice_among_some_tools_offers_these_alone() -> None:
    allowed = {"mode": "required", "tools": [_tool("b")]}
    carried = lifted(tools=[_tool("a"), _tool("b")], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool.name for tool in carried.exchange.tools] == ["b"]
    assert carried.exchange.params["tool_choice"] == "required"


def test_a_choice_without_tools_is_none() -> None:
    assert "tool_choice" not in lifted(tool_choice="auto").exchange.params


def test_a_tool_of_free_text_keeps_its_grammar() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "a"}}
    custom = {"type": "custom", "custom": {"name": "patch", "format": grammar}}
    choice = {"type": "custom", "custom": {"name": "patch"}}
    exchange = lifted(tools=[custom], tool_choice=choice).exchange
    assert (exchange.tools[0].kind, exchange.tools[0].schema) == ("custom", grammar)
    assert exchange.params["tool_choice"] == {"type": "function", "function": {"name": "patch"}}


def test_deprecated_functions_are_tools_with_ids() -> None:
    exchange = lifted(
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "function", "name": "ls", "content": "a"},
        {"role": "assistant", "content": None, "function_call": {"name": "ls", "arguments": "{}"}},
        {"role": "function", "name": "ls", "content": "b"},
        functions=[{"name": "ls"}],
        function_call={"name": "ls"},
    ).exchange
    ids = [message.tool_calls[0].id for message in exchange.messages if message.tool_calls]
    assert [message.tool_call_id for message in exchange.messages if message.role == "tool"] == ids
    assert len(set(ids)) == 2
    assert exchange.params["tool_choice"] == {"type": "function", "function": {"name": "ls"}}


def test_a_name_of_an_author_and_a_spoken_answer_are_lost() -> None:
    carried = lifted(
        {"role": "user", "content": "Go.", "name": "Ann"},
        {"role": "assistant", "content": None, "audio": {"id": "a"}},
        {"role": "user", "content": "And?"},
    )
    assert losses(carried) == [("participant_name", "messages[0].name"), ("audio_history", "messages[1].content[0]")]
