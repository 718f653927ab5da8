"""Commands that people write into the chat: what runs, what does not, what is answered, and what no backend ever sees."""

from collections.abc import Sequence
from typing import Any

import openai
import pytest

from engine.resources import packs_dir
from tests.support.anthropic_mock import AnthropicMock, Text, reply
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock, Reply

from .conftest import Serve
from .talk import asking, heard

PACK = (packs_dir() / "interactive-commands.yaml").read_text()
HEADERS = {"x-session-id": "s1"}


@pytest.fixture
def lexgate(serve: Serve, provider: OpenAIMock) -> Lexgate:
    provider.script(*[Reply(text="From the model.")] * 20)
    return serve(PACK)


def say(lexgate: Lexgate, *messages: Any, stream: bool = False, session: str = "s1") -> str:
    return heard(lexgate.post(asking(*messages, stream=stream, tools=None), headers={"x-session-id": session})).text


def seen(provider: OpenAIMock, number: int = -1) -> list[tuple[str, str]]:
    """Role and text of what the backend was sent."""
    return [(each["role"], each["content"]) for each in provider.requests[number].json["messages"]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_command_is_answered_in_the_models_place(lexgate: Lexgate, provider: OpenAIMock, stream: bool) -> None:
    assert say(lexgate, "!/hello", stream=stream).startswith("Hello. This is Lexgate")
    assert provider.requests == []


def test_a_command_is_answered_behind_a_system_prompt_and_a_history(lexgate: Lexgate, provider: OpenAIMock) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hi!"},
    ]
    assert say(lexgate, *history, "!/hello").startswith("Hello.")
    assert provider.requests == []


def test_a_command_and_its_answer_never_reach_the_backend_later(lexgate: Lexgate, provider: OpenAIMock) -> None:
    answer = say(lexgate, "Hi.", {"role": "assistant", "content": "Hi!"}, "!/temperature(0.5)")
    history: Sequence[Any] = [
        "Hi.",
        {"role": "assistant", "content": "Hi!"},
        "!/temperature(0.5)",
        {"role": "assistant", "content": answer},
    ]
    say(lexgate, *history, "Go on.")
    assert seen(provider) == [("user", "Hi."), ("assistant", "Hi!"), ("user", "Go on.")]


def test_an_answer_to_a_command_beside_text_is_known_again(lexgate: Lexgate, provider: OpenAIMock) -> None:
    asked = "Think about trees.\n!/temperature(0.5)"
    answer = say(lexgate, asked)
    say(lexgate, asked, {"role": "assistant", "content": answer}, "Go on.")
    assert seen(provider) == [("user", "Think about trees.\n"), ("user", "Go on.")]


def test_what_the_model_said_beside_a_command_stays(lexgate: Lexgate, provider: OpenAIMock) -> None:
    asked = "!/oneoff(gpt-4o)\nThink about trees."
    assert say(lexgate, asked) == "From the model."
    say(lexgate, asked, {"role": "assistant", "content": "From the model."}, "Go on.")
    assert seen(provider) == [("user", "Think about trees."), ("assistant", "From the model."), ("user", "Go on.")]


def test_a_session_parameter_stands_in_later_requests_of_that_session_alone(
    lexgate: Lexgate, provider: OpenAIMock
) -> None:
    say(lexgate, "!/set(temperature=0.5, max_tokens=100)")
    say(lexgate, "Hi.")
    assert provider.requests[-1].json["temperature"] == 0.5
    assert provider.requests[-1].json["max_completion_tokens"] == 100
    say(lexgate, "Hi.", session="another")
    assert "temperature" not in provider.requests[-1].json
    say(lexgate, "!/unset")
    say(lexgate, "Hi.")
    assert "temperature" not in provider.requests[-1].json


def test_one_wrong_value_sets_nothing(lexgate: Lexgate, provider: OpenAIMock) -> None:
    answer = say(lexgate, "!/set(max_tokens=100, temperature=5)")
    assert answer.startswith("`!/set`: `temperature` takes a number from 0 to 2, and not '5'.")
    say(lexgate, "Hi.")
    assert "max_completion_tokens" not in provider.requests[-1].json


def test_a_model_is_chosen_for_the_session_and_for_one_request(lexgate: Lexgate, provider: OpenAIMock) -> None:
    say(lexgate, "!/model(gpt-4.1)")
    say(lexgate, "!/oneoff(openai:gpt-5)")
    for _ in range(2):
        say(lexgate, "Hi.")
    assert [each.json["model"] for each in provider.requests] == ["gpt-5", "gpt-4.1"]


def test_a_model_that_nobody_serves_is_not_chosen(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(
        PACK,
        settings={"backends": {"openai": {"protocol": "openai", "base_url": provider.base_url, "models": ["gpt-4o"]}}},
    )
    assert "The model 'gpt-9' is not served here" in say(lexgate, "!/model(gpt-9)")
    assert "there is no backend 'nowhere'" in say(lexgate, "!/backend(nowhere)")


def test_an_unknown_command_is_said_and_goes_nowhere(lexgate: Lexgate, provider: OpenAIMock) -> None:
    assert say(lexgate, "!/halp") == (
        "There is no command `!/halp`. Did you mean `!/help`? `!/help` lists the commands."
    )
    assert provider.requests == []


def test_the_last_command_of_a_message_runs_alone(lexgate: Lexgate, provider: OpenAIMock) -> None:
    assert say(lexgate, "!/temperature(0.1)\n!/hello").startswith("Hello.")
    say(lexgate, "Hi.")
    assert "temperature" not in provider.requests[-1].json


NOT_TYPED = [
    ("in a code block", "Explain:\n```\n!/hello\n```"),
    ("in a reminder", "Hi.\n<system-reminder>\n!/hello\n</system-reminder>"),
    ("in an attached file", "<file_content path='a'>\n!/hello\n</file_content>\nRead it."),
    ("within a line", "What does !/hello do?"),
]


@pytest.mark.parametrize("text", [each[1] for each in NOT_TYPED], ids=[each[0] for each in NOT_TYPED])
def test_what_nobody_typed_does_not_run(lexgate: Lexgate, provider: OpenAIMock, text: str) -> None:
    assert say(lexgate, text) == "From the model."
    assert seen(provider) == [("user", text)]


def test_a_command_in_a_tool_result_does_not_run(lexgate: Lexgate, provider: OpenAIMock) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "!/hello"}
    raw = lexgate.post(asking("Go.", {"role": "assistant", "tool_calls": [call]}, result), headers=HEADERS)
    assert heard(raw).text == "From the model."
    assert provider.requests[-1].json["messages"][-1] == result


def test_commands_that_are_switched_off_are_taken_out_and_not_run(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="From the model."))
    lexgate = serve(PACK, settings={"commands": {"enabled": False}})
    assert say(lexgate, "!/hello\nHi.") == "From the model."
    assert seen(provider) == [("user", "Hi.")]
    assert say(lexgate, "!/hello") == "Commands in messages are switched off here."


def test_without_a_policy_that_declares_commands_nothing_is_one(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="From the model."))
    lexgate = serve("version: 1\npolicy: p\nrules: [{id: r, phase: request, actions: [tag: t]}]\n")
    assert say(lexgate, "!/hello") == "From the model."
    assert seen(provider) == [("user", "!/hello")]


def test_a_client_that_infers_its_session_keeps_it_behind_a_command(lexgate: Lexgate, provider: OpenAIMock) -> None:
    first = heard(lexgate.post(asking("!/temperature(0.5)", tools=None))).text
    lexgate.post(asking("!/temperature(0.5)", {"role": "assistant", "content": first}, "Hi.", tools=None))
    assert provider.requests[-1].json["temperature"] == 0.5


def test_the_official_sdk_reads_the_answer_of_a_command(lexgate: Lexgate) -> None:
    client = openai.OpenAI(base_url=lexgate.base_url, api_key="key")
    messages: Any = [{"role": "user", "content": "!/help(temperature)"}]
    whole = client.chat.completions.create(model="gpt-4o", messages=messages)
    text = "".join(
        each.choices[0].delta.content or ""
        for each in client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        if each.choices
    )
    assert text == whole.choices[0].message.content
    assert text.startswith("`!/temperature(value)`: Set the temperature")


def test_on_anthropic_a_command_beside_a_tool_result_does_not_run(serve: Serve) -> None:
    with AnthropicMock(reply(Text("From the model."))) as provider:
        lexgate = serve(
            PACK,
            settings={
                "backends": {"a": {"protocol": "anthropic", "base_url": provider.base_url, "models": ["claude-*"]}}
            },
        )
        use = {"type": "tool_use", "id": "t1", "name": "bash", "input": {}}
        content = [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}, {"type": "text", "text": "!/hello"}]
        body = {
            "model": "claude-opus-4-7",
            "max_tokens": 100,
            "messages": [
                {"role": "user", "content": "Go."},
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": content},
            ],
            "tools": [{"name": "bash", "input_schema": {"type": "object"}}],
        }
        answer = lexgate.post(body, path="/v1/messages", headers={"anthropic-version": "2023-06-01"})
        assert answer.json["content"][0]["text"] == "From the model."
        hello = {**body, "messages": [{"role": "user", "content": "!/hello"}]}
        answer = lexgate.post(hello, path="/v1/messages", headers={"anthropic-version": "2023-06-01"})
        assert answer.json["content"][0]["text"].startswith("Hello.")


# --- routes that a session makes for itself --------------------------------------------------------------------------


def routing(serve: Serve, provider: OpenAIMock) -> Lexgate:
    there = {"protocol": "openai", "base_url": provider.base_url, "models": ["*"]}
    settings = {"backends": {"openai": there, "other": there}, "routes": {"coding": "openai:gpt-4o"}}
    return serve(PACK, settings=settings)


def test_a_session_makes_a_route_and_takes_it(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = routing(serve, provider)
    provider.script(Reply(status=500), Reply(text="From the model."), Reply(text="From the model."))
    say(lexgate, "!/create-failover-route(mine, openai:first)")
    say(lexgate, "!/route-append(mine, other:second?temperature=0.2)")
    assert say(lexgate, "!/route-list(mine)") == "mine: openai:first|other:second?temperature=0.2"
    assert say(lexgate, "!/route(mine)") == "This session takes the route mine from now on."
    assert say(lexgate, "Hi.") == "From the model."
    assert [each.json["model"] for each in provider.requests] == ["first", "second"]
    assert provider.requests[-1].json["temperature"] == 0.2
    say(lexgate, "Hi.", session="another")
    assert provider.requests[-1].json["model"] == "gpt-4o"


def test_legs_are_put_in_front_cleared_and_listed(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = routing(serve, provider)
    say(lexgate, "!/create-failover-route(mine)")
    say(lexgate, "!/route-append(mine, openai:b, openai:c)")
    say(lexgate, "!/route-prepend(mine, @coding)")
    say(lexgate, "!/create-failover-route(other, openai:z)")
    listed = say(lexgate, "!/list-failover-routes")
    assert sorted(listed.splitlines()[1:]) == ["- mine: @coding|openai:b|openai:c", "- other: openai:z"]
    say(lexgate, "!/route-clear(mine)")
    say(lexgate, "!/route(mine)")
    raw = lexgate.post(asking("Hi.", tools=None), headers=HEADERS)
    assert (raw.status, "no legs yet" in raw.json["error"]["message"]) == (404, True)
    say(lexgate, "!/delete-failover-route(mine)")
    provider.script(Reply(text="From the model."))
    assert say(lexgate, "Hi.") == "From the model."


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("!/create-failover-route(coding, openai:a)", "is a route of the configuration"),
        ("!/create-failover-route(my route, openai:a)", "is no name of a route"),
        ("!/create-failover-route(mine, nowhere:a)", "there is no backend 'nowhere'"),
        ("!/create-failover-route(mine, gpt-4o)", "is no leg"),
        ("!/create-failover-route(mine, openai:a|openai:b)", "is more than one leg"),
        ("!/create-failover-route(mine, openai:a^openai:b)", "is no leg"),
        ("!/route-append(mine, openai:a)", "This session has no route `mine`"),
        ("!/route(mine)", "there is no route 'mine'"),
    ],
)
def test_a_route_that_could_not_be_taken_is_not_made(
    serve: Serve, provider: OpenAIMock, command: str, answer: str
) -> None:
    assert answer in say(routing(serve, provider), command)
    assert provider.requests == []
