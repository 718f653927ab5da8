"""`policy serve`: run the endpoint."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Final

import rich_click as click
import structlog

from engine import __version__
from engine.access.opening import require_admin
from engine.diagnostics import ConfigurationError, LexgateError, Where, error
from engine.opening import open_registry
from engine.server.app import make_app
from engine.settings import Loaded, load_settings
from engine.settings.judge import CONTRADICTION
from engine.settings.model import Settings
from engine.world.logs import configure
from engine.world.redaction import known_secrets

from .endpoint import EndpointServer, run, uvicorn_config
from .workers import StartFailed, Workers

BACKLOG: Final = 2048
FAILED: Final = 1
_LOG: Final = structlog.get_logger("lexgate")


class Unbindable(LexgateError):
    """The address cannot be listened on."""


@click.command("serve")
@click.option(
    "--config", "config", type=click.Path(path_type=Path), help="The configuration (default: ./lexgate.yaml)."
)
@click.option("--host", help="Address to listen on (server.host).")
@click.option("--port", help="Port to listen on (server.port).")
@click.option("--workers", help="Processes (server.workers).")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a setting: --set log.level=debug.")
def command(
    config: Path | None, host: str | None, port: str | None, workers: str | None, changes: tuple[str, ...]
) -> None:
    """Serve the endpoint until it is stopped. Ctrl-C and SIGTERM let exchanges in flight finish."""
    overrides = [("server.host", host), ("server.port", port), ("server.workers", workers)]
    given = [(path, text) for path, text in overrides if text is not None]
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not '{change}'")
        given.append((path, text))
    loaded = load_settings(config, os.environ, given)
    settings = loaded.settings
    configure(settings.log, secrets=known_secrets(settings))
    _check_tls(settings)
    with _listening(settings.server.host, settings.server.port) as listener:
        listening = listener.getsockname()[1]
        if sys.stderr.isatty():
            click.echo(_banner(loaded, listening), err=True)
        if settings.server.workers > 1:
            _serve_by_workers(loaded, str(config) if config else None, given, listener)
            return

        def ready(port: int) -> None:
            _LOG.info("serving", host=listener.getsockname()[0], port=port, pid=os.getpid())

        edge = make_app(loaded)
        with contextlib.suppress(KeyboardInterrupt):
            run(edge, EndpointServer(uvicorn_config(edge, settings), ready), listener)


def _serve_by_workers(
    loaded: Loaded, config: str | None, given: list[tuple[str, str]], listener: socket.socket
) -> None:
    """Start the workers and look after them. Ends the process where they cannot start."""
    settings = loaded.settings
    if settings.server.mode == "team":  # said once and here, not by every worker again and again
        asyncio.run(_require_admin(settings))
    host, port, *_ = listener.getsockname()
    count = settings.server.workers

    def up() -> None:
        _LOG.info("serving", host=host, port=port, workers=count, pid=os.getpid())

    listener.listen(BACKLOG)
    with tempfile.TemporaryDirectory(prefix="lexgate-") as crew:
        handed = {"config": config, "overrides": given, "crew": crew}
        try:
            Workers(count, listener, handed, float(settings.server.drain), up).run()
        except StartFailed as failed:
            click.echo(str(failed), err=True)
            sys.exit(FAILED)


async def _require_admin(settings: Settings) -> None:
    async with open_registry(settings) as registry:
        await require_admin(registry)


def _check_tls(settings: Settings) -> None:
    """The certificate and its key can be used. Raises ConfigurationError."""
    tls = settings.server.tls
    if tls is None:
        return
    password = tls.key_password.reveal() if tls.key_password is not None else ""  # never asked for on a terminal
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.resolve(tls.cert), settings.resolve(tls.key), lambda: password
        )
    except (OSError, ValueError) as problem:
        message = f"the certificate cannot be used: {problem}"
        help = "cert and key are PEM files that belong together, relative to the configuration file"
        raise ConfigurationError([error(CONTRADICTION, message, Where("server.tls"), help)]) from problem


def _listening(host: str, port: int) -> socket.socket:
    """A bound socket, made before anything is loaded. Raises Unbindable."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as problem:
        why = "it is in use" if problem.errno == errno.EADDRINUSE else problem.strerror or str(problem)
        message = f"cannot listen on {host}, port {port}: {why}; choose another by --host and --port"
        raise Unbindable(message) from problem
    listener.set_inheritable(True)
    return listener


def _banner(loaded: Loaded, port: int) -> str:
    settings = loaded.settings
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    url = f"{'https' if settings.server.tls is not None else 'http'}://{host}:{port}"
    backends = ", ".join(settings.served_backends)
    return (
        f"Lexgate {__version__} · {settings.server.mode} mode · backends: {backends}\n"
        f"  OpenAI clients:  base_url={url}/v1\n"
        f"  status:          {url}/policy/status"
    )
