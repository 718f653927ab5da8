"""Requests: what came is kept, what a rule changed is written where it stood, and nothing else moves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.anthropic import Anthropic
from engine.codecs.anthropic.blocks import ALTERED
from engine.codecs.base import BadRequest
from engine.model.exchange import Exchange, Message, Part, Tool, ToolCall
from tests.support.anthropic_refusals import refusal_of, signature_of

CODEC = Anthropic()
CACHED = {"type": "ephemeral"}

# As Claude Code sends it.
REQUEST: dict[str, Any] = {
    "model": "claude-opus-4-7",
    "x_unknown": {"kept": [1, 2.5, None]},
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "List", "cache_control": CACHED}, {"type": "text", "text": " it"}],
        },
        {"role": "system", "content": "Be careful."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": signature_of("Hm.")},
                {"type": "redacted_thinking", "data": "Emw"},
                {
                    "type": "text",
                    "text": "First this:",
                    "citations": [{"type": "char_location", "cited_text": "First"}],
                },
                {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls", "n": 1.50}, "y": 2},
                {"type": "text", "text": "then that:"},
                {"type": "tool_use", "id": "toolu_2", "name": "read", "input": {}, "cache_control": CACHED},
            ],
        },
        {
            "role": "user",
            "z": 1,
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt", "is_error": False},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "no file"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                    ],
                },
                {"type": "text", "text": "Go on"},
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "A"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
                {"type": "text", "text": "Found."},
            ],
        },
        {"role": "user", "content": "Thanks"},
    ],
    "system": [
        {"type": "text", "text": "You are a tool."},
        {"type": "text", "text": "Be brief.", "cache_control": CACHED},
    ],
    "tools": [
        {
            "name": "bash",
            "description": "Runs.",
            "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
        },
        {"type": "custom", "name": "read", "input_schema": {"type": "object"}, "strict": True},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "tool", "name": "read", "disable_parallel_tool_use": True},
    "metadata": {"user_id": "{}"},
    "max_tokens": 32000,
    "stop_sequences": ["END"],
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": []},
    "output_config": {"effort": "high"},
    "stream": True,
}


def decode(request: Any) -> Exchange:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return CODEC.decode_request(body, id="x1", headers={})


def encoded(exchange: Exchange) -> Any:
    return json.loads(CODEC.encode_request(replace(exchange, body=None)))


def asked(*messages: Any, **more: Any) -> Exchange:
    return decode({"model": "m", "max_tokens": 9, "messages": list(messages), **more})


def with_message(exchange: Exchange, place: int, **changes: Any) -> Exchange:
    messages = list(exchange.messages)
    messages[place] = replace(messages[place], **changes)
    return replace(exchange, messages=tuple(messages))


def with_text(exchange: Exchange, place: int, part: int, text: str) -> Exchange:
    parts = list(exchange.messages[place].parts)
    parts[part] = replace(parts[part], text=text)
    return with_message(exchange, place, parts=tuple(parts))


def without(exchange: Exchange, *places: int) -> Exchange:
    kept = tuple(message for place, message in enumerate(exchange.messages) if place not in places)
    return replace(exchange, messages=kept)


def difference(before: Any, after: Any, path: str = "") -> list[str]:
    """The places where two JSON documents differ."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        return [place for key in before for place in difference(before[key], after[key], f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [p for i, (b, a) in enumerate(zip(before, after, strict=True)) for p in difference(b, a, f"{path}/{i}")]
    return [] if before == after else [path]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_the_conversation_is_canonical() -> None:
    messages = decode(REQUEST).messages
    assert [(message.role, message.text, message.tool_call_id) for message in messages] == [
        ("system", "You are a tool.Be brief.", ""),
        ("user", "List it", ""),
        ("system", "Be careful.", ""),
        ("assistant", "First this:then that:", ""),
        ("tool", "a.txt", "toolu_1"),
        ("tool", "no file", "toolu_2"),
        ("user", "Go onA", ""),
        ("assistant", "Found.", ""),
        ("user", "Thanks", ""),
    ]
    assert [message.is_error for message in messages[4:6]] == [False, True]
    assert [part.kind for part in messages[3].parts] == ["reasoning", "opaque", "text", "text"]
    assert [part.kind for part in messages[5].parts] == ["text", "image"]
    assert [part.kind for part in messages[6].parts] == ["text", "text", "file"]
    assert [(c.id, c.name, c.args, c.kind) for m in messages for c in m.tool_calls] == [
        ("toolu_1", "bash", {"command": "ls", "n": 1.5}, "function"),
        ("toolu_2", "read", {}, "function"),
        ("srv_1", "web_search", {"query": "q"}, "server"),
    ]


def test_tools_without_a_type_are_functions() -> None:
    tools = decode(REQUEST).tools
    assert [(tool.name, tool.kind) for tool in tools] == [
        ("bash", "function"),
        ("read", "function"),
        ("web_search", "web_search_20250305"),
    ]
    assert tools[0].schema["$schema"].startswith("https://json-schema.org")


def test_params_have_canonical_names_and_everything_else_its_own() -> None:
    exchange = decode(REQUEST)
    assert exchange.params["stop"] == ["END"]
    assert exchange.params["max_tokens"] == 32000
    assert exchange.params["output_config"] == {"effort": "high"}
    assert not {"model", "messages", "tools", "system", "stream", "stop_sequences"} & exchange.params.keys()
    assert (exchange.model, exchange.stream) == ("claude-opus-4-7", True)


def test_what_stands_inside_documents_and_search_results_can_be_read() -> None:
    source = {"type": "content", "content": [{"type": "text", "text": "c"}, {"type": "image", "source": {}}]}
    content = [
        {"type": "document", "title": "a", "context": "b", "source": source},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
        {"type": "document", "source": {"type": "content", "content": "e"}},
        {"type": "search_result", "source": "s", "title": "f", "content": [{"type": "text", "text": "g"}]},
        {"type": "hologram", "text": "h"},
        {"type": "hologram"},
    ]
    (message,) = asked({"role": "user", "content": content}).messages
    assert message.text == "abcdefgh"
    assert [part.kind for part in message.parts].count("image") == 1
    assert message.parts[-1].kind == "opaque"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "messages: Field required"),
        (b'{"messages":[]}', "at least one message"),
        (b'{"messages":3}', "messages: Input should be a valid list"),
        (b'{"messages":[3]}', "messages.0: Input"),
        (b'{"messages":[{"content":"x"}]}', "messages.0.role"),
        (b'{"messages":[{"role":"user"}]}', "messages.0.content"),
        (b'{"messages":[{"role":"user","content":["x"]}]}', "messages.0.content.0"),
        (b'{"messages":[{"role":"user","content":"x"}],"system":3}', "system"),
        (b'{"messages":[{"role":"user","content":"x"}],"tools":[3]}', "tools.0"),
        (b'{"messages":[{"role":"user","content":"x"}],"model":3}', "model"),
        (b'{"messages":[{"role":"user","content":"x"}],"stream":3}', "stream"),
    ],
)
def test_what_cannot_be_read_is_the_clients_fault(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as raised:
        decode(body)
    assert words in raised.value.problem.message
    assert raised.value.problem.status == 400


# --- nothing changed -------------------------------------------------------------------------------------------------


def test_an_untouched_request_is_the_bytes_that_came() -> None:
    body = json.dumps(REQUEST, indent=3).encode()
    assert CODEC.encode_request(decode(body)) is body


def test_a_request_written_anew_is_the_same() -> None:
    assert difference(REQUEST, encoded(decode(REQUEST))) == []


@pytest.mark.parametrize("system", ["Be brief.", "", [], None])
def test_system_stays_as_it_came(system: Any) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "system": system}
    assert encoded(decode(request)) == request


@pytest.mark.parametrize(("query", "path"), [("", "/v1/messages"), ("beta=true", "/v1/messages?beta=true")])
def test_the_path_has_the_version_that_the_base_url_has_not(query: str, path: str) -> None:
    exchange = replace(decode(REQUEST), query=query)
    assert CODEC.upstream_path(exchange) == path
    assert CODEC.ask_for_usage(exchange) is exchange


# --- one thing changed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "part", "expected"),
    [
        (0, 1, "/system/1/text"),
        (1, 0, "/messages/0/content/0/text"),
        (2, 0, "/messages/1/content"),
        (3, 3, "/messages/2/content/4/text"),
        (4, 0, "/messages/3/content/0/content"),
        (5, 0, "/messages/3/content/1/content/0/text"),
        (6, 0, "/messages/3/content/2/text"),
        (6, 1, "/messages/3/content/3/title"),
        (8, 0, "/messages/5/content"),
    ],
)
def test_changed_text_changes_where_it_stood_and_nothing_else(place: int, part: int, expected: str) -> None:
    assert difference(REQUEST, encoded(with_text(decode(REQUEST), place, part, "[x]"))) == [expected]


def test_changed_text_takes_its_citations_with_it() -> None:
    after = encoded(with_text(decode(REQUEST), 3, 2, "[x]"))
    assert after["messages"][2]["content"][2] == {"type": "text", "text": "[x]"}


def test_changed_thinking_leaves_with_its_signature() -> None:
    after = encoded(with_text(decode(REQUEST), 3, 0, "[x]"))
    assert [block["type"] for block in after["messages"][2]["content"]] == [
        *("redacted_thinking", "text", "tool_use", "text", "tool_use")
    ]


def test_thinking_that_nobody_signed_can_be_changed() -> None:
    exchange = asked({"role": "assistant", "content": [{"type": "thinking", "thinking": "a"}]})
    assert encoded(with_text(exchange, 0, 0, "b"))["messages"][0]["content"] == [{"type": "thinking", "thinking": "b"}]


def test_texts_inside_blocks_are_changed_where_they_stand() -> None:
    content = [
        {"type": "document", "title": "a", "source": {"type": "content", "content": [{"type": "text", "text": "b"}]}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "c"}},
        {"type": "search_result", "source": "s", "title": "d", "content": [{"type": "text", "text": "e"}]},
    ]
    exchange = asked({"role": "user", "content": content})
    for part in range(5):
        exchange = with_text(exchange, 0, part, exchange.messages[0].parts[part].text.upper())
    after = encoded(exchange)["messages"][0]["content"]
    assert difference(content, after) == [
        *("/0/title", "/0/source/content/0/text", "/1/source/data", "/2/title", "/2/content/0/text")
    ]
    emptied = with_text(with_text(exchange, 0, 0, ""), 0, 2, "")
    assert encoded(emptied)["messages"][0]["content"] == [
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "B"}]}},
        after[2],
    ]
    assert (
        encoded(with_text(emptied, 0, 4, ""))["messages"][0]["content"]
        == encoded(emptied)["messages"][0]["content"][:1]
    )


def test_changed_arguments_are_an_object_again() -> None:
    exchange = decode(REQUEST)
    calls = list(exchange.messages[3].tool_calls)
    calls[0] = calls[0].with_args({"command": "pwd"})
    after = encoded(with_message(exchange, 3, tool_calls=tuple(calls)))
    assert difference(REQUEST, after) == ["/messages/2/content/3/input"]
    assert after["messages"][2]["content"][3]["input"] == {"command": "pwd"}


def test_a_removed_server_call_takes_its_result_with_it() -> None:
    after = encoded(with_message(decode(REQUEST), 7, tool_calls=()))
    assert after["messages"][4]["content"] == [{"type": "text", "text": "Found."}]


def test_emptied_text_is_left_out_and_an_emptied_message_too() -> None:
    after = encoded(with_text(with_text(decode(REQUEST), 8, 0, ""), 6, 0, ""))
    assert len(after["messages"]) == 5
    assert [block["type"] for block in after["messages"][3]["content"]] == ["tool_result", "tool_result", "document"]


def test_an_emptied_tool_result_stays_a_result() -> None:
    after = encoded(with_text(decode(REQUEST), 4, 0, ""))
    assert after["messages"][3]["content"][0] == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "",
        "is_error": False,
    }


def test_a_removed_system_prompt_leaves_no_field() -> None:
    assert "system" not in encoded(without(decode(REQUEST), 0))


def test_params_are_written_under_the_names_of_the_wire() -> None:
    exchange = decode(REQUEST)
    params = {**exchange.params, "stop": "X", "temperature": 0.5}
    del params["metadata"]
    after = encoded(replace(exchange, params=params, model="other", stream=False))
    assert (after["stop_sequences"], after["temperature"], after["model"], after["stream"]) == (
        ["X"],
        0.5,
        "other",
        False,
    )
    assert "metadata" not in after
    assert "stop" not in after


def test_a_tool_that_is_gone_takes_its_choice_with_it() -> None:
    exchange = decode(REQUEST)
    after = encoded(replace(exchange, tools=exchange.tools[:1]))
    assert after["tools"] == REQUEST["tools"][:1]
    assert "tool_choice" not in after
    none = encoded(replace(exchange, tools=()))
    assert not {"tools", "tool_choice"} & none.keys()
    kept = encoded(replace(exchange, tools=exchange.tools[1:]))
    assert kept["tool_choice"] == REQUEST["tool_choice"]


def test_tools_can_be_described_anew_and_added() -> None:
    exchange = decode(REQUEST)
    tools = (replace(exchange.tools[0], description="Better."), Tool(name="new", schema={"type": "object"}))
    assert encoded(replace(exchange, tools=tools))["tools"] == [
        {**REQUEST["tools"][0], "description": "Better."},
        {"name": "new", "input_schema": {"type": "object"}},
    ]


# --- messages of our own ---------------------------------------------------------------------------------------------


def says(role: str, text: str, **more: Any) -> Message:
    return Message(role=role, parts=(Part(kind="text", text=text),), **more)


def test_system_messages_of_our_own_go_to_the_system_prompt() -> None:
    exchange = asked({"role": "user", "content": "x"}, system="Old")
    added = replace(exchange, messages=(*exchange.messages, says("developer", "New")))
    assert encoded(added)["system"] == [{"type": "text", "text": "Old"}, {"type": "text", "text": "New"}]
    alone = asked({"role": "user", "content": "x"})
    assert encoded(replace(alone, messages=(says("system", "New"), *alone.messages)))["system"] == "New"
    blocks = decode(REQUEST)
    after = encoded(replace(blocks, messages=(says("system", "New"), *blocks.messages)))
    assert after["system"] == [{"type": "text", "text": "New"}, *REQUEST["system"]]


def test_a_refused_turn_is_a_call_and_the_results_of_all_calls_in_one_message() -> None:
    exchange = asked({"role": "user", "content": "x"})
    wire = {"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}
    calls = (ToolCall(id="a", name="f", arguments='{"x":1}', wire=wire), ToolCall(id="b", name="g", arguments="{"))
    thought = Part(kind="reasoning", text="unsigned")
    refused = replace(says("assistant", "Look:", tool_calls=calls), parts=(thought, Part(kind="text", text="Look:")))
    results = (says("tool", "no", tool_call_id="a"), says("tool", "not now", tool_call_id="b", is_error=True))
    assert encoded(replace(exchange, messages=(*exchange.messages, refused, *results)))["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}, "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "no"},
                {"type": "tool_result", "tool_use_id": "b", "content": "not now", "is_error": True},
            ],
        },
    ]


def test_a_refused_turn_keeps_the_thoughts_that_the_stream_signed() -> None:
    wire = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    message = replace(says("assistant", "x"), parts=(Part(kind="reasoning", text="Hm.", wire=wire),))
    exchange = asked({"role": "user", "content": "x"})
    assert encoded(replace(exchange, messages=(*exchange.messages, message)))["messages"][1]["content"] == [wire]


def test_what_is_inserted_between_results_and_the_users_words_stands_alone() -> None:
    exchange = decode(REQUEST)
    messages = (*exchange.messages[:6], says("user", "By the way"), *exchange.messages[6:])
    after = encoded(replace(exchange, messages=messages))["messages"]
    assert [len(message["content"]) for message in after[3:6]] == [2, len("By the way"), 2]
    assert {message["role"] for message in after[3:6]} == {"user"}


# --- thinking that did not go out as it was thought ------------------------------------------------------------------


def test_altered_thinking_does_not_go_back_to_the_provider() -> None:
    blocks = [{"type": "thinking", "thinking": "[x]", "signature": ALTERED}, {"type": "text", "text": "a"}]
    exchange = asked(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": blocks},
        {"role": "assistant", "content": blocks[:1]},
        {"role": "user", "content": "y"},
    )
    assert exchange.body is None
    assert encoded(exchange)["messages"] == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": blocks[1:]},
        {"role": "user", "content": "y"},
    ]


def test_who_merely_talks_about_altered_thinking_is_not_touched() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": ALTERED}]}).encode()
    assert CODEC.encode_request(decode(body)) is body


# --- properties ------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
MARKED = st.builds(lambda block: {**block, "cache_control": CACHED}, TEXTS)
IMAGE = st.just({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})
DOCUMENT = st.builds(
    lambda text, title: {"type": "document", "source": {"type": "text", "data": text}, "title": title}, TEXT, TEXT
)
READ = st.lists(st.one_of(TEXTS, MARKED, IMAGE, DOCUMENT), min_size=1, max_size=3)
SAID = st.lists(
    st.one_of(
        TEXTS, st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": signature_of(text)}, TEXT)
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": draw(st.one_of(TEXT, READ))}]
    for turn in range(draw(st.integers(0, 3))):
        ids = [f"t{turn}_{place}" for place in range(draw(st.integers(0, 3)))]
        calls = [
            {"type": "tool_use", "id": id, "name": "f", "input": draw(st.dictionaries(TEXT, TEXT, max_size=2))}
            for id in ids
        ]
        content = draw(SAID)
        for call in calls:
            content.insert(draw(st.integers(0, len(content))), call)
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": draw(st.one_of(TEXT, READ))}
            for call in content
            if call["type"] == "tool_use"
        ]
        messages.append({"role": "assistant", "content": content})
        messages.append({"role": "user", "content": [*results, *draw(READ)]})
        if draw(st.booleans()):
            messages.append({"role": "system", "content": draw(TEXT)})
    system = draw(st.one_of(st.none(), TEXT, st.lists(TEXTS, min_size=1, max_size=2)))
    return {"model": "m", "max_tokens": 1, "messages": messages, **({"system": system} if system else {})}


@given(conversations())
def test_encode_undoes_decode(request: dict[str, Any]) -> None:
    exchange = decode(request)
    assert encoded(exchange) == request
    # Also where every message has to be put together again, because one piece of it was touched and put back.
    rebuilt = tuple(
        replace(message, parts=(*message.parts, Part(kind="text", text="")), tool_calls=message.tool_calls)
        for message in exchange.messages
    )
    assert encoded(replace(exchange, messages=rebuilt)) == request


@given(conversations(), st.data())
def test_one_edit_changes_one_place(request: dict[str, Any], data: st.DataObject) -> None:
    exchange = decode(request)
    places = [
        (place, index)
        for place, message in enumerate(exchange.messages)
        for index, part in enumerate(message.parts)
        if part.kind == "text"
    ]
    if places:
        place, index = data.draw(st.sampled_from(places))
        text = exchange.messages[place].parts[index].text + "!"
        after = encoded(with_text(exchange, place, index, text))
        assert len(difference(request, after)) == 1


@given(conversations(), st.data())
def test_what_rules_take_away_leaves_a_request_that_the_provider_takes(
    request: dict[str, Any], data: st.DataObject
) -> None:
    """Any text may be emptied; calls and results stay together."""
    if refusal_of(request) is not None:
        return
    exchange = decode(request)
    for place, message in enumerate(exchange.messages):
        for index, part in enumerate(message.parts):
            if part.kind in ("text", "reasoning") and data.draw(st.booleans()):
                exchange = with_text(exchange, place, index, "")
    after = encoded(exchange)
    refusal = refusal_of(after)
    assert refusal is None or "at least one message" in refusal or "'system' message must follow" in refusal


@pytest.mark.parametrize("signature", [ALTERED, signature_of("Hm.")], ids=["altered", "signed"])
def test_where_the_thought_in_front_of_answered_calls_is_gone_it_is_asked_without_thinking(signature: str) -> None:
    """Anthropic would refuse it with a budget; what clears earlier thinking would be refused without."""
    used = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": signature}
    clears, other = {"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}
    request = {
        "model": "claude-haiku-4-5",
        "max_tokens": 2048,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "context_management": {"edits": [clears, other]},
        "messages": [
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": [thought, used]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a"}]},
        ],
    }
    exchange = CODEC.decode_request(json.dumps(request).encode(), id="x", headers={})
    sent = json.loads(CODEC.encode_request(replace(exchange, body=None)))
    assert refusal_of(sent) is None
    thinks = signature != ALTERED
    assert sent["thinking"]["type"] == ("enabled" if thinks else "disabled")
    assert sent["context_management"]["edits"] == ([clears, other] if thinks else [other])
