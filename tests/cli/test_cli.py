"""The command line as a whole: help, wrong use, our own mistakes."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import engine.cli
from engine.cli import VERBS

from .conftest import Run


def test_help_lists_every_verb_with_its_line(run: Run) -> None:
    shown = run("--help")
    assert shown.code == 0
    for name, (_, line) in VERBS.items():
        assert name in shown.out
        assert line in shown.out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_table_has_a_file_with_its_command(name: str) -> None:
    module = importlib.import_module(VERBS[name][0])
    assert module.command.name == name
    assert module.command.help


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(name: str, run: Run) -> None:
    shown = run(name, "--help")
    assert shown.code == 0
    assert "Usage: policy " + name in shown.out


def test_a_misspelled_verb_is_wrong_use_and_the_nearest_is_named(run: Run) -> None:
    shown = run("lnt")
    assert shown.code == 2
    assert "Did you mean 'lint'?" in shown.err


def test_version(run: Run) -> None:
    shown = run("--version")
    assert shown.code == 0
    assert shown.out.startswith("lexgate 0.")


def test_a_mistake_of_ours_exits_3_and_says_what_to_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the moon is full")

    monkeypatch.setattr("engine.cli.lint.findings", broken)
    shown = run("lint", "shell.yaml")
    assert shown.code == 3
    assert "internal error: RuntimeError: the moon is full" in shown.err
    assert "Please report" in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_mistake_of_ours_shows_its_traceback_on_demand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEXGATE_DEBUG", "1")
    monkeypatch.setattr("engine.cli.lint.findings", lambda *_, **__: 1 / 0)
    shown = run("lint", "shell.yaml")
    assert shown.code == 3
    assert "Traceback" in shown.err


def test_verbs_are_loaded_when_they_are_called(run: Run) -> None:
    """`policy --help` need not wait for the policy engine."""
    code = "import sys, engine.cli; print(sorted(m for m in sys.modules if m.startswith('engine.')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert "engine.policy" not in said.stdout
    assert "engine.cli.lint" not in said.stdout


def _root() -> Path:
    return Path(engine.cli.__file__).parents[2]
