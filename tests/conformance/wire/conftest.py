"""The providers and the proxies of the matrix, each started once."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.lexgate import Lexgate
from tests.support.provider import Provider

from .backends import BACKENDS

House = Callable[[str], Lexgate]
"""The proxy under a policy, in front of all providers."""


@pytest.fixture(scope="package")
def providers() -> Iterator[dict[str, Provider[Any]]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(backend.make("key")) for name, backend in BACKENDS.items()}


@pytest.fixture(scope="package")
def house(providers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {
        "backends": {
            name: {
                **backend.settings,
                "base_url": providers[name].base_url,
                "api_key": "key",
                "models": [backend.model],
            }
            for name, backend in BACKENDS.items()
        }
    }
    with contextlib.ExitStack() as stack:
        running: dict[str, Lexgate] = {}

        def under(policy: str) -> Lexgate:
            if policy not in running:
                folder = tmp_path_factory.mktemp("matrix")
                running[policy] = stack.enter_context(Lexgate(folder, *filter(None, [policy]), settings=settings))
            return running[policy]

        yield under


@pytest.fixture(autouse=True)
def every_answer_is_asked_for(providers: dict[str, Provider[Any]]) -> Iterator[None]:
    """No answer is left for the next test, and none was left by this one where it passed."""
    yield
    left = [answer for provider in providers.values() for answer in provider.unused()]
    assert not left, "an answer was not asked for"
