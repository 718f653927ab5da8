"""What reading a protocol, and translating between two, adds to an exchange: the endpoint in this process, no sockets.

`python -m tests.bench.wires [ROUNDS]` prints µs of the event loop's thread a request, the median of all that were sent: the
latency that the code between the sockets adds. Behind each figure stands its ratio to the same client's native pass-through,
unread, of the same run. `body` is the size of the request's text, and of the answer's, which streams in pieces of `PIECE`.
"""

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from engine.server.app import make_app
from engine.server.edge import Edge
from engine.settings import load_settings
from engine.world.logs import configure
from tests.bench.rules import policy_of
from tests.conformance.wire.backends import BACKENDS, Turn
from tests.support.provider import Received

ROUNDS: Final = 3
SIZES: Final = {"2 KB": 2_000, "100 KB": 100_000}
PIECE: Final = 100
"""Characters an event of a stream: a few words, as fast models send them."""

WORDS: Final = "The quick brown fox jumps over the lazy dog. "
BUDGET: Final = 0.06
"""Seconds of requests that a round spends on one figure; at least `FEWEST` are sent, behind those that warm up."""
FEWEST, WARM_UP = 3, 20

NATIVE: Final = {
    "chat": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic",
    "gemini": "gemini",
}
"""The clients, each with the backend that speaks its protocol."""

HEADING: Final = "µs an exchange in the server's thread, and its ratio to the same client's native pass-through"

UNREAD, READ = "passed on unread", "read by text rules"


class Row(msgspec.Struct, frozen=True):
    """Who asks whom. `rules` is what the answer is read for (see `rules`)."""

    client: str
    backend: str
    rules: str = "none"

    @property
    def name(self) -> str:
        if self.backend != NATIVE[self.client]:
            return f"{self.client} to {self.backend}"
        return f"{self.client}, {UNREAD if self.rules == 'none' else READ}"


ROWS: Final = [
    *(Row(client, backend) for client, backend in NATIVE.items()),
    *(Row(client, backend, "streams") for client, backend in NATIVE.items()),
    *(
        Row(client, backend)
        for client, native in NATIVE.items()
        for backend in ("openai-chat", "anthropic", "gemini")
        if backend != native
    ),
]


# --- what is said ----------------------------------------------------------------------------------------------------


def text_of(size: int) -> str:
    return (WORDS * (size // len(WORDS) + 1))[:size]


def asked(client: str, model: str, size: int, *, stream: bool) -> tuple[str, bytes]:
    """Path and body of a request: a system prompt, a tool, and `size` characters in nine turns."""
    said = [text_of(size // 9) for _ in range(9)]
    roles = ["user", "assistant"] * 4 + ["user"]
    turns = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
    schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
    tool = {"name": "bash", "description": "Runs a command."}
    system = "Be brief."
    body: dict[str, Any]
    match client:
        case "chat":
            path = "/v1/chat/completions"
            function = {"type": "function", "function": {**tool, "parameters": schema}}
            messages = [{"role": "system", "content": system}, *turns]
            body = {"model": model, "stream": stream, "messages": messages, "tools": [function]}
            if stream:
                body["stream_options"] = {"include_usage": True}
        case "responses":
            path = "/v1/responses"
            tools = [{"type": "function", **tool, "parameters": schema, "strict": False}]
            body = {"model": model, "stream": stream, "instructions": system, "input": turns, "tools": tools}
            body["store"] = False
        case "messages":
            path = "/v1/messages"
            tools = [{**tool, "input_schema": schema}]
            body = {"model": model, "stream": stream, "max_tokens": 64_000, "system": system, "messages": turns}
            body["tools"] = tools
        case _:
            path = f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
            contents = [
                {"role": "user" if role == "user" else "model", "parts": [{"text": text}]}
                for role, text in zip(roles, said, strict=True)
            ]
            body = {
                "systemInstruction": {"parts": [{"text": system}]},
                "contents": contents,
                "tools": [{"functionDeclarations": [{**tool, "parameters": schema}]}],
            }
    return path, msgspec.json.encode(body)


def answered(row: Row, size: int, *, stream: bool) -> list[bytes]:
    """What the provider says: the whole answer, or its events one by one."""
    backend = BACKENDS[row.backend]
    mock = backend.make("")
    reply = backend.reply(Turn(text=text_of(size), piece=PIECE))
    request: dict[str, Any] = {"model": backend.model, "stream": stream}
    if row.backend == "openai-responses":
        request["input"] = "hello"
    elif row.backend == "openai-chat" and stream:
        request["stream_options"] = {"include_usage": True}
    elif row.backend == "gemini":  # whose path says what is wanted
        path, body = asked("gemini", backend.model, 100, stream=stream)
        mock.direct(Received("POST", path, {}, body))
    if stream:
        return list(mock.stream(reply, request, 0))
    return [msgspec.json.encode(mock.whole(reply, request, 0))]


# --- who answers -----------------------------------------------------------------------------------------------------


class _Answered:
    """A response that is there at once."""

    status = 200

    def __init__(self, pieces: list[bytes]) -> None:
        kind = b"application/json" if len(pieces) == 1 else b"text/event-stream"
        self.headers = [(b"content-type", kind), (b"x-request-id", b"req_0123456789")]
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    async def aclose(self) -> None:
        pass


class _Client:
    """In the place of the HTTP client: says what it was told to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def send(self, _request: Any, _timeouts: object) -> _Answered:
        return _Answered(self.pieces)

    async def aclose(self) -> None:
        pass


class Endpoint(msgspec.Struct):
    """The endpoint under one set of rules, over backends that are `client`."""

    edge: Edge
    client: _Client


async def opened(stack: AsyncExitStack, rules: str) -> Endpoint:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (home / "policies").mkdir()
    backends = {
        name: {"base_url": "http://127.0.0.1:9/v1", "api_key": "bench", "models": [backend.model], **backend.settings}
        for name, backend in BACKENDS.items()
    }
    settings = {
        "policies": ["./policies"],
        "reload": {"enabled": False},
        "backends": backends,
        "log": {"level": "warning"},
    }
    (home / "lexgate.yaml").write_bytes(msgspec.json.encode(settings))
    (home / "policies" / "bench.yaml").write_text(policy_of(rules))
    loaded = load_settings(home / "lexgate.yaml", {})
    configure(loaded.settings.log)
    edge = make_app(loaded)
    house, edge.live = await stack.enter_async_context(edge._opened())
    edge.house = house
    client = _Client()
    for backend in house.world.backends.by_name.values():
        backend._client = client
    return Endpoint(edge, client)


# --- measuring -------------------------------------------------------------------------------------------------------


async def once(endpoint: Endpoint, path: str, body: bytes) -> tuple[float, bytes]:
    """µs that the event loop's thread worked for one request, and what its client heard."""
    path, _, query = path.partition("?")
    heard: list[bytes] = []
    came = False

    async def receive() -> dict[str, Any]:
        nonlocal came
        if came:  # the client stays
            await asyncio.get_running_loop().create_future()
        came = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heard.append(b"%d " % message["status"])
        else:
            heard.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": query.encode(),
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"x-session-id", b"bench"),
            (b"content-length", b"%d" % len(body)),
        ],
        "client": ("127.0.0.1", 5),
    }
    before = time.thread_time()
    await asyncio.ensure_future(endpoint.edge(scope, receive, send))
    return (time.thread_time() - before) * 1e6, b"".join(heard)


def check(row: Row, heard: bytes, size: int) -> None:
    """Raises RuntimeError where the client did not get the whole answer."""
    if not heard.startswith(b"200 ") or heard.count(b"fox") < size // len(WORDS) * 0.8:
        raise RuntimeError(f"{row.name}: another answer: {heard[:300]!r}")


async def figure(endpoint: Endpoint, row: Row, size: int, *, stream: bool) -> list[float]:
    """One round of one figure: µs of each request."""
    path, body = asked(row.client, BACKENDS[row.backend].model, size, stream=stream)
    endpoint.client.pieces = answered(row, size, stream=stream)
    for _ in range(WARM_UP if size < 10_000 else 1):
        _, heard = await once(endpoint, path, body)
        check(row, heard, size)
    gc.collect()
    taken: list[float] = []
    while len(taken) < FEWEST or sum(taken) < BUDGET * 1e6:
        took, _ = await once(endpoint, path, body)
        taken.append(took)
    return taken


Column = tuple[str, bool]
COLUMNS: Final[list[Column]] = [(size, stream) for size in SIZES for stream in (False, True)]


async def measure(rounds: int = ROUNDS) -> dict[Row, dict[Column, float]]:
    """The median µs of every row and column; the rounds go over all of them, so that a busy moment meets all alike."""
    taken: dict[Row, dict[Column, list[float]]] = {row: {column: [] for column in COLUMNS} for row in ROWS}
    async with AsyncExitStack() as stack:
        endpoints = {rules: await opened(stack, rules) for rules in ("none", "streams")}
        for _ in range(rounds):
            for row, columns in taken.items():
                for (size, stream), all_rounds in columns.items():
                    all_rounds += await figure(endpoints[row.rules], row, SIZES[size], stream=stream)
    return {
        row: {column: statistics.median(each) for column, each in columns.items()} for row, columns in taken.items()
    }


def report(found: dict[Row, dict[Column, float]]) -> str:
    """A line a row: µs, and the ratio to the same client's pass-through."""
    lines = [f"{'':30}" + "".join(f"{size + (', stream' if stream else ''):>20}" for size, stream in COLUMNS)]
    for row, columns in found.items():
        base = found[Row(row.client, NATIVE[row.client])]
        cells = (f"{took:>12,.0f} {f'x{took / base[column]:.2f}':>7}" for column, took in columns.items())
        lines.append(f"{row.name:30}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    found = uvloop.run(measure(rounds))
    sys.stdout.write(f"{HEADING}\n{report(found)}\n")


if __name__ == "__main__":
    main()
