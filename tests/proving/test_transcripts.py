"""Conversations through the whole proxy, in every protocol, streamed and whole."""

import asyncio
from typing import Any

import pytest

from engine.language import Names
from engine.policy.compile import PolicySource, check_file
from engine.policy.context import UNKNOWN
from engine.policy.trial import CaseResult, rules_of
from engine.proving.transcripts import Played, open_stage, play

RULES = """\
version: 1
policy: p
patterns: {words: {falcon: 'blue ?falcon'}}
rules:
  - {id: mask, phase: text, actions: [{redact: {patterns: words}}]}
  - id: no-rm
    phase: tool_call
    match: {tool: bash}
    when: any(tool.shell.commands[?program == 'rm'])
    actions: [steer: {message: List instead.}]
  - {id: no, phase: request, when: "request.last_user == 'Forbidden.'", actions: [block: Not here.]}
  - {id: dirty, phase: tool_call, match: {tool: edit}, actions: [remember: {key: dirty, value: true, ttl: 1h}]}
  - id: remind
    phase: request
    when: var('dirty', `false`)
    actions: [inject: {role: system, text: Run the tests., key: tests}]
  - {id: there, phase: route, match: {model: far}, actions: [route: 'elsewhere:big']}
tests:
"""


def played(test: str) -> Played:
    checked, _, found = check_file(PolicySource("p.yaml", RULES + test), UNKNOWN)
    assert checked is not None, found
    rules, names = rules_of(checked)
    (case,) = checked.spec.tests

    def scope() -> Names:
        return names.scope

    result = CaseResult("p", case.name, checked.places["tests/0"])
    return asyncio.run(play(case, lambda: open_stage(rules), result, scope))


def wrong(test: str) -> list[tuple[str, Any]]:
    found = played(test).result
    assert found.error == ""
    return [(each.what, each.got) for each in found.mismatches]


STEERED = """\
  - name: t
    turns:
      - client: {says: Tidy up., tools: [bash]}
        model:
          - {text: I clean., calls: [{tool: bash, args: {command: rm -rf /}}], chunk: 3}
          - {text: The bluefalcon lists., calls: [{tool: bash, args: {command: ls}}]}
        client_sees:
          contains: [I clean., "The [falcon] lists."]
          lacks: [bluefalcon, rm -rf]
          calls: [{tool: bash, args: {command: ls}}]
          finish: tool_calls
        model_sees:
          - {request.last_user: Tidy up., "length(request.messages)": 1}
          - {"request.messages[-1].text": List instead., "request.messages[-1].role": tool}
      - client: {results: [a.txt]}
        model: [Bye.]
        client_sees: Bye.
        model_sees:
          - {"request.messages[-1].text": a.txt}
"""


def test_a_steered_call_is_seen_by_the_model_and_not_by_the_client() -> None:
    found = played(STEERED)
    assert found.result.passed, found.result
    assert len(found.got) == 8, "four protocols, streamed and whole"
    assert len(found.exchanges) == 16


@pytest.mark.parametrize(
    ("old", "new", "what", "got"),
    [
        ("finish: tool_calls", "finish: stop", "openai-chat, streamed, turn 1: client sees finish", "tool_calls"),
        ("client_sees: Bye.", "client_sees: By.", "openai-chat, streamed, turn 2: client sees text", "Bye."),
        (
            "{request.last_user: Tidy up.,",
            "{request.last_user: Tidy.,",
            "openai-chat, streamed, turn 1: model sees request.last_user, asked for the first time",
            "Tidy up.",
        ),
        ("model: [Bye.]", "model: []", "openai-chat, streamed, turn 2: client sees text", ""),
    ],
)
def test_what_is_otherwise_is_said_with_its_variant_and_turn(old: str, new: str, what: str, got: str) -> None:
    assert wrong(STEERED.replace(old, new))[0] == (what, got)


def test_a_refusal_is_an_error_of_the_clients_protocol() -> None:
    turn = "{client: Forbidden., client_sees: {status: 400, error: Not here.}, model_sees: []}"
    assert wrong(f"  - {{name: t, turns: [{turn}]}}\n") == []


def test_state_and_time_go_on_from_turn_to_turn() -> None:
    def case(after: str, messages: int) -> str:
        return (
            "  - name: t\n    turns:\n"
            "      - {client: {says: Edit., tools: [edit]}, model: [{calls: [{tool: edit}]}]}\n"
            f"      - {{client: {{results: [done]}}, after: {after}, model: [Ok.],"
            f" model_sees: [{{\"length(request.messages[?role == 'system'])\": {messages}}}]}}\n"
        )

    assert wrong(case("1m", 1)) == []
    assert wrong(case("2h", 0)) == []


def test_an_error_of_the_backend_reaches_the_client() -> None:
    turn = "{client: Hi., model: [{status: 400, text: Too long.}], client_sees: {status: 400, error: Too long.}}"
    assert wrong(f"  - {{name: t, turns: [{turn}]}}\n") == []


def test_every_backend_that_rules_name_is_there() -> None:
    turn = "{client: {says: Hi., model: far}, model: [Yes.], client_sees: Yes., model_sees: [{request.model: big}]}"
    assert wrong(f"  - {{name: t, turns: [{turn}]}}\n") == []


def test_only_the_variants_that_are_named_are_played() -> None:
    found = played("  - {name: t, protocols: [gemini], stream: true, turns: [{client: Hi., model: [Yes.]}]}\n")
    assert list(found.got) == ["gemini, streamed"]
    assert found.got["gemini, streamed"][0]["client"]["text"] == "Yes."
