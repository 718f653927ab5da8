"""`policy schema` and everything that is generated."""

import json
from pathlib import Path

import jsonschema
import pytest

from engine.actions import ACTIONS
from engine.cli.pages import SCHEMAS, generated
from engine.cli.schema import checkout, outdated
from engine.language.functions import FUNCTIONS
from engine.model.events import EVENTS, complete
from engine.model.phases import Phase
from engine.policy.codes import CODES
from engine.policy.lint import CHECKS, STRICT
from engine.settings import options

from .conftest import Run


def written(root: Path) -> Path:
    for file, text in generated().items():
        target = root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    return root


def test_what_is_committed_is_what_is_generated() -> None:
    """`make schemas` writes them."""
    assert outdated(checkout(), generated()) == []


def test_a_changed_or_missing_file_is_named(tmp_path: Path) -> None:
    root = written(tmp_path)
    assert outdated(root, generated()) == []
    (root / "docs/reference/codes.md").unlink()
    (root / "schemas/policy.schema.json").write_text("{}")
    assert outdated(root, generated()) == ["schemas/policy.schema.json", "docs/reference/codes.md"]


def test_check_exits_1_with_the_list(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cli.schema.checkout", lambda: folder)
    shown = run("schema", "--check")
    assert shown.code == 1
    assert "docs/reference/actions.md is not what `policy schema --write` writes" in shown.out
    assert run("schema", "--write").out.splitlines()[0] == "wrote schemas/policy.schema.json"
    again = run("schema", "--check")
    assert (again.code, again.out) == (0, "")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_is_printed_by_its_name(name: str, run: Run) -> None:
    shown = run("schema", name)
    assert shown.code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(shown.out))


def test_an_unknown_schema_is_wrong_use(run: Run) -> None:
    shown = run("schema", "polici")
    assert shown.code == 2
    assert "did you mean 'policy'?" in shown.err


@pytest.mark.parametrize("phase", EVENTS)
def test_a_completed_event_fits_the_schema_of_its_phase(phase: Phase) -> None:
    jsonschema.validate(complete({"phase": phase}), SCHEMAS[f"event.{phase.value}"]())


def test_every_action_has_its_section_with_its_parameters() -> None:
    page = generated()["docs/reference/actions.md"]
    for name, action in ACTIONS.items():
        _, _, section = page.partition(f"\n## {name}\n")
        section = section.partition("\n## ")[0]
        assert section, name
        for param in action.params.__struct_encode_fields__:
            assert f"| `{param}` |" in section, (name, param)


def test_every_function_has_its_section() -> None:
    page = generated()["docs/reference/functions.md"]
    assert [name for name in FUNCTIONS if f"\n## {name}\n" not in page] == []


def test_every_field_of_a_tool_call_is_listed() -> None:
    page = generated()["docs/reference/events.md"]
    for field in ("tool.args", "tool.shell", "tool.shell.commands[].program", "tool.shell.commands[].redirects[].op"):
        assert f"| `{field}` |" in page
    assert "| `tool.shell` | object or null | `null` |" in page


def test_every_setting_is_listed_with_its_variable() -> None:
    page = generated()["docs/reference/configuration.md"]
    assert [each.path for each in options() if f"`{each.path}`<br>`{each.variable}`" not in page] == []


def test_every_code_and_every_lint_rule_is_listed() -> None:
    page = generated()["docs/reference/codes.md"]
    assert [number for number in CODES if f"| [{number}](../lint/" not in page] == []
    for check in (*CHECKS, *STRICT):
        code = (check.__doc__ or "").partition(":")[0]
        assert f"docs/lint/{code}.md" in generated(), f"{check.__name__} begins with no code"
        assert int(code[1:]) in CODES
