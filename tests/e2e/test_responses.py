"""OpenAI's own SDK over Responses, in front of a provider that speaks them and is strict, and of providers that do not."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from engine.access.registry import Draft
from tests.support.anthropic_mock import AnthropicMock
from tests.support.anthropic_mock import Call as AnthropicCall
from tests.support.anthropic_mock import Text as AnthropicText
from tests.support.anthropic_mock import Thinking as AnthropicThinking
from tests.support.anthropic_mock import reply as anthropic_reply
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call as ChatCall
from tests.support.openai_mock import OpenAIMock
from tests.support.openai_mock import Reply as ChatReply
from tests.support.responses_mock import Call, Custom, Refused, ResponsesMock, Search, Shell, Text, Thought, reply
from tests.support.team import issue, team_settings

from .conftest import Serve
from .test_anthropic import BLOCK, REDACT, STEER

BASH: Any = {
    "type": "function",
    "name": "bash",
    "strict": False,
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
SAID: dict[str, Any] = {"model": "gpt-5", "input": "Tidy.", "tools": [BASH]}
EVERYTHING = (
    *(Thought(("Let me look.", "Then act.")), Text("Looking."), Search("weather"), Text("It rains.", citations=2)),
    *(Refused("No."), Call("bash", '{"command":"ls"}'), Custom("patch", "*** Begin")),
)
WIPE = Call("bash", '{"command":"rm -rf /"}', "call_wipe")
DROP = STEER.replace('steer: {message: "Do not delete; list instead."}', "drop: {}")
REWRITE = STEER.replace(
    'steer: {message: "Do not delete; list instead."}', "rewrite_args: {path: command, value: 'ls'}"
)
RESPOND = """
version: 1
policy: guard
rules:
  - id: hello
    phase: request
    actions: [{respond: {message: "Closed today."}}]
"""
REFUSE = RESPOND.replace("respond:", "block:")
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def provider() -> Iterator[ResponsesMock]:
    with ResponsesMock(api_key="key") as mock:
        yield mock


def native(provider: ResponsesMock) -> dict[str, Any]:
    backend = {
        "protocol": "openai",
        "base_url": provider.base_url,
        "api_key": "key",
        "models": ["*"],
        "capabilities": {"responses": True},
    }
    return {"openai": backend}


def served(serve: Serve, provider: ResponsesMock, *policies: str) -> Lexgate:
    return serve(*policies, settings={"backends": native(provider)})


def client_of(lexgate: Lexgate) -> openai.OpenAI:
    return openai.OpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0)


def asked(client: openai.OpenAI, stream: bool, **more: Any) -> Any:
    if not stream:
        return client.responses.create(**SAID | more)
    with client.responses.stream(**SAID | more) as answer:
        return answer.get_final_response()


def ask(lexgate: Lexgate, stream: bool, **more: Any) -> Any:
    with client_of(lexgate) as client:
        return asked(client, stream, **more)


def calls(answer: Any) -> list[tuple[str, str, str]]:
    return [(each.call_id, each.name, each.arguments) for each in answer.output if each.type == "function_call"]


def same(answer: Any) -> str:
    """Ids name the answer's number, which differs between two."""
    text: str = answer.model_dump_json()
    return text.replace("_1", "_2")


def dumped(answer: Any) -> list[str]:
    return [item.model_dump_json().replace("_1_", "_2_") for item in answer.output]


@both
def test_the_sdk_gets_the_same_objects_with_and_without_the_proxy(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider)
    script = reply(*EVERYTHING, fragment=1)
    unsealed = [msg if not isinstance(msg, Thought) else Thought(msg.texts, sealed=False) for msg in script.content]
    provider.script(*[reply(*unsealed, fragment=1)] * 2)
    through = ask(lexgate, stream)
    with openai.OpenAI(base_url=provider.base_url, api_key="key") as client:
        direct = asked(client, stream)
    assert same(through) == same(direct)
    first, second = provider.requests
    assert (first.path, first.body) == (second.path, second.body)
    assert first.headers["authorization"] == "Bearer key"


@both
def test_rules_that_find_nothing_change_nothing(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    lexgate = served(serve, provider, REDACT, STEER.replace("policy: shell", "policy: shell2"))
    unsealed = [Thought(each.texts, sealed=False) if isinstance(each, Thought) else each for each in EVERYTHING]
    provider.script(*[reply(*unsealed)] * 2)
    through = ask(lexgate, stream)
    with openai.OpenAI(base_url=provider.base_url, api_key="key") as client:
        direct = asked(client, stream)
    assert through.output_text == direct.output_text
    assert sorted(dumped(through)) == sorted(dumped(direct))


@both
def test_a_refused_call_is_steered_with_its_reasoning(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    """The mock wants reasoning back as it was encrypted, and every call with its result."""
    lexgate = served(serve, provider, STEER)
    provider.script(
        reply(Thought(("Hm.",)), Text("I clean up."), Thought(("And now?",)), WIPE, fragment=1),
        reply(Text("Listing."), Call("bash", '{"command":"ls"}')),
    )
    answer = ask(lexgate, stream, store=False, include=["reasoning.encrypted_content"])
    assert answer.output_text == "I clean up.\n\nListing."
    assert calls(answer) == [("call_2_1", "bash", '{"command":"ls"}')]
    assert answer.status == "completed"
    again = provider.requests[1].json["input"]
    assert [item.get("type", item.get("role")) for item in again] == [
        *("user", "reasoning", "reasoning", "assistant", "function_call", "function_call_output"),
    ]
    assert again[4] == {
        "id": "fc_1_3",
        "type": "function_call",
        "status": "completed",
        "arguments": '{"command":"rm -rf /"}',
        "call_id": "call_wipe",
        "name": "bash",
    }
    assert again[5] == {
        "type": "function_call_output",
        "call_id": "call_wipe",
        "output": "Do not delete; list instead.",
    }


@both
def test_the_turn_after_a_steer_has_the_history_that_the_provider_had(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider, STEER)
    provider.script(
        reply(Thought(("Hm.",)), WIPE),
        reply(Thought(("Well.",)), Call("bash", '{"command":"ls"}')),
        reply(Text("Done.")),
    )
    options: dict[str, Any] = {"store": False, "include": ["reasoning.encrypted_content"]}
    first = ask(lexgate, stream, **options)
    history = [{"role": "user", "content": "Tidy."}, *(item.to_dict() for item in first.output)]
    history.append({"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "a file"})
    assert ask(lexgate, stream, input=history, **options).output_text == "Done."
    sent = provider.requests[2].json["input"]
    assert [item.get("type", "message") for item in sent] == [
        *("message", "reasoning", "function_call", "function_call_output"),
        *("reasoning", "function_call", "function_call_output"),
    ]
    assert [item["id"] for item in sent if item.get("type") == "reasoning"] == ["rs_1_0", "rs_2_0"]


@both
def test_reasoning_that_is_all_encrypted_goes_with_its_refused_call(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider, STEER)
    provider.script(reply(Thought(), WIPE), reply(Thought(), Text("Fine.")))
    answer = ask(lexgate, stream, store=False, include=["reasoning.encrypted_content"])
    assert [item.type for item in answer.output] == ["reasoning", "reasoning", "message"]
    again = provider.requests[1].json["input"]
    assert [item.get("id") for item in again][1:3] == ["rs_1_0", "fc_1_1"]


@both
def test_a_blocked_call_becomes_the_message_and_a_normal_end(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider, BLOCK)
    provider.script(reply(Thought(("Hm.",)), Text("I clean up."), WIPE), reply(Text("Fine.")))
    answer = ask(lexgate, stream)
    assert answer.output_text == "I clean up.\n\nDo not delete; list instead."
    assert (calls(answer), answer.status) == ([], "completed")
    history = [*(item.to_dict() for item in answer.output), {"role": "user", "content": "Go on."}]
    assert ask(lexgate, stream, input=history).output_text == "Fine."


@both
def test_a_call_is_dropped_or_rewritten(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    lexgate = served(serve, provider, DROP)
    provider.script(reply(Text("I clean up."), WIPE, Call("bash", '{"command":"ls"}')))
    answer = ask(lexgate, stream)
    assert [item.type for item in answer.output] == ["message", "function_call"]
    assert [arguments for _, _, arguments in calls(answer)] == ['{"command":"ls"}']


@both
def test_a_shell_tool_of_the_providers_is_governed_too(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    """Its commands are read as those of any other shell: `tool.shell` tells them apart."""
    lexgate = served(serve, provider, STEER.replace("tool: bash", "tool: shell"))
    provider.script(reply(Shell(("ls", "sudo rm -rf /"), "call_rm")), reply(Text("Fine.")))
    answer = ask(lexgate, stream, tools=[{"type": "shell"}])
    assert answer.output_text == "Fine."
    (result,) = [item for item in provider.requests[1].json["input"] if item.get("type") == "shell_call_output"]
    assert result["output"][0]["stderr"] == "Do not delete; list instead."


@both
def test_a_secret_is_redacted_in_what_is_said_and_in_what_is_sent(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider, REDACT)
    provider.script(reply(Thought(("It is bluefalcon.",)), Text("We call it BlueFalcon here.", citations=1), piece=3))
    conversation: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "About bluefalcon", "x": 1}]},
        {"type": "function_call", "call_id": "a", "name": "bash", "arguments": "{}", "id": "fc_9"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "bluefalcon.txt"}]},
        {"role": "user", "content": "Go on"},
    ]
    answer = ask(lexgate, stream, input=conversation, instructions="bluefalcon!")
    assert answer.output_text == "We call it [name] here."
    assert "bluefalcon" not in answer.model_dump_json().lower()
    sent = provider.requests[0].json
    assert sent["input"] == json.loads(json.dumps(conversation).replace("bluefalcon", "[name]"))
    assert sent["instructions"] == "[name]!"


@both
def test_altered_reasoning_does_not_come_back(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    lexgate = served(serve, provider, REDACT)
    provider.script(reply(Thought(("It is bluefalcon.",)), Text("Hello.")), reply(Text("Again.")))
    first = ask(lexgate, stream, store=False)
    history = [*(item.to_dict() for item in first.output), {"role": "user", "content": "Go on."}]
    assert ask(lexgate, stream, input=history, store=False).output_text == "Again."


@both
def test_a_guard_answers_or_refuses_in_the_protocol(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    assert ask(served(serve, provider, RESPOND), stream).output_text == "Closed today."


def test_a_refusal_is_the_sdks_own_exception(serve: Serve, provider: ResponsesMock) -> None:
    lexgate = served(serve, provider, REFUSE)
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(lexgate, stream)
        assert raised.value.code == "policy_blocked"
    assert provider.requests == []


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


def test_parsed_output_and_the_asynchronous_client(serve: Serve, provider: ResponsesMock) -> None:
    lexgate = served(serve, provider, REDACT)
    provider.script(*[reply(Text('{"city":"bluefalcon","degrees":3}'))] * 2)
    with client_of(lexgate) as client:
        parsed = client.responses.parse(model="gpt-5", input="x", text_format=Weather)
        assert parsed.output_parsed == Weather(city="[name]", degrees=3)

    async def talk() -> Any:
        async with (
            openai.AsyncOpenAI(base_url=lexgate.base_url, api_key="mine", max_retries=0) as client,
            client.responses.stream(model="gpt-5", input="x", text_format=Weather) as answer,
        ):
            return await answer.get_final_response()

    assert asyncio.run(talk()).output_parsed == Weather(city="[name]", degrees=3)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_an_error_of_the_provider_is_the_clients_own_exception(
    serve: Serve, provider: ResponsesMock, status: int
) -> None:
    lexgate = served(serve, provider)
    provider.script(reply(status=status, error="no", headers={"retry-after": "3"}))
    with pytest.raises(openai.APIStatusError) as raised:
        ask(lexgate, False)
    assert raised.value.status_code == status
    assert raised.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize("policies", [(), (REDACT,)], ids=["unread", "read"])
def test_a_stream_that_broke_is_never_a_whole_response(
    serve: Serve, provider: ResponsesMock, policies: tuple[str, ...]
) -> None:
    lexgate = served(serve, provider, *policies)
    provider.script(reply(Text("Hello, world, this is long"), cut_after=7))
    with pytest.raises((openai.APIError, RuntimeError)):
        ask(lexgate, True)


def test_a_failure_in_the_stream_is_passed_on(serve: Serve, provider: ResponsesMock) -> None:
    lexgate = served(serve, provider, REDACT)
    provider.script(reply(Text("Hello, world"), fails_after=6, failed=True))
    raw = lexgate.post({**SAID, "stream": True}, "/v1/responses")
    assert raw.frames[-1]["type"] == "response.failed"


# --- Codex -----------------------------------------------------------------------------------------------------------

CODEX: dict[str, Any] = {
    "model": "gpt-5-codex",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Tidy."}]},
    ],
    "tools": [
        {**BASH, "name": "exec_command"},
        {
            "type": "namespace",
            "name": "mcp__fs__",
            "description": "Files.",
            "tools": [{"type": "function", "name": "read", "parameters": {"type": "object"}, "strict": False}],
        },
        {"type": "custom", "name": "apply_patch", "description": "Edit files."},
        {"type": "web_search"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0193-thread",
    "client_metadata": {"x-codex-installation-id": "1"},
}


def test_what_codex_sends_reaches_the_provider_unchanged(serve: Serve, provider: ResponsesMock) -> None:
    lexgate = served(serve, provider, STEER)
    provider.script(reply(Text("Hello.")))
    body = json.dumps(CODEX).encode()
    raw = lexgate.post(body, "/v1/responses", {"session-id": "s", "thread-id": "t"})
    assert raw.frames[-1]["type"] == "response.completed"
    assert provider.requests[0].body == body
    assert provider.requests[0].headers["session-id"] == "s"


@pytest.mark.parametrize(
    ("tool", "when", "call"),
    [
        ("exec_command", "any(tool.shell.commands[?program == 'rm'])", Call("exec_command", '{"command":"rm -rf /"}')),
        ("mcp__fs__read", "tool.args.path == '/etc/shadow'", Call("read", '{"path":"/etc/shadow"}', "", "mcp__fs__")),
        ("apply_patch", "contains(tool.args.input, 'secrets')", Custom("apply_patch", "*** secrets")),
    ],
)
def test_every_kind_of_tool_that_codex_offers_can_be_steered(
    serve: Serve, provider: ResponsesMock, tool: str, when: str, call: Any
) -> None:
    policy = STEER.replace("tool: bash", f"tool: {tool}").replace("any(tool.shell.commands[?program == 'rm'])", when)
    lexgate = served(serve, provider, policy)
    provider.script(reply(Thought(("Hm.",)), call), reply(Thought(("Well.",)), Text("Fine.")))
    frames = lexgate.post(CODEX, "/v1/responses").frames
    response = frames[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "reasoning", "message"]
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert response["status"] == "completed"
    again = provider.requests[1].json
    assert again["input"][-1]["output"] == "Do not delete; list instead."
    assert {field: again[field] for field in again if field != "input"} == {
        field: CODEX[field] for field in CODEX if field != "input"
    }


# --- backends of other protocols -------------------------------------------------------------------------------------


@both
def test_a_backend_that_speaks_chat_alone_serves_the_client(serve: Serve, stream: bool) -> None:
    with OpenAIMock(api_key="key") as chat:
        backend = {"protocol": "openai", "base_url": chat.base_url, "api_key": "key", "models": ["*"]}
        lexgate = serve(STEER, settings={"backends": {"chat": backend}})
        chat.script(
            ChatReply(text="I clean up.", calls=(ChatCall("bash", '{"command":"rm -rf /"}'),)),
            ChatReply(text="Listing.", calls=(ChatCall("bash", '{"command":"ls"}'),)),
        )
        answer = ask(lexgate, stream)
        assert answer.output_text == "I clean up.\n\nListing."
        assert [arguments for _, _, arguments in calls(answer)] == ['{"command":"ls"}']
        assert answer.usage.input_tokens > 0


@both
def test_a_backend_that_speaks_messages_serves_the_client(serve: Serve, stream: bool) -> None:
    with AnthropicMock(api_key="key") as messages:
        backend = {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["*"]}
        lexgate = serve(STEER, settings={"backends": {"anthropic": backend}})
        messages.script(
            anthropic_reply(AnthropicText("I clean up."), AnthropicCall("bash", '{"command":"rm -rf /"}', "toolu_rm")),
            anthropic_reply(AnthropicThinking("Well."), AnthropicCall("bash", '{"command":"ls"}', "toolu_ls")),
            anthropic_reply(AnthropicText("Done.")),
        )
        first = ask(lexgate, stream, reasoning={"effort": "medium"}, max_output_tokens=4096)
        assert [json.loads(arguments) for _, _, arguments in calls(first)] == [{"command": "ls"}]
        history = [{"role": "user", "content": "Tidy."}, *(item.to_dict() for item in first.output)]
        history.append({"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "a file"})
        second = ask(lexgate, stream, input=history, reasoning={"effort": "medium"}, max_output_tokens=4096)
        assert second.output_text == "Done."


# --- going on from an answer by its id -------------------------------------------------------------------------------


@both
def test_a_caller_goes_on_from_its_own_answers(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    """The provider has the conversation: the request reaches it as it came."""
    lexgate = served(serve, provider, REDACT)
    provider.script(reply(Text("One.")), reply(Text("Two.")))
    first = ask(lexgate, stream)
    second = ask(lexgate, stream, input="And?", previous_response_id=first.id)
    assert second.output_text == "Two."
    assert provider.requests[1].json["previous_response_id"] == first.id
    assert provider.requests[1].json["input"] == "And?"


@both
def test_an_id_that_the_caller_never_got_is_unknown(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    """The provider knows it, from somebody else: it is not even asked."""
    lexgate = served(serve, provider)
    provider.memory.responses["resp_of_another"] = []
    provider.memory.items.add("msg_of_another")
    with pytest.raises(openai.BadRequestError) as raised:
        ask(lexgate, stream, previous_response_id="resp_of_another")
    assert (raised.value.code, raised.value.param) == ("previous_response_not_found", "previous_response_id")
    with pytest.raises(openai.NotFoundError):
        ask(lexgate, stream, input=[{"type": "item_reference", "id": "msg_of_another"}])
    with pytest.raises(openai.BadRequestError):
        ask(lexgate, stream, conversation="conv_1")
    assert provider.requests == []


@both
def test_items_are_referred_to_by_the_caller_that_got_them(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    lexgate = served(serve, provider)
    provider.script(reply(Text("One.")), reply(Text("Two.")))
    first = ask(lexgate, stream)
    reference = {"type": "item_reference", "id": first.output[0].id}
    assert ask(lexgate, stream, input=[reference, {"role": "user", "content": "And?"}]).output_text == "Two."
    assert provider.requests[1].json["input"][0] == reference


@both
def test_what_is_not_to_be_stored_is_not_known(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    lexgate = served(serve, provider)
    provider.script(reply(Text("One.")))
    first = ask(lexgate, stream, store=False)
    with pytest.raises(openai.BadRequestError):
        ask(lexgate, stream, previous_response_id=first.id)


@both
def test_a_client_goes_on_from_an_answer_that_was_steered(serve: Serve, provider: ResponsesMock, stream: bool) -> None:
    """The provider has another answer under the id that the client was given: the conversation is sent as it was."""
    lexgate = served(serve, provider, STEER)
    provider.script(
        reply(Text("Zero.")),
        reply(Thought(("Hm.",)), WIPE),
        reply(Thought(("Well.",)), Text("Listing."), Call("bash", '{"command":"ls"}')),
        reply(Text("Done.")),
    )
    zero = ask(lexgate, stream)
    first = ask(lexgate, stream, previous_response_id=zero.id)
    result = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "a file"}
    assert ask(lexgate, stream, input=[result], previous_response_id=first.id).output_text == "Done."
    sent = provider.requests[-1].json
    assert sent["previous_response_id"] == zero.id
    assert [item.get("type", "message") for item in sent["input"]] == [
        *("message", "reasoning", "function_call", "function_call_output"),
        *("reasoning", "message", "function_call", "function_call_output"),
    ]


@both
def test_a_client_goes_on_from_an_answer_of_which_a_call_was_blocked(
    serve: Serve, provider: ResponsesMock, stream: bool
) -> None:
    lexgate = served(serve, provider, BLOCK)
    provider.script(reply(Text("I clean up."), WIPE), reply(Text("Fine.")))
    first = ask(lexgate, stream)
    assert ask(lexgate, stream, input="Go on.", previous_response_id=first.id).output_text == "Fine."
    assert [item.get("content", "") for item in provider.requests[1].json["input"]][-1] == "Go on."


@both
def test_the_conversation_is_kept_for_a_backend_that_keeps_none(serve: Serve, stream: bool) -> None:
    """Rules see all of it again."""
    with OpenAIMock(api_key="key") as chat:
        backend = {"protocol": "openai", "base_url": chat.base_url, "api_key": "key", "models": ["*"]}
        lexgate = serve(REDACT, settings={"backends": {"chat": backend}})
        chat.script(
            ChatReply(text="Listing.", calls=(ChatCall("bash", '{"command":"ls"}', "call_a"),)),
            ChatReply(text="Two files."),
            ChatReply(text="Goodbye."),
        )
        first = ask(lexgate, stream, input="About bluefalcon")
        result = {"type": "function_call_output", "call_id": "call_a", "output": "bluefalcon.txt"}
        second = ask(lexgate, stream, input=[result], previous_response_id=first.id)
        third = ask(lexgate, stream, input="Bye.", previous_response_id=second.id)
        assert (second.output_text, third.output_text) == ("Two files.", "Goodbye.")
        assert [(each["role"], each.get("content")) for each in chat.requests[2].json["messages"]] == [
            ("user", "About [name]"),
            ("assistant", "Listing."),
            ("tool", "[name].txt"),
            ("assistant", "Two files."),
            ("user", "Bye."),
        ]


@both
def test_a_conversation_that_is_too_large_to_be_kept_is_answered_and_then_unknown(serve: Serve, stream: bool) -> None:
    with OpenAIMock(api_key="key") as chat:
        backend = {"protocol": "openai", "base_url": chat.base_url, "api_key": "key", "models": ["*"]}
        lexgate = serve(settings={"backends": {"chat": backend}})
        chat.script(ChatReply(text="Long."))
        first = ask(lexgate, stream, input="many words " * 100_000)
        assert first.output_text == "Long."
        with pytest.raises(openai.BadRequestError) as raised:
            ask(lexgate, stream, input="And?", previous_response_id=first.id)
        assert raised.value.code == "previous_response_not_found"
        (line,) = [line for line in lexgate.logs if line["event"] == "response cannot be continued"]
        assert (line["response"], line["reason"]) == (first.id, "too_large")


@both
def test_two_callers_cannot_go_on_from_each_others_answers(
    provider: ResponsesMock, stream: bool, tmp_path: Path
) -> None:
    """Neither from one that the provider keeps, nor from one that is kept here."""
    issue(tmp_path, Draft(name="root", roles=("admin",)))
    one, other = issue(tmp_path, Draft(name="one")), issue(tmp_path, Draft(name="other"))
    provider.script(reply(Text("One.")), reply(WIPE), reply(Text("Two.")))
    with Lexgate(tmp_path, BLOCK, settings=team_settings(backends=native(provider))) as lexgate:

        def says(key: str, **more: Any) -> Any:
            with openai.OpenAI(base_url=lexgate.base_url, api_key=key, max_retries=0) as client:
                return asked(client, stream, **more)

        for answer in (says(one.text), says(one.text)):
            with pytest.raises(openai.BadRequestError) as raised:
                says(other.text, previous_response_id=answer.id)
            assert raised.value.code == "previous_response_not_found"
        assert says(one.text, previous_response_id=answer.id, input="And?").output_text == "Two."


@both
def test_the_sandbox_speaks_responses_too(serve: Serve, stream: bool) -> None:
    lexgate = serve(settings={"backends": {"sandbox": {"protocol": "sandbox", "models": ["*"]}}})
    assert ask(lexgate, stream).output_text == "You said: Tidy."
    called = ask(lexgate, stream, input='call bash {"command":"ls"}')
    assert [(name, arguments) for _, name, arguments in calls(called)] == [("bash", '{"command":"ls"}')]
    result = {"type": "function_call_output", "call_id": called.output[0].call_id, "output": "a file"}
    assert ask(lexgate, stream, input=[result], previous_response_id=called.id).output_text == "The tool said: a file"
