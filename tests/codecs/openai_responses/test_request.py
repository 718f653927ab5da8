"""A request is read with all that it holds, and written back with what differs and nothing else."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.base import BadRequest
from engine.codecs.openai_responses import OpenAIResponses
from engine.codecs.openai_responses.places import ALTERED
from engine.model.effects import Op
from engine.model.exchange import Exchange, Message, Part
from engine.model.folding import folded

CODEC = OpenAIResponses()
FUNCTION: dict[str, Any] = {"type": "function", "name": "bash", "parameters": {"type": "object"}, "strict": True}
REASONING: dict[str, Any] = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "gAAA",
}
CALL: dict[str, Any] = {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "bash", "arguments": '{"x":1}'}
EVERYTHING: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "You are Codex.", "unknown": 1},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look at this"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_telepathy", "text": "hm"},
            ],
        },
        REASONING,
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Ok"}]},
        CALL,
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "b", "name": "patch", "input": "*** Begin"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}},
        {"type": "function_call_output", "call_id": "a", "output": "a file"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "shell_call_output", "call_id": "s", "output": [{"stdout": "x", "stderr": "", "outcome": {}}]},
        {"type": "item_reference", "id": "msg_0"},
        {"type": "telepathy", "id": "t_1"},
        {"role": "user", "content": "Go on"},
    ],
    "tools": [
        FUNCTION,
        {"type": "custom", "name": "patch", "format": {"type": "text"}},
        {"type": "namespace", "name": "mcp__fs", "description": "Files", "tools": [{**FUNCTION, "name": "read"}]},
        {"type": "namespace", "name": "agents", "description": "Agents", "tools": [{**FUNCTION, "name": "spawn"}]},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "deepwiki", "server_url": "https://example.com"},
    ],
    "tool_choice": {"type": "function", "name": "bash"},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 9,
    "store": False,
    "client_metadata": {"x": "y"},
    "stream": True,
}


def decode(body: Any) -> Exchange:
    return CODEC.decode_request(json.dumps(body).encode(), id="x", headers={})


def encode(exchange: Exchange) -> Any:
    return json.loads(CODEC.encode_request(replace(exchange, body=None)))


def test_an_untouched_request_is_the_bytes_that_came() -> None:
    body = json.dumps(EVERYTHING, indent=1).encode()
    assert CODEC.encode_request(CODEC.decode_request(body, id="x", headers={})) == body


def test_a_request_written_anew_says_the_same() -> None:
    assert encode(decode(EVERYTHING)) == EVERYTHING


def test_the_conversation_is_read() -> None:
    exchange = decode(EVERYTHING)
    assert [(each.role, each.text, each.tool_call_id) for each in exchange.messages] == [
        ("system", "Be brief.", ""),
        ("developer", "You are Codex.", ""),
        ("user", "Look at thishm", ""),
        ("assistant", "Ok", ""),
        ("tool", "a file", "a"),
        ("tool", "done", "b"),
        ("tool", "x", "s"),
        ("assistant", "", ""),
        ("user", "", ""),
        ("user", "Go on", ""),
    ]
    turn = exchange.messages[3]
    assert [(part.kind, part.text) for part in turn.parts] == [("reasoning", "Hm."), ("text", "Ok")]
    assert [(call.kind, call.id, call.name, call.args) for call in turn.tool_calls] == [
        ("function", "a", "bash", {"x": 1}),
        ("custom", "b", "patch", {"input": "*** Begin"}),
        ("server", "ws_1", "web_search", {"type": "search", "query": "q"}),
        ("function", "s", "shell", {"commands": ["ls"]}),
    ]
    assert [part.kind for part in exchange.messages[2].parts] == ["text", "image", "file", "text"]


def test_every_tool_has_a_name_that_rules_can_match() -> None:
    assert [(tool.name, tool.kind) for tool in decode(EVERYTHING).tools] == [
        ("bash", "function"),
        ("patch", "custom"),
        ("mcp__fs__read", "function"),
        ("spawn", "function"),
        ("web_search", "web_search"),
        ("deepwiki", "mcp"),
    ]


def test_parameters_have_their_canonical_names() -> None:
    params = decode(EVERYTHING).params
    assert (params["max_tokens"], params["reasoning_effort"], params["verbosity"]) == (9, "low", "low")
    assert params["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {}, "strict": True},
    }
    assert params["tool_choice"] == {"type": "function", "function": {"name": "bash"}}
    assert params["reasoning"] == {"summary": "auto"}
    assert "text" not in params


def changed(path: tuple[str | int, ...], value: Any, op: Any = "replace") -> Any:
    return encode(folded(decode(EVERYTHING), [Op(op, ("request", *path), value)]))


def expected(write: Callable[[Any], None]) -> Any:
    wire = copy.deepcopy(EVERYTHING)
    write(wire)
    return wire


def put(wire: Any, *path: Any) -> None:
    *inner, last, value = path
    for step in inner:
        wire = wire[step]
    wire[last] = value


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        (("model",), "gpt-4o", ("model",)),
        (("messages", 0, "parts", 0, "text"), "x", ("instructions",)),
        (("messages", 1, "parts", 0, "text"), "x", ("input", 0, "content")),
        (("messages", 2, "parts", 0, "text"), "x", ("input", 1, "content", 0, "text")),
        (("messages", 3, "parts", 1, "text"), "x", ("input", 3, "content", 0, "text")),
        (("messages", 3, "tool_calls", 0, "args", "x"), 2, ("input", 4, "arguments")),
        (("messages", 3, "tool_calls", 1, "args", "input"), "x", ("input", 5, "input")),
        (("messages", 3, "tool_calls", 3, "args", "commands"), ["pwd"], ("input", 7, "action", "commands")),
        (("messages", 4, "parts", 0, "text"), "x", ("input", 8, "output")),
        (("messages", 5, "parts", 0, "text"), "x", ("input", 9, "output", 0, "text")),
        (("messages", 6, "parts", 0, "text"), "y", ("input", 10, "output", 0, "stdout")),
        (("params", "max_tokens"), 5, ("max_output_tokens",)),
        (("params", "reasoning_effort"), "high", ("reasoning", "effort")),
        (("params", "verbosity"), "high", ("text", "verbosity")),
        (("params", "response_format"), {"type": "text"}, ("text", "format")),
        (("params", "store"), True, ("store",)),
    ],
)
def test_a_rule_changes_its_place_alone(path: Any, value: Any, at: Any) -> None:
    now = '{"x":2}' if at[-1] == "arguments" else value
    assert changed(path, value) == expected(lambda wire: put(wire, *at, now))


def test_a_thought_that_was_changed_is_marked_as_nobodys() -> None:
    wire = changed(("messages", 3, "parts", 0, "text"), "x")
    assert wire["input"][2] == {
        **REASONING,
        "summary": [{"type": "summary_text", "text": "x"}],
        "encrypted_content": ALTERED,
    }


def test_a_part_that_is_emptied_is_left_out() -> None:
    assert (
        changed(("messages", 2, "parts", 0, "text"), "")["input"][1]["content"] == EVERYTHING["input"][1]["content"][1:]
    )
    assert changed(("messages", 4, "parts", 0, "text"), "")["input"][8]["output"] == ""


def test_a_tool_that_is_taken_away_takes_its_choice_and_its_empty_namespace() -> None:
    wire = encode(
        folded(decode(EVERYTHING), [Op("remove", ("request", "tools", 2)), Op("remove", ("request", "tools", 0))])
    )
    assert [tool["type"] for tool in wire["tools"]] == ["custom", "namespace", "web_search", "mcp"]
    assert "tool_choice" not in wire


def test_a_message_of_ours_is_an_item() -> None:
    exchange = decode({"model": "m", "input": "Hello"})
    more = (Message(role="system", parts=(Part(kind="text", text="Be kind."),)), *exchange.messages)
    assert encode(replace(exchange, messages=more)) == {
        "model": "m",
        "input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
    }


def test_a_text_stays_a_text() -> None:
    exchange = folded(
        decode({"model": "m", "input": "Hello"}), [Op("replace", ("request", "messages", 0, "parts", 0, "text"), "x")]
    )
    assert encode(exchange) == {"model": "m", "input": "x"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": 1, "input": "x"}, "model"),
        ({"model": "m", "input": 1}, "input"),
        ({"model": "m", "input": [1]}, "input[0]"),
        ({"model": "m", "input": [{}]}, "input[0].type"),
        ({"model": "m", "input": "x", "stream": 1}, "stream"),
        ({"model": "m", "input": "x", "tools": 1}, "tools"),
        ({"model": "m", "input": "x", "instructions": 1}, "instructions"),
    ],
)
def test_a_request_without_a_conversation_is_refused(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(body)
    assert (refused.value.problem.status, refused.value.problem.param) == (400, param)


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_a_request_may_go_on_without_an_input(field: str) -> None:
    assert decode({"model": "m", field: "x"}).messages == ()


def test_what_was_made_here_goes_to_no_provider() -> None:
    own = {
        "id": "msg_lexgate_x_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "No."}],
    }
    altered = {**REASONING, "encrypted_content": ALTERED}
    items = [altered, {**REASONING, "id": "rs_2"}, own, {"role": "user", "content": "x"}]
    assert encode(decode({"model": "m", "input": items}))["input"] == [
        {field: value for field, value in own.items() if field != "id"},
        items[-1],
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
TYPES = st.sampled_from(["x", "message", "reasoning", "x_call", "x_call_output"])
FIELDS = st.dictionaries(st.sampled_from(["content", "output", "id", "role", "x"]), JSON, max_size=3)
STRANGE = st.builds(lambda kind, fields: {**fields, "type": kind}, TYPES, FIELDS)
ITEMS = st.lists(st.sampled_from(EVERYTHING["input"]) | STRANGE, min_size=1, max_size=6)


@given(ITEMS)
def test_items_of_any_kind_survive(items: list[Any]) -> None:
    wire = {"model": "m", "input": items}
    exchange = decode(wire)
    assert encode(exchange) == wire
    touched = Message(role="user", parts=(Part(kind="text", text="x"),))
    assert encode(replace(exchange, messages=(*exchange.messages, touched)))["input"][:-1] == items
