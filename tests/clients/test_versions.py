"""The page on clients names the versions that are run."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.clients

HERE: Final = Path(__file__).parent


def test_the_page_has_the_locked_versions() -> None:
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    asked = locked[""]["dependencies"] | locked[""]["optionalDependencies"]
    page = (HERE.parents[1] / "docs" / "clients.md").read_text()
    told = dict(re.findall(r"^\| `([^`]+)` \| ([0-9.]+) \|$", page, re.MULTILINE))
    assert told == {name: locked[f"node_modules/{name}"]["version"] for name in asked}
