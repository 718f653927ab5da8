"""Google's SDK in front of other providers, other SDKs in front of Gemini, and mocks that refuse what providers refuse."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.support import anthropic_mock, openai_mock
from tests.support.anthropic_mock import AnthropicMock
from tests.support.gemini_mock import Call, Code, GeminiMock, Text, Thinking, reply
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock, Reply

from .conftest import Serve

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
    "additionalProperties": False,
}
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="fs.bash", description="Runs.", parameters_json_schema=SCHEMA)
    ]
)
FUNCTION: Any = {"type": "function", "function": {"name": "bash", "description": "Runs.", "parameters": SCHEMA}}
STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead."}}]
"""
QUESTION: dict[str, Any] = {"role": "user", "content": "Tidy."}


@pytest.fixture
def gemini() -> Iterator[GeminiMock]:
    with GeminiMock(api_key="key") as mock:
        yield mock


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


def to_gemini(serve: Serve, gemini: GeminiMock, *policies: str) -> Lexgate:
    backend = {"protocol": "gemini", "base_url": gemini.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"google": backend}})


def to_anthropic(serve: Serve, mock: AnthropicMock, *policies: str) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": mock.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"claude": backend}})


def ask(lexgate: Lexgate, stream: bool, contents: Any = "Tidy.", model: str = "gpt-4o", **config: Any) -> list[Any]:
    """What Google's SDK has, frame by frame."""
    settings = types.GenerateContentConfig(system_instruction="Be brief.", tools=[TOOL], **config)
    with genai.Client(api_key="mine", http_options=types.HttpOptions(base_url=lexgate.origin)) as client:
        if stream:
            return list(client.models.generate_content_stream(model=model, contents=contents, config=settings))
        return [client.models.generate_content(model=model, contents=contents, config=settings)]


def parts_of(answers: list[Any]) -> list[Any]:
    return [part for answer in answers for part in answer.candidates[0].content.parts or ()]


def text_of(answers: list[Any], *, thought: bool = False) -> str:
    return "".join(part.text or "" for part in parts_of(answers) if bool(part.thought) == thought)


def calls_of(answers: list[Any]) -> list[Any]:
    return [call for answer in answers for call in answer.function_calls or ()]


def history_of(answers: list[Any]) -> list[Any]:
    """The conversation as a chat of the SDK has it, with a result for each call."""
    said = [answer.candidates[0].content for answer in answers if answer.candidates[0].content.parts]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": "a.txt"}))
        for call in calls_of(answers)
    ]
    question = types.Content(role="user", parts=[types.Part(text="Tidy.")])
    return [question, *said, types.Content(role="user", parts=results)]


def asked(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the OpenAI SDK has in the end."""
    said = {"model": "gemini-3-pro", "messages": [QUESTION], "tools": [FUNCTION], **request}
    with openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.chat.completions.create(**said)
        with client.chat.completions.stream(**said) as events:
            return events.get_final_completion()


def told(lexgate: Lexgate, stream: bool, **request: Any) -> Any:
    """What the Anthropic SDK has in the end."""
    tool = {"name": "bash", "input_schema": SCHEMA}
    said: Any = {"model": "gemini-2.5-flash", "max_tokens": 4096, "messages": [QUESTION], "tools": [tool], **request}
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.messages.create(**said)
        with client.messages.stream(**said) as answer:
            return answer.get_final_message()


# --- Google's client --------------------------------------------------------------------------------------------------


@both
def test_a_google_client_has_a_conversation_with_tools_at_openai(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    """The name with a dot is another there, and its own again in the answer."""
    lexgate = serve()
    provider.script(Reply(text="I look."))
    ask(lexgate, stream)
    there = provider.requests[0].json["tools"][0]["function"]["name"]
    assert there != "fs.bash"
    calls = tuple(openai_mock.Call(there, text) for text in ('{"command":"ls"}', '{"command":"pwd"}'))
    provider.script(Reply(text="I look.", calls=calls, fragment=1), Reply(text="Done."))
    first = ask(lexgate, stream, temperature=0.5, max_output_tokens=99, stop_sequences=["X"])
    assert text_of(first) == "I look."
    assert [(call.name, call.args) for call in calls_of(first)] == [
        ("fs.bash", {"command": "ls"}),
        ("fs.bash", {"command": "pwd"}),
    ]
    assert first[-1].candidates[0].finish_reason == "STOP"
    assert first[-1].usage_metadata.total_token_count > 0
    assert text_of(ask(lexgate, stream, history_of(first))) == "Done."
    sent = provider.requests[1].json
    assert (sent["temperature"], sent.get("max_completion_tokens", sent.get("max_tokens")), sent["stop"]) == (
        0.5,
        99,
        ["X"],
    )
    assert sent["messages"][0]["content"] == "Be brief."
    later = provider.requests[2].json["messages"]
    assert [message["role"] for message in later] == ["system", "user", "assistant", "tool", "tool"]
    assert [message["content"] for message in later[3:]] == ["a.txt", "a.txt"]
    assert [message["tool_call_id"] for message in later[3:]] == [call["id"] for call in later[2]["tool_calls"]]


@both
def test_a_google_client_hears_the_thoughts_of_anthropic(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = to_anthropic(serve, messages)
    content = (anthropic_mock.Thinking("Hm."), anthropic_mock.Text("I look."), anthropic_mock.Call("x", "{}"))
    messages.script(anthropic_mock.reply(*content), anthropic_mock.reply(anthropic_mock.Text("Done.")))
    thinking = types.ThinkingConfig(thinking_budget=2048)
    first = ask(lexgate, stream, model="claude-sonnet-4-5", thinking_config=thinking, max_output_tokens=4096)
    assert (text_of(first, thought=True), text_of(first)) == ("Hm.", "I look.")
    assert messages.requests[0].json["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    history = history_of(first)
    assert text_of(ask(lexgate, stream, history, "claude-sonnet-4-5")) == "Done."


@both
def test_a_google_client_is_steered_in_front_of_openai(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(STEER)
    wipe = openai_mock.Call("bash", '{"command":"rm -rf /"}')
    provider.script(
        Reply(text="I clean up.", calls=(wipe,), fragment=1),
        Reply(text="Listing.", calls=(openai_mock.Call("bash", '{"command":"ls"}'),)),
        Reply(text="Done."),
    )
    first = ask(lexgate, stream)
    assert text_of(first) == "I clean up.\n\nListing."
    assert [call.args for call in calls_of(first)] == [{"command": "ls"}]
    assert text_of(ask(lexgate, stream, history_of(first))) == "Done."
    roles = [message["role"] for message in provider.requests[2].json["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]


def test_an_array_is_streamed_from_another_protocol(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve()
    provider.script(Reply(text="Hello, world."))
    raw = lexgate.post({"contents": [{"parts": [{"text": "Hi"}]}]}, "/v1beta/models/gpt-4o:streamGenerateContent")
    assert raw.headers["content-type"] == "application/json"
    said = [part["text"] for frame in raw.json for part in frame["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "Hello, world."
    assert raw.json[-1]["candidates"][0]["finishReason"] == "STOP"
    assert raw.json[-1]["usageMetadata"]["promptTokenCount"] > 0


def test_what_openai_cannot_do_for_a_google_client_is_refused(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve()
    with pytest.raises(errors.ClientError) as raised:
        ask(lexgate, False, cached_content="cachedContents/1")
    assert raised.value.code == 400
    assert provider.requests == []


# --- Gemini's backend -------------------------------------------------------------------------------------------------


@both
def test_an_openai_client_has_a_conversation_with_tools_at_gemini(
    serve: Serve, gemini: GeminiMock, stream: bool
) -> None:
    """Gemini 3 refuses a call without signature: one that the client's protocol cannot keep has Google's stand-in."""
    lexgate = to_gemini(serve, gemini)
    calls = (Call("bash", '{"command":"ls"}', signed=True), Call("bash", '{"command":"pwd"}'))
    gemini.script(
        reply(Thinking("Hm."), Text("I look."), Code("1", "1"), *calls, usage=(9, 12, 5, 3)), reply(Text("Done."))
    )
    first = asked(lexgate, stream, reasoning_effort="low", n=1, stop=["X"], max_completion_tokens=99)
    message = first.choices[0].message
    assert (message.content, first.choices[0].finish_reason) == ("I look.", "tool_calls")
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
        {"command": "ls"},
        {"command": "pwd"},
    ]
    assert len({call.id for call in message.tool_calls}) == 2
    if first.usage is not None:
        assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (9, 17)
        assert first.usage.completion_tokens_details.reasoning_tokens == 5
        assert first.usage.prompt_tokens_details.cached_tokens == 3
    sent = gemini.requests[0].json
    assert sent["generationConfig"] == {
        "maxOutputTokens": 99,
        "stopSequences": ["X"],
        "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
    }
    results = [{"role": "tool", "tool_call_id": call.id, "content": "a.txt"} for call in reversed(message.tool_calls)]
    kept = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    second = asked(lexgate, stream, messages=[{"role": "system", "content": "Be brief."}, QUESTION, kept, *results])
    assert second.choices[0].message.content == "Done."
    later = gemini.requests[1].json
    assert later["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [content["role"] for content in later["contents"]] == ["user", "model", "user"]
    declared: dict[str, Any] = {"name": "bash", "description": "Runs.", "parametersJsonSchema": {**SCHEMA}}
    del declared["parametersJsonSchema"]["$schema"]
    assert later["tools"] == [{"functionDeclarations": [declared]}]
    if stream:
        assert gemini.requests[0].path.endswith(":streamGenerateContent?alt=sse")


@both
def test_an_anthropic_client_is_steered_in_front_of_gemini(serve: Serve, gemini: GeminiMock, stream: bool) -> None:
    lexgate = to_gemini(serve, gemini, STEER)
    gemini.script(
        reply(Thinking("Hm."), Text("I clean up."), Call("bash", '{"command":"rm -rf /"}', signed=True)),
        reply(Text("Listing."), Call("bash", '{"command":"ls"}', signed=True)),
        reply(Text("Done.")),
    )
    first = told(lexgate, stream, thinking={"type": "enabled", "budget_tokens": 1024})
    assert "".join(block.text for block in first.content if block.type == "text") == "I clean up.\n\nListing."
    used = [block for block in first.content if block.type == "tool_use"]
    assert [block.input for block in used] == [{"command": "ls"}]
    assert first.stop_reason == "tool_use"
    assert gemini.requests[0].json["generationConfig"]["thinkingConfig"] == {
        "thinkingBudget": 1024,
        "includeThoughts": True,
    }
    refused = gemini.requests[1].json["contents"]
    assert refused[1]["parts"][-1]["thoughtSignature"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used[0].id, "content": "a.txt"}]}
    said = [block.model_dump(exclude_none=True) for block in first.content if block.type != "thinking"]
    for block in said:
        block.pop("parsed_output", None)
    second = told(lexgate, stream, messages=[QUESTION, {"role": "assistant", "content": said}, result])
    assert second.content[0].text == "Done."
    assert [content["role"] for content in gemini.requests[2].json["contents"]] == ["user", "model"] * 2 + ["user"]


@both
def test_a_refused_prompt_is_a_filtered_answer_elsewhere(serve: Serve, gemini: GeminiMock, stream: bool) -> None:
    lexgate = to_gemini(serve, gemini)
    gemini.script(reply(blocked="SAFETY"))
    answer = lexgate.post({"model": "gemini-3-pro", "messages": [QUESTION], "stream": stream})
    assert answer.status == 200
    assert b'"finish_reason":"content_filter"' in answer.body


@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_error_of_gemini_is_the_clients_own_exception(serve: Serve, gemini: GeminiMock, status: int) -> None:
    lexgate = to_gemini(serve, gemini)
    gemini.script(reply(status=status, error="no"))
    with pytest.raises(openai.APIStatusError) as raised:
        asked(lexgate, False)
    assert raised.value.status_code == status
    assert "no" in raised.value.message
