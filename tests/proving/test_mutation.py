"""Rules broken in one place, and what tests notice of it."""

from engine.policy.compile import PolicySource
from engine.proving.mutation import Survivor, mutants_of

RULES = """\
version: 1
policy: p
rules:
  - id: r
    phase: request
    match: {model: ["gpt-*", o3]}
    when: request.stream && request.input_tokens > `5`
    unless: caller.id == 'root'
    actions: [block: no]
tests:
"""
BLOCKED = "  - {name: a, given: {request: {model: MODEL, stream: true, input_tokens: 6}}, expect: {verdict: block}}\n"
PASSES = "  - {name: b, given: GIVEN, expect: {verdict: allow}}\n"
THOROUGH = (
    BLOCKED.replace("MODEL", "gpt-4o")
    + BLOCKED.replace("MODEL", "o3")
    + "".join(
        PASSES.replace("GIVEN", given)
        for given in (
            "{request: {model: other, stream: true, input_tokens: 6}}",
            "{request: {model: o3, stream: false, input_tokens: 6}}",
            "{request: {model: o3, stream: true, input_tokens: 5}}",
            "{request: {model: o3, stream: true, input_tokens: 6}, caller: {id: root}}",
        )
    )
)


def tried(tests: str) -> list[Survivor | None]:
    return list(mutants_of(PolicySource("p.yaml", RULES + tests)))


def survivors(tests: str) -> list[str]:
    return [f"{each.where.line}:{each.where.column} {each.change}" for each in tried(tests) if each is not None]


def test_thorough_tests_notice_every_mutant() -> None:
    assert len(tried(THOROUGH)) >= 12
    assert survivors(THOROUGH) == []


def test_a_survivor_is_named_with_its_place() -> None:
    found = survivors(BLOCKED.replace("MODEL", "gpt-4o"))
    assert "6:13 leave out `model` of match" in found
    assert "6:30 leave out 'o3' of model" in found
    assert "8:5 leave out `unless`" in found
    assert "7:29 > becomes <= in request.input_tokens > `5`" not in found, "the test notices it"
    assert any(each.startswith("7:11 leave out `request.stream` of ") for each in found)


def test_a_file_without_tests_has_no_mutants() -> None:
    assert tried("  []\n") == []
