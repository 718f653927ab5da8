"""What the opening of the house refuses."""

import asyncio
from pathlib import Path

import pytest

from engine.diagnostics import ConfigurationError
from engine.opening import open_house
from engine.settings.model import Audit, Server, Settings


def test_team_mode_does_not_open_without_an_admin_key(tmp_path: Path) -> None:
    settings = Settings(server=Server(mode="team"), audit=Audit(path=""), base_dir=str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"policy keys create --admin|needs an admin key"):
        asyncio.run(open_house(settings))
