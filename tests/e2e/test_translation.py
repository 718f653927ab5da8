"""Clients of one protocol in front of backends of another, by their own SDKs, and mocks that refuse what providers refuse."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.support.anthropic_mock import AnthropicMock, Redacted, Text, Thinking, reply
from tests.support.anthropic_mock import Call as Use
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call, Gate, OpenAIMock, Reply

from .conftest import Serve

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
    "additionalProperties": False,
}
BASH: Any = {"type": "function", "function": {"name": "bash", "description": "Runs.", "parameters": SCHEMA}}
DOTTED: Any = {"type": "function", "function": {"name": "fs.read-file", "parameters": SCHEMA}}
TOOL: Any = {"name": "bash", "description": "Runs.", "input_schema": SCHEMA}


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


def to_anthropic(serve: Serve, mock: AnthropicMock, *policies: str, **more: Any) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"claude": backend}, **more})


def asked(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the OpenAI SDK has in the end."""
    said = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Tidy."}], **request}
    with openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.chat.completions.create(**said)
        with client.chat.completions.stream(**said) as events:
            return events.get_final_completion()


def told(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the Anthropic SDK has in the end."""
    said = {"model": "gpt-4o", "max_tokens": 512, "messages": [{"role": "user", "content": "Tidy."}], **request}
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.messages.create(**said)
        with client.messages.stream(**said) as answer:
            return answer.get_final_message()


# --- OpenAI's client, Anthropic's backend ----------------------------------------------------------------------------


@both
def test_an_openai_client_has_a_conversation_with_tools_at_anthropic(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = to_anthropic(serve, messages)
    calls = (Use("bash", '{"command":"ls"}'), Use("bash", '{"command":"pwd"}'))
    messages.script(reply(Text("I look. "), Text("Now."), *calls, fragment=1), reply(Text("Done.")))
    question = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Tidy."}]},
    ]
    first = asked(lexgate, stream, messages=question, tools=[BASH])
    message = first.choices[0].message
    assert (message.content, first.choices[0].finish_reason) == ("I look. Now.", "tool_calls")
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
        {"command": "ls"},
        {"command": "pwd"},
    ]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": name}
        for call, name in zip(message.tool_calls, ("a.txt", "/tmp"), strict=True)
    ]
    history = [*question, message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}), *results]
    second = asked(lexgate, stream, messages=history, tools=[BASH])
    assert second.choices[0].message.content == "Done."
    assert second.choices[0].finish_reason == "stop"
    sent = messages.requests[1].json
    assert sent["system"] == "Be brief."
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["content"] for block in sent["messages"][2]["content"]] == ["a.txt", "/tmp"]
    assert "authorization" not in messages.requests[0].headers
    assert not any(name.startswith("x-stainless") for name in messages.requests[0].headers)


@both
def test_what_the_model_thought_is_shown(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Thinking("Hm."), Redacted(), Text("Yes.")))
    answer = asked(lexgate, stream, reasoning_effort="high", max_completion_tokens=40_000)
    message = answer.choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm.", "Yes.")
    assert messages.requests[0].json["thinking"] == {"type": "enabled", "budget_tokens": 16_384}


@both
def test_usage_is_shown_to_a_client_that_asked_and_counted_for_all(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("Yes."), usage=(9, 12, 60, 3)))
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    usage = asked(lexgate, stream, **more).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (72, 12, 84)
    assert usage.prompt_tokens_details.cached_tokens == 60


def test_usage_is_not_streamed_to_a_client_that_did_not_ask(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("Yes.")))
    said = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Go."}], "stream": True}
    frames = lexgate.post(said).frames
    assert frames[-1] == "[DONE]"
    assert all("usage" not in frame for frame in frames[:-1])
    page = httpx2.get(f"{lexgate.origin}/metrics", trust_env=False).text
    used = [line for line in page.splitlines() if line.startswith("lexgate_tokens_total") and "claude" in line]
    assert sorted(line.rpartition(" ")[2] for line in used) == ["12.0", "9.0"]


@both
def test_names_ids_and_free_text_come_back_as_the_client_knows_them(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    lexgate = to_anthropic(serve, messages)
    patch = {"type": "custom", "custom": {"name": "apply_patch", "description": "Patches."}}
    messages.script(reply(Text("Hello.")))
    asked(lexgate, False, tools=[DOTTED, patch])
    offered = [tool["name"] for tool in messages.requests[0].json["tools"]]
    assert offered[0].startswith("fs_read-file_")
    messages.script(
        reply(Use(offered[0], '{"command":"x"}'), Use("apply_patch", '{"input":"*** Begin\\n\\u00e9"}'), fragment=3)
    )
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Go."}], "tools": [DOTTED, patch]}
    raw = lexgate.post({**body, "stream": stream})
    calls = calls_of(raw)
    assert calls == [("function", "fs.read-file", '{"command":"x"}'), ("custom", "apply_patch", "*** Begin\n\u00e9")]


def calls_of(raw: Any) -> list[tuple[str, str, str]]:
    """Type, name and arguments or input of a choice's calls, streamed or not."""
    if not raw.headers["content-type"].startswith("text/event-stream"):
        wires = raw.json["choices"][0]["message"]["tool_calls"]
    else:
        wires = []
        for frame in raw.frames[:-1]:
            for call in frame["choices"][0]["delta"].get("tool_calls") or []:
                if call["index"] == len(wires):
                    wires.append(call)
                else:
                    kind = wires[call["index"]]["type"]
                    field = "input" if kind == "custom" else "arguments"
                    wires[call["index"]][kind][field] += call[kind][field]
    named = [(wire["type"], wire[wire["type"]]) for wire in wires]
    return [(kind, inner["name"], inner.get("arguments", inner.get("input"))) for kind, inner in named]


def test_a_call_without_arguments_has_an_empty_object(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Use("bash"), Use("bash", '{"command":"x"}')))
    calls = asked(lexgate, True, tools=[BASH]).choices[0].message.tool_calls
    assert [call.function.arguments for call in calls] == ["{}", '{"command":"x"}']


def test_what_does_not_come_across_is_said(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("Yes.")))
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Go."}], "temperature": 1.7}
    raw = lexgate.post({**body, "seed": 4, "logit_bias": {"1": 2}})
    assert raw.status == 200
    assert sorted(raw.headers["x-lexgate-dropped"].split(", ")) == ["logit_bias", "seed"]
    assert messages.requests[0].json["temperature"] == 1
    line = next(each for each in lexgate.logs if each["event"] == "request translated with losses")
    assert sorted(line["dropped"]) == ["logit_bias", "seed"]


def test_a_fields_name_cannot_end_the_header(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("Yes.")))
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Go."}], "a\r\nset-cookie: é": 1}
    raw = lexgate.post(body)
    assert raw.headers["x-lexgate-dropped"] == "a??set-cookie: ?"
    assert "set-cookie" not in raw.headers


def test_what_cannot_come_across_is_refused_with_its_name(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    with pytest.raises(openai.BadRequestError) as refused:
        asked(lexgate, False, n=3)
    assert refused.value.code == "not_translatable"
    assert refused.value.param == "n"
    assert "The backend 'claude' is asked in the protocol anthropic" in refused.value.message
    assert messages.requests == []


def test_pictures_and_documents_come_across(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("A cat.")))
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    asked(lexgate, False, messages=[{"role": "user", "content": content}])
    blocks = messages.requests[0].json["messages"][0]["content"]
    assert [block["type"] for block in blocks] == ["text", "image", "image", "document"]
    assert [block["source"]["type"] for block in blocks[1:]] == ["base64", "url", "base64"]


FAILURES: Any = [
    (401, openai.AuthenticationError, 401),
    (429, openai.RateLimitError, 429),
    (529, openai.InternalServerError, 503),
]


@both
@pytest.mark.parametrize(("status", "kind", "seen"), FAILURES, ids=["401", "429", "529"])
def test_errors_of_anthropic_are_errors_of_openai(
    serve: Serve, messages: AnthropicMock, stream: bool, status: int, kind: type[openai.APIStatusError], seen: int
) -> None:
    lexgate = to_anthropic(serve, messages)
    headers = {"retry-after": "7", "anthropic-ratelimit-requests-limit": "5"}
    messages.script(reply(status=status, error="Not now.", headers=headers))
    with pytest.raises(kind) as failed:
        asked(lexgate, stream)
    assert failed.value.status_code == seen
    assert failed.value.response.headers["retry-after"] == "7"
    assert not any(name.startswith("anthropic-") for name in failed.value.response.headers)
    assert failed.value.body == {**failed.value.body, "message": "Not now."}  # type: ignore[dict-item]


def test_an_overload_in_the_middle_of_the_stream_is_an_error_of_openai(serve: Serve, messages: AnthropicMock) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("One two three four."), fails_after=4))
    with pytest.raises(openai.APIError):
        asked(lexgate, True)


@both
def test_a_cut_answer_is_never_a_whole_one(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = to_anthropic(serve, messages)
    messages.script(reply(Text("One two three four."), cut_after=4))
    with pytest.raises(openai.APIError):
        asked(lexgate, stream)


STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
REDACT = """
version: 1
policy: names
patterns:
  codenames: {bluefalcon: '(?i)\\bbluefalcon\\b'}
rules:
  - {id: in, phase: request, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}
  - {id: results, phase: tool_result, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}
  - {id: out, phase: text, actions: [{redact: {patterns: codenames, mask: '[name]'}}]}
"""


@both
def test_a_refused_call_is_steered_at_anthropic_with_its_thoughts(
    serve: Serve, messages: AnthropicMock, stream: bool
) -> None:
    """With thinking on, Anthropic refuses a turn of calls that does not begin with what it thought, signed."""
    lexgate = to_anthropic(serve, messages, STEER)
    wipe = Use("bash", '{"command":"rm -rf /"}', "toolu_wipe")
    messages.script(
        reply(Thinking("Wipe it."), Text("I clean up."), wipe), reply(Text("Listing."), Use("bash", '{"command":"ls"}'))
    )
    question: list[Any] = [{"role": "user", "content": "Tidy."}]
    more: dict[str, Any] = {"tools": [BASH], "reasoning_effort": "low", "max_completion_tokens": 9_000}
    answer = asked(lexgate, stream, messages=question, **more)
    message = answer.choices[0].message
    assert message.content == "I clean up.\n\nListing."
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"command": "ls"}]
    steered = messages.requests[1].json["messages"]
    assert [block["type"] for block in steered[1]["content"]] == ["thinking", "text", "tool_use"]
    assert steered[2]["content"][0]["content"] == "Do not delete; list instead."
    messages.script(reply(Text("Done.")))
    history = [
        *question,
        message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "a.txt"},
    ]
    asked(lexgate, stream, messages=history, **more)
    put_back = messages.requests[2].json["messages"]
    assert put_back[:3] == steered[:3]


@both
def test_names_are_redacted_both_ways(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = to_anthropic(serve, messages, REDACT)
    messages.script(reply(Text("It is bluefalcon indeed."), piece=3))
    answer = asked(lexgate, stream, messages=[{"role": "user", "content": "Is bluefalcon it?"}])
    assert answer.choices[0].message.content == "It is [name] indeed."
    assert b"bluefalcon" not in messages.requests[0].body


@both
def test_a_route_fails_over_from_one_protocol_to_the_other(
    serve: Serve, provider: OpenAIMock, messages: AnthropicMock, stream: bool
) -> None:
    backends = {
        "openai": {"protocol": "openai", "base_url": provider.base_url, "api_key": "k", "models": ["gpt-*"]},
        "claude": {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["claude-*"]},
    }
    route = {"default_route": "openai:gpt-4o|claude:claude-sonnet-4-5", "default_models": ["any"]}
    lexgate = serve(STEER, settings={"backends": backends, **route})
    provider.script(Reply(status=503))
    wipe = Use("bash", '{"command":"rm -rf /"}')
    messages.script(reply(wipe), reply(Text("From Claude.")))
    answer = asked(lexgate, stream, model="any", tools=[BASH])
    assert answer.choices[0].message.content == "From Claude."
    assert len(provider.requests) == 1
    provider.script(Reply(text="From OpenAI."))
    assert asked(lexgate, stream, model="any", tools=[BASH]).choices[0].message.content == "From OpenAI."


# --- Anthropic's client, OpenAI's backend ----------------------------------------------------------------------------


@both
def test_an_anthropic_client_has_a_conversation_with_tools_at_openai(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve()
    calls = (Call("bash", '{"command":"ls"}'), Call("bash", '{"command":"pwd"}'))
    provider.script(Reply(text="I look.", calls=calls, fragment=1, usage=(100, 12, 60, 5)), Reply(text="Done."))
    question: list[Any] = [{"role": "user", "content": "Tidy."}]
    first = told(lexgate, stream, system="Be brief.", messages=question, tools=[TOOL])
    assert first.stop_reason == "tool_use"
    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in first.content[1:]] == [{"command": "ls"}, {"command": "pwd"}]
    usage = first.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (40, 60, 12)
    results = [
        {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "a.txt"},
        {"type": "tool_result", "tool_use_id": first.content[2].id, "content": "no such", "is_error": True},
        {"type": "text", "text": "Well?"},
    ]
    history = [*question, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = told(lexgate, stream, system="Be brief.", messages=history, tools=[TOOL])
    assert [block.text for block in second.content] == ["Done."]
    assert second.stop_reason == "end_turn"
    sent = provider.requests[1].json
    assert [message["role"] for message in sent["messages"]] == [
        *("system", "user", "assistant", "tool", "tool", "user"),
    ]
    assert sent["messages"][4]["content"] == "Error: no such"
    assert not any(name.startswith("anthropic-") for name in provider.requests[0].headers)


@both
def test_what_another_model_thought_is_shown_and_does_not_come_back(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve()
    provider.script(Reply(text="Yes.", reasoning="Hm."), Reply(text="Again."))
    first = told(lexgate, stream)
    assert [(block.type, getattr(block, "thinking", "")) for block in first.content] == [
        ("thinking", "Hm."),
        ("text", ""),
    ]
    history: list[Any] = [
        {"role": "user", "content": "Tidy."},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And?"},
    ]
    told(lexgate, stream, messages=history)
    assert b"Hm." not in provider.requests[1].body


@both
def test_a_refused_call_is_steered_at_openai(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(STEER)
    provider.script(
        Reply(text="I clean up.", calls=(Call("bash", '{"command":"rm -rf /"}', "call_wipe"),), fragment=2),
        Reply(text="Listing.", calls=(Call("bash", '{"command":"ls"}'),)),
    )
    answer = told(lexgate, stream, tools=[TOOL])
    assert "".join(block.text for block in answer.content if block.type == "text") == "I clean up.\n\nListing."
    assert [block.input for block in answer.content if block.type == "tool_use"] == [{"command": "ls"}]
    assert answer.stop_reason == "tool_use"
    sent = provider.requests[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert (sent[2]["tool_call_id"], sent[2]["content"]) == ("call_wipe", "Do not delete; list instead.")


ERRORS: Any = [
    (401, anthropic.AuthenticationError, 401, "authentication_error"),
    (429, anthropic.RateLimitError, 429, "rate_limit_error"),
    (503, anthropic.InternalServerError, 529, "overloaded_error"),
]


@both
@pytest.mark.parametrize(("status", "kind", "seen", "named"), ERRORS, ids=["401", "429", "503"])
def test_errors_of_openai_are_errors_of_anthropic(
    serve: Serve,
    provider: OpenAIMock,
    stream: bool,
    status: int,
    kind: type[anthropic.APIStatusError],
    seen: int,
    named: str,
) -> None:
    lexgate = serve()
    provider.script(Reply(status=status, error="Not now.", headers={"retry-after": "7", "openai-version": "x"}))
    with pytest.raises(kind) as failed:
        told(lexgate, stream)
    assert failed.value.status_code == seen
    assert failed.value.response.headers["retry-after"] == "7"
    assert "openai-version" not in failed.value.response.headers
    assert failed.value.response.json()["error"]["type"] == named


@both
def test_a_cut_answer_of_openai_is_never_a_whole_message(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve()
    provider.script(Reply(text="One two three four.", cut_after=3))
    with pytest.raises(anthropic.APIError):
        told(lexgate, stream)


def test_calls_that_interleave_are_told_one_after_the_other(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve()
    deltas = [
        {"role": "assistant", "tool_calls": [_piece(0, "a", "bash", "")]},
        {"tool_calls": [_piece(1, "b", "bash", "")]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"command":"x"}'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": '{"command":"y"}'}}]},
    ]
    frames = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    wire = [b"data: " + json.dumps({"id": "c", **frame}).encode() + b"\n\n" for frame in frames]
    provider.script(Reply(frames=(*wire, b"data: [DONE]\n\n")))
    answer = told(lexgate, True, tools=[TOOL])
    assert [(block.id, block.input) for block in answer.content] == [("a", {"command": "x"}), ("b", {"command": "y"})]
    assert answer.stop_reason == "tool_use"


def test_the_beginning_of_a_message_says_about_what_was_read_and_its_end_exactly(
    serve: Serve, provider: OpenAIMock
) -> None:
    lexgate = serve()
    provider.script(Reply(text="Yes.", usage=(900, 4, 0, 0)))
    body = {
        "model": "gpt-4o",
        "max_tokens": 99,
        "stream": True,
        "messages": [{"role": "user", "content": "word " * 900}],
    }
    raw = lexgate.post(body, path="/v1/messages", headers={"anthropic-version": "2023-06-01"})
    begun = next(each for each in raw.frames if each["type"] == "message_start")["message"]["usage"]
    ended = next(each for each in raw.frames if each["type"] == "message_delta")["usage"]
    assert 600 < begun["input_tokens"] < 2400
    assert (ended["input_tokens"], ended["output_tokens"]) == (900, 4)


def _piece(index: int, id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


@both
def test_claude_codes_words_come_across(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    """Cache marks, a system message in the middle, a long user id, thinking and an answer by a schema."""
    lexgate = serve()
    provider.script(Reply(text="Yes."))
    mark = {"cache_control": {"type": "ephemeral"}}
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    told(
        lexgate,
        stream,
        model="gpt-5.1",
        system=[{"type": "text", "text": "You are.", **mark}, {"type": "text", "text": "Be brief."}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Go.", **mark}]},
            {"role": "system", "content": "It is late."},
        ],
        metadata={"user_id": json.dumps({"device_id": "d" * 60, "session_id": "s" * 30})},
        thinking={"type": "adaptive"},
        output_config={"effort": "max", "format": {"type": "json_schema", "schema": schema}},
        extra_query={"beta": "true"},
    )
    received = provider.requests[0]
    assert received.path == "/v1/chat/completions"
    assert [message["role"] for message in received.json["messages"]] == ["system", "user", "system"]
    assert received.json["messages"][0]["content"] == "You are.\n\nBe brief."
    assert len(received.json["user"]) == 32
    assert received.json["reasoning_effort"] == "xhigh"
    assert received.json["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}
    assert received.json["max_completion_tokens"] == 512
    assert b"cache_control" not in received.body


@both
def test_the_hidden_turn_is_put_back_for_the_backend_that_had_it(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(STEER)
    wipe = Call("bash", '{"command":"rm -rf /"}', "call_wipe")
    provider.script(Reply(calls=(wipe,)), Reply(text="I will not."), Reply(text="Fine."))
    question: dict[str, Any] = {"role": "user", "content": "Tidy."}
    first = told(lexgate, stream, messages=[question], tools=[TOOL])
    history: list[Any] = [question, {"role": "assistant", "content": first.content}, {"role": "user", "content": "So?"}]
    told(lexgate, stream, messages=history, tools=[TOOL])
    assert provider.requests[2].json["messages"][:3] == provider.requests[1].json["messages"]


def test_pictures_in_results_come_across(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve()
    provider.script(Reply(text="A cat."))
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    use = {"type": "tool_use", "id": "toolu_" + "x" * 60, "name": "bash", "input": {}}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "Look."}, picture]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": [picture]}]},
    ]
    told(lexgate, False, messages=messages, tools=[TOOL])
    sent = provider.requests[0].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user"]
    assert (
        sent[0]["content"][1]["image_url"]
        == sent[3]["content"][1]["image_url"]
        == {"url": "data:image/png;base64,aGk="}
    )
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


@both
def test_results_are_redacted_on_the_way_to_another_protocol(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(REDACT)
    provider.script(Reply(text="It is bluefalcon.", piece=3))
    use = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}
    messages: Any = [
        {"role": "user", "content": "bluefalcon?"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "bluefalcon!"}]},
    ]
    answer = told(lexgate, stream, messages=messages, tools=[TOOL])
    assert answer.content[0].text == "It is [name]."
    assert b"bluefalcon" not in provider.requests[0].body


def test_a_leg_that_cannot_carry_the_request_leaves_it_to_the_next(
    serve: Serve, provider: OpenAIMock, messages: AnthropicMock
) -> None:
    backends = {
        "claude": {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["claude-*"]},
        "openai": {"protocol": "openai", "base_url": provider.base_url, "api_key": "k", "models": ["gpt-*"]},
    }
    route = {"default_route": "claude:claude-sonnet-4-5|openai:gpt-4o", "default_models": ["any"]}
    lexgate = serve(settings={"backends": backends, **route})
    provider.script(Reply(text="One of two."))
    assert len(asked(lexgate, False, model="any", n=2).choices) == 2
    assert messages.requests == []


def test_a_client_that_waits_is_kept_alive_in_its_own_words(serve: Serve, provider: OpenAIMock) -> None:
    gate = Gate()
    lexgate = serve(settings={"stream": {"commit_after": 0.05, "keep_alive": 0.05}})
    provider.script(Reply(text="At last.", gate=gate))
    said = {"model": "gpt-4o", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Go."}]}
    with lexgate.open(said, "/v1/messages") as waiting:
        assert b'"type": "ping"' in waiting.until(b"ping")
        gate.open()
        assert waiting.until(b"message_stop").count(b"event: message_start") == 1
