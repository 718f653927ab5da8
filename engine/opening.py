"""Opens the house: everything that the exchanges of a process share, made of its settings, and closed with it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from engine import __version__
from engine.codecs import CODECS
from engine.codecs.base import BadRequest, Codec
from engine.diagnostics import ConfigurationError, Where, error
from engine.language.shell import DEFAULT_TOOLS
from engine.model.exchange import Protocol
from engine.passage.replies import House
from engine.passage.routing import Routes
from engine.settings.judge import CONTRADICTION
from engine.settings.model import Settings
from engine.world import MadeResponse, World, answer_chunks, sandbox_answer, sandbox_embeddings
from engine.world.audit import AuditLog, content_key
from engine.world.backends import open_backends
from engine.world.estimates import Estimates
from engine.world.http.base import Request
from engine.world.masking import masker
from engine.world.metrics import Metrics
from engine.world.outbound import Outbound
from engine.world.store import open_store
from engine.world.store.base import Cap, Caps
from engine.world.tokenizers import open_tokenizers

UPSTREAM_PATHS: Final[Mapping[str, Codec]] = {
    "/chat/completions": CODECS[Protocol.OPENAI_CHAT],
    "/v1/messages": CODECS[Protocol.ANTHROPIC],
    "/embeddings": CODECS[Protocol.OPENAI_EMBEDDINGS],
}
"""What the sandbox is asked at, below its base."""

_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


async def open_house(settings: Settings, metrics: Metrics | None = None) -> House:
    """The world of a configuration. Must run in the event loop that serves. Raises ConfigurationError, StoreError."""
    _refuse_what_would_be_open(settings)
    metrics = metrics or Metrics(__version__)
    sessions = Cap(per_owner=settings.limits.sessions, in_all=settings.limits.sessions)
    hidden = Cap(per_owner=settings.steer.entries, in_all=settings.steer.entries)
    store = await open_store(_store_url(settings), caps=Caps(spaces={"chains": sessions, "hidden": hidden}))
    audit = None
    if settings.audit.path:
        path = settings.resolve(settings.audit.path)
        _make_folder(path.parent, "audit.path")
        key = content_key(path) if settings.audit.content == "hash" else b""
        audit = AuditLog(path, when_full="drop-and-count", prepare=masker(settings.audit.content, key))
        metrics.watch_audit(audit)
    outbound = Outbound(settings.outbound, count=lambda rule, result: metrics.notified(rule, str(result)))
    estimates = Estimates(open_tokenizers())
    world = World(settings, store, open_backends(settings, Sandbox), metrics, outbound, audit, estimates=estimates)
    return House(world, Routes(settings), DEFAULT_TOOLS.extended(settings.shell_tools))


def _refuse_what_would_be_open(settings: Settings) -> None:
    """In team mode there is no anonymous caller; until keys can be checked, there is no team mode."""
    if settings.server.mode == "team":
        message = "team mode needs the keys of callers, which this release cannot check: anybody would be let in"
        help = "server.mode: personal serves the programs of this machine"
        raise ConfigurationError([error(CONTRADICTION, message, Where("server.mode"), help)])


def _store_url(settings: Settings) -> str:
    """The store's URL, a relative file as seen from the configuration's folder."""
    url = settings.state.reveal()
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.path.startswith("//"):
        return url
    path = settings.resolve(parts.path.removeprefix("/")).absolute()
    _make_folder(path.parent, "state")
    return f"sqlite:///{path}"


def _make_folder(folder: Path, setting: str) -> None:
    """Raises ConfigurationError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        message = f"the folder {folder} cannot be made: {problem.strerror}"
        help = f"name a place that can be written as {setting}"
        raise ConfigurationError([error(CONTRADICTION, message, Where(setting), help)]) from problem


class Sandbox:
    """The built-in backend behind the HTTP contract: reads a request as a provider would, and answers it here."""

    async def send(self, request: Request, _timeouts: object) -> MadeResponse:
        codec = UPSTREAM_PATHS[request.target.partition(b"?")[0].decode()]
        try:
            exchange = codec.decode_request(request.body, id=_stable_id(request.body), headers={})
        except BadRequest as bad:
            return MadeResponse(bad.problem.status, _JSON, [codec.encode_problem(bad.problem)])
        embeds = codec.protocol is Protocol.OPENAI_EMBEDDINGS
        answer = sandbox_embeddings(exchange) if embeds else sandbox_answer(exchange)
        if not exchange.stream:
            return MadeResponse(200, _JSON, [codec.encode_answer(answer, exchange)])
        wants_usage = codec.ask_for_usage(exchange) is exchange
        writer = codec.writer(exchange)
        pieces = [writer.write([chunk]) for chunk in answer_chunks(answer, usage=wants_usage)]
        return MadeResponse(200, _EVENT_STREAM, [piece for piece in pieces if piece])

    async def aclose(self) -> None:
        """There is nothing to close."""


def _stable_id(body: bytes) -> str:
    """The same for the same request, so that the sandbox's answers are too."""
    return hashlib.blake2b(body, digest_size=8).hexdigest()
