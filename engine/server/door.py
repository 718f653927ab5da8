"""Who may come in: the checks on a connection before anything of its request is believed."""

import functools
import ipaddress
from collections.abc import Sequence
from typing import Final

from engine.codecs.base import Problem
from engine.world.http.base import Headers

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", "ip6-localhost"})
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})


def firsts(headers: Headers) -> dict[bytes, bytes]:
    """The first header of each name, in one pass over all of them."""
    return dict(reversed(headers))


def personal_problem(method: str, headers: Headers) -> Problem | None:
    """Why a request cannot be the developer's own client, in personal mode: a web page must not use the proxy.

    The host must be a loopback name (a page of another name that resolves here is refused), a foreign origin or a
    cross-site fetch is refused, and a POST must say that it is JSON (which no form of a page can).
    """
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
