"""What two versions of a rule are to each other."""

import pytest

from engine.policy.compile import PolicySource, compile_policies
from engine.proving.semantics import Kind, RuleChange, Side, semantic_diff

HEAD = (
    "version: 1\npolicy: p\nsets: {few: [bash], many: [bash, sh]}\ndefinitions: {big: 'request.input_tokens > `10`'}\n"
)


def side(rules: str, head: str = HEAD) -> Side:
    compiled = compile_policies([PolicySource("p.yaml", f"{head}rules:\n{rules}")])
    assert compiled.ruleset is not None, compiled.diagnostics
    return Side(compiled.checked, compiled.ruleset)


def rule(keys: str) -> str:
    return f"  - {{id: r, phase: request, actions: [block: no]{', ' + keys if keys else ''}}}\n"


def change(old: str, new: str) -> RuleChange | None:
    found = semantic_diff(side(rule(old)), side(rule(new)))
    return found[0] if found else None


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("match: {model: gpt-4o}", ""),
        ("match: {model: gpt-4o}", "match: {model: [gpt-4o, o3]}"),
        ("match: {model: GPT-4o}", "match: {model: 'gpt-*'}"),
        ("match: {tool: {$set: few}}", "match: {tool: {$set: many}}"),
        ("match: {model: o3, caller: ann}", "match: {model: o3}"),
        ("match: {not: {model: 'gpt-*'}}", "match: {not: {model: gpt-4o}}"),
        ("when: request.stream && request.model == 'o3'", "when: request.stream"),
        ("when: {all: [request.stream, \"request.model == 'o3'\"]}", "when: request.stream"),
        ("when: request.stream", "when: \"request.stream || request.model == 'o3'\""),
        ("unless: request.stream", ""),
        ("when: false", "when: request.stream"),
    ],
)
def test_wider_and_narrower_are_proved_both_ways(narrow: str, wide: str) -> None:
    widened, narrowed = change(narrow, wide), change(wide, narrow)
    assert widened is not None
    assert narrowed is not None
    assert (widened.kind, narrowed.kind) == (Kind.WIDENED, Kind.NARROWED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("match: {model: gpt-4o}", "match: {model: o3}"),
        ("match: {model: gpt-4o}", "match: {caller: ann}"),
        ("when: request.stream", "when: \"request.model == 'o3'\""),
        ("when: request.stream", 'when: "!(request.stream)"'),
        ("mode: shadow", "mode: enforce"),
        ("priority: 1", "priority: 2"),
        ("match: {model: gpt-4o}, priority: 1", "priority: 2"),
    ],
)
def test_what_cannot_be_proved_is_changed(old: str, new: str) -> None:
    found = change(old, new)
    assert found is not None
    assert found.kind is Kind.CHANGED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "description: Why."),
        ("when: request.stream  &&  request.model == 'o3'", "when: request.model == 'o3' && request.stream"),
        ("match: {model: o3}", "match: {model: [o3]}"),
        ("", "mode: enforce"),
    ],
)
def test_what_decides_the_same_is_no_difference(old: str, new: str) -> None:
    assert change(old, new) is None


def test_a_definition_that_changes_changes_its_rules() -> None:
    using = rule("when: def('big')")
    (found,) = semantic_diff(side(using), side(using, HEAD.replace("`10`", "`20`")))
    assert (found.kind, found.details) == (Kind.CHANGED, ("`when` is another one",))


def test_rules_come_and_go_with_a_witness() -> None:
    other = "  - {id: other, phase: request, match: {model: o3}, actions: [respond: no]}\n"
    (added,) = semantic_diff(side(rule("when: request.stream")), side(rule("when: request.stream") + other))
    (removed,) = semantic_diff(side(rule("when: request.stream") + other), side(rule("when: request.stream")))
    assert (added.kind, removed.kind) == (Kind.ADDED, Kind.REMOVED)
    assert added.witness is not None
    assert (added.witness.given["request"], added.witness.before, added.witness.after) == (
        {"model": "o3"}, "nothing", "respond",
    )  # fmt: skip
