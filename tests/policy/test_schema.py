"""The schema and the fast reader must say the same of every document, and what is wrong in words and at its place."""

from typing import Any

import jsonschema
import msgspec
import pytest

from engine.diagnostics import Diagnostic
from engine.policy.read import read_policy
from engine.policy.schema import policy_schema

RULE = "{id: r, phase: request, actions: [{tag: t}]}"

RIGHT = {
    "least": "",
    "head": "description: d\nowner: o\nmode: shadow\npriority: -5\nrollout: 12.5\n",
    "scope": "scope: {caller: a, team: [a, 'b-*'], role: {$set: x}, agent: a, key: k, ip: 10.0.0.0/8}\nsets: {x: [a]}",
    "sets": "sets: {a: [], b-c: [x, 'y*']}",
    "patterns": "patterns: {p: {a: 'x', b: {re2: 'x+', max_width: 9}}, empty: {}}",
    "definitions": "definitions: {d: request.model}",
    "when text": "rules: [{id: r, phase: request, when: request.stream, actions: [{tag: t}]}]",
    "when bool": "rules: [{id: r, phase: request, when: true, unless: false, actions: [{tag: t}]}]",
    "when tree": "rules: [{id: r, phase: request, when: {any: [a, {not: {all: [b, true]}}]}, actions: [{tag: t}]}]",
    "match": "rules: [{id: r, phase: request, match: {model: m, stream: true, not: {tool: [a]}}, actions: [{tag: t}]}]",
    "status": "rules: [{id: r, phase: error, match: {status: [429, 5xx]}, actions: [{tag: t}]}]",
    "limit": "rules: [{id: r, phase: request, limit: {max: 1, every: 90s, per: caller.id}, actions: [{tag: t}]}]",
    "limit seconds": "rules: [{id: r, phase: request, limit: {every: 0.5}, actions: [{tag: t}]}]",
    "lone": "rules: [{id: r, phase: request, actions: [{block: no}, {log: x}, {drop_tools: [a]}, {unset: request.params.x}]}]",
    "block": "rules: [{id: r, phase: request, actions: [{block: {message: m, status: 451, code: legal}}]}]",
    "set": "rules: [{id: r, phase: request, actions: [{set: {path: request.params.x, value: null}}]}]",
    "redact": "rules: [{id: r, phase: request, actions: [{redact: {patterns: {a: 'x'}, restore: {tool_args: true}}}]}]",
    "redact in": "rules: [{id: r, phase: request, actions: [{redact: {patterns: [p, q], in: [user, system]}}]}]",
    "route": "rules: [{id: r, phase: route, actions: [{route: {failover: ['a:m', 'b:m']}}]}]",
    "state": "rules: [{id: r, phase: done, actions: [{remember: {key: k, value: {a: [1]}, ttl: 2h, in: team}}]}]",
    "metric": "rules: [{id: r, phase: done, actions: [{metric: {name: m, by: 2, labels: {a: team}}}]}]",
    "rate": "rules: [{id: r, phase: request, actions: [{rate_limit: {limit: 1, window: 1m, key: caller.id}}]}]",
    "exception": "rules: [{id: r, phase: request, actions: [{tag: t}]}]\n"
    "exceptions: [{rule: p/r, reason: x, expires: 2027-01-31, when: {not: request.stream}}]",
    "tests": "tests: [{name: t, given: {phase: request}, expect: {verdict: allow, by: r, status: 400, patch: []}}]",
}

# ruff: noqa: E501 -- each document stands on a line of its own, and columns can be counted
# what is wrong, the line and column, the message, and what the help says
WRONG = [
    ("rules: [{id: r, phase: request}]", 3, 9, "the key 'actions' is missing", "What happens"),
    ("rules: [{phase: request, actions: [{tag: t}]}]", 3, 9, "the key 'id' is missing", ""),
    ("rulez: []", 3, 1, "unknown key 'rulez'", "did you mean 'rules'?"),
    (
        "rules: [{id: r, phase: request, actions: [{tag: t}], prioritty: 1}]",
        3,
        54,
        "unknown key 'prioritty'",
        "'priority'",
    ),
    ("mode: enforced", 3, 7, '"enforced" is not possible here', "did you mean 'enforce'?"),
    ("mode: 3", 3, 7, "3 is not possible here", "one of enforce, off, shadow"),
    ("priority: high", 3, 11, 'expected a whole number, found "high"', ""),
    ("priority: 1.5", 3, 11, "expected a whole number, found 1.5", ""),
    ("priority: 20000", 3, 11, "20000 is too large: the most is 10000", ""),
    ("priority: true", 3, 11, "expected a whole number, found true", ""),
    ("rollout: 101", 3, 10, "101 is too large: the most is 100", ""),
    ("rollout: -1", 3, 10, "-1 is too small: the least is 0", ""),
    ("description: [a]", 3, 14, "expected a text, found a list", ""),
    ("owner: 3", 3, 8, "expected a text, found 3", ""),
    ("scope: payments", 3, 8, 'expected a mapping, found "payments"', ""),
    ("scope: {teams: a}", 3, 9, "unknown key 'teams'", "did you mean 'team'?"),
    ("scope: {team: 3}", 3, 15, "expected a text, a list or a mapping, found 3", ""),
    ("scope: {team: [a, 3]}", 3, 19, "expected a text, found 3", ""),
    ("scope: {team: {$sett: a}}", 3, 16, "unknown key '$sett'", "did you mean '$set'?"),
    ("scope: {team: {}}", 3, 9, "the key '$set' is missing", "set's name"),
    ("sets: {a: b}", 3, 11, 'expected a list, found "b"', ""),
    ("sets: {A B: [x]}", 3, 8, '"A B" is not a name', "lower-case words with hyphens"),
    ("patterns: {p: x}", 3, 15, 'expected a mapping, found "x"', ""),
    ("patterns: {p: {a: 3}}", 3, 19, "expected a text or a mapping, found 3", ""),
    ("patterns: {p: {a: {re: x}}}", 3, 20, "unknown key 're'", "did you mean 're2'?"),
    ("patterns: {p: {a: {re2: x, max_width: 0}}}", 3, 39, "0 is too small: the least is 1", ""),
    ("definitions: {d: 3}", 3, 18, "expected a text, found 3", ""),
    ("rules: {}", 3, 8, "expected a list, found a mapping", ""),
    ("rules: [3]", 3, 9, "expected a mapping, found 3", ""),
    ("rules: [{id: R, phase: request, actions: [{tag: t}]}]", 3, 14, '"R" is not a name', "no-force-push"),
    ("rules: [{id: r, phase: requests, actions: [{tag: t}]}]", 3, 24, '"requests" is not possible here', "'request'"),
    ("rules: [{id: r, phase: request, actions: []}]", 3, 42, "it must not be empty", ""),
    ("rules: [{id: r, phase: request, actions: {tag: t}}]", 3, 42, "expected a list, found a mapping", "- block"),
    ("rules: [{id: r, phase: request, actions: [tag]}]", 3, 43, 'expected a mapping, found "tag"', ""),
    ("rules: [{id: r, phase: request, actions: [{}]}]", 3, 43, "a step names an action", "- block"),
    ("rules: [{id: r, phase: request, actions: [{tag: t, log: x}]}]", 3, 43, "a step names one action", "- block"),
    ("rules: [{id: r, phase: request, actions: [{blok: x}]}]", 3, 44, "unknown action 'blok'", "did you mean 'block'?"),
    ("rules: [{id: r, phase: request, actions: [{block: 3}]}]", 3, 51, "expected a text or a mapping, found 3", ""),
    ("rules: [{id: r, phase: request, actions: [{block: {massage: x}}]}]", 3, 52, "unknown key 'massage'", "'message'"),
    (
        "rules: [{id: r, phase: request, actions: [{block: {status: 200}}]}]",
        3,
        60,
        "200 is too small: the least is 400",
        "",
    ),
    (
        "rules: [{id: r, phase: request, actions: [{block: {code: No}}]}]",
        3,
        58,
        '"No" is not written as it should be',
        "",
    ),
    ("rules: [{id: r, phase: tool_call, actions: [{steer: {}}]}]", 3, 46, "the key 'message' is missing", ""),
    (
        "rules: [{id: r, phase: tool_call, actions: [{steer: {message: m, then: alow}}]}]",
        3,
        72,
        '"alow" is not',
        "'allow'",
    ),
    ("rules: [{id: r, phase: request, actions: [{set: {path: x, value: 1}}]}]", 3, 56, '"x" is not a field', ""),
    ("rules: [{id: r, phase: request, actions: [{set: request.params.x}]}]", 3, 49, "expected a mapping, found", ""),
    (
        "rules: [{id: r, phase: done, actions: [{count: {key: k, ttl: soon}}]}]",
        3,
        62,
        '"soon" is not a length of time',
        "90s",
    ),
    ("rules: [{id: r, phase: done, actions: [{count: {key: k, ttl: 0}}]}]", 3, 62, "0 is not a length of time", "90s"),
    (
        "rules: [{id: r, phase: request, actions: [{redact: {patterns: 3}}]}]",
        3,
        63,
        "expected a text, a list or a mapping",
        "",
    ),
    (
        "rules: [{id: r, phase: request, actions: [{redact: {patterns: p, in: [usr]}}]}]",
        3,
        71,
        '"usr" is not',
        "'user'",
    ),
    (
        "rules: [{id: r, phase: done, actions: [{metric: {name: m, labels: {a: id}}}]}]",
        3,
        71,
        '"id" is not possible',
        "",
    ),
    (
        "rules: [{id: r, phase: request, when: 3, actions: [{tag: t}]}]",
        3,
        39,
        "expected a text, true or false or a mapping",
        "",
    ),
    ("rules: [{id: r, phase: request, when: '', actions: [{tag: t}]}]", 3, 39, "it must not be empty", ""),
    ("rules: [{id: r, phase: request, when: {any: []}, actions: [{tag: t}]}]", 3, 45, "it must not be empty", ""),
    ("rules: [{id: r, phase: request, when: {anny: [a]}, actions: [{tag: t}]}]", 3, 40, "unknown key 'anny'", "'any'"),
    (
        "rules: [{id: r, phase: request, when: {any: [a], all: [b]}, actions: [{tag: t}]}]",
        3,
        39,
        "any, all and not",
        "",
    ),
    (
        "rules: [{id: r, phase: request, when: {all: [a, {not: 3}]}, actions: [{tag: t}]}]",
        3,
        55,
        "expected a text, true",
        "",
    ),
    ("rules: [{id: r, phase: request, match: {model: 3}, actions: [{tag: t}]}]", 3, 48, "expected a text, a list", ""),
    (
        "rules: [{id: r, phase: request, match: {stream: yes}, actions: [{tag: t}]}]",
        3,
        49,
        "expected true or false",
        "",
    ),
    (
        "rules: [{id: r, phase: request, match: {not: {modle: x}}, actions: [{tag: t}]}]",
        3,
        47,
        "unknown key 'modle'",
        "model",
    ),
    ("rules: [{id: r, phase: request, limit: {max: 0}, actions: [{tag: t}]}]", 3, 46, "0 is too small", ""),
    ("rules: [{id: r, phase: request, window: 0, actions: [{tag: t}]}]", 3, 41, "0 is too small", ""),
    ("rules: [{id: r, phase: request, when: , actions: [{tag: t}]}]", 3, 39, "expected a text, true or", ""),
    ("rules: [{id: r, phase: request, match: , actions: [{tag: t}]}]", 3, 40, "expected a mapping, found nothing", ""),
    ("rules: [{id: r, phase: request, match: {tool: }, actions: [{tag: t}]}]", 3, 47, "found nothing", ""),
    ("scope:", 3, 7, "expected a mapping, found nothing", ""),
    ("scope: {team: }", 3, 15, "expected a text, a list or a mapping, found nothing", ""),
    ("exceptions: [{rule: p/r, reason: x}]", 3, 14, "the key 'expires' is missing", "last day"),
    ("exceptions: [{rule: p/r, reason: '', expires: 2027-01-31}]", 3, 34, "it must not be empty", ""),
    ("exceptions: [{rule: p/r, reason: x, expires: soon}]", 3, 46, '"soon" is not written as it should be', ""),
    ("exceptions: [{rule: p/r, reason: x, expires: 2027-01-31, when: {}}]", 3, 64, "any, all and not", ""),
    ("tests: [{name: t, given: {}, expect: {verdict: blok}}]", 3, 48, '"blok" is not possible here', "'block'"),
    (
        "tests: [{name: t, given: {}, expect: {outcomes: {r: matches}}}]",
        3,
        53,
        '"matches" is not possible',
        "'matched'",
    ),
]


def read(body: str) -> tuple[Any, tuple[Diagnostic, ...]]:
    found = read_policy(f"version: 1\npolicy: p\n{body}\n", "p.yaml")
    return found.document.data, found.diagnostics


def the_schema_accepts(document: Any) -> bool:
    return jsonschema.Draft202012Validator(policy_schema()).is_valid(document)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_right_for_both(name: str) -> None:
    document, diagnostics = read(RIGHT[name])
    assert diagnostics == ()
    assert the_schema_accepts(document), list(jsonschema.Draft202012Validator(policy_schema()).iter_errors(document))


@pytest.mark.parametrize(("body", "line", "column", "message", "help"), WRONG, ids=[each[0] for each in WRONG])
def test_what_is_wrong_is_wrong_for_both_and_said_in_words(
    body: str, line: int, column: int, message: str, help: str
) -> None:
    document, diagnostics = read(body)
    assert not the_schema_accepts(document)
    said = [(each.where.line, each.where.column, each.message) for each in diagnostics]
    assert [(at_line, at_column) for at_line, at_column, _ in said] == [(line, column)], said
    assert message in said[0][2]
    assert help in diagnostics[0].help, diagnostics[0].help
    for jargon in ("$.", "is not of type", "schema", "anyOf", "Additional properties", "does not match"):
        assert jargon not in diagnostics[0].message


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "the file is empty"),
        ("policy: p", "the key 'version' is missing"),
        ("version: 1", "the key 'policy' is missing"),
        ("version: 2\npolicy: p", "2 is not possible here"),
        ("version: 1\npolicy: P", '"P" is not a name'),
        ("- a", "expected a mapping, found a list"),
        ("text", 'expected a mapping, found "text"'),
    ],
)
def test_a_file_without_its_head_is_said(head: str, message: str) -> None:
    assert [each.message for each in read_policy(head, "p.yaml").diagnostics] == [message]


def test_a_number_in_quotes_is_said_to_be_one() -> None:
    (said,) = read_policy("version: '1'\npolicy: p", "p.yaml").diagnostics
    assert said.help == "write it without quotes: 1"


def test_every_mistake_of_a_file_is_said_at_once() -> None:
    _, diagnostics = read("mode: on\nrules: [{id: r, phase: request, actions: [{tag: 3}], x: 1}]\nsets: {a: 1}")
    assert sorted(each.where.line for each in diagnostics) == [3, 4, 4, 5]


def test_the_schema_is_one_that_the_dialect_allows() -> None:
    jsonschema.Draft202012Validator.check_schema(policy_schema())
    assert set(msgspec.json.decode(msgspec.json.encode(policy_schema()))) == {
        "$schema",
        "$id",
        "title",
        "$ref",
        "$defs",
    }
