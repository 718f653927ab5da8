"""What tests have seen of the rules, spot by spot."""

from engine.policy.compile import PolicySource, check_file
from engine.policy.context import UNKNOWN
from engine.policy.trial import rules_of, run_tests
from engine.proving.coverage import Coverage, Covered

RULES = """\
version: 1
policy: p
rules:
  - id: r
    phase: request
    match: {model: "gpt-*"}
    when: request.stream || contains(request.last_user, 'x') && !(request.model == 'gpt-4o')
    unless: caller.id == 'root'
    actions: [tag: a, block: no]
  - {id: always, phase: done, actions: [tag: b]}
exceptions:
  - {rule: r, match: {caller: bot}, reason: OPS-1, expires: 2100-01-01}
tests:
"""


def covered(*givens: str) -> Covered:
    tests = "".join(f"  - {{name: t{number}, given: {given}}}\n" for number, given in enumerate(givens))
    checked, _, found = check_file(PolicySource("p.yaml", RULES + tests), UNKNOWN)
    assert checked is not None, found
    rules, _ = rules_of(checked)
    coverage = Coverage([checked], rules)
    for result in run_tests(checked):
        for event, decision in result.seen:
            coverage.met(event, decision)
    return coverage.result()


def missing(found: Covered) -> list[str]:
    return [f"{each.where.line}:{each.where.column} {each.what}" for each in found.missing]


def test_without_tests_everything_is_missing() -> None:
    found = covered("{phase: attempt}")
    assert found.percent == 0
    assert (found.of("outcome"), found.of("action"), found.of("condition")) == ((0, 4), (0, 3), (0, 8))
    assert missing(found) == [
        "4:5 matched", "4:5 no_match", "4:5 excepted",
        "9:15 tag", "9:23 block",
        "7:11 true: request.stream", "7:11 false: request.stream",
        "7:29 true: contains(request.last_user, 'x')", "7:29 false: contains(request.last_user, 'x')",
        "7:67 true: request.model == 'gpt-4o'", "7:67 false: request.model == 'gpt-4o'",
        "8:13 true: caller.id == 'root'", "8:13 false: caller.id == 'root'",
        "10:5 matched", "10:41 tag",
    ]  # fmt: skip


def test_only_what_is_evaluated_is_seen() -> None:
    """The right of `||` is passed over where the left holds; what `match` turns away looks at no condition."""
    found = covered("{request: {model: gpt-4o, stream: true}}", "{request: {model: o3, last_user: x}}")
    said = missing(found)
    assert "7:11 true: request.stream" not in said
    assert "7:11 false: request.stream" in said
    assert "7:29 true: contains(request.last_user, 'x')" in said
    assert "8:13 false: caller.id == 'root'" not in said
    assert "4:5 matched" not in said
    assert "4:5 no_match" not in said


def test_everything_can_be_seen() -> None:
    found = covered(
        "{request: {model: gpt-4o, stream: true}}",
        "{request: {model: gpt-4o, stream: true}, caller: {id: root}}",
        "{request: {model: gpt-4o, last_user: x}}",
        "{request: {model: gpt-5, last_user: x}}",
        "{request: {model: gpt-5, last_user: y}}",
        "{request: {model: gpt-5}, caller: {id: bot}}",
        "{phase: done}",
    )
    assert missing(found) == []
    assert found.percent == 100
