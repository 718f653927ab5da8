"""`policy serve`: run the endpoint."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import rich_click as click
import uvicorn

from engine import __version__
from engine.server.app import make_app
from engine.server.edge import Edge
from engine.settings import Loaded, load_settings
from engine.world.logs import configure
from engine.world.redaction import known_secrets

_HANDED_OVER: Final = "_LEXGATE_SERVE"
"""How the arguments reach the worker processes."""


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
    if sys.stderr.isatty():
        click.echo(_banner(loaded), err=True)
    application: Any = make_app(loaded)
    if settings.server.workers > 1:
        os.environ[_HANDED_OVER] = json.dumps({"config": str(config) if config else None, "overrides": given})
        application = "engine.cli.serve:worker"
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(
            application,
            factory=settings.server.workers > 1,
            host=settings.server.host,
            port=settings.server.port,
            workers=settings.server.workers,
            loop="auto",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.server.drain),
        )


def worker() -> Edge:
    """One of several processes: the same arguments, its own world."""
    handed = json.loads(os.environ[_HANDED_OVER])
    config = Path(handed["config"]) if handed["config"] else None
    environ = {name: value for name, value in os.environ.items() if name != _HANDED_OVER}
    loaded = load_settings(config, environ, [(path, text) for path, text in handed["overrides"]])
    configure(loaded.settings.log, secrets=known_secrets(loaded.settings))
    return make_app(loaded)


def _banner(loaded: Loaded) -> str:
    settings = loaded.settings
    url = f"http://{settings.server.host}:{settings.server.port}"
    backends = ", ".join(settings.served_backends)
    return (
        f"Lexgate {__version__} · {settings.server.mode} mode · backends: {backends}\n"
        f"  OpenAI clients:  base_url={url}/v1\n"
        f"  status:          {url}/policy/status"
    )
