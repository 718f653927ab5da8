"""Who may come in: the checks on a connection before anything of its request is believed."""

import functools
import ipaddress
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from engine.access.credentials import stripped, stripped_query
from engine.access.denial import ADMIN_KEY, NOT_ADMIN, Denied, OutOfScope
from engine.access.door import Door
from engine.access.scopes import EVERYTHING, Grant
from engine.codecs.base import Codec, Problem
from engine.passage.view import Caller
from engine.server.speakers import codec_of
from engine.settings.model import Server
from engine.world.http.base import Headers

AGENT_LENGTH: Final = 200
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", "ip6-localhost"})
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})


def firsts(headers: Headers) -> dict[bytes, bytes]:
    """The first header of each name, in one pass over all of them."""
    return dict(reversed(headers))


def personal_problem(method: str, headers: Headers, first: Mapping[bytes, bytes] | None = None) -> Problem | None:
    """Why a request cannot be the developer's own client, in personal mode: a web page must not use the proxy.

    The host must be a loopback name (a page of another name that resolves here is refused), a foreign origin or a
    cross-site fetch is refused, and a POST must say that it is JSON (which no form of a page can). `first` is what
    `firsts` gives, where the caller has it.
    """
    if first is None:
        first = firsts(headers)
    host = first.get(b"host", b"")
    if len(first) != len(headers) and sum(name == b"host" for name, _ in headers) > 1:
        host = b""  # which of them would count is anybody's guess
    content_type = first.get(b"content-type", b"") if method == "POST" else b"application/json"
    return _judged(host, first.get(b"origin", b""), first.get(b"sec-fetch-site", b""), content_type)


@functools.lru_cache(maxsize=128)
def _judged(host_field: bytes, origin_field: bytes, site: bytes, content_type: bytes) -> Problem | None:
    """The same for the same fields: a client sends them alike with every request."""
    host = host_field.decode("latin-1").lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] if _has_port(host) else host
    if name not in _LOOPBACK_NAMES and not _is_loopback(name):
        message = f"The host '{host}' is not a loopback name: in personal mode only this machine is served."
        return Problem(status=403, message=message, code="host_refused")
    origin = origin_field.decode("latin-1").lower()
    if (origin and origin != "null" and not _is_own_origin(origin, host)) or (site and site not in _SAME_SITE):
        return Problem(status=403, message="A web page of another site may not use this proxy.", code="origin_refused")
    if origin == "null":
        return Problem(status=403, message="A page without an origin may not use this proxy.", code="origin_refused")
    if not is_json(content_type):
        message = "The content type must be application/json."
        return Problem(status=415, message=message, code="unsupported_media_type")
    return None


def is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not (host.count(":") > 1 and not host.startswith("["))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_own_origin(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host


def client_address(peer: str, headers: Headers, trusted: Sequence[str]) -> str:
    """The client's address: the peer's, or behind trusted proxies the last forwarded one that is not itself trusted."""
    if not trusted or not _within(peer, trusted):
        return peer
    forwarded = [
        part.strip()
        for key, value in headers
        if key == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
    ]
    for address in reversed(forwarded):
        if not _within(address, trusted):
            return address if _is_address(address) else peer
    return forwarded[0] if forwarded and _is_address(forwarded[0]) else peer


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _within(address: str, networks: Sequence[str]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(network, strict=False) for network in networks)


# --- team mode: everybody says who they are, on every route -----------------------------------------------------------

PAGES: Final = {"/healthz": "healthz", "/readyz": "readyz", "/metrics": "metrics", "/policy/status": "status"}
"""The pages of operators, with the names by which `server.open` opens them."""

ADMIN: Final = "/admin/"
_CALLERS: Final = ("/v1/", "/v1beta/", "/v1alpha/")
"""Where the wire protocols live: for who asks models, and for nobody else."""

VISITOR: Final = "lexgate.visitor"
"""Where the scope of a request holds who asks, once the door was passed."""


class Visitor(msgspec.Struct, frozen=True):
    """Who came in: the caller as rules see it, and what it may use."""

    caller: Caller
    grant: Grant = EVERYTHING


async def enter(door: Door, server: Server, scope: MutableMapping[str, Any], codec: Codec | None) -> Denied | None:
    """Let a request in, or say why not. `codec` is what its path speaks, None where it asks for a page.

    Inside, the scope knows the visitor and holds no credential any more: neither its headers nor its query.
    """
    path: str = scope["path"]
    if codec is None and PAGES.get(path) in server.open and _is_plain(scope):
        return None
    headers: Headers = scope["headers"]
    query: bytes = scope["query_string"]
    address = client_address(scope["client"][0] if scope.get("client") else "", headers, server.trusted_proxies)
    admitted = await door.admit(headers, query, address)
    if isinstance(admitted, Denied):
        return admitted
    identity = admitted.identity
    refused = _misplaced(scope, identity.is_admin, codec)
    if refused is not None:
        return refused
    if codec is not None:
        try:
            identity.grant.admit_protocol(codec.protocol.value)
        except OutOfScope as beyond:
            return beyond.denied
    agent = firsts(headers).get(b"user-agent", b"")[:AGENT_LENGTH].decode("latin-1")
    caller = Caller(identity.id, identity.kind, identity.team, identity.roles, identity.key, address, agent)
    scope[VISITOR] = Visitor(caller, identity.grant)
    scope["headers"] = stripped(headers, admitted.shown)
    if query:
        scope["query_string"] = stripped_query(query.decode("latin-1")).encode("latin-1")
    return None


def _misplaced(scope: MutableMapping[str, Any], is_admin: bool, codec: Codec | None) -> Denied | None:
    """Why a caller has no business at a path: what is not known to be for it is not shown.

    A page is found by its one spelling alone. What another program between us and the client may have read differently
    (doubled slashes, escapes) leads nowhere.
    """
    path: str = scope["path"]
    if codec is not None or path.startswith(_CALLERS):
        if is_admin:
            return ADMIN_KEY
        return _nothing_here(scope) if "//" in path or "/../" in path or "\\" in path else None
    if not _is_plain(scope) or "//" in path or "/../" in path:
        return _nothing_here(scope)
    if path in PAGES or path.startswith(ADMIN):
        return None if is_admin else NOT_ADMIN
    return None if path == "/" else _nothing_here(scope)


def _is_plain(scope: MutableMapping[str, Any]) -> bool:
    """Whether the path stood in the request as it is looked up, without any escape."""
    return bool(scope.get("raw_path") == scope["path"].encode())


def _nothing_here(scope: MutableMapping[str, Any]) -> Denied:
    message = f"There is no {scope['method']} {scope['path']} here."
    return Denied(status=404, message=message, code="not_found", kind="not_found_error", reason="not_found")


def denied_problem(denied: Denied) -> Problem:
    """A refusal of the door, as codecs say it."""
    return Problem(
        status=denied.status,
        message=denied.message,
        kind=denied.kind,
        code=denied.code,
        param=denied.param,
        retry_after=denied.retry_after,
    )


def denied_answer(denied: Denied, scope: MutableMapping[str, Any], codec: Codec | None) -> tuple[Headers, bytes]:
    """The headers and the body of a refusal, in the shape that the client can read; they tell nothing of the inside."""
    if codec is None and scope["path"].startswith(ADMIN):
        body = msgspec.json.encode({"code": denied.code, "message": denied.message, "help": ""})
    else:
        body = (codec or codec_of(scope["path"], scope["headers"])).encode_problem(denied_problem(denied))
    headers: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if denied.challenge is not None:
        error = f', error="{denied.challenge}"' if denied.challenge else ""
        headers.append((b"www-authenticate", f'Bearer realm="lexgate"{error}'.encode()))
    if denied.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(denied.retry_after + 0.499))))
    return headers, body
