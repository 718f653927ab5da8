"""How an answer ends: judged when it is whole, told when it is done, and never as a success where it was none."""

import http.client
import json
from typing import Any

import openai
import pytest

from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, WIPE, ask, asking, heard, usage_of

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

JUDGE = """
version: 1
policy: judge
rules:
  - id: whole
    phase: response
    DELAY
    when: contains(response.text, 'secret')
    actions: [{ACTION}]
"""
QUIET = """
version: 1
policy: quiet
patterns: {words: {falcon: bluefalcon}}
rules:
  - {id: redact, phase: text, actions: [{redact: {patterns: words}}]}
"""
STEER = """
version: 1
policy: shell
rules:
  - id: no-wipe
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: Do not delete.}}]
"""


def judging(action: str, delay: str = "delay: all") -> str:
    return JUDGE.replace("ACTION", action).replace("DELAY", delay)


def told(lexgate: Any) -> list[str]:
    """What rules wrote into the log."""
    return [str(each["event"]) for each in lexgate.logs if each.get("rule") and each["log_level"] == "info"]


# -- the whole answer --


@both
@pytest.mark.parametrize("action", ["block: {message: Withheld.}", "respond: {message: Withheld.}"])
def test_an_answer_that_is_delayed_can_be_replaced(
    serve: Serve, provider: OpenAIMock, stream: bool, action: str
) -> None:
    lexgate = serve(judging(action))
    provider.script(Reply(text="The secret is out.", reasoning="Hm.", calls=(LIST,)))
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
    raw = ask(lexgate, stream=stream, **more)
    answer = heard(raw)
    assert (answer.text, answer.reasoning, answer.calls, answer.finish) == ("Withheld.", "", (), "stop")
    assert b"secret" not in raw.body
    shown = usage_of(raw)
    assert shown is not None
    assert shown["prompt_tokens"] == 9


@both
def test_a_replaced_answer_is_replaced_in_every_choice(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging("block: {message: Withheld.}"))
    provider.script(Reply(text="The secret is out."))
    raw = ask(lexgate, stream=stream, n=2)
    assert [heard(raw, choice).text for choice in (0, 1)] == ["Withheld."] * 2


@both
def test_a_delayed_answer_that_passes_is_complete(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(judging("block: {message: Withheld.}"))
    provider.script(Reply(text="All is well.", reasoning="Hm.", calls=(LIST,)))
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.reasoning, len(answer.calls), answer.finish) == ("All is well.", "Hm.", 1, "tool_calls")


def test_while_an_answer_is_delayed_nothing_of_it_goes_out(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(
        judging("block: {message: Withheld.}"), settings={"stream": {"commit_after": 0.05, "keep_alive": 0.05}}
    )
    gate = Gate()
    provider.script(Reply(text="The secret is out.", gate=gate, gate_before=3))
    with lexgate.open(asking(stream=True)) as answer:
        seen = answer.until(b": keep-alive")
        gate.open()
        seen += answer.until(b"[DONE]")
    assert b"secret" not in seen
    assert b"Withheld." in seen


def test_an_end_that_is_delayed_delays_no_text(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(judging("log: {message: Seen.}", "delay: end"))
    gate = Gate()
    provider.script(Reply(text="The secret is out.", piece=4, gate=gate, gate_before=4))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b"secr")
        assert told(lexgate) == []
        gate.open()
        answer.until(b'"finish_reason":"stop"')
        assert told(lexgate) == ["Seen."]


@both
def test_done_knows_what_was_used(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve("""
version: 1
policy: bill
rules:
  - id: bill
    phase: done
    actions:
      - log: "{{ response.usage.input }} {{ response.usage.output }} {{ response.text }} {{ response.finish_reason }}"
""")
    provider.script(Reply(text="Hi.", usage=(5, 3, 0, 0)))
    raw = ask(lexgate, stream=stream)
    assert told(lexgate) == ["5 3 Hi. stop"]
    if stream:
        assert usage_of(raw) is None, "the client did not ask for it"
        assert not [frame for frame in raw.frames[:-1] if "usage" in frame or not frame["choices"]]


@both
def test_state_that_an_answer_writes_is_seen_by_the_next_event(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve("""
version: 1
policy: state
rules:
  - id: count
    phase: response
    actions: [{count: {key: answers}}, {label: answered}, {remember: {key: last, value: "{{ response.text }}"}}]
  - id: tell
    phase: done
    when: contains(session.labels, 'answered')
    actions: [{log: "{{ session.vars.answers }} {{ session.vars.last }}"}]
  - id: enough
    phase: request
    when: var('answers', `0`) >= `2`
    actions: [{respond: {message: "Enough, after {{ session.vars.last }}"}}]
""")
    provider.script(Reply(text="One."), Reply(text="Two."), Reply(text="Three."))
    said: list[Any] = ["Go."]
    for _ in range(2):
        said += [heard(ask(lexgate, *said, stream=stream)).message, "Go on."]
    assert told(lexgate) == ["1 One.", "2 Two."]
    assert heard(ask(lexgate, *said, stream=stream)).text == "Enough, after Two."
    assert len(provider.requests) == 2


@both
def test_state_of_a_session_is_found_again_where_no_rule_reads_answers(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve("""
version: 1
policy: turns
rules:
  - {id: count, phase: request, actions: [{count: {key: turns}}]}
  - id: tell
    phase: route
    when: "`true`"
    actions: [{log: "{{ session.vars.turns }}"}]
""")
    provider.script(Reply(text="One."), Reply(text="Two."), Reply(text="Other."))
    first = heard(ask(lexgate, "Go.", stream=stream)).message
    ask(lexgate, "Go.", first, "Go on.", stream=stream)
    ask(lexgate, "Go.", {"role": "assistant", "content": "Never said."}, "Go on.", stream=stream)
    assert told(lexgate) == ["1", "2", "1"]


# -- broken answers --

HELLO = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
BREAKS = {
    "cut": Reply(text="Hello, wide world.", cut_after=3),
    "cut in a frame": Reply(text="Hello, wide world.", cut_after=3, network=11),
    "malformed": Reply(frames=(HELLO, b"data: {nope\n\n")),
    "ends without an end": Reply(frames=(HELLO,)),
    "error event": Reply(
        frames=(
            HELLO,
            b'data: {"error":{"message":"Overloaded.","type":"server_error","code":"overloaded"}}\n\n',
            b"data: [DONE]\n\n",
        )
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_stream_that_breaks_ends_with_an_error_event(serve: Serve, provider: OpenAIMock, name: str) -> None:
    lexgate = serve(QUIET)
    provider.script(BREAKS[name])
    with openai.OpenAI(base_url=lexgate.base_url, api_key="key", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "?"}], stream=True
        )
        assert next(text for chunk in stream if (text := chunk.choices[0].delta.content)) == "Hello"
        with pytest.raises(openai.APIError):
            list(stream)


@pytest.mark.parametrize("name", BREAKS)
def test_after_an_error_event_nothing_pretends_success(serve: Serve, provider: OpenAIMock, name: str) -> None:
    lexgate = serve(QUIET)
    provider.script(BREAKS[name])
    raw = ask(lexgate, stream=True)
    assert raw.frames[-1]["error"]["message"]
    assert "[DONE]" not in raw.frames


@pytest.mark.parametrize("name", ["cut", "cut in a frame"])
def test_a_stream_that_no_rule_reads_ends_with_an_error_event_too(
    serve: Serve, provider: OpenAIMock, name: str
) -> None:
    lexgate = serve()
    provider.script(BREAKS[name])
    raw = ask(lexgate, stream=True)
    assert raw.frames[-1]["error"]["code"] == "upstream_failed"
    assert b"[DONE]" not in raw.body


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(status=429, error="Slow down.", code="rate_limit_exceeded", headers={"retry-after": "7"}), 429),
        (Reply(status=400, error="No.", code="bad"), 400),
        (Reply(text="Hello.", cut_after=0), 502),
        (Reply(frames=(b"data: {nope\n\n",)), 502),
        (Reply(frames=(b'data: {"error":{"message":"Overloaded.","type":"server_error","code":503}}\n\n',)), 503),
    ],
    ids=["429", "400", "cut", "malformed", "error event"],
)
def test_a_failure_before_any_output_has_a_real_status(
    serve: Serve, provider: OpenAIMock, reply: Reply, status: int
) -> None:
    lexgate = serve(QUIET)
    provider.script(reply)
    raw = ask(lexgate, stream=True)
    assert raw.status == status
    assert raw.json["error"]["message"]
    if status == 429:
        assert raw.headers["retry-after"] == "7"
        assert raw.json["error"]["message"] == "Slow down."


@pytest.mark.parametrize("rules", [(), (STEER,)], ids=["no rules", "rules on calls"])
def test_an_error_at_once_has_a_real_status_where_no_rule_reads_the_stream(
    serve: Serve, provider: OpenAIMock, rules: tuple[str, ...]
) -> None:
    said = b'data: {"error":{"message":"Overloaded.","type":"server_error","code":503}}\n\n'
    provider.script(Reply(frames=(said,)))
    raw = ask(serve(*rules), stream=True)
    assert (raw.status, raw.json["error"]["message"]) == (503, "Overloaded.")


def test_a_stream_that_waits_too_long_is_begun_with_keep_alives_and_can_only_fail_inside(
    serve: Serve, provider: OpenAIMock
) -> None:
    lexgate = serve(QUIET, settings={"stream": {"commit_after": 0.05, "keep_alive": 0.02}})
    gate = Gate()
    provider.script(Reply(status=500, error="Broken.", gate=gate))
    with lexgate.open(asking(stream=True)) as answer:
        assert answer.status == 200
        answer.until(b": keep-alive\n\n: keep-alive\n\n")
        gate.open()
        rest = b"".join(answer.pieces())
    assert b'"message":"Broken."' in rest or b'"message": "Broken."' in rest
    assert b"[DONE]" not in rest


def test_a_re_ask_that_fails_ends_the_stream_with_an_error_event(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(STEER)
    provider.script(Reply(text="I clean up.", calls=(WIPE,)), Reply(status=500, error="Broken."))
    raw = ask(lexgate, stream=True)
    assert raw.frames[-1]["error"]["message"] == "Broken."
    assert b"[DONE]" not in raw.body


def test_a_re_ask_that_fails_is_an_error_where_nothing_was_streamed(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(STEER)
    provider.script(Reply(text="I clean up.", calls=(WIPE,)), Reply(status=500, error="Broken."))
    raw = ask(lexgate)
    assert (raw.status, raw.json["error"]["message"]) == (500, "Broken.")


def test_while_the_model_is_asked_again_the_client_hears_keep_alives(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(STEER, settings={"stream": {"keep_alive": 0.02}})
    gate = Gate()
    provider.script(Reply(text="I clean up.", calls=(WIPE,)), Reply(text="Fine.", gate=gate))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b": keep-alive\n\n: keep-alive\n\n")
        gate.open()
        assert b"Fine." in answer.until(b"[DONE]")


@both
def test_an_error_is_told_as_one_at_the_end(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve("""
version: 1
policy: bill
rules:
  - id: bill
    phase: done
    actions: [{log: "{{ response.finish_reason }}"}]
""")
    provider.script(Reply(status=500, error="Broken."), Reply(text="Hello, wide world.", cut_after=3))
    ask(lexgate, stream=stream)
    ask(lexgate, stream=stream)
    assert told(lexgate) == ["error", "error"]


def test_a_client_that_goes_away_cancels_the_upstream_and_is_counted(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve("""
version: 1
policy: bill
rules:
  - id: bill
    phase: done
    when: response.usage.output > `0`
    actions: [{log: "{{ response.finish_reason }} {{ response.text }}"}]
""")
    gate = Gate()
    provider.script(Reply(text="Hello, wide world.", gate=gate, gate_before=4))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b", wid")
    provider.wait_for_disconnect()
    lexgate.stop()  # lets what is in flight come to its end
    assert told(lexgate) == ["cancelled Hello, wide wor"]


# -- rules change, streams mingle --


def test_a_stream_in_flight_keeps_its_rules_across_a_reload(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(QUIET)
    gate = Gate()
    provider.script(Reply(text="x bluefalcon y bluefalcon z", gate=gate, gate_before=4), Reply(text="bluefalcon"))
    with lexgate.open(asking(stream=True)) as answer:
        seen = answer.until(b"[falcon]")
        assert lexgate.reload(QUIET.replace("bluefalcon", "redfox")).swapped
        gate.open()
        seen += answer.until(b"[DONE]")
    assert b"bluefalcon" not in seen
    assert heard(ask(lexgate, stream=True)).text == "bluefalcon"


def test_two_streams_at_once_do_not_mix(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(QUIET, STEER)
    gates = [Gate(), Gate()]
    provider.script(
        Reply(text="one blue", gate=gates[0], gate_before=4),
        Reply(text="falcon two bluefalcon", calls=(WIPE,), gate=gates[1], gate_before=4),
        Reply(text="Never mind."),
    )
    with lexgate.open(asking(stream=True)) as first:
        first.until(b"one")
        with lexgate.open(asking(stream=True)) as second:
            seen = second.until(b"falco")
            gates[1].open()
            seen += second.until(b"[DONE]")
        gates[0].open()
        rest = first.until(b"[DONE]")
    assert b"Never" in seen
    assert b"Never" not in rest
    assert b"blue" in rest


def test_the_provider_may_answer_a_stream_in_one_frame(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(QUIET, STEER)
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "bash", "arguments": WIPE.arguments}}
    delta = {"role": "assistant", "content": "a bluefalcon", "tool_calls": [call]}
    choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls"}
    whole = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    frames = (b"data: " + json.dumps(whole).encode() + b"\n\n", b"data: [DONE]\n\n")
    provider.script(Reply(frames=frames), Reply(text="Fine."))
    answer = heard(raw := ask(lexgate, stream=True))
    assert (answer.text, answer.calls, answer.finish) == ("a [falcon]\n\nFine.", (), "stop")
    assert b"rm" not in raw.body


def test_a_mistake_of_our_own_inside_a_stream_is_told_and_never_looks_whole(
    serve: Serve, provider: OpenAIMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexgate = serve(judging("count: {key: answers}", ""))
    provider.script(Reply(text="The secret is out."))

    async def broken(*_: Any) -> Any:
        raise ValueError("the store has a mistake")

    monkeypatch.setattr(lexgate.house.world.store, "commit", broken)
    with lexgate.open(asking(stream=True)) as answer:
        seen = answer.until(b"internal_error")
        with pytest.raises(http.client.IncompleteRead):
            list(answer.pieces())
    assert b"[DONE]" not in seen
    assert b"mistake" not in seen
