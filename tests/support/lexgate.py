"""A running Lexgate: the real server in a thread of the test's process, on a free port, with policies of the test.

    with Lexgate(tmp_path, POLICY, provider=provider) as lexgate:
        client = openai.OpenAI(base_url=lexgate.base_url, api_key="key")

Nothing of it is replaced: configuration and policies are files in `folder`, the server is uvicorn, and clients come over
a socket. The clock and the random bytes may be the test's own. Files are watched only where the settings say so.
"""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
import structlog
import uvicorn
from structlog.testing import LogCapture

from engine.passage.replies import House
from engine.policy.live import Attempt, Live
from engine.server.app import make_app
from engine.settings import load_settings

from .openai_mock import OpenAIMock

PATIENCE: Final = 30.0
"""Seconds after which a test that waits for the server has failed."""

Result = TypeVar("Result")


class Raw(msgspec.Struct, frozen=True):
    """A response as it came: header names in lower case, the body without its transfer coding."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def frames(self) -> list[Any]:
        """The data of a stream's events; `[DONE]` stays text, comments are left out."""
        return frames_of(self.body)


def frames_of(body: bytes) -> list[Any]:
    """The data of server-sent events as our own frames and the mock's write them: one line an event."""
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


class NotStarted(Exception):
    """The server ended before it served."""


class _Server(uvicorn.Server):
    """Says when it is up."""

    def __init__(self, config: uvicorn.Config, up: Callable[[], None]) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._up()


class Lexgate:
    """`base_url` ends in `/v1`, `origin` in the port. `logs` are the events that were logged, as dictionaries.

    `provider` becomes the backend `openai` for all models where `settings` names none. Without a provider and without
    backends it is the sandbox that answers.
    """

    def __init__(
        self,
        folder: Path,
        *policies: str,
        provider: OpenAIMock | None = None,
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self._settings = _with_defaults(settings or {}, provider)
        self._environ = dict(environ or {})
        self._clock = clock
        self._random_bytes = random_bytes
        self._capture = LogCapture()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lexgate", daemon=True)
        self.port = 0
        self.write(*policies)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # --- the server --------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve; raises NotStarted where no policies could be served."""
        path = self.folder / "lexgate.yaml"
        path.write_text(json.dumps(self._settings))  # JSON is YAML
        self._edge = make_app(load_settings(path, self._environ))
        self._logging = structlog.get_config()
        structlog.configure(processors=[self._capture], cache_logger_on_first_use=False)
        config = uvicorn.Config(
            self._edge, host="127.0.0.1", port=0, http="httptools", ws="none", lifespan="on", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = _Server(config, self._started)
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the server did not start"
        if not self._server.started:
            self.stop()
            raise NotStarted("the lifespan failed; the captured log says why")
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        structlog.configure(**self._logging)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except SystemExit:  # uvicorn ends so where the lifespan fails, and has logged why
            pass
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()

    def _started(self) -> None:
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        if self._clock is not None:
            self.house.world.clock = self._clock
        if self._random_bytes is not None:
            self.house.world.random_bytes = self._random_bytes
        self._ready.set()

    # --- what a test asks of it --------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def house(self) -> House:
        assert self._edge.house is not None, "the server is not up"
        return self._edge.house

    @property
    def live(self) -> Live:
        assert self._edge.live is not None, "the server is not up"
        return self._edge.live

    @property
    def logs(self) -> Sequence[Mapping[str, Any]]:
        return self._capture.entries

    def run(self, what: Callable[[], Awaitable[Result]]) -> Result:
        """Await something in the server's own loop."""

        async def inside() -> Result:
            return await what()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(PATIENCE)

    def write(self, *policies: str) -> None:
        """Make these the policies on disk, and no others."""
        self.policies.mkdir(parents=True, exist_ok=True)
        names = [f"policy-{number}.yaml" for number in range(len(policies))]
        for name, text in zip(names, policies, strict=True):
            (self.policies / name).write_text(text, encoding="utf-8")
        for path in self.policies.glob("policy-*.yaml"):
            if path.name not in names:
                path.unlink()

    def reload(self, *policies: str) -> Attempt:
        """Write these policies, and wait until they were tried; the attempt says whether they are in force."""
        self.write(*policies)
        return self.run(self.live.reload_now)

    def records(self) -> list[dict[str, Any]]:
        """The decision records in the audit log so far."""
        audit = self.house.world.audit
        assert audit is not None, "the configuration has no audit log"
        self.run(audit.flush)
        path = self.house.world.settings.resolve(self.house.world.settings.audit.path)
        return [json.loads(line) for line in path.read_bytes().splitlines()]

    def post(
        self, body: bytes | Mapping[str, Any], path: str = "/v1/chat/completions", headers: Mapping[str, str] = {}
    ) -> Raw:
        """One request, and the whole of what came back."""
        with _Asked(self.port, body, path, headers) as asked:
            return Raw(asked.status, asked.headers, b"".join(asked.pieces()))

    def open(
        self, body: bytes | Mapping[str, Any], path: str = "/v1/chat/completions", headers: Mapping[str, str] = {}
    ) -> "_Asked":
        """One request whose answer is read piece by piece as it comes."""
        return _Asked(self.port, body, path, headers)


class _Asked:
    """A request that was sent, and its response as far as it has come; closing it is a client that goes away."""

    def __init__(self, port: int, body: bytes | Mapping[str, Any], path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request("POST", path, sent, {"content-type": "application/json", **headers})
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def pieces(self) -> Iterator[bytes]:
        """What comes, as it comes, to the end."""
        while piece := self._response.read1():
            yield piece

    def until(self, words: bytes) -> bytes:
        """Read until `words` have come; fails where the response ends before."""
        seen = b""
        for piece in self.pieces():
            seen += piece
            if words in seen:
                return seen
        raise AssertionError(f"{words!r} never came; what came is {seen!r}")


def _with_defaults(settings: Mapping[str, Any], provider: OpenAIMock | None) -> dict[str, Any]:
    """The settings of a test, which reads no files but its own and has no time to wait."""
    merged: dict[str, Any] = {
        "policies": ["./policies"],
        "reload": {"enabled": False, "last_good": ""},
        "audit": {"path": "audit.jsonl", "content": "full"},
        "state": "memory://",
    }
    if provider is not None:
        backend = {"protocol": "openai", "base_url": provider.base_url, "api_key": "upstream-key", "models": ["*"]}
        merged["backends"] = {"openai": backend}
    for name, value in settings.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict) and name != "backends"
        merged[name] = {**merged[name], **value} if both else value
    return merged
