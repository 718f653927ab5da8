"""The verbs that prove a draft: coverage, mutation, snapshots, JUnit, diff, bench, and decisions that happened."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from .conftest import SHELL_SAFETY, Run

CASES = """\
tests:
  - name: a push is steered
    protocols: [gemini]
    stream: true
    turns:
      - client: {says: Push., tools: [bash]}
        model: [{calls: [{tool: bash, args: {command: git push -f}}]}, No.]
        client_sees: "No."
"""


@pytest.mark.parametrize("columns", [80, 140])
def test_coverage_names_what_was_never_seen(run: Run, snapshot: SnapshotAssertion, columns: int) -> None:
    shown = run("test", "shell.yaml", "--coverage", columns=columns)
    assert shown.code == 0
    assert shown.out == snapshot


def test_too_little_coverage_is_a_finding(run: Run) -> None:
    assert run("test", "shell.yaml", "--fail-under", "50").code == 0
    shown = run("test", "shell.yaml", "--fail-under", "99")
    assert shown.code == 1
    assert "99 % is asked for" in shown.out


def test_the_page_of_coverage_needs_nothing_else(run: Run, folder: Path) -> None:
    (folder / "shell.yaml").write_text(SHELL_SAFETY.replace("Push a new commit.", "<script>alert(1)</script>"))
    run("test", "shell.yaml", "--html", "coverage.html")
    page = (folder / "coverage.html").read_text()
    assert "prefers-color-scheme: dark" in page
    assert "shell-safety/no-force-push" in page
    assert "<script" not in page
    assert "http" not in page.replace("https://", "").replace("http://", "") or "src=" not in page


def test_mutants_that_survive_are_findings(run: Run, snapshot: SnapshotAssertion) -> None:
    shown = run("test", "shell.yaml", "--mutate")
    assert shown.code == 1
    assert shown.out == snapshot


def test_junit_is_read_by_a_parser(run: Run, folder: Path) -> None:
    (folder / "shell.yaml").write_text(SHELL_SAFETY.replace("verdict: allow", "verdict: block, message: '<&>'"))
    root = ElementTree.fromstring(run("test", "shell.yaml", "--format", "junit").out)
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    (failed,) = root.iter("failure")
    assert 'message: expected "<&>", got null' in (failed.text or "")
    assert [case.attrib["line"] for case in root.iter("testcase")] == ["20", "23"]


def test_cases_beside_policies_are_judged_by_the_whole_set(run: Run, folder: Path) -> None:
    (folder / "cases").mkdir()
    (folder / "cases" / "talk.yaml").write_text(CASES)
    shown = run("test", ".")
    assert (shown.code, shown.out) == (0, "3 tests in 2 files: all passed\n")
    (folder / "cases" / "talk.yaml").write_text(CASES.replace('"No."', '"Yes."'))
    assert "gemini, streamed, turn 1: client sees text" in run("test", ".").out
    (folder / "cases" / "talk.yaml").write_text(CASES.replace("turns:", "turn:"))
    assert "unknown field `turn`" in run("test", ".").out


def test_a_snapshot_is_kept_and_compared(run: Run, folder: Path) -> None:
    text = SHELL_SAFETY.replace("name: an ordinary push passes", "name: an ordinary push passes\n    snapshot: true")
    (folder / "shell.yaml").write_text(text)
    assert run("test", "shell.yaml").code == 1
    assert run("test", "shell.yaml", "--update").code == 0
    assert run("test", "shell.yaml").code == 0
    (folder / "shell.yaml").write_text(
        text.replace("expect: {verdict: allow}", "expect: {}").replace("contains(flags, 'f')", "program == 'git'")
    )
    shown = run("test", "shell.yaml")
    assert "snapshot 1 verdict" in shown.out


def test_diff_shows_what_became_of_each_rule(run: Run, folder: Path, snapshot: SnapshotAssertion) -> None:
    (folder / "new.yaml").write_text(
        SHELL_SAFETY.replace("match: {tool: {$set: shells}}", "match: {tool: bash}").replace('"*shell*"', '"*sh*"')
    )
    shown = run("diff", "shell.yaml", "new.yaml")
    assert shown.code == 0
    assert shown.out == snapshot
    assert run("diff", "shell.yaml", "new.yaml", "--fail-on", "narrowed").code == 1
    assert run("diff", "shell.yaml", "shell.yaml").out == "no rule differs\n"


def test_bench_measures_and_fails_above_a_limit(run: Run) -> None:
    shown = run("bench", "shell.yaml", "--format", "json")
    document = json.loads(shown.out)
    assert [each["phase"] for each in document["phases"]] == ["tool_call"]
    assert [each["rule"] for each in document["rules"]] == ["shell-safety/no-force-push"]
    assert document["rules"][0]["matched"] == 1
    assert run("bench", "shell.yaml", "--fail-above", "10000ms").code == 0
    assert run("bench", "shell.yaml", "--fail-above", "0.001us").code == 1
    assert "takes a time" in run("bench", "shell.yaml", "--fail-above", "soon").err


def test_a_decision_that_happened_is_told_from_the_log(run: Run, folder: Path, snapshot: SnapshotAssertion) -> None:
    because = [{"expr": "request.model", "value": "mac:" + "0" * 32, "span": "p.yaml:4:11"}]
    outcome = {"rule": "p/no", "outcome": "matched", "mode": "enforce", "because": because, "actions": ["block"],
               "patch": [], "latency_us": 1.0, "verdict": "block"}  # fmt: skip
    record = {"id": "x-1", "at": "2026-11-22T12:00:00Z", "phase": "request", "caller": "ann", "session": "", "request": "x",
              "protocol": "anthropic", "model": "o3", "revision": "r", "seed": "x/1", "facts": {}, "outcomes": [outcome],
              "verdict": "block", "by": "p/no", "budget": [], "tags": {}, "message": "No."}  # fmt: skip
    (folder / "audit.jsonl").write_text(json.dumps(record, separators=(",", ":")) + "\n")
    shown = run("explain", "x-1", "--audit", "audit.jsonl")
    assert shown.code == 0
    assert shown.out == snapshot
    assert json.loads(run("explain", "x-1", "--audit", "audit.jsonl", "--format", "json").out)["masked"] == [
        {"rule": "p/no", "part": "request.model"}
    ]
    assert "there is no decision y-1" in run("explain", "y-1", "--audit", "audit.jsonl").err
