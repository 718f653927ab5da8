"""What the pages of `docs/` show as whole files loads as such."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from engine.cli import main
from engine.settings import load_settings

ROOT: Final = Path(__file__).parents[2]
OWN_TEST: Final = {ROOT / "docs/writing-policies.md"}
"""Pages whose blocks have a test of their own."""
_YAML: Final = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_IS_POLICY: Final = re.compile(r"^version: 1$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_IS_CONFIGURATION: Final = re.compile(r"\A(server|policies|packs|backends):")


def shown(kind: re.Pattern[str]) -> Iterator[Any]:
    """The YAML blocks of one kind, each with its page and number as the test's name."""
    for page in sorted(set((ROOT / "docs").glob("*.md")) - OWN_TEST):
        for number, match in enumerate(_YAML.finditer(page.read_text(encoding="utf-8")), 1):
            if kind.search(match[1]):
                yield pytest.param(match[1], id=f"{page.name} block {number}")


@pytest.mark.parametrize("text", list(shown(_IS_POLICY)))
def test_a_policy_that_is_shown_has_no_findings_and_passes_its_tests(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(text, encoding="utf-8")
    for verb in ("lint", "test"):
        with pytest.raises(SystemExit) as ended:
            main([verb, str(file)])
        assert not ended.value.code, capsys.readouterr().out


@pytest.mark.parametrize("text", list(shown(_IS_CONFIGURATION)))
def test_a_configuration_that_is_shown_loads(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lexgate.yaml"
    file.write_text(text, encoding="utf-8")
    variables = dict.fromkeys(_VARIABLE.findall(text), "sk-not-a-key")
    assert load_settings(file, variables).file == file
