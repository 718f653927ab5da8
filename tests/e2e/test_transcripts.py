"""What goes over the wire in the conversations that matter most, to be looked at."""

import json
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.support.openai_mock import Call, OpenAIMock, Reply

from .conftest import Serve
from .talk import LIST, LOOK, WIPE, ask, heard

POLICY = """
version: 1
policy: house
patterns: {words: {falcon: 'blue ?falcon'}, stops: {stop: 'top secret'}}
rules:
  - {id: redact, phase: text, actions: [{redact: {patterns: words}}]}
  - {id: stop, phase: text, match: {pattern: stops}, actions: [{block: {message: Not for your eyes.}}]}
  - id: no-rm
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [{steer: {message: Do not delete; list instead.}}]
"""

SCRIPTS: dict[str, tuple[tuple[Reply, ...], dict[str, Any]]] = {
    "steered in the stream": (
        (
            Reply(text="I clean up.", calls=(WIPE,), fragment=4, piece=20, usage=(10, 50, 0, 0)),
            Reply(text="Listing.", calls=(LIST,), fragment=6, piece=20, usage=(30, 7, 0, 0)),
        ),
        {"stream_options": {"include_usage": True}},
    ),
    "refused after the last attempt": ((Reply(calls=(WIPE,)), Reply(calls=(LOOK, WIPE))), {}),
    "parallel calls that pass": ((Reply(text="Look.", calls=(LOOK, LIST), fragment=9),), {}),
    "redacted where it was cut": ((Reply(text="The bluefalcon flies.", piece=6),), {}),
    "cut off": ((Reply(text="This is top secret, really.", piece=6),), {"stream_options": {"include_usage": True}}),
    "broken off": ((Reply(text="Hello, wide world.", cut_after=3),), {}),
    "a call that was not offered": (
        (Reply(calls=(LOOK, Call("bash", WIPE.arguments)), fragment=9),),
        {"tools": [{"type": "function", "function": {"name": "read"}}]},
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_wire(serve: Serve, provider: OpenAIMock, snapshot: SnapshotAssertion, name: str) -> None:
    replies, options = SCRIPTS[name]
    lexgate = serve(POLICY)
    provider.script(*replies)
    raw = ask(lexgate, "Tidy.", stream=True, **options)
    upstream = [json.dumps(each.json["messages"], ensure_ascii=False) for each in provider.requests[1:]]
    lines = ["client <-", *raw.body.decode().split("\n\n"), *(f"backend <- {each}" for each in upstream)]
    assert "\n".join(lines) == snapshot


def test_the_wire_on_the_next_turn(serve: Serve, provider: OpenAIMock, snapshot: SnapshotAssertion) -> None:
    lexgate = serve(POLICY)
    provider.script(Reply(text="I clean up.", calls=(WIPE,)), Reply(text="Listing.", calls=(LIST,)), Reply(text="Bye."))
    first = heard(ask(lexgate, "Tidy.", stream=True))
    result = {"role": "tool", "tool_call_id": first.calls[0][0], "content": "a.txt"}
    ask(lexgate, "Tidy.", first.message, result, "Thanks.", stream=True)
    sent = [json.dumps(each, ensure_ascii=False) for each in provider.requests[-1].json["messages"]]
    assert "\n".join(sent) == snapshot
