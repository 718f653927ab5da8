"""The configured backends: where each one is, with which key it is asked, and over which client."""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from engine.model.exchange import Exchange, Protocol
from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Settings

from .credentials import forwarded_key, with_key, without_key
from .forwarding import Forwarding, with_beta
from .http.base import Client, Headers, Origin, Request, Response, Timeouts
from .http.general import GeneralClient
from .http.pool import PooledClient, PoolSettings
from .keys import TRIED_AGAIN, Key, Keys

SPEAKS: Final[Mapping[str, frozenset[Protocol]]] = {
    "openai": frozenset({Protocol.OPENAI_CHAT, Protocol.OPENAI_EMBEDDINGS}),
    "anthropic": frozenset({Protocol.ANTHROPIC}),
    "gemini": frozenset({Protocol.GEMINI}),
    "sandbox": frozenset(Protocol),
}
"""The wire protocols that every backend of a kind speaks; `capabilities` add to them."""

MAIN: Final[Mapping[str, Protocol]] = {
    "openai": Protocol.OPENAI_CHAT,
    "anthropic": Protocol.ANTHROPIC,
    "gemini": Protocol.GEMINI,
    "sandbox": Protocol.OPENAI_CHAT,
}
"""What a kind of backend is asked in, when it does not speak the client's protocol."""

KEY_HEADERS: Final[Mapping[str, bytes]] = {
    "openai": b"authorization",
    "anthropic": b"x-api-key",
    "gemini": b"x-goog-api-key",
    "sandbox": b"authorization",
}
"""Where each protocol has the key; in `authorization` it stands behind `Bearer`."""

ANTHROPIC_VERSION: Final = (b"anthropic-version", b"2023-06-01")
"""Sent for clients that say none: Anthropic's API refuses a request without it."""

TARGETS: Final = 64
"""Targets of requests that are remembered: a protocol has few of them."""

Cooled = Callable[[str, int, int, float], None]
"""Told when a key gets a rest: backend, number of the key, status that it was refused with, seconds."""


def _unheard(_backend: str, _key: int, _status: int, _seconds: float) -> None:
    """Nobody wants to know."""


class Backend:
    """One backend and its client. Keys are used in turn; one that is refused rests."""

    def __init__(
        self,
        name: str,
        settings: BackendSettings,
        client: Client,
        *,
        team: bool = False,
        clock: Callable[[], float] = time.time,
        cooled: Cooled = _unheard,
    ) -> None:
        self.name = name
        self.protocol = settings.protocol
        self.settings = settings
        self._client = client
        self._team = team
        self._keys = Keys(
            () if settings.forwards_client_key else [key.reveal() for key in settings.api_key],
            clock,
            lambda number, status, seconds: cooled(name, number, status, seconds),
        )
        more = {Protocol.OPENAI_RESPONSES} if self.protocol == "openai" and settings.capabilities.responses else set()
        self._spoken = SPEAKS[self.protocol] | more
        self._key_header = settings.key_header.lower().encode() or KEY_HEADERS[self.protocol]
        self._refused = tuple(settings.capabilities.refuses) + (
            () if settings.capabilities.stream_usage else ("stream_options",)
        )
        self.timeouts = Timeouts(
            connect=settings.timeouts.connect,
            first_byte=settings.timeouts.first_byte,
            idle=settings.timeouts.idle,
            total=settings.timeouts.total,
            write=settings.timeouts.write,
        )
        self._origin, self._path = Origin("http", "sandbox", 80), ""
        if settings.base_url:
            self._origin, self._path = Origin.parse(settings.base_url)
        self._query = "&".join(f"{quote(name, '')}={quote(value, '')}" for name, value in settings.query.items())
        self._forwarding = Forwarding(settings)
        self._forwards_client_key = settings.forwards_client_key
        self._targets: dict[str, bytes] = {}

    def speaks(self, protocol: Protocol) -> bool:
        """Whether it can be asked in a client's own protocol, so that nothing need be translated."""
        return protocol in self._spoken

    def protocol_for(self, client: Protocol) -> Protocol | None:
        """The protocol to ask it in for a client: the client's own where it is spoken, else the backend's main one.

        None where no translation can be: embeddings have no counterpart in the other protocols.
        """
        if client in self._spoken:
            return client
        return None if client is Protocol.OPENAI_EMBEDDINGS else MAIN[self.protocol]

    @property
    def reports_stream_usage(self) -> bool:
        """Whether a stream's usage may be asked for; who may not be asked reports it unasked, or never."""
        return self.settings.capabilities.stream_usage

    @property
    def counts_tokens(self) -> bool:
        """Whether it has a route that counts the tokens of a request."""
        return self.protocol in ("anthropic", "gemini") and self.settings.capabilities.count_tokens

    def fitted(self, exchange: Exchange) -> Exchange:
        """The request without the parameters that this backend refuses; the same object where it has none of them."""
        if not self._refused:
            return exchange
        kept = {
            name: value
            for name, value in exchange.params.items()
            if not any(fnmatchcase(name, each) for each in self._refused)
        }
        if len(kept) == len(exchange.params):
            return exchange
        return msgspec.structs.replace(exchange, params=kept, body=None)

    async def send(
        self,
        path: str,
        body: bytes,
        client_headers: Headers,
        added: Mapping[str, str],
        *,
        client: Protocol | None = None,
        query: str = "",
    ) -> Response:
        """Ask, and answer as soon as the head of the response is there. Raises TransportError.

        `client` is the protocol of whoever asks, None where it is the backend's own; `query` is the client's, in which a
        key may stand. A request that was refused for its key alone is sent once more with each of the other keys.
        """
        target, in_path = self._target(path)
        native = client is None or client in self._spoken
        headers = self._forwarding.headers(client_headers, added, translated=not native)
        if self.protocol == "anthropic" and not any(name == ANTHROPIC_VERSION[0] for name, _ in headers):
            headers.append(ANTHROPIC_VERSION)
        if self._forwards_client_key:
            in_query = in_path or (without_key(query)[1] if query else "")
            given = forwarded_key(client_headers, in_query, self._key_header, native=native, team=self._team)
            headers += given.headers
            if given.beta and self.protocol == "anthropic":
                headers = with_beta(headers, given.beta)
        return await self._sent(b"POST", target, headers, body, self.timeouts)

    async def get(self, path: str, timeouts: Timeouts) -> Response:
        """Read a page of the backend's own, with a key of ours and nothing of a client's. Raises TransportError."""
        headers: Headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity"), *self._forwarding.own]
        if self.protocol == "anthropic":
            headers.append(ANTHROPIC_VERSION)
        return await self._sent(b"GET", self._target(path)[0], headers, b"", timeouts)

    async def probe(self, path: str, timeouts: Timeouts) -> Response:
        """Read a page that says whether it is well, with its own headers and a key of ours. Raises TransportError.

        A path that begins with `/` stands at the server's root, another one below `base_url`.
        """
        target = path if path.startswith("/") else f"{self._path}/{path}"
        headers: Headers = [(b"accept-encoding", b"identity"), *self._forwarding.own]
        key = self._keys.take()
        if key is not None:
            headers.append(with_key(self._key_header, key.value))
        return await self._client.send(Request(self._origin, target.encode(), b"GET", headers, b""), timeouts)

    @property
    def rests_until(self) -> float:
        """When one of its keys may be used again; 0 where one may be now."""
        return self._keys.rests_until

    def _target(self, path: str) -> tuple[bytes, str]:
        """The target of a request, and the key that stood in its query: no key of a client's goes on in a URL."""
        known = self._targets.get(path)
        if known is not None:
            return known, ""
        if "?" not in path and not self._query and len(self._targets) < TARGETS:
            target = self._targets[path] = (self._path + path).encode()
            return target, ""
        key = ""
        if "?" in path:
            path, _, query = path.partition("?")
            query, key = without_key(query)
            path = f"{path}?{query}" if query else path
        if self._query:
            path = f"{path}{'&' if '?' in path else '?'}{self._query}"
        return (self._path + path).encode(), key

    async def _sent(self, method: bytes, target: bytes, headers: Headers, body: bytes, timeouts: Timeouts) -> Response:
        tried: list[Key] = []
        key = self._keys.take()
        while True:
            with_ours = headers if key is None else [*headers, with_key(self._key_header, key.value)]
            response = await self._client.send(Request(self._origin, target, method, with_ours, body), timeouts)
            if key is None:
                return response
            self._keys.answered(key, response.status, response.headers)
            if response.status not in TRIED_AGAIN:
                return response
            tried.append(key)
            key = self._keys.another(tried)
            if key is None:
                return response
            await response.aclose()


class Backends(msgspec.Struct, frozen=True):
    """All backends by name, and the clients that they share."""

    by_name: Mapping[str, Backend]
    clients: Sequence[Client]

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()


def open_backends(settings: Settings, sandbox: Callable[[], Client], cooled: Cooled = _unheard) -> Backends:
    """The backends of a configuration; those that need no client of their own share one pool."""
    pool = PoolSettings(
        max_connections=settings.upstream.max_connections,
        max_waiting=settings.upstream.max_waiting,
        idle_expiry=settings.upstream.idle_expiry,
        max_lifetime=settings.upstream.max_lifetime,
    )
    shared: PooledClient | None = None
    clients: list[Client] = []
    found: dict[str, Backend] = {}
    for name, backend in settings.served_backends.items():
        client: Client
        if backend.protocol == "sandbox":
            client = sandbox()
        elif backend.proxy is not None:
            client = GeneralClient(proxy=backend.proxy.reveal())
        elif _is_plain(backend):
            shared = shared or PooledClient(pool)
            client = shared
        else:
            own = msgspec.structs.replace(pool, retry_stale=backend.retry_stale)
            client = PooledClient(own, tls=_tls(settings, backend))
        if client not in clients:
            clients.append(client)
        found[name] = Backend(name, backend, client, team=settings.server.mode == "team", cooled=cooled)
    return Backends(found, tuple(clients))


def _is_plain(backend: BackendSettings) -> bool:
    return backend.retry_stale and backend.verify and not backend.ca_file


def _tls(settings: Settings, backend: BackendSettings) -> ssl.SSLContext | None:
    """The trust of one backend; None where its URL needs none or the common one will do."""
    if urlsplit(backend.base_url).scheme != "https" or (backend.verify and not backend.ca_file):
        return None
    context = ssl.create_default_context(cafile=str(settings.resolve(backend.ca_file)) if backend.ca_file else None)
    if not backend.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
