"""The configured backends: where each one is, with which key it is asked, and over which client."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Settings

from .http.base import Client, Headers, Origin, Request, Response, Timeouts
from .http.general import GeneralClient
from .http.pool import PooledClient, PoolSettings

CREDENTIALS: Final = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"proxy-authorization", b"cookie"}
)
"""Client headers that are the caller's own secrets: never forwarded, but to a backend of `api_key: client`."""

_NEVER_FORWARDED: Final = CREDENTIALS | {
    *(b"accept-encoding", b"connection", b"content-length", b"content-type", b"expect", b"forwarded", b"host"),
    *(b"keep-alive", b"origin", b"proxy-connection", b"referer", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"),
}
_FETCH_PREFIX: Final = (b"sec-", b"x-lexgate-", b"x-forwarded-", b"cf-")

_YES, _NO, _REMEMBERED = "yes", "no", 1024


class Backend:
    """One backend and its client. Keys are used in turn."""

    def __init__(self, name: str, settings: BackendSettings, client: Client) -> None:
        self.name = name
        self.protocol = settings.protocol
        self.settings = settings
        self._client = client
        self._keys = [key.reveal() for key in settings.api_key]
        self._turn = 0
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

    async def send(self, path: str, body: bytes, client_headers: Headers, added: Mapping[str, str]) -> Response:
        """Ask, and answer as soon as the head of the response is there. Raises TransportError."""
        target = (self._path + path).encode()
        return await self._client.send(
            Request(self._origin, target, b"POST", self._headers(client_headers, added), body), self.timeouts
        )

    def _is_forwarded(self, name: bytes) -> str:
        """Whether a header of the client's goes on; remembered by its name, for as many names as clients really use."""
        never = name in _NEVER_FORWARDED or name.startswith(_FETCH_PREFIX) or name in self._own_names
        answer = _NO if never else _YES
        if len(self._forwarded) < _REMEMBERED:
            self._forwarded[name] = answer
        return answer

    def _headers(self, client_headers: Headers, added: Mapping[str, str]) -> Headers:
        """The client's own headers without those of its connection and its credentials; then ours, and the key."""
        known = self._forwarded
        forwarded = [pair for pair in client_headers if (known.get(pair[0]) or self._is_forwarded(pair[0])) is _YES]
        forwarded.append((b"content-type", b"application/json"))
        forwarded.append((b"accept-encoding", b"identity"))
        forwarded += self._own
        if added:
            forwarded += [(name.encode(), value.encode()) for name, value in added.items()]
        if self.settings.forwards_client_key:
            forwarded += [(name, value) for name, value in client_headers if name in CREDENTIALS - {b"cookie"}]
        elif self._keys:
            key = self._keys[self._turn % len(self._keys)]
            self._turn += 1
            forwarded.append((b"authorization", b"Bearer " + key.encode()))
        return forwarded


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
