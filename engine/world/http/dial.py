"""From a name to a connected socket: resolve anew each time, then race the addresses (RFC 8305)."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import Any

from engine.world.http.base import ConnectFailed

Address = tuple[socket.AddressFamily, Any]
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

ATTEMPT_DELAY = 0.25  # seconds that an address gets alone before the next one starts beside it (RFC 8305 §5)


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The operating system's answer, in its order of preference. Raises OSError (socket.gaierror)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def dial(host: str, port: int, resolve: Resolve = resolve, delay: float = ATTEMPT_DELAY) -> socket.socket:
    """A connected, non-blocking socket. Raises ConnectFailed, which says what each address answered."""
    try:
        addresses = await resolve(host, port)
    except OSError as error:
        raise ConnectFailed(f"{host} did not resolve: {error.strerror or error}", sent=False) from error
    if not addresses:
        raise ConnectFailed(f"{host} has no address that may be used", sent=False)
    return await _race(host, alternating(addresses), delay)


def alternating(addresses: Sequence[Address]) -> list[Address]:
    """The families in turns, the first one's own first, so that a broken IPv6 costs one delay and not one per address."""
    first = [a for a in addresses if a[0] == addresses[0][0]]
    second = [a for a in addresses if a[0] != addresses[0][0]]
    return [a for pair in zip_longest(first, second) for a in pair if a is not None]


async def _race(host: str, addresses: Sequence[Address], delay: float) -> socket.socket:
    waiting = deque(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[str] = []
    winner: socket.socket | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                running.add(asyncio.ensure_future(_attempt(*waiting.popleft())))
            done, running = await asyncio.wait(
                running, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                try:
                    connected = attempt.result()
                except OSError as error:
                    failures.append(os.strerror(error.errno) if error.errno else str(error))
                else:
                    if winner is None:
                        winner = connected
                    else:
                        connected.close()
    finally:
        for attempt in running:
            attempt.add_done_callback(_close_late)
            attempt.cancel()
    if winner is None:
        raise ConnectFailed(f"no connection to {host}: {'; '.join(dict.fromkeys(failures))}", sent=False)
    return winner


async def _attempt(family: socket.AddressFamily, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for sockets that it made
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    """A racer that crossed the line in the same turn as it was cancelled."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
