"""Text on its way: redacted wherever the network cut it, and never held back further than a rule needs."""

import json
from typing import Any

import pytest

from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, ask, asking, heard, usage_of

REDACT = """
version: 1
policy: names
patterns: {names: {falcon: 'blue ?falcon', key: 'sk-[a-z0-9]{8}', smile: '🙂🙃{1,3}'}}
rules:
  - id: redact
    phase: text
    actions: [{redact: {patterns: names, mask: '[{name}]'}}]
"""
CUT = """
version: 1
policy: words
patterns: {words: {falcon: 'blue ?falcon'}}
rules:
  - id: cut
    phase: text
    match: {pattern: words}
    actions: [{block: {message: That is not for your eyes.}}]
"""
STOP = "That is not for your eyes."
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def head(**more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", **more}


def frame(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: " + json.dumps(head(choices=[choice])).encode() + b"\n\n"


def frames(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True) -> tuple[bytes, ...]:
    """A stream that says these deltas; escapes are ASCII, so that surrogate pairs are cut where a test cuts them."""
    end = (frame({}, finish),) if finish else ()
    return (frame({"role": "assistant", "content": ""}), *map(frame, deltas), *end, *((b"data: [DONE]\n\n",) * done))


def said(*pieces: str, field: str = "content", **more: Any) -> Reply:
    return Reply(frames=frames(*({field: piece} for piece in pieces), **more))


SECRET = "It is bluefalcon, with sk-abcd1234 🙂🙃🙃."
SAFE = "It is [falcon], with [key] [smile]."


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("field", ["text", "reasoning", "refusal"])
def test_a_secret_is_redacted_however_it_is_cut(serve: Serve, provider: OpenAIMock, piece: int, field: str) -> None:
    lexgate = serve(REDACT)
    provider.script(Reply(**{field: SECRET}, piece=piece, network=3))  # type: ignore[arg-type]
    raw = ask(lexgate, stream=True)
    assert getattr(heard(raw), field) == SAFE
    for word in (b"bluefalcon", b"sk-abcd", "🙃".encode()):
        assert word not in raw.body


def test_a_secret_is_redacted_at_every_cut_in_two_and_in_three(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    text = "x bluefalcon y"
    cuts = [(first, second) for first in range(1, len(text)) for second in range(first, len(text), 3)]
    provider.script(*[said(text[:a], text[a:b] or "", text[b:]) for a, b in cuts])
    for cut in cuts:
        assert heard(ask(lexgate, stream=True)).text == "x [falcon] y", cut


def test_a_surrogate_pair_may_be_cut_in_two(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    smile = "🙂".encode("utf-16-be")
    high, low = (smile[at : at + 2].decode("utf-16-be", "surrogatepass") for at in (0, 2))
    provider.script(said("ab", high, low, "🙃 ", high, low + "!"))
    assert heard(ask(lexgate, stream=True)).text == "ab[smile] 🙂!"


@pytest.mark.parametrize("network", [1, 2, 5])
def test_characters_of_several_bytes_may_be_cut_by_the_network(
    serve: Serve, provider: OpenAIMock, network: int
) -> None:
    lexgate = serve(REDACT)
    provider.script(Reply(text="Grüße, 好的 🙂🙃 bluefalcon – ¡adiós!", piece=3, network=network))
    assert heard(ask(lexgate, stream=True)).text == "Grüße, 好的 [smile] [falcon] – ¡adiós!"


def test_text_before_a_possible_secret_is_delivered_at_once(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    gate = Gate()
    provider.script(
        Reply(
            frames=frames({"content": "All of this may go. Now blu"}, {"content": "efalcon."}), gate=gate, gate_before=2
        )
    )
    with lexgate.open(asking(stream=True)) as answer:
        seen = answer.until(b"may go. Now ")
        assert b"blu" not in seen
        gate.open()
        assert b"[falcon]" in answer.until(b"[DONE]")


def test_text_that_no_pattern_can_begin_in_is_not_delayed(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    gate = Gate()
    provider.script(Reply(text="abcdefgh", piece=1, gate=gate, gate_before=5))
    with lexgate.open(asking(stream=True)) as answer:
        assert b'"content":"d"' in answer.until(b'"content":"d"'), "each frame as it comes"
        gate.open()
        answer.until(b"[DONE]")


def test_a_governed_tool_delays_no_text(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve("""
version: 1
policy: shell
rules: [{id: no-bash, phase: tool_call, match: {tool: bash}, actions: [{block: No.}]}]
""")
    gate = Gate()
    provider.script(Reply(text="abcdefgh", calls=(LIST,), piece=1, gate=gate, gate_before=5))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b'"content":"d"')
        gate.open()
        assert b"No." in answer.until(b"[DONE]")


def test_a_shadowed_rule_delays_nothing_and_changes_nothing(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT.replace("policy: names", "policy: names\nmode: shadow"))
    gate = Gate()
    provider.script(Reply(frames=frames({"content": "Now blu"}, {"content": "efalcon."}), gate=gate, gate_before=2))
    with lexgate.open(asking(stream=True)) as answer:
        assert b"Now blu" in answer.until(b"Now blu")
        gate.open()
        answer.until(b"[DONE]")
    records = [each for each in lexgate.records() if each["phase"] == "text"]
    assert [outcome["mode"] for each in records for outcome in each["outcomes"]] == ["shadow"]


def test_choices_do_not_mix(serve: Serve, provider: OpenAIMock) -> None:
    """Half a secret in each of two choices is none; a whole one in each is redacted in each."""
    lexgate = serve(REDACT)
    pieces = [("blue", 0), ("falcon blue", 1), ("falcon one", 0), ("falcon two", 1)]
    provider.script(
        Reply(
            frames=(
                *(frame({"role": "assistant", "content": ""}, index=index) for index in (0, 1)),
                *(frame({"content": text}, index=index) for text, index in pieces),
                *(frame({}, "stop", index=index) for index in (0, 1)),
                b"data: [DONE]\n\n",
            )
        )
    )
    raw = ask(lexgate, stream=True, n=2)
    assert [heard(raw, choice).text for choice in (0, 1)] == ["[falcon] one", "falcon [falcon] two"]


def test_a_choice_that_ends_first_holds_up_no_other(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    gate = Gate()
    provider.script(
        Reply(
            frames=(
                *(frame({"role": "assistant", "content": ""}, index=index) for index in (0, 1)),
                frame({}, "stop", index=0),
                frame({"content": "still here"}, index=1),
                frame({}, "stop", index=1),
                b"data: [DONE]\n\n",
            ),
            gate=gate,
            gate_before=4,
        )
    )
    with lexgate.open(asking(stream=True, n=2)) as answer:
        answer.until(b"still here")
        gate.open()
        answer.until(b"[DONE]")


def test_usage_in_every_frame_holds_up_nothing(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    gate = Gate()
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    counted = [
        b"data: " + json.dumps(head(choices=[{"index": 0, "delta": {"content": word}}], usage=usage)).encode() + b"\n\n"
        for word in ("one ", "two ")
    ]
    provider.script(Reply(frames=(*counted, *frames({"content": "three"})[1:]), gate=gate, gate_before=2))
    with lexgate.open(asking(stream=True)) as answer:
        answer.until(b"two ")
        gate.open()
        answer.until(b"[DONE]")


def test_channels_that_interleave_hide_no_secret(serve: Serve, provider: OpenAIMock) -> None:
    """A client joins what a channel says, whatever stands between the pieces."""
    lexgate = serve(REDACT)
    deltas = (
        {"content": "blue"},
        {"reasoning_content": "sk-abcd"},
        {"content": "falcon."},
        {"reasoning_content": "1234."},
    )
    provider.script(Reply(frames=frames(*deltas)))
    answer = heard(ask(lexgate, stream=True))
    assert (answer.text, answer.reasoning) == ("[falcon].", "[key].")


def test_a_call_in_the_middle_hides_no_secret(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    provider.script(
        Reply(frames=frames({"content": "blue"}, {"tool_calls": [call]}, {"content": "falcon."}, finish="tool_calls"))
    )
    answer = heard(ask(lexgate, stream=True))
    assert (answer.text, len(answer.calls), answer.finish) == ("[falcon].", 1, "tool_calls")


def test_what_is_held_comes_out_where_a_provider_only_says_done(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(REDACT)
    provider.script(said("This is blu", finish=None))
    assert heard(ask(lexgate, stream=True)).text == "This is blu"


# -- cut off --


@both
def test_a_refused_word_ends_the_answer_with_the_message(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(CUT)
    provider.script(Reply(text="It is called bluefalcon, and it flies.", piece=4))
    answer = heard(raw := ask(lexgate, stream=stream))
    assert (answer.text, answer.finish) == (f"It is called \n\n{STOP}", "stop")
    assert b"falcon" not in raw.body


def test_a_cut_off_cancels_the_upstream(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(CUT)
    gate = Gate()
    provider.script(Reply(frames=frames({"content": "a bluefalcon"}, {"content": " flies"}), gate=gate, gate_before=2))
    answer = heard(ask(lexgate, stream=True))
    assert answer.text == f"a \n\n{STOP}"
    provider.wait_for_disconnect()


def test_a_cut_answer_has_usage_where_the_client_asked_for_it(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(CUT)
    provider.script(Reply(text="It is called bluefalcon, and it flies."))
    shown = usage_of(ask(lexgate, stream=True, stream_options={"include_usage": True}))
    assert shown is not None
    assert shown["completion_tokens"] > 0


@both
def test_a_cut_ends_its_own_choice_alone(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(CUT)
    texts = ("a bluefalcon flies", "a bird flies")
    whole = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ],
    }  # fmt: skip
    wire = (
        *(frame({"role": "assistant", "content": text}, index=index) for index, text in enumerate(texts)),
        *(frame({"content": " away"}, index=index) for index in (0, 1)),
        *(frame({}, "stop", index=index) for index in (0, 1)),
        b"data: [DONE]\n\n",
    )
    provider.script(Reply(frames=wire) if stream else Reply(body=json.dumps(whole).encode()))
    raw = ask(lexgate, stream=stream, n=2)
    assert heard(raw, 0).text == f"a \n\n{STOP}"
    assert heard(raw, 1).text == "a bird flies" + " away" * stream


@both
def test_a_cut_answer_makes_no_calls(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    lexgate = serve(CUT)
    provider.script(Reply(text="bluefalcon", calls=(LIST,)))
    answer = heard(ask(lexgate, stream=stream))
    assert (answer.text, answer.calls, answer.finish) == (STOP, (), "stop")


@both
def test_a_cut_judges_what_other_rules_have_left(serve: Serve, provider: OpenAIMock, stream: bool) -> None:
    """Transforms come first: of the words for which the answer would be cut, only a part is left."""
    lexgate = serve(CUT, REDACT.replace("blue ?falcon", "k[a-z]{1,9} blue"))
    provider.script(Reply(text="see kkkk bluefalcon", piece=16))
    assert heard(ask(lexgate, stream=stream)).text == "see [falcon]falcon"


@both
def test_a_rule_that_cannot_be_evaluated_refuses_with_an_error(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    lexgate = serve("""
version: 1
policy: broken
rules:
  - id: broken
    phase: text
    window: 10
    when: length(request.params.nothing) > `1`
    actions: [{block: No.}]
""")
    provider.script(Reply(text="Hello."))
    raw = ask(lexgate, stream=stream)
    assert b"Hello" not in raw.body
    if stream and raw.status == 200:
        assert raw.frames[-1]["error"]["code"] == "policy_error"
    else:
        assert (raw.status, raw.json["error"]["code"]) == (500, "policy_error")


def test_a_window_lets_a_condition_see_words_that_were_cut(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve("""
version: 1
policy: window
rules:
  - id: cut
    phase: text
    window: 20
    when: contains(lower(text.window), 'bluefalcon')
    actions: [{block: Stopped.}]
""")
    provider.script(said("abcdefghijklmnopqrstuvwxyz ", "Blue", "Falcon", " flies"))
    answer = heard(raw := ask(lexgate, stream=True))
    assert answer.text.endswith("Stopped.")
    assert answer.text.startswith("abcdefg")
    assert b"lue" not in raw.body


def test_observers_of_text_act_once_an_exchange(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve("""
version: 1
policy: watch
patterns: {birds: {falcon: falcon}}
rules:
  - id: seen
    phase: text
    match: {pattern: birds}
    actions: [{log: A falcon.}, {count: {key: falcons}}]
  - id: tell
    phase: done
    when: "`true`"
    actions: [{log: "{{ session.vars.falcons }}"}]
""")
    provider.script(Reply(text="falcon falcon falcon", piece=2))
    ask(lexgate, stream=True)
    told = [each["event"] for each in lexgate.logs if "rule" in each]
    assert told == ["A falcon.", "1"]
