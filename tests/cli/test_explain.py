"""`policy explain`: the truth tree for people, the decision record for machines."""

import json
from pathlib import Path

import jsonschema
import pytest
from syrupy.assertion import SnapshotAssertion

from engine.policy.record import decision_schema

from .conftest import Run

PUSH = '{"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "git push -f origin main"}}}'
RIVALS = """\
version: 1
policy: rivals
rules:
  - {id: weak, phase: tool_call, priority: 900, actions: [drop: {}]}
  - {id: late, phase: tool_call, priority: 5, actions: [steer: later]}
  - {id: quiet, phase: tool_call, mode: shadow, actions: [block: shadowed]}
  - {id: broken, phase: tool_call, when: "tool.args.n > `1` && length(tool.args.list) > `0`", on_error: skip,
     actions: [log: x]}
  - {id: lower, phase: request, actions: [clamp: {path: request.params.max_tokens, max: 100}]}
"""


@pytest.mark.parametrize("columns", [80, 140])
def test_every_rule_of_the_phase_is_explained(
    run: Run, folder: Path, snapshot: SnapshotAssertion, columns: int
) -> None:
    (folder / "rivals.yaml").write_text(RIVALS)
    shown = run("explain", "-", "--policies", ".", stdin=PUSH, columns=columns)
    assert shown.code == 0
    assert shown.out == snapshot
    assert max(map(len, shown.out.splitlines())) <= columns


def test_an_error_in_a_condition_is_shown_where_it_is(run: Run, folder: Path) -> None:
    (folder / "rivals.yaml").write_text(RIVALS)
    event = '{"phase": "tool_call", "tool": {"args": {"n": 2, "list": 7}}}'
    shown = run("explain", "-", "--policies", "rivals.yaml", "--rule", "broken", stdin=event, columns=140)
    assert shown.code == 0
    assert "rivals/broken  error" in shown.out
    assert "! length(tool.args.list)" in shown.out
    assert "tool.args.list = 7" in shown.out


def test_a_patch_is_shown_with_the_rule_that_made_it(run: Run, folder: Path) -> None:
    (folder / "rivals.yaml").write_text(RIVALS)
    shown = run("explain", "-", "--policies", "rivals.yaml", stdin="request: {params: {max_tokens: 500}}")
    assert "patch    replace /request/params/max_tokens = 100" in shown.out
    assert "rivals/lower" in shown.out


def test_json_is_the_decision_record_with_verdict_and_by_at_its_top(run: Run) -> None:
    shown = run("explain", "-", "--policies", "shell.yaml", "--format", "json", stdin=PUSH)
    record = json.loads(shown.out)
    assert shown.code == 0
    assert list(record)[:2] == ["verdict", "by"]
    assert (record["verdict"], record["by"]) == ("steer", "shell-safety/no-force-push")
    assert record["message"] == "Push a new commit."
    jsonschema.validate(record, decision_schema())


def test_the_event_may_be_a_file_of_yaml(run: Run, folder: Path) -> None:
    (folder / "event.yaml").write_text("phase: tool_call\ntool: {name: bash, args: {command: git push}}\n")
    shown = run("explain", "event.yaml", "--policies", "shell.yaml")
    assert shown.code == 0
    assert "its `when` says no" in shown.out
    assert "verdict  allow" in shown.out


@pytest.mark.parametrize(
    ("event", "rule", "said"),
    [
        ('{"phase": "reqest"}', "", "did you mean 'request'?"),
        ("{phase: tool_call, tol: {}}", "", "unknown field `tol`"),
        ("{phase: tool_cal}", "", "tool_cal"),
        ("[1]", "", "not a mapping"),
        (PUSH, "no-force-pus", "did you mean 'no-force-push'?"),
        ("{phase: done}", "no-force-push", "is of phase tool_call"),
    ],
)
def test_wrong_events_and_rules_are_wrong_use(run: Run, event: str, rule: str, said: str) -> None:
    shown = run("explain", "-", "--policies", "shell.yaml", *(["--rule", rule] if rule else []), stdin=event)
    assert shown.code == 2
    assert said in shown.err


def test_policies_that_do_not_load_are_a_finding(run: Run, folder: Path) -> None:
    (folder / "broken.yaml").write_text("version: 1\npolicy: broken\nrules: [{id: a}]\n")
    shown = run("explain", "-", "--policies", "broken.yaml", stdin=PUSH)
    assert shown.code == 1
    assert "the key 'phase' is missing" in shown.err
    assert "rules: [{id: a}]" in shown.err


def test_a_terminal_shows_what_holds_in_green_and_what_does_not_in_red(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.cli.output.colored", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    shown = run("explain", "-", "--policies", "shell.yaml", stdin=PUSH)
    assert "\x1b[32m✓ \x1b[0mmatch" in shown.out
    assert "\x1b[31m✗ \x1b[0munless" in shown.out
