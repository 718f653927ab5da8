"""A Lexgate in team mode: its store has an admin key before it starts, and tests make the others as `policy keys` does."""

import asyncio
import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.access.registry import Draft, Issued
from engine.opening import open_registry
from engine.settings.model import Settings
from engine.settings.values import SecretUrl

from .lexgate import PATIENCE, Lexgate, Raw

STATE: Final = "sqlite:///state.db"
TEAM: Final[Mapping[str, Any]] = {"server": {"mode": "team"}, "state": STATE}


def issue(folder: Path, draft: Draft) -> Issued:
    """Make a key in the store of a folder, from outside of any server."""

    async def made() -> Issued:
        async with open_registry(_settings(folder)) as registry:
            return await registry.create(draft)

    return asyncio.run(made())


def revoke(folder: Path, which: str) -> None:
    async def done() -> None:
        async with open_registry(_settings(folder)) as registry:
            await registry.revoke(which)

    asyncio.run(done())


def rotate(folder: Path, which: str, grace: float = 0.0) -> Issued:
    async def done() -> Issued:
        async with open_registry(_settings(folder)) as registry:
            return await registry.rotate(which, grace)

    return asyncio.run(done())


def _settings(folder: Path) -> Settings:
    return Settings(state=SecretUrl(STATE), base_dir=str(folder))


def team_settings(**more: Any) -> dict[str, Any]:
    server = {**TEAM["server"], **more.pop("server", {})}
    return {**TEAM, **more, "server": server}


def bearer(issued: Issued) -> dict[str, str]:
    return {"authorization": f"Bearer {issued.text}"}


def ask_raw(
    lexgate: Lexgate,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> Raw:
    """One request as it is written here: no header is added but the length, none is joined, the target is not touched."""
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=PATIENCE)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body or method == "POST":
            connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Raw(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


class Keys(msgspec.Struct):
    """The keys that most tests need: an admin's, and that of a developer who may use everything."""

    admin: Issued
    dev: Issued
