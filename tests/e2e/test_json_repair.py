"""Structured output that is almost right: the client gets JSON of the schema that it asked for, in every protocol."""

import json
from pathlib import Path
from typing import Any

from tests.support.anthropic_mock import AnthropicMock, Text, Thinking
from tests.support.anthropic_mock import reply as said
from tests.support.openai_mock import Call, OpenAIMock, Reply

from .conftest import Serve
from .talk import WIPE, ask, heard, usage_of
from .test_reask import NO_WIPE, REDACT, ask_claude, both, served

PACK = Path("policies/json-repair.yaml").read_text(encoding="utf-8")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
BROKEN = "Here you are:\n```json\n{'name': 'Ann',}\n```"


@both
def test_broken_json_is_repaired(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(PACK)
    provider.script(Reply(text=BROKEN, reasoning="Hm.", piece=3))
    answer = heard(ask(lexgate, stream=stream, response_format=FORMAT))
    assert (answer.text, answer.reasoning, answer.finish) == ('{"name":"Ann"}', "Hm.", "stop")
    assert len(provider.requests) == 1


@both
def test_what_no_repair_makes_fit_is_asked_for_once_more(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(PACK)
    provider.script(Reply(text='{"title": "Ann"}'), Reply(text='{"name": "Ann",}'))
    assert heard(ask(lexgate, stream=stream, response_format=FORMAT)).text == '{"name":"Ann"}'
    told = provider.requests[1].json["messages"]
    assert told[-2] == {"role": "assistant", "content": '{"title": "Ann"}'}
    assert told[-1]["content"].startswith("Your last answer is not valid JSON")


@both
def test_an_answer_that_fits_keeps_its_bytes(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate, plain = serve(PACK), serve()
    provider.script(*[Reply(text='{ "name": "Ann" }', piece=2)] * 2)
    first, second = (ask(each, stream=stream, response_format=FORMAT) for each in (lexgate, plain))
    assert first.body.replace(b"chatcmpl-1", b"chatcmpl-2") == second.body


@both
def test_an_answer_that_need_not_be_json_is_left_alone(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(PACK)
    provider.script(Reply(text=BROKEN))
    assert heard(ask(lexgate, stream=stream)).text == BROKEN


@both
def test_usage_is_told_as_ever(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(PACK)
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    provider.script(Reply(text=BROKEN, usage=(9, 3, 0, 0)))
    shown = usage_of(ask(lexgate, stream=stream, response_format=FORMAT, **more))
    assert shown is not None
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (9, 3)


@both
def test_what_stands_behind_a_refused_call_is_part_of_the_json(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(PACK, NO_WIPE)
    provider.script(Reply(text="One moment.", calls=(WIPE,)), Reply(text='{"name": "Ann",}'))
    assert heard(ask(lexgate, stream=stream, response_format=FORMAT)).text == '{"name":"Ann"}'


@both
def test_a_value_that_was_redacted_is_restored_in_what_was_repaired(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    hiding = REDACT.replace("phase: text", "phase: request").replace("mask: '[name]'", "restore: true")
    lexgate = serve(PACK, hiding)
    provider.script(Reply(text="Hi."))
    ask(lexgate, "bluefalcon", stream=stream, headers={"x-session-id": "s"})
    placeholder = provider.requests[0].json["messages"][0]["content"]
    provider.script(Reply(text="{name: '" + placeholder + "'}"))
    answer = heard(ask(lexgate, "bluefalcon", stream=stream, response_format=FORMAT, headers={"x-session-id": "s"}))
    assert answer.text == '{"name":"bluefalcon"}'


@both
def test_a_message_of_claude_is_repaired_behind_its_thoughts(serve: Serve, stream: bool) -> None:
    with AnthropicMock(api_key="key") as messages:
        lexgate = served(serve, messages, PACK)
        messages.script(said(Thinking("Hm."), Text(BROKEN)))
        format = {"format": {"type": "json_schema", "schema": SCHEMA}}
        thinking = {"type": "enabled", "budget_tokens": 1024}
        answer = ask_claude(lexgate, stream, thinking=thinking, extra_body={"output_config": format})
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert (answer.content[0].thinking, bool(answer.content[0].signature)) == ("Hm.", True)
        assert json.loads(answer.content[1].text) == {"name": "Ann"}


@both
def test_a_call_is_no_structured_output(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(PACK)
    provider.script(Reply(text="Let me look.", calls=(Call("read"),)))
    answer = heard(ask(lexgate, stream=stream, response_format=FORMAT))
    assert (answer.text, len(answer.calls)) == ("Let me look.", 1)
