"""From files to rules: every mistake is found, once, at its place, with what to do next."""

import pytest

from engine.policy.compile import PolicySource, compile_policies, revision_of
from engine.policy.context import Catalogue

from .rules import compiled, decide, findings, outcomes, policy, ruleset

CATALOGUE = Catalogue(backends=("openai", "local"), routes={"coding": "openai:"})


def said(text: str, catalogue: Catalogue = CATALOGUE) -> list[tuple[str, int, int, str, str]]:
    found = compiled(text, catalogue=catalogue).diagnostics
    return [(each.code, each.where.line, each.where.column, each.message, each.help) for each in found]


def spot(text: str, needle: str) -> tuple[int, int]:
    """Line and column of a piece of text that stands there once."""
    assert text.count(needle) == 1, needle
    before = text[: text.index(needle)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


UNKNOWN_NAMES = [
    ("- {id: r, phase: tool_call, match: {tool: {$set: shels}}, actions: [drop: {}]}", "shels", "E406", "'shells'"),
    ("- {id: r, phase: request, match: {pattern: secrts}, actions: [block: x]}", "secrts", "E407", "'secrets'"),
    ("- {id: r, phase: request, actions: [{redact: {patterns: secrts}}]}", "secrts", "E407", "'secrets'"),
    ("- {id: r, phase: request, actions: [{redact: {patterns: [secrets, secrts]}}]}", "secrts", "E407", "'secrets'"),
    ("- {id: r, phase: request, when: \"def('pushs')\", actions: [tag: t]}", "'pushs'", "E213", "'pushes'"),
    (
        "- {id: r, phase: request, when: \"contains(set('shels'), 'a')\", actions: [tag: t]}",
        "'shels'",
        "E213",
        "'shells'",
    ),
    ("- {id: r, phase: request, when: \"lowr('a') == 'a'\", actions: [tag: t]}", "lowr", "E209", "'lower'"),
    ("- {id: r, phase: route, actions: [route: '@codin']}", "'@codin'", "E413", "'coding'"),
    ("- {id: r, phase: route, actions: [route: 'openai:a|locl:b']}", "locl", "E412", "'local'"),
    ("- {id: r, phase: request, actions: [{keep_tools: {$set: shels}}]}", "shels", "E406", "'shells'"),
    ("- {id: r, phase: request, when: request.modle == 'a', actions: [tag: t]}", "modle", "E202", "'model'"),
    ("- {id: r, phase: request, actions: [block: 'no {{ caller.idd }} no']}", "idd", "E202", "'id'"),
    ("- {id: r, phase: request, actions: [{block: {message: 'no {{ caller.idd }} no'}}]}", "idd", "E202", "'id'"),
]
HEAD = """
sets: {shells: [bash]}
patterns: {secrets: {key: 'sk-[a-z]+'}}
definitions: {pushes: request.stream}
"""


@pytest.mark.parametrize(("rule", "needle", "code", "meant"), UNKNOWN_NAMES, ids=[each[1] for each in UNKNOWN_NAMES])
def test_an_unknown_name_is_said_at_its_place_with_what_was_meant(
    rule: str, needle: str, code: str, meant: str
) -> None:
    text = policy(rule, HEAD)
    found = [each for each in said(text) if each[0].startswith("E")]
    assert [each[0] for each in found] == [code]
    assert found[0][1:3] == spot(text, needle)
    assert f"did you mean {meant}" in found[0][4] + found[0][3]


@pytest.mark.parametrize(
    "written",
    [
        "when: request.modle == 'a'",
        "when: \"request.modle == 'a'\"",
        "when: 'request.modle == `1`'",
        "when: \"\\u0072equest.modle == 'a'\"",
        "when: |\n      request.stream ||\n      request.modle == 'a'",
        "when: >-\n      request.stream\n      || request.modle == 'a'",
        "when:\n      any:\n        - request.stream\n        - not: request.modle == 'a'",
        "unless: request.modle == 'a'",
        "limit: {per: request.modle}",
    ],
)
def test_a_finding_stands_inside_the_expression_however_it_is_written(written: str) -> None:
    text = policy(
        f"- id: r\n  phase: request\n  {written.replace(chr(10) + '    ', chr(10) + '    ')}\n  actions: [tag: t]"
    )
    found = [each for each in said(text) if each[0] == "E202"]
    assert [each[1:3] for each in found] == [spot(text, "modle")]


TYPES = [
    ("request", "result.tool == 'x'", "E203", "result"),
    ("done", "text.window == 'x'", "E203", "text"),
    ("request", "request.model == `3`", "E205", ""),
    ("request", "request.model", "E217", ""),
    ("tool_call", "tool.shell.resolved == 'yes'", "E205", ""),
    ("request", "length(request.stream) > `1`", "E", ""),
    ("request", "contains(request.model)", "E210", ""),
    ("request", "matches(request.model, '(')", "E", ""),
]


@pytest.mark.parametrize(("phase", "when", "code", "word"), TYPES, ids=[each[1] for each in TYPES])
def test_a_condition_that_cannot_be_right_in_its_phase_does_not_load(
    phase: str, when: str, code: str, word: str
) -> None:
    found = [
        each
        for each in said(policy(f'- {{id: r, phase: {phase}, when: "{when}", actions: [tag: t]}}'))
        if each[0][0] == "E"
    ]
    assert len(found) == 1
    assert found[0][0].startswith(code)
    assert word in found[0][3]


def test_definitions_may_stand_in_any_order() -> None:
    head = "definitions: {a: \"def('b') && def('c')\", c: request.stream, b: \"def('c')\"}"
    rule = ruleset(policy("- {id: r, phase: request, when: \"def('a')\", actions: [tag: t]}", head))
    assert outcomes(decide(rule, {"request": {"stream": True}})) == {"r": "matched"}


def test_definitions_that_need_each_other_are_said() -> None:
    head = "definitions: {a: \"def('b')\", b: \"def('a')\"}"
    assert "E408" in {code for code, *_ in findings(policy("- {id: r, phase: request, actions: [tag: t]}", head))}


def test_names_stand_for_themselves_once() -> None:
    twice = policy("- {id: r, phase: request, actions: [tag: t]}\n- {id: r, phase: done, actions: [tag: t]}")
    assert findings(twice) == [("E402", 6, 10, "the file has two rules 'r'")]
    one = policy("- {id: r, phase: request, actions: [tag: t]}")
    assert findings(one, one) == [("E401", 2, 9, "policy 'p' is already in 0.yaml")]


ACTIONS = [
    ("request", "steer: no", "E409", "'steer' is no action of phase request"),
    ("tool_call", "respond: no", "E409", "'respond' is no action of phase tool_call"),
    ("done", "block: no", "E409", "'block' is no action of phase done"),
    ("attempt", "{rate_limit: {limit: 1, window: 1m}}", "E419", "a limit of requests belongs in phase request"),
    (
        "request",
        "{rate_limit: {limit: 1, window: 1m, of: tokens}}",
        "E419",
        "a limit of tokens belongs in phase attempt",
    ),
    ("response", "block: no", "E422", "a verdict in phase response comes too late for an answer that was sent"),
    (
        "request",
        "{notify: {url: 'https://{{ caller.team }}.example.com/'}}",
        "E411",
        "templates in its path and query only",
    ),
    ("request", "{notify: {url: '{{ caller.id }}'}}", "E411", "templates in its path and query only"),
    ("request", "{notify: {url: 'https://h.example.com:{{ caller.id }}/x'}}", "E411", "path and query only"),
    ("request", "{notify: {url: 'ftp://h.example.com/'}}", "E411", "is not an address"),
    ("request", "{notify: {url: 'https://user:pass@h.example.com/'}}", "E411", "is not an address"),
    ("request", "{header: {name: Authorization, value: x}}", "E411", "the proxy's own"),
    ("request", '{header: {name: x-a, value: "a\\nb"}}', "E411", "control character"),
    ("request", "{set: {path: request.model, value: 3}}", "E411", "a model's name is a text"),
    ("request", "{default: {path: request.model, value: ''}}", "E411", "a model's name is a text"),
    ("request", "{clamp: {path: request.model, max: 3}}", "E418", "'request.model' is no number"),
    ("route", "route: 'openai:a|local:b^local:c'", "E414", "do not mix"),
    ("text", "{redact: {patterns: {a: 'x+'}}}", "E502", "can match without bound"),
]


@pytest.mark.parametrize(("phase", "step", "code", "message"), ACTIONS, ids=[each[1] for each in ACTIONS])
def test_an_action_that_cannot_be_done_does_not_load(phase: str, step: str, code: str, message: str) -> None:
    found = said(policy(f"- {{id: r, phase: {phase}, actions: [{step}]}}"))
    assert [each[0] for each in found] == [code], found
    assert message in found[0][3]


def test_every_wrong_parameter_of_a_step_is_said_at_its_place() -> None:
    text = policy("- {id: r, phase: request, actions: [{block: {mesage: no, status: many, code: 3}}]}")
    found = said(text)
    assert [(each[0], *each[1:3]) for each in found] == [
        ("E131", *spot(text, "mesage")),
        ("E134", *spot(text, "many")),
        ("E134", *spot(text, "3}}")),
    ]
    assert "did you mean 'message'?" in found[0][4]


def test_a_pattern_without_bound_is_said_where_the_pattern_stands() -> None:
    text = policy("- {id: r, phase: text, actions: [{redact: {patterns: wide}}]}", "patterns: {wide: {all: 'keys.*'}}")
    (found,) = said(text)
    assert found[0] == "E502"
    assert found[1:3] == spot(text, "'keys.*'")


LIMITS = [
    ("request", "limit: {max: 1}, actions: [block: no]", "must say what happens beyond it"),
    ("request", "severity: high, limit: {beyond: allow}, actions: [block: no]", "refused at severity high"),
    ("request", "limit: {max: 1}, actions: [{redact: {patterns: {a: x}}}]", "cannot stand on a meter or a transform"),
    ("request", "limit: {max: 1}, actions: [{rate_limit: {limit: 1, window: 1m}}]", "cannot stand on a meter"),
    ("request", "limit: {beyond: block}, actions: [log: x]", "'beyond' belongs to a limit on a verdict"),
    ("request", "limit: {every: soon}, actions: [log: x]", "is not a length of time"),
]


@pytest.mark.parametrize(("phase", "rest", "message"), LIMITS, ids=[each[1] for each in LIMITS])
def test_a_limit_is_for_reminders(phase: str, rest: str, message: str) -> None:
    found = [each for each in said(policy(f"- {{id: r, phase: {phase}, {rest}}}")) if each[0] == "E415"]
    assert [message in each[3] for each in found] == [True]


MATCH = [
    ("request", "command: x", "phase request has no 'command' to match"),
    ("done", "keyword: x", "phase done has no 'keyword' to match"),
    ("error", "status: 6xx", "'6xx' is no status"),
    ("error", "status: [429, soon]", "'soon' is no status"),
    ("request", "ip: 10.0.0.0/99", "'10.0.0.0/99' is no address and no network"),
    ("request", "not: {command: x}", "phase request has no 'command' to match"),
]


@pytest.mark.parametrize(("phase", "match", "message"), MATCH, ids=[each[1] for each in MATCH])
def test_a_match_that_can_never_hold_does_not_load(phase: str, match: str, message: str) -> None:
    found = said(policy(f"- {{id: r, phase: {phase}, match: {{{match}}}, actions: [tag: t]}}"))
    assert [(each[0], each[3]) for each in found] == [("E410", message)]


# -- flowing text --


@pytest.mark.parametrize(
    ("rest", "codes"),
    [
        ("when: \"contains(text.window, 'x')\"", ["E503"]),
        ("window: 20, when: \"contains(text.window, 'x')\"", []),
        ("when: text.channel == 'answer'", []),
        ("match: {keyword: hello}", []),
        ("match: {pattern: wide}", ["E502"]),
        ("match: {pattern: narrow}", []),
    ],
)
def test_a_rule_on_flowing_text_says_how_far_it_looks(rest: str, codes: list[str]) -> None:
    head = "patterns: {wide: {a: 'x.*y'}, narrow: {a: {re2: 'x.*y', max_width: 30}}}"
    found = findings(policy(f"- {{id: r, phase: text, {rest}, actions: [block: no]}}", head))
    assert [code for code, *_ in found if code[0] == "E"] == codes


def test_a_keyword_says_itself_how_far_it_looks() -> None:
    text = policy("- {id: r, phase: text, match: {keyword: [hi, hello]}, actions: [block: no]}")
    assert ruleset(text).rules[0].window == len("hello") + 2


# -- the set --


def test_a_required_policy_must_be_there_and_enforced() -> None:
    def missing(text: str) -> list[str]:
        return [each.message for each in compile_policies([PolicySource("p.yaml", text)], require=["p"]).diagnostics]

    rule = "- {id: r, phase: request, actions: [tag: t]}"
    assert missing(policy(rule)) == []
    assert missing(policy(rule, name="q")) == ["the required policy 'p' is not loaded"]
    for mode in ("mode: shadow", "mode: off", "rollout: 0"):
        assert missing(policy(rule, mode)) == ["the required policy 'p' is loaded, but enforces nothing"]


def test_the_revision_names_the_content_whatever_the_order_of_the_files() -> None:
    one, two = PolicySource("1", "a"), PolicySource("2", "b")
    assert revision_of([one, two]) == revision_of([two, one])
    assert revision_of([one, two]) != revision_of([one, PolicySource("2", "c")])


def test_a_pack_is_loaded_with_what_the_configuration_changes_of_it() -> None:
    text = policy("- {id: r, phase: tool_call, match: {tool: {$set: s}}, actions: [block: no]}", "sets: {s: [a]}")
    changed = PolicySource("p.yaml", text, overrides={"mode": "shadow", "sets": {"s": ["b"]}, "scope": {"team": "x"}})
    result = compile_policies([changed])
    assert result.ruleset is not None
    given = {"phase": "tool_call", "tool": {"name": "b"}, "caller": {"team": "x"}}
    (outcome,) = decide(result.ruleset, given).outcomes
    assert (outcome.outcome.value, outcome.mode.value) == ("matched", "shadow")


def test_a_rule_of_the_wrong_shape_does_not_hide_the_mistakes_of_the_others() -> None:
    """An author sees all of them at once, at their own lines."""
    text = """\
version: 1
policy: p
rulez: []
rules:
  - {id: a, phase: tool_call, match: {modle: x}, actions: [{drop: {}}]}
  - {id: b, phase: request, when: requst.model == 'x', actions: [{block: no}]}
  - {id: c, phase: request, actions: [{set: {path: request.modell, value: x}}]}
  - {id: d, phase: text, actions: [{redact: {patterns: nowhere}}]}
tests:
  - {name: t, given: {}, expect: {verdikt: block}}
"""
    found = compile_policies([PolicySource("p.yaml", text)]).diagnostics
    assert [(each.code, each.where.line) for each in found] == [
        ("E131", 3),
        ("E131", 5),
        ("E202", 6),
        ("E418", 7),
        ("E407", 8),
        ("E131", 10),
    ]
