"""Every test of this folder runs on asyncio's own loop and on uvloop, and fails on a callback that raised."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme

from engine.world.http.pool import PooledClient, PoolSettings

Make = Callable[..., PooledClient]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def make(anyio_backend: tuple[str, dict[str, object]]) -> AsyncIterator[Make]:
    """`make(**settings)` -> a client; `tls`, `resolve` and `clock` go to the client itself. All are closed at the end."""
    clients: list[PooledClient] = []
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def made(tls: Any = None, resolve: Any = None, clock: Any = None, **settings: Any) -> PooledClient:
        known = {"tls": tls, "clock": clock} | ({"resolve": resolve} if resolve else {})
        # An idle connection stays for the whole test, so that only what a test is about can close it.
        clients.append(
            PooledClient(PoolSettings(**{"idle_expiry": 1000.0, "max_lifetime": 2000.0} | settings), **known)
        )
        return clients[-1]

    yield made
    for client in clients:
        await client.aclose()
    assert complaints == []


async def whole(answer: Awaitable[Any], limit: int = 10_000_000) -> tuple[int, bytes]:
    """Status and body of an awaited response."""
    response = await answer
    return response.status, await response.read(limit)
