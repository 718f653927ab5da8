"""What the opening of the house refuses."""

import asyncio

import pytest

from engine.diagnostics import ConfigurationError
from engine.opening import open_house
from engine.settings.model import Server, Settings


def test_team_mode_does_not_open_as_long_as_no_key_can_be_checked() -> None:
    with pytest.raises(ConfigurationError, match="anybody would be let in"):
        asyncio.run(open_house(Settings(server=Server(mode="team"))))
