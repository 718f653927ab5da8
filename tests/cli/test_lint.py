"""`policy lint`: text, JSON and workflow commands, and the exit codes."""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from .conftest import SHELL_SAFETY, Run

WRONG = """\
version: 1
policy: limits
rules:
  - id: only-mini
    phase: request
    when: request.modle != 'gpt-4o-mini'
    actions: [{block: "Only the small model."}]
"""
UNUSED = 'version: 1\npolicy: leftovers\nsets:\n  names: [a, "b"]\nrules: []\n'


def test_no_findings_are_one_line(run: Run) -> None:
    shown = run("lint", "shell.yaml")
    assert (shown.code, shown.out, shown.err) == (0, "1 rule in 1 file: no findings\n", "")


def test_a_finding_is_shown_with_a_caret_inside_the_expression(
    run: Run, folder: Path, snapshot: SnapshotAssertion
) -> None:
    (folder / "limits.yaml").write_text(WRONG)
    shown = run("lint", ".")
    assert shown.code == 1
    assert shown.out == snapshot


def test_json_is_the_whole_of_standard_output(run: Run, folder: Path) -> None:
    (folder / "limits.yaml").write_text(WRONG)
    shown = run("lint", ".", "--format", "json")
    assert shown.code == 1
    document = json.loads(shown.out)
    assert document["files"] == 2
    assert document["rules"] == 2
    (found,) = document["diagnostics"]
    assert list(found) == [
        "code", "severity", "message", "file", "line", "column", "end_line", "end_column", "help",
    ]  # fmt: skip
    assert (found["code"], found["severity"], found["file"]) == ("E202", "error", "limits.yaml")
    assert (found["line"], found["column"], found["end_line"], found["end_column"]) == (6, 19, 6, 24)
    assert "model" in found["help"]


def test_json_without_findings(run: Run) -> None:
    shown = run("lint", "shell.yaml", "--format", "json")
    assert shown.code == 0
    assert json.loads(shown.out) == {"diagnostics": [], "files": 1, "rules": 1}


def test_a_warning_is_a_finding(run: Run, folder: Path) -> None:
    (folder / "unused.yaml").write_text(UNUSED)
    shown = run("lint", "unused.yaml")
    assert shown.code == 1
    assert "unused.yaml:4:3 W417 the set 'names' is never used" in shown.out


def test_a_comment_silences_a_warning_and_no_error(run: Run, folder: Path) -> None:
    (folder / "unused.yaml").write_text(UNUSED.replace('"b"]', '"b"]  # policy-lint: ignore=W417 reason="soon"'))
    assert run("lint", "unused.yaml").code == 0
    (folder / "limits.yaml").write_text(WRONG.replace("-mini'", "-mini' # policy-lint: ignore=E202"))
    assert run("lint", "limits.yaml").code == 1


def test_github_shows_the_finding_beside_its_line(run: Run, folder: Path) -> None:
    (folder / "limits.yaml").write_text(WRONG)
    shown = run("lint", "limits.yaml", "--format", "github")
    assert shown.code == 1
    (line,) = shown.out.splitlines()
    assert line.startswith("::error file=limits.yaml,line=6,col=19,endLine=6,endColumn=24,title=E202::")


def test_strict_asks_for_descriptions_owners_and_tests(run: Run, folder: Path) -> None:
    (folder / "bare.yaml").write_text(
        "version: 1\npolicy: bare\nrules:\n  - id: stop\n    phase: request\n    actions: [block: no]\n"
    )
    assert run("lint", "bare.yaml").code == 0
    shown = run("lint", "bare.yaml", "--strict")
    assert shown.code == 1
    assert [code for code in ("N427", "N428", "N429") if code in shown.out] == ["N427", "N428", "N429"]
    assert run("lint", "shell.yaml", "--strict").code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "there is no file or folder nowhere"),
        ([], "say which files"),
        (["shell.yaml", "--config", "none.yaml"], "there is no configuration file none.yaml"),
        (["shell.yaml", "--format", "xml"], "xml"),
    ],
)
def test_wrong_use_exits_2_and_prints_nothing_else(run: Run, args: list[str], said: str) -> None:
    shown = run("lint", *args)
    assert shown.code == 2
    assert said in shown.err
    assert shown.out == ""


def test_a_folder_without_policies_is_wrong_use(run: Run, folder: Path) -> None:
    (folder / "empty").mkdir()
    assert run("lint", "empty").code == 2


def test_a_folder_with_a_configuration_is_judged_by_what_it_names(run: Run, folder: Path) -> None:
    """Only the configuration knows the backends, so only with it can an unknown one be found."""
    example = folder / "examples" / "team"
    (example / "policies").mkdir(parents=True)
    (example / "docker-compose.yaml").write_text("services: {}\n")
    (example / "lexgate.yaml").write_text(
        "policies: [./policies]\n"
        'backends: {cloud: {protocol: openai, base_url: "https://x.example/v1", api_key: "${TEAM_KEY}"}}\n'
    )
    rule = "version: 1\npolicy: r\nrules:\n  - {id: go, phase: route, actions: [route: 'clud:m']}\n"
    (example / "policies" / "r.yaml").write_text(rule)
    shown = run("lint", "examples")
    assert shown.code == 1
    assert shown.out.startswith("examples/team/policies/r.yaml:4:")
    assert "E412 unknown backend 'clud'" in shown.out
    assert "did you mean 'cloud'?" in shown.out
    assert run("lint", "examples/team/policies").code == 0


def test_a_wrong_configuration_is_a_finding_also_for_machines(run: Run, folder: Path) -> None:
    (folder / "lexgate.yaml").write_text("servr: {}\n")
    shown = run("lint", "--config", "lexgate.yaml", "--format", "json")
    assert shown.code == 1
    assert [each["code"] for each in json.loads(shown.out)["diagnostics"]] == ["E120"]


def test_two_files_of_one_name_are_found_across_paths(run: Run, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "copy.yaml").write_text(SHELL_SAFETY)
    shown = run("lint", "shell.yaml", "other")
    assert shown.code == 1
    assert "E401" in shown.out


def test_a_required_policy_that_is_missing_is_found_where_it_is_required(run: Run, folder: Path) -> None:
    (folder / "lexgate.yaml").write_text("policies: [shell.yaml]\nrequire: [shell-safety, secrets]\n")
    shown = run("lint", "--config", "lexgate.yaml")
    assert shown.code == 1
    assert "lexgate.yaml:2:10 E420 the required policy 'secrets' is not loaded" in shown.out
    assert "require: [shell-safety, secrets]" in shown.out
