"""A provider and proxies in front of it, each for one test."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lexgate import Lexgate
from tests.support.openai_mock import OpenAIMock

Serve = Callable[..., Lexgate]


@pytest.fixture
def provider() -> Iterator[OpenAIMock]:
    with OpenAIMock() as mock:
        yield mock


@pytest.fixture
def serve(provider: OpenAIMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts a Lexgate with the given policies in front of `provider`; takes what `Lexgate` takes."""
    with contextlib.ExitStack() as stack:

        def start(*policies: str, **more: Any) -> Lexgate:
            folder: Path = tmp_path_factory.mktemp("lexgate")
            return stack.enter_context(Lexgate(folder, *policies, provider=provider, **more))

        yield start
