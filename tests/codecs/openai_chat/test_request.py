"""Requests: what came is kept, what a rule changed is written where it stood, and nothing else moves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs import CODECS, PATHS
from engine.codecs.base import BadRequest
from engine.model.exchange import Exchange, Message, Part, Protocol, Tool, ToolCall

CODEC = CODECS[Protocol.OPENAI_CHAT]

REQUEST: dict[str, Any] = {
    "x_unknown": {"kept": [1, 2.5, None]},
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"role": "developer", "content": [{"type": "text", "text": "No jokes.", "x": 1}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "hologram", "lasers": 3},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "A picture.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"a": 1}', "y": 2},
                    "extra_content": {"google": {"thought_signature": "sig"}},
                },
                {"id": "call_2", "type": "custom", "custom": {"name": "note", "input": "free text"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noted"}]},
        {"role": "assistant", "content": "A cat.", "audio": {"id": "audio_1"}},
        {"role": "user", "content": "Thanks"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}, "z": 1},
        {"type": "custom", "custom": {"name": "note", "format": {"type": "text"}}},
        {"type": "web_search", "region": "eu"},
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "parallel_tool_calls": True,
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "response_format": {"type": "json_object"},
}


def decode(request: Any) -> Exchange:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return CODEC.decode_request(body, id="x1", headers={})


def encoded(exchange: Exchange) -> Any:
    return json.loads(CODEC.encode_request(replace(exchange, body=None)))


def with_message(exchange: Exchange, place: int, **changes: Any) -> Exchange:
    messages = list(exchange.messages)
    messages[place] = replace(messages[place], **changes)
    return replace(exchange, messages=tuple(messages))


def difference(before: Any, after: Any, path: str = "") -> list[str]:
    """The places where two JSON documents differ."""
    if isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after):
        return [place for key in before for place in difference(before[key], after[key], f"{path}/{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [p for i, (b, a) in enumerate(zip(before, after, strict=True)) for p in difference(b, a, f"{path}/{i}")]
    return [] if before == after else [path]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_messages_are_read_with_their_roles_parts_and_calls() -> None:
    messages = decode(REQUEST).messages
    assert [message.role for message in messages] == [m["role"] for m in REQUEST["messages"]]
    assert [part.kind for part in messages[2].parts] == ["text", "image", "audio", "file", "opaque"]
    assert messages[3].parts == (Part(kind="reasoning", text="A picture."),)
    assert [(c.id, c.name, c.arguments, c.kind) for c in messages[3].tool_calls] == [
        ("call_1", "look", '{"a": 1}', "function"),
        ("call_2", "note", "free text", "custom"),
    ]
    assert [message.tool_call_id for message in messages[4:6]] == ["call_1", "call_2"]
    assert messages[5].text == "noted"


def test_tools_of_every_type_have_a_name() -> None:
    tools = decode(REQUEST).tools
    assert [(tool.name, tool.kind) for tool in tools] == [
        ("look", "function"),
        ("note", "custom"),
        ("web_search", "web_search"),
    ]
    assert tools[0].schema == {"type": "object"}


def test_params_have_canonical_names_and_everything_else_its_own() -> None:
    exchange = decode(REQUEST)
    assert exchange.params["max_tokens"] == 100
    assert exchange.params["x_unknown"] == {"kept": [1, 2.5, None]}
    assert not {"model", "messages", "tools", "stream", "max_completion_tokens"} & exchange.params.keys()
    assert (exchange.model, exchange.stream) == ("gpt-4o", True)


def test_of_both_token_limits_rules_see_the_greater_and_write_both() -> None:
    request = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 10,
        "max_completion_tokens": 99,
    }
    exchange = decode(request)
    assert exchange.params["max_tokens"] == 99
    assert encoded(exchange) == request
    changed = encoded(replace(exchange, params={**exchange.params, "max_tokens": 5}))
    assert (changed["max_tokens"], changed["max_completion_tokens"]) == (5, 5)


def test_a_part_of_unknown_type_that_has_text_is_text() -> None:
    request = {"messages": [{"role": "user", "content": [{"type": "novel", "text": "secret"}, "bare"]}]}
    assert decode(request).messages[0].text == "secretbare"


def test_reasoning_details_are_read_where_there_is_no_other_field() -> None:
    details = [{"type": "reasoning.text", "text": "hm"}, {"type": "reasoning.encrypted", "data": "=="}]
    message = decode({"messages": [{"role": "assistant", "content": "x", "reasoning_details": details}]}).messages[0]
    assert message.parts[0] == Part(kind="reasoning", text="hm")


LEGACY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
    ],
    "functions": [{"name": "f", "parameters": {}}, {"name": "g"}],
    "function_call": {"name": "f"},
}


def test_the_deprecated_functions_are_tools_whose_results_find_their_call() -> None:
    exchange = decode(LEGACY)
    assert [tool.name for tool in exchange.tools] == ["f", "g"]
    assert exchange.messages[1].tool_calls[0].id == exchange.messages[2].tool_call_id == "f"
    assert encoded(exchange) == LEGACY


def test_a_deprecated_function_is_dropped_and_edited_where_it_stood() -> None:
    exchange = decode(LEGACY)
    dropped = encoded(replace(exchange, tools=exchange.tools[1:]))
    assert dropped["functions"] == [{"name": "g"}]
    assert "function_call" not in dropped
    call = replace(exchange.messages[1].tool_calls[0], arguments='{"a":1}')
    edited = encoded(with_message(exchange, 1, tool_calls=(call,)))
    assert difference(LEGACY, edited) == ["/messages/1/function_call/arguments"]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b'{"model": }', None, "(byte 10)"),
        (b"", None, "could not parse"),
        (b'"x"', None, "JSON object"),
        (b'{"messages":[{"role":"user","content":"\\ud83d"}]}', None, "could not parse"),
        (b'{"messages":[{"role":"user","content":"\xff"}]}', None, "UTF-8"),
        (b'{"messages":' + b"[" * 100_000, None, "nested too deeply"),
        (b'{"model":3,"messages":[]}', "model", "expected a string, but got an integer"),
        (b'{"model":"m"}', "messages", "Missing required parameter"),
        (b'{"messages":{}}', "messages", "got an object"),
        (b'{"messages":[]}', "messages", "empty array"),
        (b'{"messages":[1]}', "messages[0]", "got an integer"),
        (b'{"messages":[{}]}', "messages[0].role", "Missing"),
        (b'{"messages":[{"role":null}]}', "messages[0].role", "got null"),
        (b'{"messages":[{"role":"user"}],"stream":"yes"}', "stream", "expected a boolean"),
        (b'{"messages":[{"role":"user"}],"tools":{}}', "tools", "expected an array"),
        (b'{"messages":[{"role":"user"}],"tools":["x"]}', "tools[0]", "got a string"),
    ],
)
def test_a_request_in_which_no_conversation_is_found_is_the_clients_fault(
    body: bytes, param: str | None, words: str
) -> None:
    with pytest.raises(BadRequest) as raised:
        decode(body)
    assert (raised.value.problem.status, raised.value.problem.param) == (400, param)
    assert words in raised.value.problem.message


def test_a_request_without_a_model_names_none() -> None:
    exchange = decode({"messages": [{"role": "user", "content": "x"}]})
    assert exchange.model == ""
    assert "model" not in encoded(exchange)


def test_of_a_repeated_field_the_last_counts() -> None:
    assert decode(b'{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}').model == "b"


# --- writing ---------------------------------------------------------------------------------------------------------


def test_an_untouched_body_goes_on_as_the_bytes_that_came() -> None:
    body = b' { "messages" : [ { "role":"user", "content":"x" } ], "a":1e2, "a":2 } \n'
    assert CODEC.encode_request(decode(body)) is body


def test_nothing_changed_encodes_to_the_same_document_in_the_same_order() -> None:
    assert json.dumps(encoded(decode(REQUEST))) == json.dumps(REQUEST)


@pytest.mark.parametrize(
    ("place", "part", "text", "where"),
    [
        (0, 0, "Be kind.", "/messages/0/content"),
        (1, 0, "Jokes.", "/messages/1/content/0/text"),
        (2, 0, "And this?", "/messages/2/content/0/text"),
        (3, 0, "hm", "/messages/3/reasoning_content"),
        (4, 0, "a dog", "/messages/4/content"),
        (6, 0, "A dog.", "/messages/6/content"),
    ],
)
def test_an_edited_text_changes_that_text_alone(place: int, part: int, text: str, where: str) -> None:
    exchange = decode(REQUEST)
    parts = list(exchange.messages[place].parts)
    parts[part] = replace(parts[part], text=text)
    assert difference(REQUEST, encoded(with_message(exchange, place, parts=tuple(parts)))) == [where]


def test_edited_arguments_change_those_alone() -> None:
    exchange = decode(REQUEST)
    first, second = exchange.messages[3].tool_calls
    changed = (replace(first, arguments="{}"), replace(second, arguments="other"))
    assert difference(REQUEST, encoded(with_message(exchange, 3, tool_calls=changed))) == [
        "/messages/3/tool_calls/0/function/arguments",
        "/messages/3/tool_calls/1/custom/input",
    ]


def test_an_emptied_text_part_is_left_out_and_an_emptied_message_is_a_string() -> None:
    exchange = decode(REQUEST)
    parts = exchange.messages[2].parts
    cleared = encoded(with_message(exchange, 2, parts=(replace(parts[0], text=""), *parts[1:])))
    assert [part["type"] for part in cleared["messages"][2]["content"]] == [
        "image_url",
        "input_audio",
        "file",
        "hologram",
    ]
    assert encoded(with_message(exchange, 1, parts=()))["messages"][1]["content"] == ""
    assert encoded(with_message(exchange, 0, parts=()))["messages"][0]["content"] == ""


def test_an_assistant_without_its_calls_has_neither_an_empty_list_nor_null_content() -> None:
    message = encoded(with_message(decode(REQUEST), 3, tool_calls=()))["messages"][3]
    assert "tool_calls" not in message
    assert message["content"] == ""


def test_a_message_of_our_own_is_written_from_nothing() -> None:
    exchange = decode(REQUEST)
    call = ToolCall(id="call_9", name="look", arguments="{}")
    own = (
        Message(role="system", parts=(Part(kind="text", text="Mind."),)),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", tool_call_id="call_9", parts=(Part(kind="text", text="no"),)),
    )
    assert encoded(replace(exchange, messages=own))["messages"] == [
        {"role": "system", "content": "Mind."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_9", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "no", "tool_call_id": "call_9"},
    ]


def test_rewritten_reasoning_takes_its_signature_with_it() -> None:
    wire = {"role": "assistant", "content": "x", "reasoning": "a", "reasoning_content": "a", "reasoning_details": [{}]}
    exchange = decode({"messages": [wire]})
    parts = exchange.messages[0].parts
    changed = encoded(with_message(exchange, 0, parts=(replace(parts[0], text="b"), parts[1])))["messages"][0]
    assert changed == {"role": "assistant", "content": "x", "reasoning": "b", "reasoning_content": "b"}
    dropped = encoded(with_message(exchange, 0, parts=parts[1:]))["messages"][0]
    assert dropped == {"role": "assistant", "content": "x"}


def test_a_changed_param_is_written_in_place_a_removed_one_goes_a_new_one_comes_last() -> None:
    exchange = decode(REQUEST)
    params = {**exchange.params, "max_tokens": 5, "top_p": 0.1}
    del params["temperature"]
    changed = encoded(replace(exchange, params=params))
    assert list(changed) == [*(name for name in REQUEST if name != "temperature"), "top_p"]
    assert changed["max_completion_tokens"] == 5


@pytest.mark.parametrize(("model", "field"), [("gpt-5", "max_completion_tokens"), ("qwen3", "max_tokens")])
def test_a_new_token_limit_has_the_name_that_the_model_knows(model: str, field: str) -> None:
    exchange = decode({"model": model, "messages": [{"role": "user", "content": "x"}]})
    assert encoded(replace(exchange, params={"max_tokens": 7}))[field] == 7


def test_a_removed_tool_cannot_be_chosen() -> None:
    exchange = decode(REQUEST)
    changed = encoded(replace(exchange, tools=exchange.tools[1:]))
    assert changed["tools"] == REQUEST["tools"][1:]
    assert "tool_choice" not in changed
    assert changed["parallel_tool_calls"] is True


def test_allowed_tools_are_narrowed_to_those_that_are_left() -> None:
    listed = [{"type": "function", "function": {"name": "look"}}, {"type": "custom", "custom": {"name": "note"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": listed}}
    exchange = decode({**REQUEST, "tool_choice": choice})
    changed = encoded(replace(exchange, tools=exchange.tools[1:]))
    assert changed["tool_choice"]["allowed_tools"] == {"mode": "auto", "tools": listed[1:]}
    assert "tool_choice" not in encoded(replace(exchange, tools=exchange.tools[2:]))


def test_without_tools_nothing_speaks_of_tools() -> None:
    changed = encoded(replace(decode(REQUEST), tools=()))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & changed.keys()


def test_an_edited_tool_keeps_what_is_not_known() -> None:
    exchange = decode(REQUEST)
    tools = (replace(exchange.tools[0], description="Looks."), *exchange.tools[1:], Tool(name="new", schema={"a": 1}))
    changed = encoded(replace(exchange, tools=tools))["tools"]
    assert changed[0]["function"] == {**REQUEST["tools"][0]["function"], "description": "Looks."}
    assert changed[0]["z"] == 1
    assert changed[3] == {"type": "function", "function": {"name": "new", "parameters": {"a": 1}}}


def test_a_stream_turned_off_loses_its_options() -> None:
    changed = encoded(replace(decode(REQUEST), stream=False))
    assert changed["stream"] is False
    assert "stream_options" not in changed


def test_line_ends_of_unicode_are_escaped_in_what_we_write() -> None:
    exchange = decode({"messages": [{"role": "user", "content": "a\u2028b"}]})
    assert b"\\u2028" in CODEC.encode_request(replace(exchange, body=None))


# --- usage of a stream -----------------------------------------------------------------------------------------------


def test_asking_for_usage_leaves_the_rest_of_the_body_as_it_came() -> None:
    body = b'{"model":"m", "messages":[{"role":"user","content":"x"}], "stream":true, "seed":1e3 }\n'
    asked = CODEC.ask_for_usage(decode(body))
    assert CODEC.encode_request(asked) == body[:-2] + b',"stream_options":{"include_usage":true}}'
    assert asked.params["stream_options"] == {"include_usage": True}
    assert encoded(asked)["stream_options"] == {"include_usage": True}


def test_asking_for_usage_keeps_the_clients_other_options() -> None:
    asked = CODEC.ask_for_usage(decode({**REQUEST, "stream_options": {"include_obfuscation": False}}))
    assert json.loads(CODEC.encode_request(asked))["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }


@pytest.mark.parametrize("request_", [REQUEST, {**REQUEST, "stream": False}])
def test_who_reports_usage_already_is_not_asked(request_: dict[str, Any]) -> None:
    exchange = decode(request_)
    assert CODEC.ask_for_usage(exchange) is exchange


def test_the_path_keeps_the_clients_query() -> None:
    exchange = decode(REQUEST)
    assert CODEC.upstream_path(exchange) == "/chat/completions"
    assert CODEC.upstream_path(replace(exchange, query="api-version=1")) == "/chat/completions?api-version=1"
    assert PATHS["/v1/chat/completions"] is CODEC


# --- properties ------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.text("abc_-", min_size=1, max_size=8)
PARTS = st.builds(Part, kind=st.just("text"), text=TEXTS)
CALLS = st.builds(ToolCall, id=NAMES, name=NAMES, arguments=st.just("{}"), kind=st.sampled_from(["function", "custom"]))
MESSAGES = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "user", "developer"]), parts=st.lists(PARTS).map(tuple)),
    st.builds(
        Message,
        role=st.just("assistant"),
        parts=st.tuples(
            st.builds(Part, kind=st.just("reasoning"), text=TEXTS),
            PARTS,
            st.builds(Part, kind=st.just("refusal"), text=TEXTS),
        ),
        tool_calls=st.lists(CALLS, max_size=3).map(tuple),
    ),
    st.builds(Message, role=st.just("tool"), parts=st.tuples(PARTS), tool_call_id=NAMES),
)
EXCHANGES = st.builds(
    Exchange,
    id=st.just("x1"),
    protocol=st.just(Protocol.OPENAI_CHAT),
    model=NAMES,
    stream=st.booleans(),
    messages=st.lists(MESSAGES, min_size=1, max_size=5).map(tuple),
    tools=st.lists(st.builds(Tool, name=NAMES, description=st.just("d"), schema=st.just({"type": "object"}))).map(
        tuple
    ),
    params=st.dictionaries(st.sampled_from(["temperature", "max_tokens", "top_p", "x"]), st.integers(1, 9)),
)


def bare(exchange: Exchange) -> Exchange:
    """The same exchange, of which only the canonical part is compared."""
    return replace(
        exchange,
        body=None,
        wire=None,
        messages=tuple(
            replace(
                message,
                wire=None,
                parts=tuple(replace(part, wire=None) for part in message.parts),
                tool_calls=tuple(replace(call, wire=None) for call in message.tool_calls),
            )
            for message in exchange.messages
        ),
        tools=tuple(replace(tool, wire=None) for tool in exchange.tools),
    )


@given(EXCHANGES)
def test_what_is_encoded_is_decoded(exchange: Exchange) -> None:
    back = CODEC.decode_request(CODEC.encode_request(exchange), id="x1", headers={})
    assert bare(back) == exchange


@given(EXCHANGES, st.integers(0, 4), TEXTS)
def test_one_edited_part_is_all_that_differs(exchange: Exchange, place: int, text: str) -> None:
    before = decode(CODEC.encode_request(exchange))
    place %= len(before.messages)
    if not before.messages[place].parts:
        return
    parts = list(before.messages[place].parts)
    parts[-1] = replace(parts[-1], text=text)
    after = with_message(before, place, parts=tuple(parts))
    assert bare(decode(CODEC.encode_request(replace(after, body=None)))) == bare(after)
    places = difference(before.wire, encoded(after))
    assert all(each.startswith(f"/messages/{place}/") for each in places)
    assert len(places) <= 1
