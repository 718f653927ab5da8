"""A server with an admin interface, for one test or for all of a module that only read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .admin_server import Admin


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with Admin(tmp_path) as serving:
        yield serving
