"""Runs command lines in the process, in an empty folder, as a terminal without colour would."""

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.cli import main

SHELL_SAFETY = """\
version: 1
policy: shell-safety
description: Keep agents from destroying work.
owner: platform@example.com
sets:
  shells: [bash, "*shell*"]
definitions:
  pushes: tool.shell.commands[?program == 'git' && subcommand == 'push']
rules:
  - id: no-force-push
    phase: tool_call
    description: A forced push rewrites history that others have pulled.
    severity: high
    match: {tool: {$set: shells}}
    when: any(def('pushes')[?contains(flags, 'force') || contains(flags, 'f')])
    unless: contains(caller.roles, 'release-manager')
    actions:
      - steer: {message: "Push a new commit.", attempts: 2, then: block}
tests:
  - name: a forced push is steered
    given: {phase: tool_call, tool: {name: bash, args: {command: "git push -f origin main"}}}
    expect: {verdict: steer, by: no-force-push}
  - name: an ordinary push passes
    given: {phase: tool_call, tool: {name: bash, args: {command: "git push"}}}
    expect: {verdict: allow}
"""


class Ran(msgspec.Struct, frozen=True):
    """What a command line gave: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with the policy `shell.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shell.yaml").write_text(SHELL_SAFETY)
    return tmp_path


@pytest.fixture
def run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Runs `policy ARGS`; `stdin` is what it reads, `columns` how wide the terminal is."""
    for name in ("LEXGATE_CONFIG", "LEXGATE_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def ran(*args: str, stdin: str = "", columns: int = 80) -> Ran:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as left:
            main(args)
        printed = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Ran(code, printed.out, printed.err)

    return ran
