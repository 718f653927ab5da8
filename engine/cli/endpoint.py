"""One process that serves: uvicorn with bounded connections, and a stop that no client in the middle of anything notices."""

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import Callable
from typing import Final

import structlog
import uvicorn

from engine.server.edge import Edge
from engine.settings.model import Settings

from .connection import Bounds, Connection

_LOG: Final = structlog.get_logger("lexgate")


class EndpointServer(uvicorn.Server):
    """Tells the application that it stops before the connections in flight are waited for.

    `ready` is called with the port when it serves. `leash` is a socket whose other end belongs to whoever started this
    process: when that closes, it stops.
    """

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[int], None], leash: socket.socket | None = None
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._leash = leash

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        if self._leash is not None:
            self._leash.setblocking(False)
            asyncio.get_running_loop().add_reader(self._leash, self._pulled)
        self._ready(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._leash is not None:
            asyncio.get_running_loop().remove_reader(self._leash)
        application = self.config.loaded_app
        if isinstance(application, Edge):
            application.leaving = True
        Connection.leaving = True
        _LOG.info("stopping", pid=os.getpid(), connections=len(self.server_state.connections))
        await super().shutdown(sockets)

    def _pulled(self) -> None:
        """Nothing is ever sent: what there is to read is its end."""
        assert self._leash is not None
        asyncio.get_running_loop().remove_reader(self._leash)
        with contextlib.suppress(OSError):
            self._leash.recv(1)
        self.should_exit = True


def run(edge: Edge, server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve to the end. Raises what the operator can mend where the start failed."""
    try:
        server.run(sockets=[listener])
    except SystemExit:
        if edge.failure is not None:
            raise edge.failure from None
        raise


def uvicorn_config(edge: Edge, settings: Settings) -> uvicorn.Config:
    server = settings.server
    Connection.bounds = Bounds.of(server)
    tls = server.tls
    return uvicorn.Config(
        edge,
        loop="auto",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=math.ceil(server.keep_alive),
        ssl_certfile=settings.resolve(tls.cert) if tls is not None else None,
        ssl_keyfile=settings.resolve(tls.key) if tls is not None else None,
        ssl_keyfile_password=tls.key_password.reveal() if tls is not None and tls.key_password is not None else None,
        timeout_graceful_shutdown=math.ceil(server.drain),
    )
