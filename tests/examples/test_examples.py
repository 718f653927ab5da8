"""Every example loads, lints and passes its tests, and its README shows what the tools really print."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from engine.model.effects import VerdictKind
from engine.policy.compile import compile_policies
from engine.policy.given import complete_event
from engine.policy.lint import Examined, examine
from engine.policy.sources import configured, judged_settings, pack_names
from engine.policy.trial import judge, run_tests
from engine.settings import Settings, load_settings

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("coding-agent", "openai-team", "quickstart")
KEYS = {"OPENAI_API_KEY": "no-key"}
TODAY = date(2026, 11, 22)


def settings(name: str) -> Settings:
    return load_settings(EXAMPLES / name / "lexgate.yaml", KEYS).settings


def examined(name: str) -> Examined:
    return examine(configured(judged_settings(EXAMPLES / name / "lexgate.yaml", {})), TODAY)


def test_every_example_is_tested_here() -> None:
    elsewhere = {"deploy"}  # is no policy to look at, but files that go together: test_deploy
    assert sorted({path.name for path in EXAMPLES.iterdir() if path.is_dir()} - elsewhere) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_no_findings(name: str) -> None:
    found = examined(name)
    assert [f"{each.where}: {each.message}" for each in found.diagnostics] == []
    assert found.compiled.ruleset is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_own_policies_of_an_example_pass_the_strict_lint(name: str) -> None:
    files = configured(judged_settings(EXAMPLES / name / "lexgate.yaml", {}))
    found = examine(files, TODAY, strict=True).diagnostics
    assert [f"{each.where}: {each.message}" for each in found] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_of_an_example_pass(name: str) -> None:
    results = [each for policy in examined(name).compiled.checked for each in run_tests(policy)]
    failed = [f"{each.policy}, {each.name}: {each.error or each.mismatches}" for each in results if not each.passed]
    assert failed == []


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_what_lint_and_test_print(name: str) -> None:
    readme = (EXAMPLES / name / "README.md").read_text("utf-8")
    found = examined(name)
    files = len(found.compiled.checked)
    tests = sum(len(run_tests(policy)) for policy in found.compiled.checked)
    rules = sum(len(policy.spec.rules) for policy in found.compiled.checked)
    said = f"{tests} tests in {files} file{'s' if files > 1 else ''}: all passed"
    assert said in readme
    shown = re.findall(r"^\d+ rules in .*$", readme, re.MULTILINE)
    assert set(shown) <= {f"{rules} rules in {files} file{'s' if files > 1 else ''}: no findings"}


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_readme_lead_somewhere(name: str) -> None:
    readme = EXAMPLES / name / "README.md"
    links = re.findall(r"\]\(([^)#]+)\)", readme.read_text("utf-8"))
    assert links
    assert [each for each in links if not (readme.parent / each).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_listens_on_this_machine_alone(name: str) -> None:
    server = settings(name).server
    assert (server.host, server.port, server.mode) == ("127.0.0.1", 8000, "personal")


def test_the_quick_start_needs_neither_key_nor_network() -> None:
    text = (EXAMPLES / "quickstart" / "lexgate.yaml").read_text("utf-8")
    assert "${" not in text
    assert settings("quickstart").backends == {}


def test_the_team_s_key_comes_from_the_environment() -> None:
    (key,) = settings("openai-team").backends["openai"].api_key
    assert key.reveal() == "no-key"


def test_every_pack_that_ships_is_used_in_an_example() -> None:
    used = {pack for name in NAMES for pack in settings(name).packs}
    assert used == set(pack_names())


@pytest.mark.parametrize(
    ("case", "by"), [("force-push.json", "dangerous-commands/git-rewrites-shared-history")], ids=lambda each: str(each)
)
def test_a_case_is_decided_as_the_readme_says(case: str, by: str) -> None:
    files = configured(judged_settings(EXAMPLES / "coding-agent" / "lexgate.yaml", {}))
    ruleset = compile_policies(files.sources, files.catalogue).ruleset
    assert ruleset is not None
    given = json.loads((EXAMPLES / "coding-agent" / "cases" / case).read_text("utf-8"))
    decision = judge(ruleset, complete_event(given))
    assert (decision.verdict, decision.by) == (VerdictKind.STEER, by)
