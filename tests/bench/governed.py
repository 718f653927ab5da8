"""Lexgate itself as a child of a benchmark: `python -m tests.bench.governed UPSTREAM_PORT RULES FOLDER`.

It serves in personal mode with an audit log and metrics, as installed; `ready PORT` on standard output says that it does.
"""

import asyncio
import socket
import sys
from pathlib import Path

import uvicorn

from engine.cli.connection import Connection
from engine.server.app import make_app
from engine.settings import load_settings
from engine.world.logs import configure
from tests.bench.process import announce
from tests.bench.rules import policy_of

CONFIGURATION = """\
policies: [./policies]
backends:
  upstream: {protocol: openai, base_url: "http://127.0.0.1:%d/v1", api_key: bench, models: ["*"]}
log: {level: warning}
"""


class _Announcing(uvicorn.Server):
    """Says that it is ready once its lifespan is, and its socket listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        announce(self.servers[0].sockets[0].getsockname()[1])


def main(upstream: int, rules: str, folder: str) -> None:
    home = Path(folder)
    (home / "policies").mkdir(parents=True, exist_ok=True)
    (home / "lexgate.yaml").write_text(CONFIGURATION % upstream)
    (home / "policies" / "bench.yaml").write_text(policy_of(rules))
    loaded = load_settings(home / "lexgate.yaml", {})
    configure(loaded.settings.log)
    config = uvicorn.Config(
        make_app(loaded), http=Connection, loop="uvloop", lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, ws="none",
    )  # fmt: skip
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    asyncio.set_event_loop_policy(None)
    _Announcing(config).run(sockets=[sock])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
