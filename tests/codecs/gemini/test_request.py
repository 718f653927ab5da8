"""Requests: what rules read of them, and that nothing of what nobody touched is lost."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.base import BadRequest
from engine.codecs.gemini import Gemini
from engine.model.exchange import Exchange, Message, Part, Tool, ToolCall

CODEC = Gemini()
CALL = {"functionCall": {"name": "bash", "args": {"command": "ls"}}, "thoughtSignature": "c2ln"}
RESULT = {"functionResponse": {"name": "bash", "response": {"output": "a.txt"}}}
FULL: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "Tidy."}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}]},
        {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "I look."}]},
        {"role": "model", "parts": [CALL, {"executableCode": {"language": "PYTHON", "code": "1"}}]},
        {"role": "user", "parts": [RESULT, {"text": "Go on."}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [
        {"functionDeclarations": [{"name": "bash"}, {"name": "read", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {}, "urlContext": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["bash", "read"]}},
    "generationConfig": {"maxOutputTokens": 9, "stopSequences": ["X"], "thinkingConfig": {"thinkingBudget": 1}},
    "safetySettings": [],
    "labels": {"a": "b"},
}


def decoded(body: Any, method: str = "generateContent", query: str = "", model: str = "gemini-3-pro") -> Exchange:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CODEC.decode_request(raw, id="1", headers={}, query=query, path={"model": model, "method": method})


def encoded(exchange: Exchange) -> Any:
    return json.loads(CODEC.encode_request(replace(exchange, body=None)))


def with_message(exchange: Exchange, place: int, message: Message) -> Exchange:
    messages = list(exchange.messages)
    messages[place] = message
    return replace(exchange, messages=tuple(messages))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_everything_is_read() -> None:
    exchange = decoded(FULL)
    assert [(each.role, each.text, len(each.tool_calls)) for each in exchange.messages] == [
        ("system", "Be brief.", 0),
        ("user", "Tidy.", 0),
        ("assistant", "I look.", 2),
        ("tool", "a.txt", 0),
        ("user", "Go on.", 0),
    ]
    assert [part.kind for part in exchange.messages[1].parts] == ["text", "image"]
    assert [part.kind for part in exchange.messages[2].parts] == ["reasoning", "text"]
    call, code = exchange.messages[2].tool_calls
    assert (call.name, call.args, call.kind, call.signature) == ("bash", {"command": "ls"}, "function", "c2ln")
    assert (code.name, code.args, code.kind) == ("code_execution", {"language": "PYTHON", "code": "1"}, "server")
    assert exchange.messages[3].tool_call_id == call.id
    assert [(tool.name, tool.kind) for tool in exchange.tools] == [
        ("bash", "function"),
        ("read", "function"),
        ("google_search", "google_search"),
        ("url_context", "url_context"),
    ]
    assert exchange.params["max_tokens"] == 9
    assert exchange.params["stop"] == ["X"]
    assert exchange.params["thinkingConfig"] == {"thinkingBudget": 1}
    assert exchange.params["labels"] == {"a": "b"}


def snaked(value: Any) -> Any:
    from_camel = {"systemInstruction": "system_instruction", "generationConfig": "generation_config"}
    match value:
        case dict():
            names = {name: "".join("_" + c.lower() if c.isupper() else c for c in name) for name in value}
            return {from_camel.get(name, names[name]): snaked(item) for name, item in value.items()}
        case list():
            return [snaked(item) for item in value]
        case _:
            return value


def test_fields_in_snake_case_are_read_alike() -> None:
    plain, other = decoded(FULL), decoded(snaked(FULL))

    def said(exchange: Exchange) -> Any:
        messages = [
            (each.role, each.text, [call.args for call in each.tool_calls], each.tool_call_id)
            for each in exchange.messages
        ]
        return messages, [tool.name for tool in exchange.tools], exchange.params["max_tokens"]

    assert said(plain) == said(other)


def test_types_of_an_openapi_schema_are_those_of_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"command": {"type": "STRING", "nullable": True}},
        "required": ["command"],
    }
    tool = decoded({**FULL, "tools": [{"functionDeclarations": [{"name": "bash", "parameters": schema}]}]}).tools[0]
    assert tool.schema == {
        "type": "object",
        "properties": {"command": {"type": ["string", "null"]}},
        "required": ["command"],
    }


def test_results_belong_to_calls_by_id_else_by_name_in_order() -> None:
    def call(name: str, **more: str) -> Any:
        return {"functionCall": {"name": name, **more}}

    def result(name: str, text: str, **more: str) -> Any:
        return {"functionResponse": {"name": name, "response": {"output": text}, **more}}

    exchange = decoded(
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [call("a"), call("b", id="B"), call("a")]},
                {
                    "role": "user",
                    "parts": [result("b", "2", id="B"), result("a", "1"), result("a", "3", id="own"), result("z", "4")],
                },
            ]
        }
    )
    ids = {each.id: number for number, each in enumerate(exchange.messages[1].tool_calls)}
    assert [ids.get(each.tool_call_id, each.tool_call_id) for each in exchange.messages[2:]] == [1, 0, 2, "z"]


def test_contents_and_parts_may_be_one_object_each() -> None:
    exchange = decoded({"contents": {"parts": {"text": "Hello."}}})
    assert [(each.role, each.text) for each in exchange.messages] == [("user", "Hello.")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON payload"),
        (b"[]", "Root element"),
        (b"{}", "contents is not specified"),
        (b'{"contents":[]}', "contents is not specified"),
        (b'{"contents":["hello"]}', "contents[0]"),
        (b'{"contents":[{"parts":"hello"}]}', "contents[0].parts"),
        (b'{"contents":[{"parts":["hello"]}]}', "contents[0].parts"),
        (b'{"contents":[{}],"system_instruction":"hello"}', "systemInstruction"),
        (b'{"contents":[{}],"tools":["hello"]}', "tools"),
        (b'{"contents":[{}],"tools":"hello"}', "tools"),
        (b'{"contents":[{}],"generationConfig":{"topK":1,"top_k":2}}', "generationConfig.top_k"),
        (b'{"contents":[{"parts":[{"inlineData":{},"inline_data":{}}]}]}', "contents[0].parts[0].inline_data"),
        (b'{"contents":[{}],"tools":[{"googleSearch":{},"google_search":{}}]}', "tools[0].google_search"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(body)
    assert words in refused.value.problem.message


# --- writing ----------------------------------------------------------------------------------------------------------


def test_an_untouched_body_is_the_bytes_that_came_also_where_another_model_is_asked() -> None:
    raw = b'{ "contents": [{"parts": [{"text": "\\u00e9"}]}] ,"x":1.0}'
    exchange = decoded(raw)
    assert CODEC.encode_request(exchange) == raw
    assert CODEC.encode_request(replace(exchange, model="gemini-2.5-flash", body=None)) == raw


def test_a_model_in_the_body_follows_the_one_that_is_asked() -> None:
    exchange = decoded({**FULL, "model": "models/gemini-3-pro"})
    assert encoded(replace(exchange, model="gemini-2.5-flash"))["model"] == "models/gemini-2.5-flash"


def test_only_the_text_that_a_rule_wrote_differs() -> None:
    exchange = decoded(FULL)
    before = exchange.messages[1]
    message = replace(before, parts=(replace(before.parts[0], text="Clean."), before.parts[1]))
    expected = json.loads(json.dumps(FULL).replace("Tidy.", "Clean."))
    assert encoded(with_message(exchange, 1, message)) == expected


def test_a_turn_in_several_contents_is_written_back_in_as_many() -> None:
    exchange = decoded(FULL)
    before = exchange.messages[2]
    parts = (before.parts[0], replace(before.parts[1], text="I [looked]."))
    calls = (before.tool_calls[0].with_args({"command": "pwd"}), before.tool_calls[1])
    changed = encoded(with_message(exchange, 2, replace(before, parts=parts, tool_calls=calls)))
    assert changed["contents"][1]["parts"] == [{"text": "Hm.", "thought": True}, {"text": "I [looked]."}]
    assert changed["contents"][2]["parts"] == [
        {"functionCall": {"name": "bash", "args": {"command": "pwd"}}, "thoughtSignature": "c2ln"},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
    ]


def test_a_value_in_a_result_is_rewritten_at_its_place() -> None:
    response = {"rows": [{"name": "bob", "age": 4}, {"name": "eve"}], "ok": True}
    body = {"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": response}}]}]}
    exchange = decoded(body)
    message = exchange.messages[0]
    assert [part.text for part in message.parts] == ["bob", "4", "eve"]
    parts = tuple(replace(part, text="*") if part.text in ("eve", "4") else part for part in message.parts)
    changed = encoded(with_message(exchange, 0, replace(message, parts=parts)))
    assert changed["contents"][0]["parts"][0]["functionResponse"]["response"] == {
        "rows": [{"name": "bob", "age": "*"}, {"name": "*"}],
        "ok": True,
    }


def test_a_thought_that_was_signed_goes_when_it_is_rewritten() -> None:
    signed = {"text": "secret", "thought": True, "thoughtSignature": "c2ln"}
    exchange = decoded({"contents": [{"role": "model", "parts": [signed, {"text": "Hello."}]}]})
    message = exchange.messages[0]
    parts = (replace(message.parts[0], text="[name]"), message.parts[1])
    changed = encoded(with_message(exchange, 0, replace(message, parts=parts)))
    assert changed["contents"] == [{"role": "model", "parts": [{"text": "Hello."}]}]


def test_a_refused_turn_is_written_with_results_in_one_content_and_without_ids_of_ours() -> None:
    exchange = decoded(FULL)
    calls = (ToolCall(id="lexgate-call-0", name="bash", arguments="{}", wire=CALL), ToolCall(id="x", name="read"))
    refused = (
        Message(role="assistant", parts=(Part(kind="text", text="So."),), tool_calls=calls),
        Message(role="tool", parts=(Part(kind="text", text="No."),), tool_call_id="lexgate-call-0"),
        Message(role="tool", parts=(Part(kind="text", text="Nor."),), tool_call_id="x", is_error=True),
    )
    contents = encoded(replace(exchange, messages=(*exchange.messages, *refused)))["contents"]
    assert contents[:4] == FULL["contents"]
    assert contents[4:] == [
        {
            "role": "model",
            "parts": [
                {"text": "So."},
                {"functionCall": {"name": "bash", "args": {}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "x", "name": "read", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "bash", "response": {"output": "No."}}},
                {"functionResponse": {"id": "x", "name": "read", "response": {"error": "Nor."}}},
            ],
        },
    ]


def test_tools_that_are_taken_away_leave_no_choice_among_them() -> None:
    exchange = decoded(FULL)
    changed = encoded(replace(exchange, tools=exchange.tools[1:3]))
    assert changed["tools"] == [
        {"functionDeclarations": [{"name": "read", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {}},
    ]
    assert changed["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["read"]
    gone = encoded(replace(exchange, tools=()))
    assert "tools" not in gone
    assert "toolConfig" not in gone


def test_a_tool_of_a_rule_is_declared() -> None:
    exchange = decoded(FULL)
    tool = Tool(name="new", description="d", schema={"type": "object"})
    assert encoded(replace(exchange, tools=(*exchange.tools, tool)))["tools"][-1] == {
        "functionDeclarations": [{"name": "new", "description": "d", "parametersJsonSchema": {"type": "object"}}]
    }


@pytest.mark.parametrize(
    ("params", "config", "top"),
    [
        ({"max_tokens": 5}, {"maxOutputTokens": 5}, {}),
        ({"top_k": 5}, {"topK": 5}, {}),
        ({"responseMimeType": "application/json"}, {"responseMimeType": "application/json"}, {}),
        ({"cachedContent": "c"}, {}, {"cachedContent": "c"}),
    ],
)
def test_parameters_are_written_where_they_belong(
    params: Mapping[str, Any], config: Mapping[str, Any], top: Mapping[str, Any]
) -> None:
    exchange = decoded({"contents": FULL["contents"], "generation_config": {"top_p": 1}})
    changed = encoded(replace(exchange, params={**exchange.params, **params}))
    assert changed == {"contents": FULL["contents"], "generation_config": {"top_p": 1, **config}, **top}


def test_a_parameter_that_is_taken_away_is_gone() -> None:
    exchange = decoded(FULL)
    left = {name: value for name, value in exchange.params.items() if name not in ("max_tokens", "labels")}
    changed = encoded(replace(exchange, params=left))
    assert "labels" not in changed
    assert changed["generationConfig"] == {"stopSequences": ["X"], "thinkingConfig": {"thinkingBudget": 1}}


# --- the URL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "method", "query", "path"),
    [
        ("gemini-3-pro", "generateContent", "", "/models/gemini-3-pro:generateContent"),
        ("models/x", "streamGenerateContent", "alt=sse", "/models/x:streamGenerateContent?alt=sse"),
        ("tunedModels/x", "streamGenerateContent", "", "/tunedModels/x:streamGenerateContent"),
        ("a b?c", "generateContent", "", "/models/a%20b%3Fc:generateContent"),
    ],
)
def test_the_path_names_model_and_method(model: str, method: str, query: str, path: str) -> None:
    assert CODEC.upstream_path(decoded(FULL, method, query, model)) == path


@pytest.mark.parametrize(("query", "array"), [("", True), ("alt=json", True), ("alt=sse", False), ("$alt=sse", False)])
def test_a_stream_is_an_array_unless_events_are_asked_for(query: str, array: bool) -> None:
    assert CODEC.streams_as_json(decoded(FULL, "streamGenerateContent", query)) is array


# --- any request ------------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.dictionaries(TEXTS, inner), max_leaves=5
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
PARTS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}, optional={"thought": st.booleans(), "thoughtSignature": TEXTS}),
    st.fixed_dictionaries(
        {"functionCall": st.fixed_dictionaries({"name": TEXTS}, optional={"args": OBJECTS, "id": TEXTS})}
    ),
    st.fixed_dictionaries({"functionResponse": st.fixed_dictionaries({"name": TEXTS, "response": OBJECTS})}),
    st.fixed_dictionaries({"inlineData": st.fixed_dictionaries({"mimeType": TEXTS, "data": TEXTS})}),
    st.fixed_dictionaries({"somethingNew": JSON}),
)
CONTENTS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(("user", "model")), "parts": st.lists(PARTS, max_size=4)}),
    min_size=1,
    max_size=5,
)


@given(CONTENTS)
def test_a_request_that_is_written_anew_says_the_same(contents: list[Any]) -> None:
    """Every message is another object with the same parts: all is encoded from its nouns."""
    exchange = decoded({"contents": contents})
    fresh = replace(exchange, messages=tuple(replace(message) for message in exchange.messages))
    again = decoded(CODEC.encode_request(replace(fresh, body=None))) if _says_something(contents) else exchange

    def said(each: Exchange) -> Any:
        # What was split by a content of which nothing is left is together afterwards.
        return [(m.role, part.kind, part.text) for m in each.messages for part in m.parts if part.text], [
            (call.name, call.args) for m in each.messages for call in m.tool_calls
        ]

    assert said(again) == said(exchange)


def _says_something(contents: list[Any]) -> bool:
    return any(part.get("text", True) for content in contents for part in content["parts"])
