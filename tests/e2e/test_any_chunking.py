"""However a provider cuts its answer, the client has the same in the end: what it gets when it does not stream."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock, Reply

from .talk import Heard, ask, heard

POLICY = """
version: 1
policy: everything
patterns:
  secrets: {key: 'sk-[ab]{4}', word: 'ab?c', pair: '🙂🙃'}
  stops: {stop: 'STOP!?'}
rules:
  - {id: redact, phase: text, actions: [{redact: {patterns: secrets, mask: '[{name}]'}}]}
  - id: stop
    phase: text
    match: {pattern: stops}
    actions: [{block: {message: Stopped.}}]
  - id: no-rm
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: No deleting., then: reply}}]
  - id: no-write
    phase: tool_call
    match: {tool: write}
    actions: [{drop: {}}]
  - id: dry
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'make'])
    actions: [{rewrite_args: {args: {command: make -n}}}]
"""
texts = st.lists(
    st.sampled_from(["a", "b", "c", "ab", "sk-", "sk-abab", "ST", "OP", "!", " ", "🙂", "🙃", "é", "STOP"]), max_size=12
).map("".join)
calls = st.lists(
    st.tuples(
        st.sampled_from(["bash", "read", "write"]),
        st.sampled_from(["ls", "rm -rf /", "make all", "echo 'é🙂'", ""]),
    ),
    max_size=3,
)
answers = st.tuples(texts, texts, calls)
Answer = tuple[str, str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenAIMock, Lexgate]]:
    with OpenAIMock() as mock, Lexgate(tmp_path_factory.mktemp("any"), POLICY, provider=mock) as lexgate:
        yield mock, lexgate


def wire_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{place}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"command": command})},
        }
        for place, (name, command) in enumerate(answer[2])
    ]


def whole(answer: Answer) -> Reply:
    text, reasoning, made = answer
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "reasoning_content": reasoning}
    if made:
        message["tool_calls"] = wire_calls(answer)
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if made else "stop"}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
    return Reply(body=json.dumps(body).encode())


def pieces(text: str, sizes: Iterator[int]) -> Iterator[str]:
    while text:
        size = next(sizes)
        yield text[:size]
        text = text[size:]


def streamed(answer: Answer, draw: st.DataObject) -> Reply:
    """The answer in pieces of any size, several of them in a frame, frames of any number in a write."""
    text, reasoning, made = answer

    def any_size() -> Iterator[int]:
        while True:
            yield draw.draw(st.integers(1, 6))

    sizes = any_size()
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in pieces(reasoning, sizes)]
    deltas += [{"content": piece} for piece in pieces(text, sizes)]
    for place, call in enumerate(wire_calls(answer)):
        arguments = call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "index": place, "function": {**call["function"], "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for piece in pieces(arguments, sizes)
        ]
    deltas.insert(0, {"role": "assistant"})
    together: list[dict[str, Any]] = []
    for delta in deltas:
        if together and not together[-1].keys() & delta.keys() and draw.draw(st.booleans()):
            together[-1] |= delta
        else:
            together.append(dict(delta))
    finish = "tool_calls" if made else "stop"
    ends: list[tuple[dict[str, Any], str | None]] = [(delta, None) for delta in together]
    if draw.draw(st.booleans()):
        ends[-1] = (ends[-1][0], finish)
    else:
        ends.append(({}, finish))
    frames = [
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
         "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in ends
    ]  # fmt: skip
    ascii_only = draw.draw(st.booleans())
    wire = [b"data: " + json.dumps(each, ensure_ascii=ascii_only).encode() + b"\n\n" for each in frames]
    return Reply(frames=(*wire, b"data: [DONE]\n\n"), network=draw.draw(st.sampled_from([0, 1, 3, 50])))


def told(provider: OpenAIMock) -> Any:
    """What the model was told in the re-ask, if there was one."""
    return [each.json["messages"][1:] for each in provider.requests[1:]]


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=answers, second=answers, data=st.data())
def test_a_stream_says_what_a_whole_answer_says(
    served: tuple[OpenAIMock, Lexgate], first: Answer, second: Answer, data: st.DataObject
) -> None:
    provider, lexgate = served
    seen: list[tuple[Heard, Any]] = []
    for stream in (False, True):
        provider.requests.clear()
        provider._script.clear()
        provider.script(*[streamed(each, data) if stream else whole(each) for each in (first, second)])
        raw = ask(lexgate, stream=stream)
        seen.append((heard(raw), told(provider)))
        assert b"sk-abab" not in raw.body
        assert not [arguments for _, name, arguments in heard(raw).calls if name == "bash" and "rm" in arguments]
    assert seen[0] == seen[1]
