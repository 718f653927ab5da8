"""The configured backends: where each one is, with which key it is asked, and over which client."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from engine.model.exchange import Protocol
from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Settings

from .http.base import Client, Headers, Origin, Request, Response, Timeouts
from .http.general import GeneralClient
from .http.pool import PooledClient, PoolSettings

CREDENTIALS: Final = frozenset(
    {
        *(b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-auth-token"),
        *(b"cookie", b"cookie2", b"ocp-apim-subscription-key", b"x-amz-security-token", b"x-access-token"),
    }
)
"""Client headers that are the caller's own secrets: never forwarded, but its key to a backend of `api_key: client`."""

CLIENT_KEYS: Final = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""Where a client puts the key that it asks a provider with."""

_NEVER_FORWARDED: Final = CREDENTIALS | {
    # Of the connection (RFC 9110 7.6.1), or said anew about the request that goes upstream.
    *(b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect", b"host"),
    *(b"http2-settings", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    # Of the proxies before us and of browsers.
    *(b"client-ip", b"forwarded", b"origin", b"referer", b"true-client-ip", b"via", b"x-client-ip"),
    *(b"x-cluster-client-ip", b"x-original-forwarded-for", b"x-original-host", b"x-real-ip"),
}
_NEVER_PREFIXED: Final = (b"sec-", b"proxy-", b"x-lexgate-", b"x-forwarded-", b"x-envoy-", b"cf-")

_YES, _NO, _REMEMBERED = "yes", "no", 1024


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


class Backend:
    """One backend and its client. Keys are used in turn."""

    def __init__(self, name: str, settings: BackendSettings, client: Client) -> None:
        self.name = name
        self.protocol = settings.protocol
        self.settings = settings
        self._client = client
        self._keys = [key.reveal() for key in settings.api_key]
        self._turn = 0
        more = {Protocol.OPENAI_RESPONSES} if self.protocol == "openai" and settings.capabilities.responses else set()
        self._spoken = SPEAKS[self.protocol] | more
        self._key_header = KEY_HEADERS[self.protocol]
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
        self._own = [(name.lower().encode(), value.reveal().encode()) for name, value in settings.headers.items()]
        self._own_names = frozenset(name for name, _ in self._own)
        self._forwarded: dict[bytes, str] = {}

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

    async def send(self, path: str, body: bytes, client_headers: Headers, added: Mapping[str, str]) -> Response:
        """Ask, and answer as soon as the head of the response is there. Raises TransportError."""
        target = (self._path + path).encode()
        return await self._client.send(
            Request(self._origin, target, b"POST", self._headers(client_headers, added), body), self.timeouts
        )

    def _is_forwarded(self, name: bytes) -> str:
        """Whether a header of the client's goes on; remembered by its name, for as many names as clients really use."""
        never = name in _NEVER_FORWARDED or name.startswith(_NEVER_PREFIXED) or name in self._own_names
        answer = _NO if never else _YES
        if len(self._forwarded) < _REMEMBERED:
            self._forwarded[name] = answer
        return answer

    def _headers(self, client_headers: Headers, added: Mapping[str, str]) -> Headers:
        """The client's own headers without those of its connection and its credentials; then ours, and the key.

        Of one name the operator's `headers` win over a rule's, and a rule's over the client's.
        """
        known = self._forwarded
        forwarded = [pair for pair in client_headers if (known.get(pair[0]) or self._is_forwarded(pair[0])) is _YES]
        hop_by_hop = _named_by_connection(client_headers)
        if added or hop_by_hop:
            forwarded = [
                pair for pair in forwarded if pair[0] not in hop_by_hop and pair[0].decode("latin-1") not in added
            ]
        forwarded.append((b"content-type", b"application/json"))
        forwarded.append((b"accept-encoding", b"identity"))
        forwarded += self._own
        if added:
            by_rules = ((name.encode(), value.encode()) for name, value in added.items())
            forwarded += [each for each in by_rules if each[0] not in self._own_names]
        if self.settings.forwards_client_key:
            forwarded += [(name, value) for name, value in client_headers if name in CLIENT_KEYS]
        elif self._keys:
            key = self._keys[self._turn % len(self._keys)]
            self._turn += 1
            bearer = b"Bearer " if self._key_header == b"authorization" else b""
            forwarded.append((self._key_header, bearer + key.encode()))
        if self.protocol == "anthropic" and not any(name == ANTHROPIC_VERSION[0] for name, _ in forwarded):
            forwarded.append(ANTHROPIC_VERSION)
        return forwarded


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """The headers that the client says are meant for the next hop alone (RFC 9110 7.6.1)."""
    named = [value for name, value in headers if name == b"connection"]
    if not named or named == [b"keep-alive"]:
        return frozenset()
    return frozenset(option.strip().lower() for value in named for option in value.split(b","))


class Backends(msgspec.Struct, frozen=True):
    """All backends by name, and the clients that they share."""

    by_name: Mapping[str, Backend]
    clients: Sequence[Client]

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()


def open_backends(settings: Settings, sandbox: Callable[[], Client]) -> Backends:
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
        found[name] = Backend(name, backend, client)
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
