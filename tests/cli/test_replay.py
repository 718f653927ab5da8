"""`policy replay`: what it prints, for people, programs and pull requests."""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.proving.traffic import event, exchange, recording

from .conftest import SHELL_SAFETY, Run

LAX = SHELL_SAFETY.replace("contains(flags, 'force') || ", "")


@pytest.fixture
def traffic(folder: Path) -> Path:
    """Two exchanges, of which the old rules refuse both, and lax ones one."""
    calls = ("git push --force origin main", "git push -f", "ls")
    exchanges = [
        exchange(f"x{number}", event({"phase": "tool_call", "tool": {"name": "bash", "args": {"command": command}}}))
        for number, command in enumerate(calls)
    ]
    (folder / "traffic").mkdir()
    (folder / "traffic" / "a.jsonl").write_bytes(b"\n".join(recording(*exchanges, content="redacted")) + b"\n")
    (folder / "new").mkdir()
    (folder / "new" / "shell.yaml").write_text(LAX)
    return folder / "traffic"


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("columns", [80, 140])
def test_a_change_is_shown_with_its_rule_and_an_example(run: Run, snapshot: SnapshotAssertion, columns: int) -> None:
    shown = run("replay", "traffic", "--policies", "new", "--against", "shell.yaml", columns=columns)
    assert shown.code == 0
    assert shown.out == snapshot


@pytest.mark.usefixtures("traffic")
def test_markdown_is_a_comment_for_a_pull_request(run: Run, snapshot: SnapshotAssertion) -> None:
    shown = run("replay", "traffic", "--policies", "new", "--against", "shell.yaml", "--format", "markdown")
    assert shown.out == snapshot


@pytest.mark.usefixtures("traffic")
def test_json_says_the_same(run: Run) -> None:
    shown = run("replay", "traffic/a.jsonl", "--policies", "new", "--against", "shell.yaml", "--format", "json")
    document = json.loads(shown.out)
    assert (document["exchanges"], document["events"], document["changed"]) == (3, 3, 1)
    assert document["changes"]["newly_allowed"]["by_rule"] == {"shell-safety/no-force-push": 1}


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(("fail_on", "code"), [("newly_allowed", 1), ("newly-blocked", 0), ("any", 1), ("error", 0)])
def test_it_fails_on_what_it_is_told_to(run: Run, fail_on: str, code: int) -> None:
    shown = run("replay", "traffic", "--policies", "new", "--against", "shell.yaml", "--fail-on", fail_on)
    assert shown.code == code


def test_wrong_use_is_said(run: Run, folder: Path) -> None:
    (folder / "t.jsonl").write_text("{}\n")
    assert "there is no recording nowhere" in run("replay", "nowhere", "--policies", "shell.yaml").err
    assert "line 1 of t.jsonl: a recording begins with" in run("replay", "t.jsonl", "--policies", "shell.yaml").err
    assert "--fail-on knows no 'x'" in run("replay", "t.jsonl", "--policies", "shell.yaml", "--fail-on", "x").err
