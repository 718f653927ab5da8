"""What the code between the two sockets costs: the endpoint in this process, over a backend that answers without a network.

`python -m tests.bench.inprocess [ROUNDS] [--against FOLDER]` prints CPU µs a request, all threads of the process counted, the
best of the rounds; with another checkout in FOLDER both run in turns, round by round, so that a busy machine meets both
alike. `--profile NAME` prints instead where the time of one case goes.
"""

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import uvloop

from engine.server.app import make_app
from engine.server.edge import Edge
from engine.settings import load_settings
from engine.world.logs import configure
from tests.bench import upstream
from tests.bench.rules import policy_of

ROUNDS: Final = 7
REQUESTS: Final = 400

CASES: Final = {
    "no rules": ("none", False),
    "50 rules": ("50", False),
    "stream rules, whole": ("streams", False),
    "no rules, stream": ("none", True),
    "50 rules, stream": ("50", True),
    "stream rules, stream": ("streams", True),
}
"""Each with its rules (see `rules`) and whether the answer is a stream, whose events come one by one."""

CONFIGURATION: Final = """\
policies: [./policies]
reload: {enabled: false}
backends:
  upstream: {protocol: openai, base_url: "http://127.0.0.1:9/v1", api_key: bench, models: ["*"]}
log: {level: warning}
"""


class _Answered:
    """A response that is there at once."""

    status = 200

    def __init__(self, stream: bool) -> None:
        kind = b"text/event-stream" if stream else b"application/json"
        self.headers = [(b"content-type", kind), (b"x-request-id", b"req_0123456789")]
        self._pieces = _EVENTS if stream else [_WHOLE]

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    async def aclose(self) -> None:
        pass


class _Client:
    """In the place of the HTTP client."""

    async def send(self, request: Any, _timeouts: object) -> _Answered:
        return _Answered(b'"stream": true' in request.body[:64] or b'"stream":true' in request.body[:64])

    async def aclose(self) -> None:
        pass


_EVENTS: Final = upstream.chat_events()
_WHOLE: Final = upstream.chat_answer()


async def _opened(stack: AsyncExitStack, rules: str) -> Edge:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (home / "policies").mkdir()
    (home / "lexgate.yaml").write_text(CONFIGURATION)
    (home / "policies" / "bench.yaml").write_text(policy_of(rules))
    loaded = load_settings(home / "lexgate.yaml", {})
    configure(loaded.settings.log)
    edge = make_app(loaded)
    house, edge.live = await stack.enter_async_context(edge._opened())
    edge.house = house
    backend: Any = house.world.backends.by_name["upstream"]
    backend._client = _Client()
    return edge


async def _run(edge: Edge, stream: bool, requests: int) -> float:
    """CPU µs a request until the last record is on disk. RuntimeError where an answer was wrong."""
    body = upstream.chat_request(stream=stream)
    expected = b"".join(_EVENTS) if stream else _WHOLE
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    heard: list[bytes] = []

    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:  # the client stays
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        heard.append(message.get("body", b""))

    assert edge.house is not None
    audit = edge.house.world.audit
    gc.collect()
    before = time.process_time()
    for _ in range(requests):
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 5),
        }  # fmt: skip
        asked = 0
        heard.clear()
        await asyncio.ensure_future(edge(scope, receive, send))
        if (said := b"".join(heard)) != expected:
            raise RuntimeError(f"another answer: {said[:200]!r}")
    if audit is not None:
        await audit.flush()
    return (time.process_time() - before) / requests * 1e6


async def _serve(profiled: str) -> None:
    """Answers a line `CASE` on standard input with a line of µs; with `profiled` that case alone, and its profile."""
    async with AsyncExitStack() as stack:
        edges = {rules: await _opened(stack, rules) for rules in sorted({rules for rules, _ in CASES.values()})}
        for rules, stream in CASES.values():
            await _run(edges[rules], stream, 100)
        if profiled:
            rules, stream = CASES[profiled]
            profile = cProfile.Profile()
            profile.enable()
            await _run(edges[rules], stream, 2 * REQUESTS)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            return
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            rules, stream = CASES[line.strip()]
            taken = await _run(edges[rules], stream, REQUESTS // (4 if stream else 1))
            sys.stdout.write(f"{taken}\n")
            sys.stdout.flush()


def _child(folder: str) -> subprocess.Popen[str]:
    """This module as it stands here, over the engine of a checkout."""
    child = subprocess.Popen(
        [sys.executable, "-P", __file__, "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise RuntimeError(f"the engine in {folder} does not run")
    return child


def _compare(folders: dict[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """The best CPU µs of each case in each checkout."""
    children = {name: _child(folder) for name, folder in folders.items()}
    best = {case: dict.fromkeys(folders, float("inf")) for case in CASES}
    for _ in range(rounds):
        for case in CASES:
            for name, child in children.items():
                assert child.stdin is not None
                assert child.stdout is not None
                child.stdin.write(case + "\n")
                child.stdin.flush()
                best[case][name] = min(best[case][name], float(child.stdout.readline()))
    for child in children.values():
        child.communicate()
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    parser.add_argument("--against", metavar="FOLDER")
    parser.add_argument("--profile", choices=CASES, default="")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve or chosen.profile:
        uvloop.run(_serve(chosen.profile))
        return
    folders = {"here": str(Path.cwd())}
    if chosen.against:
        folders = {"there": chosen.against, **folders}
    best = _compare(folders, chosen.rounds)
    for case, figures in best.items():
        shown = "  ".join(f"{name} {taken:7.1f}" for name, taken in figures.items())
        sys.stdout.write(f"{case:22} {shown} µs\n")


if __name__ == "__main__":
    main()
