"""Who may come in: the checks on a connection before anything of its request is believed."""

import ipaddress
from collections.abc import Sequence
from typing import Final

from engine.codecs.base import Problem
from engine.world.http.base import Headers

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", "ip6-localhost"})
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})


def header(headers: Headers, name: bytes) -> bytes:
    """The first header of a name, b"" where there is none."""
    return next((value for key, value in headers if key == name), b"")


def personal_problem(method: str, headers: Headers) -> Problem | None:
    """Why a request cannot be the developer's own client, in personal mode: a web page must not use the proxy.

    The host must be a loopback name (a page of another name that resolves here is refused), a foreign origin or a
    cross-site fetch is refused, and a POST must say that it is JSON (which no form of a page can).
    """
    hosts = [value for name, value in headers if name == b"host"]
    host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
    name = host if host.endswith("]") else host.rpartition(":")[0] if _has_port(host) else host
    if name not in _LOOPBACK_NAMES and not _is_loopback(name):
        message = f"The host '{host}' is not a loopback name: in personal mode only this machine is served."
        return Problem(status=403, message=message, code="host_refused")
    origin = header(headers, b"origin").decode("latin-1").lower()
    site = header(headers, b"sec-fetch-site")
    if (origin and origin != "null" and not _is_own_origin(origin, host)) or (site and site not in _SAME_SITE):
        return Problem(status=403, message="A web page of another site may not use this proxy.", code="origin_refused")
    if origin == "null":
        return Problem(status=403, message="A page without an origin may not use this proxy.", code="origin_refused")
    if method == "POST" and not is_json(header(headers, b"content-type")):
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
