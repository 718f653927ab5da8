"""What the checker says of an expression, as pairs of text and findings; of a correct condition it says nothing."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest

from engine.diagnostics import Severity
from engine.language.check import CONDITION, Known, check, check_text, type_from_schema
from engine.language.compile import compile_expression
from engine.language.findings import CODES
from engine.language.inference import items_of, value_of
from engine.language.parse import parse
from engine.language.patterns import PatternSet
from engine.language.scope import Names
from engine.language.types import ANYTHING, BOOLEAN, NULL, NUMBER, STRING, Type
from engine.language.values import kind_of

SCHEMA: Mapping[str, Any] = {
    "$ref": "#/$defs/Event",
    "$defs": {
        "Event": {
            "type": "object",
            "properties": {
                "phase": {"enum": ["tool_call"]},
                "caller": {"$ref": "#/$defs/Caller"},
                "session": {
                    "type": "object",
                    "properties": {
                        "kind": {"enum": ["explicit", "inferred"]},
                        "turn": {"type": "integer"},
                        "vars": {"type": "object"},
                        "labels": {"type": "array", "items": {"type": "string"}},
                    },
                    "additionalProperties": False,
                },
                "request": {"$ref": "#/$defs/Request"},
                "tool": {"$ref": "#/$defs/Tool"},
                "usage": {
                    "type": "object",
                    "properties": {
                        "cost": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                        "input": {"type": "integer"},
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
        "Caller": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "team": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "roles": {"type": "array", "items": {"type": "string"}},
                "ip": {"type": "string"},
            },
            "additionalProperties": False,
        },
        "Request": {
            "type": "object",
            "properties": {
                "model": {"type": "string"},
                "stream": {"type": "boolean"},
                "system": {"type": "string"},
                "messages": {"type": "array", "items": {"$ref": "#/$defs/Message"}},
                "tool_names": {"type": "array", "items": {"type": "string"}},
                "params": {"type": "object", "additionalProperties": {}},
                "input_tokens": {"type": "integer"},
                "headers": {
                    "type": "object",
                    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
            "additionalProperties": False,
        },
        "Message": {
            "type": "object",
            "properties": {
                "role": {"enum": ["system", "user", "assistant", "tool"]},
                "text": {"type": "string"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
            },
            "additionalProperties": False,
        },
        "Part": {"type": "object", "properties": {"text": {"type": "string"}, "size": {"type": "integer"}}},
        "Tool": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "args": {"type": "object", "additionalProperties": {}},
                "paths": {"type": "array", "items": {"type": "string"}},
                "shell": {"anyOf": [{"$ref": "#/$defs/Shell"}, {"type": "null"}]},
            },
            "additionalProperties": False,
        },
        "Shell": {
            "type": "object",
            "properties": {
                "dialect": {"enum": ["posix", "powershell", "cmd"]},
                "resolved": {"type": "boolean"},
                "commands": {"type": "array", "items": {"$ref": "#/$defs/Command"}},
            },
            "additionalProperties": False,
        },
        "Command": {
            "type": "object",
            "properties": {
                "program": {"type": "string"},
                "subcommand": {"type": "string"},
                "argv": {"type": "array", "items": {"type": "string"}},
                "flags": {"type": "array", "items": {"type": "string"}},
                "operands": {"type": "array", "items": {"type": "string"}},
                "dynamic": {"type": "boolean"},
            },
            "additionalProperties": False,
        },
    },
}
EVENT = type_from_schema(SCHEMA)
ELSEWHERE = {"text": ("text",), "result": ("tool_result",)}
COMMANDS = Type.array(EVENT.properties["tool"].properties["shell"].properties["commands"].items or ANYTHING)
KNOWN = Known(
    sets=["shells", "editors"],
    patterns=["codenames"],
    definitions={"pushes": COMMANDS.or_null(), "is_git": BOOLEAN},
)


def findings(text: str, expect: Type | None = CONDITION) -> list[tuple[str, str, str, str]]:
    checked = check_text(text, EVENT, KNOWN, expect=expect, elsewhere=ELSEWHERE)
    return [(each.code, text[each.start : each.end], each.message, each.help) for each in checked.findings]


WRONG: list[tuple[str, str, str, str, str]] = [
    # text that is no expression
    ("request.model = 'x'", "E201", "=", "'=' is not an operator", "write == to compare"),
    ("session.turn > 3", "E201", "3", "'3' cannot stand here", "a number is written between backticks: `3`"),
    # fields
    ("request.modle == 'gpt-4o'", "E202", "modle", "unknown field 'modle' of request", "did you mean 'model'?"),
    ("requst.model != 'x'", "E202", "requst", "unknown field 'requst' of the event", "did you mean 'request'?"),
    ("model == 'x'", "E202", "model", "unknown field 'model' of the event", "did you mean 'request.model'?"),
    ("caller.xyz == 'x'", "E202", "xyz", "unknown field 'xyz' of caller", "fields: id, team, roles, ip"),
    ("tool.shell && tool.shell.resolve", "E202", "resolve", "of tool.shell", "did you mean 'resolved'?"),
    ("any(request.messages[?rol == 'user'])", "E202", "rol", "of an element of request.messages", "'role'"),
    ("any(request.messages[*].txt)", "E202", "txt", "of an element of request.messages", "'text'"),
    ("any(tool.shell.commands[?tool.name == 'x'])", "E202", "tool", "of an element of", "start at the element"),
    ("any(def('pushes')[?flag == 'f'])", "E202", "flag", "of an element of def('pushes')", "'flags'"),
    ("request.stream == true", "E202", "true", "'true' names a field", "`true`"),
    ("text.window == 'x'", "E203", "text", "'text' does not exist in this phase", "it exists in: text"),
    ("request.model.name == 'x'", "E204", "name", "request.model is a string, which has no fields", ""),
    ("any(caller.roles[?request.model == @])", "E204", "request", "an element of caller.roles is a string", "def('…')"),
    ("request.messages.text == 'x'", "E204", "text", "request.messages is a list", "[*].text"),
    ("(request.messages | [0].parts[0].size.x) == 'x'", "E204", "x", "has no fields", ""),
    # comparisons
    ("request.model == `5`", "E205", "request.model == `5`", "a string never equals a number", ""),
    ("session.turn != 'x'", "E205", "session.turn != 'x'", "always true", ""),
    ("request.model == null", "E205", "request.model == null", "request.model is never null", ""),
    ("request.messages[*].role == 'user'", "E205", "request.messages[*].role == 'user'", "a list never", "contains("),
    ("contains(caller.roles, `1`)", "E205", "contains(caller.roles, `1`)", "the list holds a string", ""),
    ("contains(request.model, `4`)", "E205", "contains(request.model, `4`)", "a string never contains", ""),
    ("session.kind == 'explicite'", "E206", "'explicite'", "not a possible value: this is always false", "'explicit'"),
    ("session.kind != 'zzz'", "E206", "'zzz'", "always true", "possible values: 'explicit', 'inferred'"),
    ("any(request.messages[?role == 'usr'])", "E206", "'usr'", "not a possible value", "did you mean 'user'?"),
    (
        "contains(['explicit', 'x'], tool.shell.dialect)",
        "E206",
        "contains(['explicit', 'x'], tool.shell.dialect)",
        "",
        "",
    ),
    ("request.model > `5`", "E207", "request.model", "> compares numbers, and this is a string", "to_number()"),
    ("tool.paths >= `1`", "E207", "tool.paths", "a list", "length()"),
    ("session.turn > '5'", "E207", "'5'", "a string", ""),
    # contradictions
    (
        "request.model == 'a' && request.model == 'b'",
        "E208",
        "request.model == 'b'",
        "together with request.model == 'a'",
        "",
    ),
    ("session.turn > `5` && request.stream && session.turn < `3`", "E208", "session.turn < `3`", "cannot be true", ""),
    ("session.turn == `5` && session.turn < `5`", "E208", "session.turn < `5`", "session.turn == `5`", ""),
    ("`5` < session.turn && `3` > session.turn", "E208", "`3` > session.turn", "session.turn > `5`", ""),
    ("caller.id == 'a' && !(caller.id == 'a')", "E208", "!(caller.id == 'a')", "cannot be true", ""),
    ("request.model != 'a' || request.model != 'b'", "E208", "request.model != 'b'", "this is always true", "&&"),
    ("any(tool.shell.commands[?program == 'a' && program == 'b'])", "E208", "program == 'b'", "cannot be true", ""),
    # functions
    ("start_with(request.model, 'x')", "E209", "start_with", "unknown function 'start_with'", "'starts_with'"),
    (
        "starts_with(request.model)",
        "E210",
        "starts_with(request.model)",
        "takes 2 arguments, and 1 are given",
        "prefix",
    ),
    ("not_null() == 'x'", "E210", "not_null()", "at least 1 argument,", ""),
    ("length(session.turn) > `1`", "E211", "session.turn", "length() takes a string or a list or an object", ""),
    ("starts_with(`1`, 'x')", "E211", "`1`", "takes a string, and this is a number", ""),
    ("lower(`null`) == 'x'", "E211", "`null`", "takes a string, and this is null", ""),
    ("sum(caller.roles) > `1`", "E211", "caller.roles", "an element must be a number, and is a string", ""),
    ("any(sort_by(request.messages, role))", "E211", "role", "an expression is expected here", "with & before it"),
    ("any(sort_by(request.messages, 'role'))", "E211", "'role'", "an expression is expected here", "&"),
    ("any(sort_by(request.messages, &parts))", "E211", "&parts", "orders by a number or a string", ""),
    ("any(sort_by(request.messages, &rol))", "E202", "rol", "of an element of request.messages", "'role'"),
    ("starts_with(request.model, &x)", "E211", "&x", "no expression is expected here", ""),
    ("matches(request.model, request.system)", "E212", "request.system", "pattern of matches() must be a literal", ""),
    ("contains(set(shells), tool.name)", "E212", "shells", "name of set() must be a literal", "single quotes"),
    ("glob(request.model, caller.id)", "E212", "caller.id", "must be a literal", ""),
    ("contains(set('shels'), tool.name)", "E213", "'shels'", "unknown set 'shels'", "did you mean 'shells'?"),
    ("def('push')", "E213", "'push'", "unknown definition 'push'", "'pushes'"),
    ("matches_any(request.model, 'zzz')", "E213", "'zzz'", "unknown pattern set 'zzz'", "known: codenames"),
    ("matches(request.model, '(?=x)y')", "E501", "(?=", "not a pattern", "no lookahead"),
    ("matches(request.model, 'a(b')", "E501", "a(b", "missing )", ""),
    ("cidr(caller.ip, '10.0.0.0/99')", "E218", "'10.0.0.0/99'", "not a network", ""),
    # quotes
    ('request.model == "gpt-4o"', "E214", '"gpt-4o"', "double quotes name a field", "a string is written 'gpt-4o'"),
    ('any(tool.args.files[?name == "x"])', "W214", '"x"', "names a field", "a string is written 'x'"),
    # lists
    ("!request.stream", "E219", "!request.stream", "! binds to the first name alone", "!(…)"),
    ("!tool.paths[?@ == 'x']", "E219", "!tool.paths", "! binds to the first name alone", "!(…)"),
    ("any(request.messages[0:2][?role == 'user'])", "E216", "[?role == 'user']", "applies to each element", "pipe"),
    ("request.model[0] == 'x'", "E215", "[0]", "request.model is a string, which has no elements", ""),
    ("any(request.model[?x == 'y'])", "E215", "request.model[?x == 'y']", "has no elements", ""),
    ("any(request.messages.*)", "E215", "request.messages.*", "has no fields", "[*]"),
    ("request.messages[?role == 'user'][0] == 'x'", "E216", "[0]", "applies to each element", "list[?x] | [0]"),
    ("request.messages[*].text[0] == 'x'", "E216", "[0]", "which is a string", ""),
    # the value of a condition
    ("length(tool.paths)", "E217", "length(tool.paths)", "must be true or false, and this is a number", "> `0`"),
    ("tool.paths[?@ == 'x']", "E217", "tool.paths[?@ == 'x']", "this is a list", "any("),
    ("request.stream && length(tool.paths)", "E217", "length(tool.paths)", "this is a number", ""),
    ("request.stream || request.model", "E217", "request.model", "this is a string", "!= ''"),
    ("'x'", "E217", "'x'", "this is a string", ""),
    # nulls
    ("usage.cost > `5`", "W301", "usage.cost", "usage.cost may be null", "null means"),
    ("!(usage.cost < `5`)", "W301", "usage.cost", "the comparison is then null", ""),
    (
        "starts_with(caller.team, 'a')",
        "W302",
        "caller.team",
        "starts_with() does not accept null",
        "caller.team != null &&",
    ),
    ("length(tool.shell.commands) > `1`", "W302", "tool.shell.commands", "may be null", ""),
    ("starts_with(tool.args.path, '/etc')", "W302", "tool.args.path", "may be null", "default("),
    ("starts_with(request.headers.\"x-a\", 'b')", "W302", 'request.headers."x-a"', "may be null", ""),
    ("caller.team == 'a' || starts_with(caller.team, 'x')", "W302", "caller.team", "may be null", ""),
    ("starts_with(request.messages[0].text, 'x')", "W302", "request.messages[0].text", "may be null", ""),
    ("(caller.team || request.stream) && starts_with(caller.team, 'a')", "W302", "caller.team", "may be null", ""),
    ("!(caller.team == null && request.stream) && lower(caller.team) == 'a'", "W302", "caller.team", "may be null", ""),
    # booleans
    ("!(session.turn)", "W303", "session.turn", "a number always counts as true", "`0`"),
    ("session.turn && request.stream", "W303", "session.turn", "0 too", ""),
    ("any(tool.paths[?length(@)])", "W303", "length(@)", "always counts as true", ""),
    ("!request", "W303", "request", "request always exists", ""),
    ("!`0`", "W304", "`0`", "0 counts as true", ""),
    ("'' && request.stream", "W304", "''", "always false", ""),
    ("request.system && request.stream", "W305", "request.system", "a string as its value where it is empty", "!= ''"),
    ("tool.paths && request.stream", "W305", "tool.paths", "a list as its value", "any("),
]


@pytest.mark.parametrize(("text", "code", "underlined", "message", "help"), WRONG)
def test_a_mistake_is_found_once_with_its_place_and_a_way_out(
    text: str, code: str, underlined: str, message: str, help: str
) -> None:
    found = findings(text)
    assert (code, underlined) in [each[:2] for each in found]
    spoken = next(each for each in found if each[:2] == (code, underlined))
    assert message in spoken[2]
    assert help in spoken[3]
    assert len([each for each in found if each[0].startswith("E")]) <= 1


RIGHT = """
request.model == 'gpt-4o'
phase == 'tool_call'
request.stream
!(request.stream)
request.stream == `true`
request.model != 'a' && request.model != 'b'
request.model == 'a' || request.model == 'b'
session.turn > `3`
session.turn > `3` && session.turn < `10`
session.turn >= `3` && session.turn <= `3`
session.kind == 'explicit'
session.kind == 'explicit' || session.kind == 'inferred'
contains(caller.roles, 'release-manager')
contains(['a', 'b'], caller.id)
contains(set('shells'), tool.name)
!contains(set('shells'), tool.name)
contains(request.tool_names, 'bash')
contains(session.labels, 'tainted')
caller.team == 'payments'
caller.team != null
caller.team == null
caller.team != `null` && starts_with(caller.team, 'infra-')
caller.team != null && starts_with(caller.team, 'infra-') && ends_with(caller.team, 'x')
caller.team != null && caller.team != null
caller.team == null || starts_with(caller.team, 'infra-')
!(caller.team == null) && starts_with(caller.team, 'a')
!(caller.team == null || length(caller.team) > `5`)
starts_with(default(caller.team, ''), 'infra-')
caller.team == 'payments' && length(caller.team) > `3`
tool.shell && tool.shell.resolved
tool.shell != null && !(tool.shell.resolved)
tool.shell.resolved
tool.shell.resolved == `false`
tool.shell.dialect == 'posix'
tool.shell && length(tool.shell.commands) > `1`
tool.shell && length(tool.shell.commands[?program == 'git']) > `1`
any(tool.shell.commands[*].argv) && length(tool.shell.commands) > `1`
tool.shell.resolved && length(tool.shell.commands) > `1`
!(tool.shell) || tool.shell.commands[0].program == 'git'
any(tool.shell.commands[?program == 'git' && subcommand == 'push'])
any(tool.shell.commands[?program == 'rm']) && length(tool.shell.commands) > `1`
any(tool.shell.commands[?contains(flags, 'force') || contains(flags, 'f')])
any(def('pushes')[?contains(flags, 'force') || any(operands[?starts_with(@, '+')])])
def('is_git')
def('is_git') && def('pushes') != null
none(request.messages[?role == 'system'])
count(tool.shell.commands) > `2`
any(tool.shell.commands[].argv[])
any(tool.shell.commands[*].argv[] | [?@ == '--force'])
(request.messages[?role == 'user'] | [0].text) == 'hi'
(request.messages[?role == 'user'] | [-1]).text != 'continue'
request.messages[-1].role == 'tool'
contains(request.messages[*].role, 'tool')
contains(request.messages[?role == 'tool'].text, 'x')
any(request.messages[*].parts[*].size | [])
any(request.messages[?parts[0].size > `5`])
length(request.messages) > `100`
length(request.messages[?role == 'tool']) > `10`
request.params.temperature > `1`
request.params.max_tokens == null
request.params.user != null && starts_with(request.params.user, 'svc-')
any(request.params.stop[?@ == 'x'])
tool.args.path && starts_with(tool.args.path, '/etc')
starts_with(default(tool.args.path, ''), '/etc')
tool.args.force
tool.args.options.force == `true`
has(tool.args, 'path')
any(tool.paths[?path_within(@, '/etc')])
any(tool.args.edits[*].new)
request.headers."x-debug" == '1'
any(values(request.headers)[?@ == 'x'])
matches(request.system, '(?i)password')
matches_any(request.system, 'codenames')
glob(request.model, 'gpt-4*')
glob(tool.name, set('shells'))
cidr(caller.ip, '10.0.0.0/8')
cidr(caller.ip, `["10.0.0.0/8", "::1/128"]`)
var('edits', `0`) > `3`
var('mode') == 'plan'
lower(request.model) == 'gpt-4o'
usage.cost != null && usage.cost > `5`
usage.cost > `1` && usage.cost < `5` || !(usage.cost)
default(usage.cost, `0`) > `5`
json(request.system).error.code == 'x'
random() < `0.1`
max(request.messages[*].length(text)) != null
any(sort_by(request.messages, &text))
max_by(request.messages, &length(text)).role == 'user'
any(map(&length(@), tool.paths)[?@ > `5`])
split(request.model, '/')[-1] == 'x'
type(tool.args.x) == 'string' && request.stream
not_null(caller.team, 'none') == 'none'
to_number(request.headers.n) > `5` || request.stream
join(',', caller.roles) == 'a,b'
length(keys(tool.args)) > `5`
session.vars.seen == 'x' && session.vars.seen != 'y'
fingerprint(tool.args) == var('last', '')
repeats(request.system, `80`, `6`)
(caller.team || 'none') == 'none'
[request.model, tool.name] == ['a', 'b']
{m: request.model}.m == 'a'
request.[model, system][0] == 'x'
@.request.model == 'x'
any(request.messages[?@.role == 'user'].parts[])
any(request.messages[0:2] | [?role == 'user'])
tool.* | any(@)
!(request.system)
request.system != '' && request.stream
""".strip().splitlines()

NULLABLE = {
    "usage.cost > `1` && usage.cost < `5` || !(usage.cost)": ["W301"],
    "max(request.messages[*].length(text)) != null": [],
    "to_number(request.headers.n) > `5` || request.stream": ["W301"],
    "usage.cost": [],
}


@pytest.mark.parametrize("text", RIGHT)
def test_a_correct_condition_has_no_finding(text: str) -> None:
    assert [each[0] for each in findings(text)] == NULLABLE.get(text, [])


BY_LINT: Final = frozenset({306})
"""What is wrong in a guard alone, which only the rule around a condition can tell."""


def test_there_is_a_wrong_example_of_every_code() -> None:
    assert {int(code[1:]) for _, code, *_ in WRONG} == set(CODES) - BY_LINT


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("request.model", STRING),
        ("caller.team", STRING.or_null()),
        ("caller.team || 'x'", STRING),
        ("caller.team == null", BOOLEAN),
        ("session.turn > `1`", BOOLEAN),
        ("usage.cost > `1`", BOOLEAN.or_null()),
        ("request.messages[0].text", STRING.or_null()),
        ("request.messages[*].text", Type.array(STRING)),
        ("tool.shell.commands[*].argv", Type.array(Type.array(STRING)).or_null()),
        ("tool.shell.commands[].argv[]", Type.array(STRING).or_null()),
        ("tool.args.x", ANYTHING),
        ("tool.args.[a, b]", Type.array(ANYTHING)),
        ("tool.args.x.[a]", Type.array(ANYTHING).or_null()),
        ("reverse('abc') == 'cba'", BOOLEAN),
        ("caller.nothing.at.all | `1` | @", None),
        ("map(&length(@), tool.paths)", Type.array(NUMBER)),
        ("`null`", NULL),
    ],
)
def test_an_expression_has_a_type(text: str, wanted: Type | None) -> None:
    found = check_text(text, EVENT).type
    if wanted is not None:
        assert msgspec.structs.replace(found, enum=None) == wanted


@pytest.mark.parametrize(
    ("text", "expect", "codes"),
    [
        ("caller.id", STRING, []),
        ("caller.team", STRING, ["W305"]),
        ("session.turn", STRING, ["E217"]),
        ("tool.args.x", STRING, []),
    ],
)
def test_a_value_must_fit_its_place(text: str, expect: Type, codes: list[str]) -> None:
    assert [each[0] for each in findings(text, expect)] == codes


EXAMPLE: Mapping[str, Any] = {
    "phase": "tool_call",
    "caller": {"id": "ann", "team": "payments", "roles": ["dev"], "ip": "10.1.2.3"},
    "session": {"kind": "explicit", "turn": 4, "vars": {"edits": 5}, "labels": []},
    "request": {
        "model": "gpt-4o",
        "stream": True,
        "system": "",
        "messages": [{"role": "user", "text": "hi", "parts": [{"text": "hi", "size": 2}]}],
        "tool_names": ["bash"],
        "params": {"temperature": 2, "user": "svc-1"},
        "input_tokens": 7,
        "headers": {"x-debug": "1", "n": "8"},
    },
    "tool": {
        "name": "bash",
        "args": {"path": "/etc/x"},
        "paths": ["/etc/x"],
        "shell": {
            "dialect": "posix",
            "resolved": True,
            "commands": [
                {
                    "program": "git",
                    "subcommand": "push",
                    "argv": ["git", "push", "-f"],
                    "flags": ["f"],
                    "operands": ["+main"],
                    "dynamic": False,
                }
            ],
        },
    },
    "usage": {"cost": 2.5, "input": 3},
}
BARE: Mapping[str, Any] = {
    **EXAMPLE,
    "caller": {**EXAMPLE["caller"], "team": None, "roles": []},
    "request": {**EXAMPLE["request"], "stream": False, "messages": [], "params": {}, "headers": {}},
    "tool": {**EXAMPLE["tool"], "args": {}, "paths": [], "shell": None},
    "usage": {"cost": None, "input": 0},
}


def admits(found: Type, value: Any) -> bool:
    """Whether a value is of a type, all the way down."""
    kind = kind_of(value)
    if kind not in found.kinds:
        return False
    if kind == "array":
        return all(admits(items_of(found), each) for each in value)
    if kind == "object":
        return all(admits(found.properties.get(name) or value_of(found), each) for name, each in value.items())
    return kind == "null" or found.enum is None or value in found.enum


@pytest.mark.parametrize("event", [EXAMPLE, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("text", [each for each in RIGHT if "def(" not in each and "set(" not in each])
def test_the_value_of_a_correct_condition_is_of_its_type(text: str, event: Mapping[str, Any]) -> None:
    names = Names(patterns={"codenames": PatternSet("codenames", [])})
    value = compile_expression(text, names)(event)
    assert admits(check_text(text, EVENT, KNOWN).type, value)


def test_a_condition_that_held_before_narrows_and_contradicts() -> None:
    before = [parse("caller.team != null"), parse("request.model == 'a'")]
    text = "starts_with(caller.team, 'x') && request.model == 'b'"
    found = check(parse(text), EVENT, given=before, expect=CONDITION).findings
    assert [each.code for each in found] == ["E208"]


def test_nothing_is_said_around_an_error() -> None:
    assert [each[:2] for each in findings("length(request.modle) > 'x' && !(request.modle)")] == [
        ("E202", "modle"),
        ("E207", "'x'"),
        ("E202", "modle"),
    ]


def test_a_schema_may_hold_itself_and_name_several_types() -> None:
    tree = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {
                    "leaves": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                    "size": {"type": ["integer", "null"]},
                    "mark": {"const": "x"},
                    "level": {"anyOf": [{"enum": ["low", "high"]}, {"type": "null"}]},
                },
            }
        },
    }
    found = type_from_schema(tree)
    assert found.properties["leaves"] == Type.array(ANYTHING)
    assert found.properties["size"] == NUMBER.or_null()
    assert found.properties["mark"].enum == ("x",)
    assert found.properties["level"] == Type(frozenset({"string", "null"}), enum=("low", "high"))


def test_severities_follow_the_letter() -> None:
    checked = check_text("usage.cost > `5` && request.modle == 'x'", EVENT, expect=CONDITION)
    assert [(each.severity, each.code) for each in checked.findings] == [
        (Severity.WARNING, "W301"),
        (Severity.ERROR, "E202"),
    ]
