"""The lint rules, by pairs of text: what is said of it, and what is not said where it is right."""

from datetime import date

import pytest

from engine.policy.compile import PolicySource
from engine.policy.context import UNKNOWN, Catalogue
from engine.policy.lint import examine, findings
from engine.policy.sources import PolicySet, pack_names, pack_source

TODAY = date(2026, 11, 22)
RULE = "rules:\n  - {id: r, phase: request, when: WHEN, actions: [block: no]}\n"


def said(text: str, catalogue: Catalogue = UNKNOWN, *, strict: bool = False) -> list[str]:
    """`CODE line:column message` of each finding."""
    source = PolicySource("p.yaml", "version: 1\npolicy: p\n" + text)
    found = findings(PolicySet(sources=(source,), catalogue=catalogue), TODAY, strict=strict).diagnostics
    return [f"{each.code} {each.where.line}:{each.where.column} {each.message}" for each in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sets: {a: [x]}\n", ["W417 3:8 the set 'a' is never used"]),
        ("patterns: {a: {x: y}}\n", ["W417 3:12 the pattern set 'a' is never used"]),
        ("definitions: {a: 'request.model'}\n", ["W417 3:15 the definition 'a' is never used"]),
        (
            "definitions: {a: request.model, b: \"def('a')\"}\n",
            ["W417 3:15 the definition 'a' is never used", "W417 3:33 the definition 'b' is never used"],
        ),
    ],
)
def test_names_that_nothing_uses(text: str, expected: list[str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sets: {a: [x]}\nscope: {team: {$set: a}}\n",
        "sets: {a: [x]}\n" + RULE.replace("WHEN", "\"contains(set('a'), request.model)\""),
        "patterns: {a: {x: y}}\n" + RULE.replace("WHEN", "\"matches_any(request.last_user, 'a')\""),
        "definitions: {a: request.stream, b: \"def('a')\"}\n" + RULE.replace("WHEN", "\"def('b')\""),
        "patterns: {a: {x: y}}\nrules:\n  - {id: r, phase: tool_result, actions: [redact: {patterns: [a]}]}\n",
        "sets: {a: [x]}\nrules:\n  - {id: r, phase: request, actions: [log: \"{{ set('a')[0] }}\"]}\n",
    ],
)
def test_names_that_something_uses(text: str) -> None:
    assert said(text) == []


def test_an_exception_holds_on_its_last_day_and_not_after() -> None:
    text = (
        RULE.replace("WHEN", "true") + "exceptions:\n  - {rule: r, reason: OPS-1, expires: DAY, match: {caller: bot}}\n"
    )
    assert said(text.replace("DAY", "2026-11-22")) == []
    assert said(text.replace("DAY", "2026-11-21")) == ["W405 6:39 the exception to 'r' expired on 2026-11-21"]


ROLES = Catalogue(roles=("admin", "reviewer"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("scope: {role: admn}\n" + RULE.replace("WHEN", "true"), "3:15"),
        ("rules:\n  - {id: r, phase: request, match: {not: {role: [admin, admn]}}, actions: [block: no]}\n", "4:57"),
        (RULE.replace("WHEN", "\"contains(caller.roles, 'admn')\""), "4:59"),
    ],
)
def test_a_role_that_nobody_has(text: str, place: str) -> None:
    assert said(text, ROLES) == [f"W424 {place} nobody has the role 'admn'"]
    assert said(text.replace("admn", "reviewer"), ROLES) == []
    assert said(text) == []


def test_a_redaction_of_requests_without_its_twin_for_tool_results() -> None:
    one = "patterns: {s: {x: y}}\nrules:\n  - {id: a, phase: request, actions: [redact: {patterns: s}]}\n"
    other = "  - {id: b, phase: tool_result, actions: [redact: {patterns: [s]}]}\n"
    assert said(one) == ["N425 5:47 half a control: tool results are not searched for s"]
    assert said(one + other) == []


def test_tools_taken_out_of_the_offer_without_a_guard_of_calls() -> None:
    one = "rules:\n  - {id: a, phase: request, actions: [drop_tools: {names: [bash]}]}\n"
    other = "  - {id: b, phase: tool_call, match: {tool: bash}, actions: [drop: {}]}\n"
    assert said(one) == ["N426 4:51 half a control: a call of a tool that was not offered is not refused"]
    assert said(one + other) == []


def test_strict_asks_for_what_others_rely_on() -> None:
    bare = RULE.replace("WHEN", "true")
    assert said(bare) == []
    assert said(bare, strict=True) == [
        "N427 2:9 the policy has no description",
        "N428 2:9 the policy has no owner",
        "N427 4:10 rule 'r' has no description",
        "N429 4:10 no test names rule 'r'",
    ]
    careful = (
        "description: d\nowner: o\n" + bare.replace("id: r,", "id: r, description: d,")
        + "tests: [{name: t, given: {}, expect: {by: r}}]\n"
    )  # fmt: skip
    assert said(careful, strict=True) == []


def test_a_file_with_errors_is_not_blamed_for_what_follows_from_them() -> None:
    """The set that a misspelled name meant is not said to be unused."""
    text = "sets: {names: [x]}\nscope: {team: {$set: nmes}}\n" + RULE.replace("WHEN", "true")
    assert said(text) == ["E406 4:22 unknown set 'nmes'"]


@pytest.mark.parametrize("name", pack_names())
def test_shipped_packs_are_free_of_findings(name: str) -> None:
    source = pack_source(name)
    assert source is not None
    assert examine(PolicySet(sources=(source,)), TODAY).diagnostics == ()


LIFTED = "rules:\n  - {id: r, phase: request, unless: UNLESS, actions: [ACTION: no]}\n"


@pytest.mark.parametrize(
    "unless",
    ["\"glob(caller.agent, 'nice*')\"", "request.headers.bypass == 'yes'", "session.id == 'x'"],
)
def test_a_guard_that_any_client_can_lift(unless: str) -> None:
    text = LIFTED.replace("UNLESS", unless)
    assert said(text.replace("ACTION", "block")) == ["W423 4:37 any client can say what lifts this rule"]
    assert said(text.replace("ACTION", "log")) == []


@pytest.mark.parametrize(
    "unless",
    ["\"contains(caller.roles, 'a')\"", "\"caller.team == 'a' && caller.agent == 'b'\"", "request.model == 'm'"],
)
def test_a_guard_that_a_client_cannot_lift_by_its_word(unless: str) -> None:
    assert said(LIFTED.replace("UNLESS", unless).replace("ACTION", "block")) == []


def test_an_exception_for_an_agent_is_the_clients_word() -> None:
    text = RULE.replace("WHEN", "true") + "exceptions:\n  - {rule: r, MATCH, reason: OPS-1, expires: 2027-01-01}\n"
    expected = ["W423 6:5 any client can say what excepts it from this rule"]
    assert said(text.replace("MATCH", "match: {agent: 'x*'}")) == expected
    assert said(text.replace("MATCH", "when: request.headers.a == 'b'")) == expected
    assert said(text.replace("MATCH", "match: {agent: 'x*', team: a}")) == []
    assert said(text.replace("MATCH", "match: {caller: bot}")) == []


@pytest.mark.parametrize(
    ("given", "expect", "expected"),
    [
        ("{request: {modle: x}}", "{}", ["E439 5:37 unknown key 'modle'"]),
        ("{request: {model: 3}}", "{}", ["E439 5:44 expected a text, found 3"]),
        ("{phase: requests}", "{}", ["E439 5:34 there is no phase 'requests'"]),
        ("{tool: {name: bash}}", "{}", ["E439 5:27 unknown key 'tool'"]),
        ("{}", "{by: rr}", ["E439 5:43 the file has no rule 'rr'"]),
        ("{}", "{rules: [r, other/r]}", ["E439 5:50 the file has no rule 'other/r'"]),
        ("{}", "{outcomes: {s: matched}}", ["E439 5:50 the file has no rule 's'"]),
        ("{phase: tool_call, tool: {name: bash, args: {any: [1]}}, now: {hour: 3}}", "{by: p/r, shadow: [r]}", []),
        ("{request: {messages: [{role: user, text: a}], params: {seed: 1}}}", "{by: ''}", []),
    ],
)
def test_a_test_speaks_of_what_exists(given: str, expect: str, expected: list[str]) -> None:
    text = RULE.replace("WHEN", "true") + f"tests: [{{name: t, given: {given}, expect: {expect}}}]\n"
    assert said(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scope: {team: []}\n", ["W440 3:15 'team' lists no name, and so nothing matches it"]),
        (
            "rules:\n  - {id: r, phase: request, match: {model: [], not: {tool: ['']}}, actions: [block: no]}\n",
            [
                "W440 4:44 'model' lists no name, and so nothing matches it",
                "W440 4:60 'tool' lists no name, and so nothing matches it",
            ],
        ),
        ("rules:\n  - {id: r, phase: request, match: {model: [a], stream: false}, actions: [block: no]}\n", []),
    ],
)
def test_a_list_that_matches_nothing(text: str, expected: list[str]) -> None:
    assert said(text) == expected


DECLARED = "commands: {define: {model: {description: x, aliases: [m]}, hello: {description: y}}}\n"


def answering(*commands: str) -> str:
    rules = [
        f"  - {{id: r{n}, phase: command, match: {{command: {c}}}, actions: [respond: x]}}\n"
        for n, c in enumerate(commands)
    ]
    return DECLARED + "rules:\n" + "".join(rules)


def test_a_command_without_a_rule_and_a_rule_without_a_command_are_said() -> None:
    assert said(answering("model")) == ["W443 3:60 no rule answers the command 'hello'"]
    assert [each.partition(" ")[0] for each in said(answering("m", "hell"))] == ["W443", "W443", "W442", "W442"]
    assert said(answering("model", "hello")) == []
    assert said(answering("'*'")) == []
