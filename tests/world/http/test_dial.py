"""Connecting: the order of addresses, and the race between them."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from engine.world.http.base import ConnectFailed
from engine.world.http.dial import Address, alternating, dial
from tests.world.http.servers import Wire, serving

pytestmark = pytest.mark.anyio

V4, V6 = socket.AF_INET, socket.AF_INET6


def test_the_families_take_turns_and_the_systems_first_choice_starts() -> None:
    found: list[Address] = [(V6, 1), (V6, 2), (V6, 3), (V4, 4), (V4, 5)]
    assert [address for _, address in alternating(found)] == [1, 4, 2, 5, 3]
    assert [address for _, address in alternating(found[::-1])] == [5, 3, 4, 2, 1]
    assert alternating(found[:1]) == found[:1]


async def _nothing(wire: Wire) -> None:
    await wire.gone()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def test_an_address_that_refuses_gives_way_to_the_next_at_once() -> None:
    async with serving(_nothing) as server:
        addresses: list[Address] = [(V4, ("127.0.0.1", closed_port())), (V4, ("127.0.0.1", server.port))]

        async def resolve(host: str, port: int) -> Sequence[Address]:
            return addresses

        with await dial("two.test", 80, resolve, delay=1000) as sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)


async def test_an_address_that_never_answers_gives_way_after_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    dead: Address = (V4, ("192.0.2.1", 80))
    cancelled = asyncio.Event()

    async def attempt(family: socket.AddressFamily, address: Any) -> socket.socket:
        if (family, address) == dead:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        sock = socket.socket(family)
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        return sock

    monkeypatch.setattr("engine.world.http.dial._attempt", attempt)
    async with serving(_nothing) as server:

        async def resolve(host: str, port: int) -> Sequence[Address]:
            return [dead, (V4, ("127.0.0.1", server.port))]

        with await dial("half.test", 80, resolve, delay=0.01) as sock:
            assert sock.getpeername() == ("127.0.0.1", server.port)
        await cancelled.wait()


async def test_when_all_refuse_the_error_names_the_reason() -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [(V4, ("127.0.0.1", closed_port())), (V4, ("127.0.0.1", closed_port()))]

    with pytest.raises(ConnectFailed, match=r"no connection to none\.test: Connection refused$") as caught:
        await dial("none.test", 80, resolve)
    assert not caught.value.sent


async def test_a_resolver_may_leave_no_address() -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return []

    with pytest.raises(ConnectFailed, match="no address that may be used"):
        await dial("internal.test", 80, resolve)
