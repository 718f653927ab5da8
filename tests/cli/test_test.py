"""`policy test`: what passes, what fails, and how a failure is shown."""

import json
from pathlib import Path

from syrupy.assertion import SnapshotAssertion

from .conftest import SHELL_SAFETY, Run

FAILING = SHELL_SAFETY.replace("expect: {verdict: allow}", "expect: {verdict: block, by: no-force-push, status: 400}")


def test_all_passed_is_one_line(run: Run) -> None:
    shown = run("test", "shell.yaml")
    assert (shown.code, shown.out) == (0, "2 tests in 1 file: all passed\n")


def test_a_failure_shows_what_was_expected_and_the_truth_of_the_rule(
    run: Run, folder: Path, snapshot: SnapshotAssertion
) -> None:
    (folder / "shell.yaml").write_text(FAILING)
    shown = run("test", "shell.yaml")
    assert shown.code == 1
    assert shown.out == snapshot


def test_json_says_the_same(run: Run, folder: Path) -> None:
    (folder / "shell.yaml").write_text(FAILING)
    shown = run("test", "shell.yaml", "--format", "json")
    assert shown.code == 1
    document = json.loads(shown.out)
    assert (document["passed"], document["failed"], document["diagnostics"]) == (1, 1, [])
    failed = document["tests"][1]
    assert (failed["policy"], failed["file"], failed["line"]) == ("shell-safety", "shell.yaml", 23)
    assert failed["mismatches"][0] == {"what": "verdict", "expected": "block", "got": "allow"}


def test_a_field_that_no_event_has_fails_the_test_by_name(run: Run, folder: Path) -> None:
    (folder / "shell.yaml").write_text(SHELL_SAFETY.replace("tool: {name: bash", "tol: {name: bash"))
    shown = run("test", "shell.yaml")
    assert shown.code == 1
    assert "given has no field 'tol'" in shown.out


def test_a_file_that_does_not_load_is_a_finding(run: Run, folder: Path) -> None:
    (folder / "shell.yaml").write_text(SHELL_SAFETY.replace("steer:", "ster:"))
    shown = run("test", "shell.yaml")
    assert shown.code == 1
    assert "unknown action 'ster'" in shown.out
    assert "1 error in 1 file" in shown.out, "the definition that only the wrong rule uses is no second mistake"
    assert shown.out.endswith("no test was run, because of these errors\n")


def test_overrides_and_grants_do_not_change_what_a_file_proves(run: Run, folder: Path) -> None:
    (folder / "lexgate.yaml").write_text("policies: [{path: shell.yaml, scope: {team: payments}}]\n")
    shown = run("test", "--config", "lexgate.yaml")
    assert (shown.code, shown.out) == (0, "2 tests in 1 file: all passed\n")
