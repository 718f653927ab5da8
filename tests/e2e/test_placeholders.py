"""Values that the upstream must not know: the same bytes on every turn, and for the caller alone turned back."""

import json
import re
from typing import Any

import pytest

from tests.support.lexgate import Lexgate
from tests.support.openai_mock import Call, OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, ask, asking, heard

RESULTS = """
version: 1
policy: results
patterns: {secrets: {key: 'sk-[a-z0-9]{8}'}}
rules:
  - id: redact-results
    phase: tool_result
    actions: [{redact: {patterns: secrets}}]
"""
RESTORE = """
version: 1
policy: people
patterns: {people: {mail: '[a-z"]{1,20}@[a-z]{1,20}[.]com'}}
rules:
  - id: hide
    phase: request
    actions: [{redact: {patterns: people, restore: RESTORE}}]
"""
OBSERVE = """
version: 1
policy: watch
rules:
  - id: text
    phase: text
    window: 40
    when: contains(text.window, 'Dear')
    actions: [{log: "{{ text.window }}"}]
  - id: call
    phase: tool_call
    when: tool.text != ''
    actions: [{log: "{{ tool.text }}"}, {tag: {name: text, value: "{{ tool.text }}"}}]
  - id: response
    phase: response
    when: response.text != 'x'
    actions: [{log: "{{ response.text }}"}]
  - id: done
    phase: done
    when: response.text != 'x'
    actions: [{log: "{{ response.text }}"}]
"""
MAIL = "anna@example.com"
SESSION = {"x-session-id": "one"}
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def placeholder_in(provider: OpenAIMock) -> str:
    found = re.findall(r"\[mail:[0-9a-f]{24}\]", provider.requests[-1].body.decode())
    assert found
    assert len(set(found)) == 1
    return str(found[0])


@both
def test_a_secret_in_a_tool_result_is_redacted_to_the_same_bytes_on_every_turn(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(RESULTS)
    provider.script(*[Reply(text=f"Answer {turn}.") for turn in (1, 2)])
    call = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": LIST.arguments}}
    turn: list[Any] = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "key = sk-abcd1234 (é)"},
    ]
    first = heard(ask(lexgate, *turn, stream=stream))
    ask(lexgate, *turn, first.message, "And now?", stream=stream)
    one, two = (each.body for each in provider.requests)
    assert b"sk-abcd1234" not in one + two
    assert json.loads(two)["messages"][:3] == json.loads(one)["messages"]
    shared = one[: one.index(b"(")]
    assert two.startswith(shared), "the same bytes keep the provider's cache warm"
    assert json.loads(one)["messages"][2]["content"] == "key = [key] (é)"


def hiding(provider: OpenAIMock, serve: Serve, restore: str = "true", *more: str) -> tuple[Lexgate, str]:
    """A Lexgate that hides addresses, and the stand-in for MAIL in the session."""
    lexgate = serve(RESTORE.replace("RESTORE", restore), *more)
    provider.script(Reply(text="Hi."))
    ask(lexgate, f"Write to {MAIL}.", headers=SESSION)
    return lexgate, placeholder_in(provider)


def sent_upstream(provider: OpenAIMock) -> bytes:
    return b"".join(each.body for each in provider.requests)


@both
@pytest.mark.parametrize("piece", [1, 4, 100])
def test_the_client_gets_the_value_back_in_text(serve: Serve, provider: OpenAIMock, stream: bool, piece: int) -> None:
    lexgate, stand_in = hiding(provider, serve)
    provider.script(Reply(text=f"Dear {stand_in}, [mail: no] hello.", reasoning=f"{stand_in}?", piece=piece))
    answer = heard(ask(lexgate, f"Write to {MAIL}.", stream=stream, headers=SESSION))
    assert (answer.text, answer.reasoning) == (f"Dear {MAIL}, [mail: no] hello.", f"{MAIL}?")
    assert MAIL.encode() not in sent_upstream(provider)


@both
def test_in_arguments_the_placeholder_stays(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate, stand_in = hiding(provider, serve)
    arguments = json.dumps({"to": stand_in})
    provider.script(Reply(calls=(Call("read", arguments),), fragment=3))
    answer = heard(ask(lexgate, f"Write to {MAIL}.", stream=stream, headers=SESSION))
    assert answer.calls[0][2] == arguments


@both
def test_in_arguments_the_value_comes_back_where_the_rule_says_so(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate, stand_in = hiding(provider, serve, "{tool_args: true}")
    provider.script(Reply(calls=(Call("read", json.dumps({"to": [f"<{stand_in}>"], "n": 1})),), fragment=3))
    answer = heard(ask(lexgate, f"Write to {MAIL}.", stream=stream, headers=SESSION))
    assert json.loads(answer.calls[0][2]) == {"to": [f"<{MAIL}>"], "n": 1}
    assert MAIL.encode() not in sent_upstream(provider)


@both
def test_a_value_with_quotes_comes_back_as_data(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    odd = 'an"na@example.com'
    lexgate = serve(RESTORE.replace("RESTORE", "{tool_args: true}"))
    provider.script(Reply(text="Hi."))
    ask(lexgate, odd, headers=SESSION)
    provider.script(Reply(calls=(Call("read", json.dumps({"to": placeholder_in(provider)})),)))
    answer = heard(ask(lexgate, odd, stream=stream, headers=SESSION))
    assert json.loads(answer.calls[0][2]) == {"to": odd}


@both
def test_the_calls_rules_judge_what_will_be_run(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    judging = """
version: 1
policy: calls
rules:
  - id: no-anna
    phase: tool_call
    when: contains(tool.text, 'anna@example.com')
    actions: [{block: {message: Not to Anna.}}]
"""
    lexgate, stand_in = hiding(provider, serve, "{tool_args: true}", judging)
    provider.script(Reply(calls=(Call("read", json.dumps({"to": stand_in})),)))
    assert heard(ask(lexgate, MAIL, stream=stream, headers=SESSION)).text == "Not to Anna."


@both
def test_a_value_has_one_placeholder_on_every_turn_of_a_session_that_is_only_inferred(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(RESTORE.replace("RESTORE", "true"))
    provider.script(Reply(text="Fine."), Reply(text="Good."), Reply(text="Bye."))
    said: list[Any] = [f"Write to {MAIL}."]
    seen = []
    for _ in range(3):
        answer = heard(ask(lexgate, *said, stream=stream))
        seen.append(placeholder_in(provider))
        said += [answer.message, f"Again, {MAIL}."]
    assert len(set(seen)) == 1


def test_the_inferred_session_goes_on_where_the_answer_held_a_restored_value(
    serve: Serve, provider: OpenAIMock
) -> None:
    """The client sends the value back; the backend sees its own words again, with the same placeholder."""
    lexgate = serve(RESTORE.replace("RESTORE", "true"))
    now: list[Any] = [f"Write to {MAIL}."]
    provider.script(Reply(text="Hm."))
    first = heard(ask(lexgate, *now)).message
    stand_in = placeholder_in(provider)
    provider.script(Reply(text=f"Sent to {stand_in}."), Reply(text="Bye."))
    second = heard(ask(lexgate, *now, first, "Send.", stream=True))
    assert second.text == f"Sent to {MAIL}."
    ask(lexgate, *now, first, "Send.", second.message, "Thanks.")
    texts = [each["content"] for each in provider.requests[-1].json["messages"]]
    assert texts == [f"Write to {stand_in}.", "Hm.", "Send.", f"Sent to {stand_in}.", "Thanks."]


def test_other_sessions_have_other_placeholders(serve: Serve, provider: OpenAIMock) -> None:
    lexgate, stand_in = hiding(provider, serve)
    provider.script(Reply(text=f"Dear {stand_in}."))
    answer = heard(ask(lexgate, f"Write to {MAIL}.", headers={"x-session-id": "two"}))
    assert placeholder_in(provider) != stand_in
    assert answer.text == f"Dear {stand_in}.", "a placeholder of another session is not turned back"


@both
def test_what_was_restored_is_in_no_record_and_no_log(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate, stand_in = hiding(provider, serve, "{tool_args: true}", OBSERVE)
    provider.script(
        Reply(text=f"Dear {stand_in}, hello.", calls=(Call("read", json.dumps({"to": stand_in})),), piece=3)
    )
    answer = heard(ask(lexgate, f"Write to {MAIL}.", stream=stream, headers=SESSION))
    assert (MAIL in answer.text, MAIL in answer.calls[0][2]) == (True, True)
    records = json.dumps(lexgate.records())
    assert MAIL not in records
    assert stand_in in records
    logged = [str(each["event"]) for each in lexgate.logs if "rule" in each]
    assert len(logged) >= 4
    assert not [line for line in logged if MAIL in line]


@both
def test_a_steered_turn_goes_back_with_placeholders(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    steering = """
version: 1
policy: calls
rules:
  - id: no-reading
    phase: tool_call
    match: {tool: read}
    actions: [{steer: {message: Do not read.}}]
"""
    lexgate, stand_in = hiding(provider, serve, "{tool_args: true}", steering)
    call = Call("read", json.dumps({"to": stand_in}))
    provider.script(
        Reply(text=f"For {stand_in}:", calls=(call,)), Reply(text=f"Sorry, {stand_in}."), Reply(text="Bye.")
    )
    answer = heard(ask(lexgate, f"Write to {MAIL}.", stream=stream, headers=SESSION))
    assert answer.text == f"For {MAIL}:\n\nSorry, {MAIL}."
    again = asking(f"Write to {MAIL}.", answer.message, "Thanks.", stream=stream)
    lexgate.post(again, headers=SESSION)
    assert MAIL.encode() not in sent_upstream(provider)
    last = provider.requests[-1].json["messages"]
    assert [each["content"] for each in last] == [
        f"Write to {stand_in}.", f"For {stand_in}:", "Do not read.", f"Sorry, {stand_in}.", "Thanks.",
    ]  # fmt: skip
    assert last[1]["tool_calls"][0]["function"]["arguments"] == call.arguments
