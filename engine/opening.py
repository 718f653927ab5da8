"""Opens the house: everything that the exchanges of a process share, made of its settings, and closed with it."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from engine import __version__
from engine.access.opening import open_door
from engine.access.records import USED
from engine.access.registry import Registry
from engine.codecs import CODECS
from engine.codecs.base import BadRequest, Codec
from engine.diagnostics import ConfigurationError, Where, error
from engine.language.shell import DEFAULT_TOOLS
from engine.model.exchange import Protocol
from engine.passage.replies import House
from engine.passage.routing import Routes
from engine.policy.shipped import shipped_patterns
from engine.settings.judge import CONTRADICTION
from engine.settings.model import Settings
from engine.world import MadeResponse, World, answer_chunks, own, sandbox_answer, sandbox_embeddings
from engine.world.audit import AuditLog, Rotation, content_key, open_free
from engine.world.backends import open_backends
from engine.world.beacon import Beacon
from engine.world.estimates import Estimates
from engine.world.heads import Seal, key_path
from engine.world.http.base import Request
from engine.world.masking import masker
from engine.world.metrics import Metrics
from engine.world.outbound import Outbound
from engine.world.recorder import Recorder
from engine.world.redaction import Redactor, known_secrets
from engine.world.signing import signer_at
from engine.world.store import open_store
from engine.world.store.base import Cap, Caps, Store
from engine.world.store.watch import WatchedStore
from engine.world.tokenizers import open_tokenizers
from engine.world.usage import SPACE as USAGE
from engine.world.world import key_refusals

UPSTREAM_PATHS: Final[Mapping[str, Codec]] = {
    "/chat/completions": CODECS[Protocol.OPENAI_CHAT],
    "/responses": CODECS[Protocol.OPENAI_RESPONSES],
    "/v1/messages": CODECS[Protocol.ANTHROPIC],
    "/embeddings": CODECS[Protocol.OPENAI_EMBEDDINGS],
}
"""What the sandbox is asked at, below its base."""

_USAGE: Final = Cap(per_owner=200_000, in_all=2_000_000)
_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


async def open_house(settings: Settings, metrics: Metrics | None = None) -> House:
    """The world of a configuration. Must run in the event loop that serves. Raises ConfigurationError, StoreError."""
    metrics = metrics or Metrics(__version__)
    store = WatchedStore(await _open_store(settings), str(settings.state))
    store.show(metrics)
    audit = None
    if settings.audit.path:
        path = settings.resolve(settings.audit.path)
        _make_folder(path.parent, "audit.path")
        key = content_key(path) if settings.audit.content == "hash" else b""
        open_log = partial(
            AuditLog,
            when_full="drop-and-count",
            prepare=masker(settings.audit.content, key),
            rotation=_rotation(settings),
            seal=_seal(settings, path),
        )
        workers = settings.server.workers
        audit = open_free(open_log, path, workers) if workers > 1 else open_log(path)
        metrics.watch_audit(audit)
    recorder = _recorder(settings)
    metrics.watch_recorder(recorder)
    outbound = Outbound(settings.outbound, count=lambda rule, result: metrics.notified(rule, str(result)))
    estimates = Estimates(open_tokenizers())
    backends = open_backends(settings, Sandbox, key_refusals(metrics))
    world = World(settings, store, backends, metrics, outbound, audit, estimates=estimates, recorder=recorder)
    registry = Registry(store, lambda: world.clock(), world.random_bytes, beacon := _beacon(settings))
    door = None
    if settings.server.mode == "team":
        try:
            door = await open_door(
                settings, store, registry, lambda: world.timer() / 1e9, lambda: world.clock(), beacon
            )
        except BaseException:
            await world.aclose()
            raise
    routes = Routes(settings)
    world.discover(routes.discovered)
    world.usage.start()
    world.watch_health()
    return House(world, routes, DEFAULT_TOOLS.extended(settings.shell_tools), registry, door)


def _rotation(settings: Settings) -> Rotation:
    audit = settings.audit
    return Rotation(size=audit.rotate, every=audit.rotate_every, keep=audit.keep, keep_for=audit.keep_for)


def _seal(settings: Settings, log: Path) -> Seal | None:
    """What signs the heads of the audit log, if anything does. Raises ConfigurationError."""
    audit = settings.audit
    if not audit.key and settings.server.mode != "team":
        return None
    place = settings.resolve(audit.key) if audit.key else key_path(log)
    try:
        signer = signer_at(place)
    except (ValueError, OSError) as problem:
        help = "name a file with an Ed25519 key in PEM, or one that is not there yet: it is made"
        raise ConfigurationError([error(CONTRADICTION, str(problem), Where("audit.key"), help)]) from problem
    return Seal(signer, settings.resolve(audit.heads) if audit.heads else None, audit.heads_every)


def _recorder(settings: Settings) -> Recorder:
    """What records exchanges; it opens nothing before the first of them."""
    record = settings.record
    folder = settings.resolve(record.path)
    masks = shipped_patterns("secrets") if record.content == "redacted" else None
    redactor = Redactor(known_secrets(settings))

    def redact(text: str) -> str:
        text = text.encode("utf-8", "replace").decode()
        if masks is not None:
            text = masks.sub(text, lambda match: f"[{match.name}]")
        return redactor.text(text) if redactor.suspicious(text) else text

    return Recorder(
        folder,
        sample=record.sample,
        content=record.content,
        redact=redact,
        key=lambda: content_key(folder / "traffic"),
        max_bytes=record.max_bytes,
        rotate=record.rotate,
        keep=record.keep,
        version=__version__,
    )


async def _open_store(settings: Settings) -> Store:
    sessions = Cap(per_owner=settings.limits.sessions, in_all=settings.limits.sessions)
    hidden = Cap(per_owner=settings.steer.entries, in_all=settings.steer.entries)
    by_id = Cap(per_owner=settings.responses.entries, in_all=settings.responses.entries)
    used = Cap(per_owner=Caps().records, in_all=Caps().records)
    spaces = {"chains": sessions, "hidden": hidden, "responses": by_id, USED: used, USAGE: _USAGE}
    return await open_store(_store_url(settings), caps=Caps(spaces=spaces))


def _beacon(settings: Settings) -> Beacon | None:
    """By which the processes of one host tell each other of changed keys; over a network, only the store tells."""
    scheme, _, path = _store_url(settings).partition(":///")
    return Beacon(Path(f"{path}.changed")) if scheme == "sqlite" else None


@contextlib.asynccontextmanager
async def open_registry(settings: Settings) -> AsyncIterator[Registry]:
    """The keys of a configuration, for as long as they are looked at. Raises ConfigurationError, StoreError."""
    store = await _open_store(settings)
    try:
        yield Registry(store, own.clock, own.random_bytes, _beacon(settings))
    finally:
        await store.close()


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
        target, _, query = request.target.decode().partition("?")
        # A target that is no path of these names model and method, as Gemini's do.
        model, _, method = unquote(target.removeprefix("/")).rpartition(":")
        codec = UPSTREAM_PATHS.get(target) or CODECS[Protocol.GEMINI]
        try:
            exchange = codec.decode_request(
                request.body,
                id=_stable_id(request.body),
                headers={},
                query=query,
                path={"model": model, "method": method} if method else None,
            )
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
