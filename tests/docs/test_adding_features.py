"""The guide to adding features: its configuration is read, its action runs; its policies are tested with the other guide."""

import re
from pathlib import Path
from typing import Any

import pytest

from engine.actions import ACTIONS, Action
from engine.actions.registry import Moment
from engine.language import Env
from engine.model.effects import Patch, applied
from engine.model.phases import Phase
from engine.policy.given import complete_event
from engine.settings import load_settings

GUIDE = (Path(__file__).parents[2] / "docs" / "adding-features.md").read_text("utf-8")


def block(language: str, beginning: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (one,) = [each for each in found if each.startswith(beginning)]
    return str(one)


@pytest.fixture
def shout() -> Action:
    """The guide's action, registered for one test."""
    space: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block("python", "from collections"), "adding-features.md", "exec"), space)
    return ACTIONS.pop("shout")


def test_the_configuration_of_the_guide_is_read(tmp_path: Path) -> None:
    file = tmp_path / "lexgate.yaml"
    file.write_text(block("yaml", "packs:"))
    packs = load_settings(file, {}).settings.packs
    assert sorted(packs) == ["loop-guard", "secrets", "tool-access"]


def test_the_action_of_the_guide_does_what_it_says(shout: Action) -> None:
    event = complete_event({"phase": "tool_result", "result": {"parts": [{"text": "done"}, {"text": ""}]}})
    moment = Moment(Phase.TOOL_RESULT, event, Env(event), "p/r")
    params = shout.params(marks=2)
    (patch,) = shout.run(params, moment)
    assert isinstance(patch, Patch)
    assert applied(event, patch.ops)["result"]["text"] == "DONE!!"
    assert "capital letters" in shout.doc
