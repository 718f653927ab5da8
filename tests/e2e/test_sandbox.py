"""Without a backend and a key: the built-in sandbox, asked as a provider is."""

from typing import Any

import openai
import pytest

from tests.support.lexgate import Lexgate

from .conftest import Serve
from .talk import BASH, asking


@pytest.fixture
def sandbox(serve: Serve) -> Lexgate:
    return serve(settings={"backends": {}})


def client(lexgate: Lexgate) -> openai.OpenAI:
    return openai.OpenAI(base_url=lexgate.base_url, api_key="any", max_retries=0)


def ask(lexgate: Lexgate, *messages: Any, **more: Any) -> Any:
    return client(lexgate).chat.completions.create(model="sandbox", messages=list(messages), **more)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_it_says_what_it_was_told_and_always_the_same(sandbox: Lexgate) -> None:
    first, again = (ask(sandbox, user("Hello there")) for _ in range(2))
    assert first.choices[0].message.content == "You said: Hello there"
    assert first.choices[0].finish_reason == "stop"
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens > 0
    assert first == again


def test_it_streams_word_by_word(sandbox: Lexgate) -> None:
    chunks = list(ask(sandbox, user("one two three"), stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(texts) == "You said: one two three"
    assert len(texts) > 3
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_without_being_asked_a_stream_reports_no_usage(sandbox: Lexgate) -> None:
    assert not any(chunk.usage for chunk in ask(sandbox, user("x"), stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_it_calls_a_tool_when_told_to_and_says_what_the_tool_said(sandbox: Lexgate, stream: bool) -> None:
    told = user('call bash {"command": "ls -l"}\ncall bash {"command": "pwd"}')
    answer: Any
    if stream:
        with client(sandbox).chat.completions.stream(model="sandbox", messages=[told], tools=[BASH]) as events:  # type: ignore[list-item]
            answer = events.get_final_completion()
    else:
        answer = ask(sandbox, told, tools=[BASH])
    calls = answer.choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("bash", '{"command": "ls -l"}'),
        ("bash", '{"command": "pwd"}'),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == 2
    call = {"id": calls[0].id, "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    history = [
        told,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": calls[0].id, "content": "total 0"},
    ]
    assert ask(sandbox, *history).choices[0].message.content == "The tool said: total 0"


@pytest.mark.parametrize("text", ["call bash {not json}", 'call bash ["a"]', "please call bash"])
def test_what_is_no_call_is_text(sandbox: Lexgate, text: str) -> None:
    assert ask(sandbox, user(text)).choices[0].message.content == f"You said: {text}"


@pytest.mark.parametrize("model", ["sandbox", "gpt-4o", "anything:at-all"])
def test_it_serves_every_model(sandbox: Lexgate, model: str) -> None:
    assert sandbox.post(asking(model=model)).status == 200


def test_it_is_no_silent_fallback_for_a_configured_backend(serve: Serve) -> None:
    gone = {"protocol": "openai", "base_url": "http://127.0.0.1:1/v1", "models": ["gpt-4o"]}
    lexgate = serve(settings={"backends": {"openai": gone, "sandbox": {"protocol": "sandbox", "models": ["toy"]}}})
    assert lexgate.post(asking(model="gpt-4o")).status == 502
    assert lexgate.post(asking(model="gpt-5")).status == 404
    assert lexgate.post(asking(model="toy")).status == 200
    assert lexgate.post(asking(model="sandbox:any")).status == 200


def test_models_are_listed_for_the_sdk(serve: Serve) -> None:
    backends = {
        "b": {"protocol": "openai", "base_url": "http://127.0.0.1:1/v1", "models": ["m-1", "m-*"]},
        "toy": {"protocol": "sandbox", "models": ["toy", "m-1"]},
    }
    listed = client(serve(settings={"backends": backends})).models.list().data
    assert [(each.id, each.owned_by, each.object) for each in listed] == [
        ("m-1", "b", "model"),
        ("toy", "toy", "model"),
    ]
