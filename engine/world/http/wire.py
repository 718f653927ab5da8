"""A request as the bytes of HTTP/1.1: refuses what would become another message, owns the framing and hop-by-hop fields."""

import re

from engine.world.http.base import Headers, InvalidRequest, Origin, Request

# RFC 9110 §7.6.1, with Expect (this client never waits for 100) and the fields that follow from origin and body.
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_OWNED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"(?:/[!-~]*|\*)")
_KNOWN_NAMES = 1024  # INVARIANT: names come from clients, so that the memory of checked names is bounded

_sendable: dict[bytes, bool] = {}
_methods: dict[bytes, bool] = {}


def host_line(origin: Origin) -> bytes:
    return b" HTTP/1.1\r\nhost: " + origin.authority.encode("ascii") + b"\r\n"


def request_head(request: Request, host: bytes) -> bytes:
    """The head up to and with the empty line; `host` is `host_line(origin)`. Raises InvalidRequest."""
    method, body = request.method, request.body
    if method not in _methods:
        _check_method(method)
    parts = [method, b" ", request.target, host]
    add = parts.append
    lines = 3  # request line, host, the empty line
    for name, value in request.headers:
        sendable = _sendable.get(name)
        if sendable is None:
            sendable = _check_name(name)
        if sendable:
            add(name + b": " + value + b"\r\n")
            lines += 1
    if body or method not in (b"GET", b"HEAD"):
        add(b"content-length: %d\r\n" % len(body))
        lines += 1
    add(b"\r\n")
    head = b"".join(parts)
    # One look at the whole head instead of one per field: a CR or LF that is not ours would start a line of its own.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise InvalidRequest("a header of the request contains CR, LF or NUL", sent=False)
    if _TARGET.fullmatch(request.target) is None:
        raise InvalidRequest("the request target is not an absolute path of visible ASCII characters", sent=False)
    return head


def end_to_end(request: Request) -> Headers:
    """The request's checked headers without those that belong to a connection, for a transport that writes its own."""
    request_head(request, host_line(request.origin))
    return [(name, value) for name, value in request.headers if _sendable.get(name, _check_name(name))]


def _check_method(method: bytes) -> None:
    if _TOKEN.fullmatch(method) is None or method == b"CONNECT":
        raise InvalidRequest(f"{method!r} is not a method that can be sent", sent=False)
    if len(_methods) < _KNOWN_NAMES:
        _methods[method] = True


def _check_name(name: bytes) -> bool:
    if _TOKEN.fullmatch(name) is None:
        raise InvalidRequest(f"{name!r} is not a header name", sent=False)
    sendable = name.lower() not in _OWNED
    if len(_sendable) < _KNOWN_NAMES:
        _sendable[name] = sendable
    return sendable
