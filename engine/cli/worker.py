"""One of several processes of `policy serve`: the same arguments, its own world. Started by `workers`, by nobody else."""

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

from engine.diagnostics import ConfigurationError, LexgateError
from engine.rendering import render_text
from engine.server.app import make_app
from engine.settings import load_settings
from engine.world.crew import Crew
from engine.world.logs import configure
from engine.world.redaction import known_secrets

from .endpoint import EndpointServer, run, uvicorn_config
from .workers import HANDED_OVER


def work() -> None:
    """Serve until the signal to stop, or until whoever started this process is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it means the one who started us, and reaches us by the terminal
    handed = json.loads(os.environ.pop(HANDED_OVER))
    channel = socket.socket(fileno=handed["channel"])
    listener = socket.socket(fileno=handed["listener"])
    try:
        loaded = load_settings(
            Path(handed["config"]) if handed["config"] else None,
            os.environ,
            [(path, text) for path, text in handed["overrides"]],
        )
        settings = loaded.settings
        configure(settings.log, secrets=known_secrets(settings))
        edge = make_app(loaded, lambda metrics: Crew(Path(handed["crew"]), handed["number"], metrics.render))

        def ready(_port: int) -> None:
            channel.sendall(b'{"ready":true}\n')

        with contextlib.suppress(KeyboardInterrupt):
            run(edge, EndpointServer(uvicorn_config(edge, settings), ready, channel), listener)
    except ConfigurationError as wrong:
        _failed(channel, render_text(wrong.diagnostics, {}).rstrip())
    except LexgateError as wrong:
        _failed(channel, f"policy: {wrong}")


def _failed(channel: socket.socket, why: str) -> None:
    channel.sendall(json.dumps({"failure": why}).encode() + b"\n")
    raise SystemExit(1)


if __name__ == "__main__":
    work()
