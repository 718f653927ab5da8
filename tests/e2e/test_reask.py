"""An answer that a rule refuses as a whole: the model is asked again, and the client gets the next answer alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.support.anthropic_mock import AnthropicMock, Redacted, Text, Thinking
from tests.support.anthropic_mock import reply as said
from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, WIPE, ask, asking, heard, usage_of

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
MESSAGE = "Answer without the secret."
JUDGE = """
version: 1
policy: judge
rules:
  - id: no-secret
    phase: response
    delay: all
    when: contains(response.text, 'secret')
    actions: [{steer: {message: "Answer without the secret.", MORE}}]
"""
NO_WIPE = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: Do not delete.}}]
"""
REDACT = """
version: 1
policy: quiet
patterns: {words: {falcon: bluefalcon}}
rules:
  - {id: redact, phase: text, actions: [{redact: {patterns: words, mask: '[name]'}}]}
"""
EMPTY = Path("policies/empty-response.yaml").read_text(encoding="utf-8")
RECOVERY = "Your last answer was empty."


def judging(attempts: int = 1, then: str = "block", **more: str) -> str:
    words = [f"attempts: {attempts}", f"then: {then}", *(f"{name}: {value}" for name, value in more.items())]
    return JUDGE.replace("MORE", ", ".join(words))


@pytest.fixture
def messages() -> Iterator[AnthropicMock]:
    with AnthropicMock(api_key="key") as mock:
        yield mock


def served(serve: Serve, messages: AnthropicMock, *policies: str) -> Lexgate:
    backend = {"protocol": "anthropic", "base_url": messages.base_url, "api_key": "key", "models": ["*"]}
    return serve(*policies, settings={"backends": {"anthropic": backend}})


def ask_claude(lexgate: Lexgate, stream: bool, **more: Any) -> Any:
    asked: dict[str, Any] = {
        "model": "claude-opus-4-7",
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": "Tidy."}],
        **more,
    }
    with anthropic.Anthropic(base_url=lexgate.origin, api_key="mine", max_retries=0) as client:
        if not stream:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as answer:
            return answer.get_final_message()


# -- the answer --


@both
def test_the_client_gets_the_next_answer_alone(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out.", reasoning="Hm.", calls=(LIST,)), Reply(text="All is well."))
    answer = heard(raw := ask(lexgate, stream=stream))
    assert (answer.text, answer.reasoning, answer.calls, answer.finish) == ("All is well.", "", (), "stop")
    for trace in (b"secret", b"Hm.", b"call_1"):
        assert trace not in raw.body


@both
def test_the_model_hears_the_message_from_the_user(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out."), Reply(text="All is well."))
    ask(lexgate, "Tell.", stream=stream)
    first, second = (each.json for each in provider.requests)
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "The secret is out."},
        {"role": "user", "content": MESSAGE},
    ]


@both
def test_calls_of_a_refused_answer_get_the_message_as_their_result(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out.", calls=(LIST,)), Reply(text="All is well."))
    ask(lexgate, "Tell.", stream=stream)
    call, result = provider.requests[1].json["messages"][1:]
    assert [each["id"] for each in call["tool_calls"]] == ["call_1_0"]
    assert result == {"role": "tool", "tool_call_id": "call_1_0", "content": MESSAGE}


@both
def test_the_next_answer_is_judged_too_and_then_blocks(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging(attempts=2))
    provider.script(*[Reply(text="The secret is out.")] * 3)
    answer = heard(raw := ask(lexgate, stream=stream))
    assert (answer.text, answer.finish, len(provider.requests)) == (MESSAGE, "stop", 3)
    assert b"is out" not in raw.body


@both
def test_then_allow_lets_the_last_answer_out(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging(then="allow"))
    provider.script(Reply(text="The secret is out."), Reply(text="The secret, again."))
    assert heard(ask(lexgate, stream=stream)).text == "The secret, again."


@both
def test_mode_reply_asks_nobody_again(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging(mode="reply"))
    provider.script(Reply(text="The secret is out."))
    assert (heard(ask(lexgate, stream=stream)).text, len(provider.requests)) == (MESSAGE, 1)


@both
def test_with_several_choices_then_happens_at_once(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out."))
    raw = ask(lexgate, stream=stream, n=2)
    assert [heard(raw, choice).text for choice in (0, 1)] == [MESSAGE] * 2
    assert len(provider.requests) == 1


@both
def test_an_exchange_re_asks_no_more_often_than_the_configuration_allows(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(judging(attempts=9), settings={"steer": {"max_per_exchange": 2}})
    provider.script(*[Reply(text="The secret is out.")] * 9)
    assert heard(ask(lexgate, stream=stream)).text == MESSAGE
    assert len(provider.requests) == 3


@both
def test_a_text_that_a_rule_cut_off_is_not_asked_for_again(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    cutting = REDACT.replace("redact: {patterns: words, mask: '[name]'}", "block: The secret name.").replace(
        "phase: text,", "phase: text, match: {pattern: words},"
    )
    lexgate = serve(judging(), cutting)
    provider.script(Reply(text="We call it bluefalcon."))
    assert (heard(ask(lexgate, stream=stream)).text, len(provider.requests)) == (MESSAGE, 1)


@both
def test_usage_is_that_of_the_answer_that_was_received(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging())
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    provider.script(
        Reply(text="The secret is out.", usage=(5, 100, 0, 0)), Reply(text="All is well.", usage=(9, 3, 0, 0))
    )
    shown = usage_of(ask(lexgate, stream=stream, **more))
    assert shown is not None
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (9, 3)


@both
def test_what_a_steered_call_left_behind_is_refused_with_the_answer(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(judging(), NO_WIPE)
    provider.script(
        Reply(text="I clean up.", calls=(WIPE,)), Reply(text="The secret is out."), Reply(text="All is well.")
    )
    answer = heard(raw := ask(lexgate, "Tidy.", stream=stream))
    assert (answer.text, answer.finish) == ("All is well.", "stop")
    assert b"clean up" not in raw.body
    roles = [each["role"] for each in provider.requests[2].json["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


@both
def test_the_next_turn_begins_with_what_the_client_saw(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out."), Reply(text="All is well."), Reply(text="Bye."))
    answer = heard(ask(lexgate, "Tell.", stream=stream))
    history = [{"role": "user", "content": "Tell."}, answer.message, {"role": "user", "content": "Thanks."}]
    assert heard(ask(lexgate, *history, stream=stream)).text == "Bye."
    assert provider.requests[2].json["messages"] == history


@both
def test_the_model_is_shown_its_answer_as_rules_left_it(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging(), REDACT)
    provider.script(Reply(text="The secret is bluefalcon."), Reply(text="All is well."))
    ask(lexgate, stream=stream)
    assert provider.requests[1].json["messages"][1]["content"] == "The secret is [name]."


@both
def test_a_backend_that_fails_when_it_is_asked_again_is_an_error(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(judging())
    provider.script(Reply(text="The secret is out."), Reply(status=400))
    assert ask(lexgate, stream=stream).status == 400


def test_a_client_is_kept_waiting_while_the_model_is_asked_again(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(judging(), settings={"stream": {"commit_after": 0.05, "keep_alive": 0.05}})
    gate = Gate()
    provider.script(Reply(text="The secret is out."), Reply(text="All is well.", gate=gate, gate_before=1))
    with lexgate.open(asking(stream=True)) as answer:
        seen = answer.until(b": keep-alive")
        gate.open()
        seen += answer.until(b"[DONE]")
    assert b"secret" not in seen
    assert seen.count(b'"role":"assistant"') == 1


# -- empty answers --


@both
def test_an_empty_answer_is_asked_for_once_more(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(EMPTY)
    provider.script(Reply(), Reply(text="Here I am."))
    assert heard(ask(lexgate, "Go.", stream=stream)).text == "Here I am."
    first, second = (each.json["messages"] for each in provider.requests)
    assert second[:-1] == first, "an assistant that said nothing is no part of the history"
    assert second[-1]["role"] == "user"
    assert second[-1]["content"].startswith(RECOVERY)


@both
def test_a_second_empty_answer_goes_out(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(EMPTY)
    provider.script(Reply(), Reply())
    assert (heard(ask(lexgate, stream=stream)).text, len(provider.requests)) == ("", 2)


@both
def test_a_refusal_and_a_call_are_answers(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(EMPTY)
    provider.script(Reply(refusal="I will not."), Reply(calls=(LIST,)))
    assert heard(ask(lexgate, stream=stream)).refusal == "I will not."
    assert len(heard(ask(lexgate, stream=stream)).calls) == 1
    assert len(provider.requests) == 2


@both
def test_an_empty_message_of_claude_is_asked_for_once_more(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    """A provider that refuses messages without content, and thoughts that nothing follows."""
    lexgate = served(serve, messages, EMPTY)
    messages.script(said(Thinking("Hm."), Redacted()), said(Text("Here I am.")))
    answer = ask_claude(lexgate, stream, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [(block.type, block.text) for block in answer.content] == [("text", "Here I am.")]
    assert answer.stop_reason == "end_turn"
    assert [each["role"] for each in messages.requests[1].json["messages"]] == ["user", "user"]


@both
def test_a_message_of_claude_is_refused_with_its_thoughts(serve: Serve, messages: AnthropicMock, stream: bool) -> None:
    lexgate = served(serve, messages, judging())
    messages.script(said(Thinking("Hm."), Text("The secret is out.")), said(Thinking("Ah."), Text("All is well.")))
    answer = ask_claude(lexgate, stream, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.content[0].thinking, answer.content[1].text) == ("Ah.", "All is well.")
    refused, told = messages.requests[1].json["messages"][1:]
    assert [block["type"] for block in refused["content"]] == ["thinking", "text"]
    assert told == {"role": "user", "content": MESSAGE} or told["content"][0]["text"] == MESSAGE
