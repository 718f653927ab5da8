"""The rules of lint that look at what a rule means: pairs of a mistake and what it should have been."""

from datetime import date
from pathlib import Path

import pytest

from engine.policy.compile import PolicySource, compile_policies
from engine.policy.context import UNKNOWN, Catalogue
from engine.policy.lint import Memory, findings
from engine.policy.sources import PolicySet, pack_names, pack_source

TODAY = date(2026, 11, 22)


def codes(*texts: str, catalogue: Catalogue = UNKNOWN, strict: bool = False) -> list[str]:
    sources = tuple(
        PolicySource(f"{number}.yaml", f"version: 1\npolicy: p{number}\n{text}") for number, text in enumerate(texts)
    )
    found = findings(PolicySet(sources=sources, catalogue=catalogue), TODAY, strict=strict).diagnostics
    return [f"{each.code} {each.where.file[0]}:{each.where.line}" for each in found]


def rule(name: str = "r", phase: str = "request", do: str = "block: no", **keys: str) -> str:
    more = "".join(f"\n    {key.rstrip('_')}: {value}" for key, value in keys.items())
    return f"  - id: {name}\n    phase: {phase}{more}\n    actions:\n      - {do}\n"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (rule(when="false"), "W444 0:6"),
        (rule(unless="true"), "W444 0:6"),
        (rule(when="request.stream && request.model == 'a'", unless="request.stream"), "W444 0:7"),
        (rule(match="{model: [a, b], not: {model: '*'}}"), "W444 0:6"),
        (rule(match="{model: a}", when="request.model == 'b'"), "W444 0:7"),
        (rule(match="{model: [a, c]}", when="request.model == 'a' || request.model == 'b'"), "W445 0:7"),
        (rule(do="steer: {message: x, then: allow}", phase="tool_call", severity="high"), "W463 0:8"),
        (rule(when="tool.args.count > `3`", phase="tool_call"), "W306 0:6"),
        (rule(match="{model: gtp-5}"), "W466 0:6"),
        (rule(do="rate_limit: {limit: 5, window: 1m, key: session.id}"), "W467 0:7"),
        (rule(when="any(request.params.items[?x][0])"), "W216 0:6"),
    ],
)
def test_a_rule_that_is_hardly_meant(wrong: str, expected: str) -> None:
    assert codes("rules:\n" + wrong) == [expected]


@pytest.mark.parametrize(
    "right",
    [
        rule(when="request.stream", unless="request.model == 'a'"),
        rule(match="{model: 'a*', not: {model: a1}}"),
        rule(match="{model: [A, b]}", when="request.model == 'a' || request.model == 'b'"),
        rule(match="{role: a}", when="contains(caller.roles, 'b')"),
        rule(do="steer: {message: x, then: allow}", phase="tool_call", severity="low"),
        rule(when="tool.args.count != null && tool.args.count > `3`", phase="tool_call"),
        rule(match="{model: [gpt-5.9-nano, o3-pro, 'claude-*', my-own-model, text-embedding-3-large]}"),
        rule(when="(request.params.items[?x] | [0]) == 'a'"),
    ],
)
def test_a_rule_that_may_well_be_meant(right: str) -> None:
    assert codes("rules:\n" + right) == []


def test_a_verdict_that_another_always_overrules_is_dead() -> None:
    wide, narrow = rule("a", match="{model: 'gpt-*'}"), rule("b", match="{model: [gpt-5]}", when="request.stream")
    assert codes("rules:\n" + wide + narrow) == ["W446 0:9"]
    assert codes("rules:\n" + narrow + wide) == []
    weaker = narrow.replace("block: no", "respond: no")
    assert codes("rules:\n" + weaker + wide) == ["W446 0:4"]
    assert codes("rules:\n" + wide.replace("match", "unless: request.stream\n    match") + narrow) == []
    assert codes("rules:\n" + wide, "rules:\n" + narrow) == ["W446 1:4"]


def test_files_that_write_one_field_at_one_priority_conflict() -> None:
    one = rule("a", do="set: {path: request.params.top_p, value: 1}")
    other = rule("b", do="set: {path: request.params.top_p, value: 0}", match="{model: gpt-5}")
    assert codes("rules:\n" + one, "rules:\n" + other) == ["W464 1:4"]
    assert codes("rules:\n" + one + other) == []
    assert codes("rules:\n" + one, "priority: 50\nrules:\n" + other) == []


def test_more_than_fifty_rules_that_are_always_tried_are_too_many() -> None:
    rules = [rule(f"r{n}", when=f"request.input_tokens > `{n}`", do="log: x") for n in range(51)]
    assert codes("rules:\n" + "".join(rules[:50])) == []
    assert codes("rules:\n" + "".join(rules)) == [f"W601 0:{4 + 50 * 5}"]


def test_a_backend_that_does_not_list_a_model() -> None:
    known = Catalogue(backends=("openai",), routes={}, models={"openai": ("gpt-*",)})
    text = "rules:\n" + rule(phase="route", do="route: 'openai:o7'")
    assert codes(text, catalogue=known) == ["W466 0:7"]
    assert codes(text.replace("o7", "gpt-7"), catalogue=known) == []


def test_a_shadow_is_forgotten_after_sixty_days() -> None:
    text = "mode: shadow # since DAY\nrules:\n" + rule()
    assert codes(text.replace("DAY", "2026-09-22")) == ["W461 0:3"]
    assert codes(text.replace("DAY", "2026-09-23")) == []


def test_a_comment_needs_a_reason_and_something_to_silence() -> None:
    unused = "sets: {a: [x]} # policy-lint: ignore=W417"
    assert codes(unused + "\nrules: []\n") == ["W417 0:3", "W448 0:3"]
    assert codes(unused + ' reason="soon"\nrules: []\n') == []
    assert codes('rules: [] # policy-lint: ignore=W417 reason="soon"\n') == ["W447 0:3"]


def test_what_is_remembered_is_what_was_found(tmp_path: Path) -> None:
    texts = ["rules:\n" + rule("a", when="requst.model == 'x'"), "rules:\n" + rule("b", when="false")]
    sources = tuple(PolicySource(f"{n}.yaml", f"version: 1\npolicy: p{n}\n{text}") for n, text in enumerate(texts))
    files = PolicySet(sources=sources)
    memory = Memory(tmp_path, "1")
    first = findings(files, TODAY, memory=memory)
    assert len(list(tmp_path.iterdir())) == 2
    assert findings(files, TODAY, memory=memory) == first == findings(files, TODAY)
    for each in tmp_path.iterdir():
        each.write_bytes(b"\x93not what it was")
    assert findings(files, TODAY, memory=memory) == first
    assert memory.key(sources[0], UNKNOWN, TODAY, False) != Memory(tmp_path, "2").key(sources[0], UNKNOWN, TODAY, False)


@pytest.mark.parametrize(
    "texts",
    [
        ("rules:\n" + rule(), "rules:\n" + rule()),
        ("exceptions: [{rule: p1/r, reason: x, expires: 2027-01-01, when: 'tool.name'}]\nrules: []\n", "rules:\n" + rule()),
        ("exceptions: [{rule: p1/s, reason: x, expires: 2027-01-01}]\nrules: []\n", "rules:\n" + rule()),
        ("exceptions: [{rule: p1/r, reason: x, expires: 2027-01-01, when: 'tool.name'}]\nrules: []\n",
         "rules:\n" + rule(exceptable_by="[p0]")),
        ("commands: {define: {a: {description: x}}}\nrules: []\n", "commands: {define: {a: {description: x}}}\nrules: []\n"),
    ],
)  # fmt: skip
def test_between_files_lint_finds_the_errors_that_compiling_finds(texts: tuple[str, ...]) -> None:
    sources = tuple(PolicySource(f"{n}.yaml", f"version: 1\npolicy: p{n}\n{text}") for n, text in enumerate(texts))
    compiled = {each for each in compile_policies(sources, require=["p9"]).diagnostics if each.stops_loading}
    found = {
        each for each in findings(PolicySet(sources=sources, require=("p9",)), TODAY).diagnostics if each.stops_loading
    }
    assert compiled - found == set()
    assert {each.code for each in found - compiled} <= {"E420"}


@pytest.mark.parametrize("name", pack_names())
def test_shipped_packs_are_free_of_findings_even_strictly(name: str) -> None:
    source = pack_source(name)
    assert source is not None
    assert findings(PolicySet(sources=(source,)), TODAY, strict=True).diagnostics == ()
