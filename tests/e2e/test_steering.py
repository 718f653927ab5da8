"""A tool call that a rule refuses: no byte of it reaches the client, and what happens instead is told to both sides."""

import json
from typing import Any

import pytest

from tests.support.openai_mock import Call, Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import BASH, LIST, LOOK, WIPE, ask, asking, heard, usage_of

STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: "Do not delete; list instead.", ATTEMPTS}}]
"""
NOT_EXECUTED = "not executed, because another call of this turn was refused; call again if still needed"
MESSAGE = "Do not delete; list instead."
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def steering(attempts: int = 1, then: str = "block", **more: str) -> str:
    written = ", ".join(
        [f"attempts: {attempts}", f"then: {then}", *(f"{name}: {value}" for name, value in more.items())]
    )
    return STEER.replace("ATTEMPTS", written)


def wiping(text: str = "", **more: Any) -> Reply:
    return Reply(text=text, calls=(WIPE,), fragment=1, network=1, **more)


def test_no_byte_of_a_refused_call_reaches_the_client(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(steering())
    provider.script(wiping("I clean up."), Reply(text="Listing.", calls=(LIST,), fragment=1))
    raw = ask(lexgate, stream=True)
    for trace in (b"rm", b"-rf", b"call_1_0", MESSAGE.encode()):
        assert trace not in raw.body
    answer = heard(raw)
    assert answer.text == "I clean up.\n\nListing."
    assert answer.calls == (("call_2_0", "bash", '{"command":"ls -l"}'),)
    assert answer.finish == "tool_calls"


@both
def test_the_model_is_told_why_in_the_form_of_its_protocol(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering())
    provider.script(wiping("I clean up."), Reply(text="Done."))
    ask(lexgate, "Tidy.", stream=stream)
    first, second = (each.json for each in provider.requests)
    assert second["messages"] == [
        *first["messages"],
        {
            "role": "assistant",
            "content": "I clean up.",
            "tool_calls": [
                {
                    "id": "call_1_0",
                    "type": "function",
                    "function": {"name": "bash", "arguments": '{"command":"rm -rf /"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1_0", "content": MESSAGE},
    ]
    assert {key: value for key, value in second.items() if key != "messages"} == {
        key: value for key, value in first.items() if key != "messages"
    }


@both
def test_the_second_answer_is_judged_too_and_then_blocks(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(attempts=2))
    provider.script(wiping("One."), wiping("Two."), wiping("Three."))
    answer = heard(raw := ask(lexgate, stream=stream))
    assert b"rm" not in raw.body
    assert (answer.text, answer.calls, answer.finish) == (f"One.\n\nTwo.\n\nThree.\n\n{MESSAGE}", (), "stop")
    assert len(provider.requests) == 3


@both
def test_then_reply_gives_the_message_as_text(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(then="reply"))
    provider.script(wiping(), wiping())
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == (MESSAGE, (), "stop")


@both
def test_then_allow_lets_the_call_pass(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(then="allow"))
    provider.script(wiping(), wiping())
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.calls, answer.finish) == ((("call_2_0", "bash", WIPE.arguments),), "tool_calls")


@both
def test_then_allow_lifts_the_verdict_of_its_rule_alone(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    other = steering(then="block").replace("policy: shell", "policy: other").replace(MESSAGE, "Never.")
    blocks = other.replace('steer: {message: "Never.", attempts: 1, then: block}', "block: {message: Never.}")
    lexgate = serve(steering(then="allow"), blocks)
    provider.script(wiping())
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == ("Never.", (), "stop")


@both
def test_mode_reply_asks_nobody_again(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(mode="reply"))
    provider.script(wiping("Hm."))
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == (f"Hm.\n\n{MESSAGE}", (), "stop")
    assert len(provider.requests) == 1


@both
def test_an_exchange_re_asks_no_more_often_than_the_configuration_allows(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(steering(attempts=9), settings={"steer": {"max_per_exchange": 2}})
    provider.script(*[wiping() for _ in range(9)])
    assert heard(ask(lexgate, stream=stream)).text == MESSAGE
    assert len(provider.requests) == 3


@both
def test_with_several_choices_then_happens_at_once(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering())
    provider.script(wiping("Hm."))
    raw = ask(lexgate, stream=stream, n=2)
    assert b"rm" not in raw.body
    for choice in range(2):
        answer = heard(raw, choice)
        assert (answer.text, answer.calls, answer.finish) == (f"Hm.\n\n{MESSAGE}", (), "stop")
    assert len(provider.requests) == 1


@both
def test_of_parallel_calls_all_are_withheld(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering())
    provider.script(Reply(calls=(LOOK, WIPE, LIST), fragment=1), Reply(calls=(LOOK,)))
    answer = heard(ask(lexgate, stream=stream))
    assert [name for _, name, _ in answer.calls] == ["read"]
    told = [each["content"] for each in provider.requests[1].json["messages"] if each["role"] == "tool"]
    assert told == [NOT_EXECUTED, MESSAGE, NOT_EXECUTED]


@both
def test_each_refused_call_is_told_its_own_reason(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    reading = """
version: 1
policy: files
rules:
  - id: no-reading
    phase: tool_call
    match: {tool: read}
    actions: [{steer: {message: Do not read.}}]
"""
    lexgate = serve(steering(), reading)
    provider.script(Reply(calls=(LOOK, WIPE, LIST)), Reply(calls=(LOOK,)))
    answer = heard(ask(lexgate, stream=stream))
    told = [each["content"] for each in provider.requests[1].json["messages"] if each["role"] == "tool"]
    assert told == ["Do not read.", MESSAGE, NOT_EXECUTED]
    assert (answer.text, len(provider.requests)) == ("Do not read.", 2), "both rules have used up their attempt"


@both
def test_block_withholds_all_calls(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering().replace("steer: {", "block: {").replace(", attempts: 1, then: block", ""))
    provider.script(Reply(text="Hm.", calls=(LOOK, WIPE), fragment=1))
    answer = heard(raw := ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == (f"Hm.\n\n{MESSAGE}", (), "stop")
    assert b"rm" not in raw.body


DROP = """
version: 1
policy: shell
rules:
  - id: drop-bash
    phase: tool_call
    match: {tool: bash}
    actions: [{drop: {}}]
"""


@both
def test_drop_leaves_out_one_call_and_numbers_the_others_anew(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(DROP)
    provider.script(Reply(calls=(WIPE, LOOK, LIST, LOOK), fragment=3))
    answer = heard(ask(lexgate, stream=stream))
    assert [id for id, _, _ in answer.calls] == ["call_1_1", "call_1_3"]
    assert answer.finish == "tool_calls"


@both
def test_where_drop_leaves_nothing_the_turn_has_ended(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(DROP)
    provider.script(Reply(text="Hm.", calls=(WIPE, LIST)))
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == ("Hm.", (), "stop")


@both
def test_arguments_are_rewritten_whole(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve("""
version: 1
policy: shell
rules:
  - id: dry-run
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{rewrite_args: {args: {command: "echo {{ tool.args.command }}"}}}]
""")
    provider.script(Reply(calls=(LOOK, WIPE, LIST), fragment=1))
    answer = heard(ask(lexgate, stream=stream))
    assert answer.calls == (
        ("call_1_0", "read", LOOK.arguments),
        ("call_1_1", "bash", '{"command":"echo rm -rf /"}'),
        ("call_1_2", "bash", LIST.arguments),
    )
    assert answer.finish == "tool_calls"


UNOFFERED = """
version: 1
policy: unoffered
rules:
  - id: no-secret-tool
    phase: tool_call
    match: {tool: secret_tool}
    actions: [{steer: {message: There is no such tool., then: THEN}}]
"""


@pytest.mark.parametrize("then", ["block", "reply"])
def test_a_call_that_was_not_offered_is_refused_even_when_others_went_out(
    serve: Serve, provider: OpenAIMock, then: str
) -> None:
    lexgate = serve(UNOFFERED.replace("THEN", then))
    provider.script(Reply(calls=(LOOK, Call("secret_tool", '{"key":"hush"}'), LIST), fragment=1))
    answer = heard(raw := ask(lexgate, stream=True))
    assert b"hush" not in raw.body
    assert b"secret_tool" not in raw.body
    assert answer.calls == (("call_1_0", "read", LOOK.arguments),), "what went out cannot be taken back"
    assert (answer.text, answer.finish) == ("There is no such tool.", "tool_calls")
    assert len(provider.requests) == 1


def test_then_allow_lets_out_a_call_that_was_not_offered_after_others(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(UNOFFERED.replace("THEN", "allow"))
    provider.script(Reply(calls=(LOOK, Call("secret_tool", "{}"), LIST), fragment=1))
    answer = heard(ask(lexgate, stream=True))
    assert [name for _, name, _ in answer.calls] == ["read", "secret_tool", "bash"]


@both
def test_usage_is_the_input_of_the_last_attempt_and_the_output_that_was_received(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve(steering())
    provider.script(wiping(usage=(10, 50, 0, 0)), Reply(text="Done.", usage=(30, 7, 0, 0)))
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    shown = usage_of(ask(lexgate, stream=stream, **more))
    assert shown is not None
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (30, 7, 37)


@both
def test_a_request_without_tools_is_guarded_as_well(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering())
    provider.script(wiping(), Reply(text="Fine."))
    assert heard(ask(lexgate, stream=stream, tools=None)).text == "Fine."


@both
def test_a_held_call_has_a_largest_size(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(), settings={"limits": {"tool_call": 1000}})
    provider.script(Reply(calls=(Call("bash", '{"command":"echo ' + "x" * 2000 + '"}'),), fragment=50))
    answer = heard(ask(lexgate, stream=stream))
    assert answer.calls == ()
    assert "larger than 1000 bytes" in answer.text


# -- the next turn --


@both
@pytest.mark.parametrize("calls", [(), (LIST,)], ids=["text", "call"])
@pytest.mark.parametrize("before", ["", "I clean up."], ids=["silent", "with text before"])
def test_on_the_next_turn_the_backend_sees_the_hidden_pair_again(
    serve: Serve, provider: OpenAIMock, stream: bool, calls: tuple[Call, ...], before: str
) -> None:
    lexgate = serve(steering())
    provider.script(wiping(before), Reply(text="Instead.", calls=calls), Reply(text="Bye."))
    first = heard(ask(lexgate, "Tidy.", stream=stream))
    results = [{"role": "tool", "tool_call_id": id, "content": "files"} for id, _, _ in first.calls]
    ask(lexgate, "Tidy.", first.message, *results, "And now?", stream=stream)
    reasked, last = (each.json["messages"] for each in provider.requests[1:])
    hidden = reasked[1:]
    assert [each["role"] for each in hidden] == ["assistant", "tool"]
    assert last == [
        *reasked,
        {**first.message, "content": "Instead."},
        *results,
        {"role": "user", "content": "And now?"},
    ]


@both
def test_two_steers_of_one_turn_are_both_put_back(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering(attempts=2))
    provider.script(wiping("One."), wiping("Two."), Reply(text="Three."), Reply(text="Bye."))
    first = heard(ask(lexgate, "Tidy.", stream=stream))
    assert first.text == "One.\n\nTwo.\n\nThree."
    ask(lexgate, "Tidy.", first.message, "And now?", stream=stream)
    last = provider.requests[-1].json["messages"]
    assert last[:-2] == provider.requests[2].json["messages"]
    assert [each["content"] for each in last if each["role"] == "assistant"] == ["One.", "Two.", "Three."]
    assert [each["tool_call_id"] for each in last if each["role"] == "tool"] == ["call_1_0", "call_2_0"]


def test_turn_after_turn_every_hidden_pair_stands_in_its_place(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(steering())
    provider.script(wiping(), Reply(text="A."), wiping(), Reply(text="B."), Reply(text="C."))
    first = heard(ask(lexgate, "One?", stream=True)).message
    second = heard(ask(lexgate, "One?", first, "Two?")).message
    ask(lexgate, "One?", first, "Two?", second, "Three?", stream=True)
    roles = [each["role"] for each in provider.requests[-1].json["messages"]]
    pair = ["assistant", "tool", "assistant"]
    assert roles == ["user", *pair, "user", *pair, "user"]


def test_the_pair_is_put_back_where_rules_change_the_history(serve: Serve, provider: OpenAIMock) -> None:
    """The client's own words are what a turn is known by, not what rules make of them."""
    lexgate = serve(
        steering(),
        """
version: 1
policy: history
patterns: {falcon: {falcon: bluefalcon}}
rules:
  - id: rename
    phase: request
    actions: [{redact: {patterns: falcon}}]
  - id: reminder
    phase: request
    actions: [{inject: {role: system, text: Be brief., key: brief}}]
""",
    )
    provider.script(wiping("The bluefalcon."), Reply(text="Instead bluefalcon."), Reply(text="Bye."))
    first = heard(ask(lexgate, "Tidy bluefalcon."))
    ask(lexgate, "Tidy bluefalcon.", first.message, "And now?")
    roles = [each["role"] for each in provider.requests[-1].json["messages"]]
    assert sorted(roles) == sorted(["system", "user", "assistant", "tool", "assistant", "user"])


@pytest.mark.parametrize(
    "again",
    [
        ("Tidy.", {"role": "assistant", "content": "Something else."}, "And now?"),
        ("Another question.", {"role": "assistant", "content": "Instead."}, "And now?"),
    ],
    ids=["another answer", "another conversation"],
)
def test_another_content_gets_nothing(serve: Serve, provider: OpenAIMock, again: tuple[Any, ...]) -> None:
    lexgate = serve(steering())
    provider.script(wiping(), Reply(text="Instead."), Reply(text="Bye."))
    ask(lexgate, "Tidy.")
    ask(lexgate, *again)
    assert provider.requests[-1].json["messages"] == asking(*again)["messages"]


def test_a_lost_entry_leaves_the_history_as_the_client_has_it(serve: Serve, provider: OpenAIMock) -> None:
    now = [1_700_000_000.0]
    lexgate = serve(steering(), settings={"steer": {"ttl": 0.001}}, clock=lambda: now[0])
    provider.script(wiping("I clean up."), Reply(text="Instead."), Reply(text="Bye."))
    first = heard(ask(lexgate, "Tidy."))
    now[0] += 10
    ask(lexgate, "Tidy.", first.message, "And now?")
    assert provider.requests[-1].json["messages"] == asking("Tidy.", first.message, "And now?")["messages"]


def test_reasoning_of_a_refused_turn_flows_and_goes_back_to_the_backend(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(steering())
    provider.script(wiping(reasoning="Hm, delete. "), Reply(reasoning="List, then.", text="Done."))
    answer = heard(ask(lexgate, stream=True))
    assert (answer.reasoning, answer.text) == ("Hm, delete. List, then.", "Done.")
    assert provider.requests[1].json["messages"][1]["reasoning_content"] == "Hm, delete. "


@both
def test_another_backend_gets_a_refused_turn_without_its_reasoning(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    """Nothing in Chat Completions proves whose a thought is: a server that did not think it must not read it."""
    route = """
version: 1
policy: two
rules: [{id: two, phase: route, actions: [{route: 'one:m|other:m'}]}]
"""
    with OpenAIMock() as second:
        backends = {
            name: {"protocol": "openai", "base_url": mock.base_url, "models": ["*"]}
            for name, mock in (("one", provider), ("other", second))
        }
        lexgate = serve(steering(), route, settings={"backends": backends})
        provider.script(wiping(reasoning="Hm, delete. "), Reply(status=500, error="down"))
        second.script(Reply(text="Done."))
        assert heard(ask(lexgate, stream=stream)).text == "Done."
        (again,) = [request.json["messages"] for request in second.requests]
        assert [message["role"] for message in again] == ["user", "assistant", "tool"]
        assert "Hm, delete." not in json.dumps(again)
        assert "Hm, delete." in provider.requests[1].body.decode()


@both
def test_every_attempt_is_billed(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(
        steering(),
        """
version: 1
policy: bill
rules:
  - id: bill
    phase: done
    actions: [{log: {message: "{{ response.usage.input }}/{{ response.usage.output }}/{{ response.usage.billed }}"}}]
""",
    )
    provider.script(wiping(usage=(10, 50, 0, 0)), Reply(text="Done.", usage=(30, 7, 0, 0)))
    raw = ask(lexgate, stream=stream)
    assert [each["event"] for each in lexgate.logs if each.get("rule") == "bill/bill"] == ["30/7/97"]
    assert usage_of(raw) is None or not stream, "usage that the client did not ask for is not shown"


def test_only_the_tool_that_is_offered_matters_for_holding(serve: Serve, provider: OpenAIMock) -> None:
    """Where no offered tool is governed, calls flow fragment by fragment."""
    lexgate = serve(UNOFFERED.replace("THEN", "block"))
    provider.script(Reply(calls=(LIST,), fragment=1))
    raw = lexgate.post(asking(stream=True, tools=[BASH]))
    pieces = [frame for frame in raw.frames[:-1] if frame["choices"][0]["delta"].get("tool_calls")]
    assert len(pieces) > 10


def test_rules_that_only_watch_hold_no_call(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve("""
version: 1
policy: watch
rules:
  - {id: watch, phase: tool_call, match: {tool: bash}, actions: [{log: "{{ tool.args.command }}"}]}
""")
    provider.script(Reply(calls=(WIPE,), fragment=1))
    raw = ask(lexgate, stream=True)
    assert len([frame for frame in raw.frames[:-1] if frame["choices"][0]["delta"].get("tool_calls")]) > 10
    assert [each["event"] for each in lexgate.logs if each.get("rule")] == ["rm -rf /"]


@both
def test_a_rule_that_cannot_be_evaluated_withholds_the_call(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve("""
version: 1
policy: broken
rules:
  - id: broken
    phase: tool_call
    when: length(tool.args.nothing) > `1`
    actions: [{block: No.}]
""")
    provider.script(Reply(text="Hm.", calls=(WIPE,)))
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.calls, answer.finish) == ((), "stop")
    assert "broken/broken" in answer.text


def test_a_client_that_leaves_during_a_re_ask_cancels_it(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(steering(), settings={"stream": {"keep_alive": 0.02}})
    gate = Gate()
    provider.script(wiping("I clean up."), Reply(text="Late.", gate=gate, gate_before=1))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b"I cle")
        gate.wait_until_reached()
    provider.wait_for_disconnect()


@both
def test_a_legacy_function_call_is_steered_in_its_own_form(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(steering())
    function = {"name": "bash", "arguments": WIPE.arguments}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    message = {"role": "assistant", "content": None, "function_call": function}
    whole = {**head, "choices": [{"index": 0, "message": message, "finish_reason": "function_call"}]}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": None, "function_call": {**function, "arguments": ""}}, None)
    ]
    deltas += [({"function_call": {"arguments": piece}}, None) for piece in WIPE.arguments]
    deltas.append(({}, "function_call"))
    chunk = {**head, "object": "chat.completion.chunk"}
    frames = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    wire = (*(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames), b"data: [DONE]\n\n")
    provider.script(Reply(frames=wire) if stream else Reply(body=json.dumps(whole).encode()), Reply(text="Fine."))
    functions = [{"name": "bash", "parameters": {"type": "object"}}]
    raw = ask(lexgate, stream=stream, tools=None, functions=functions)
    assert heard(raw).text == "Fine."
    assert b"rm" not in raw.body
    assert provider.requests[1].json["messages"][1:] == [
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "bash", "content": MESSAGE},
    ]


@both
def test_unknown_fields_of_a_refused_call_go_back_to_the_backend(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    """Gemini's compatible endpoint signs its thoughts there, and refuses a history without them."""
    lexgate = serve(steering())
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "bash", "arguments": WIPE.arguments},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    head = {"id": "1", "created": 1, "model": "gpt-4o"}
    said = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}] if stream else [call]}
    choice = {"index": 0, "delta" if stream else "message": said, "finish_reason": "tool_calls"}
    answer = {**head, "object": "chat.completion" + ".chunk" * stream, "choices": [choice]}
    body = json.dumps(answer).encode()
    provider.script(
        Reply(frames=(b"data: " + body + b"\n\n", b"data: [DONE]\n\n")) if stream else Reply(body=body),
        Reply(text="Ok."),
    )
    ask(lexgate, stream=stream)
    assert provider.requests[1].json["messages"][1]["tool_calls"] == [call]
