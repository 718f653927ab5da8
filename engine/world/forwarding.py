"""Which of a client's headers go on to a backend, and what stands beside them: the protocol's own, less what it refuses."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from engine.settings.model import Backend, Betas

from .credentials import CREDENTIALS
from .http.base import Headers

_NEVER_FORWARDED: Final = CREDENTIALS | {
    # Of the connection (RFC 9110 7.6.1), or said anew about the request that goes upstream.
    *(b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect", b"host"),
    *(b"http2-settings", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    # Of the proxies before us and of browsers.
    *(b"client-ip", b"forwarded", b"origin", b"referer", b"true-client-ip", b"via", b"x-client-ip"),
    *(b"x-cluster-client-ip", b"x-original-forwarded-for", b"x-original-host", b"x-real-ip"),
}
_NEVER_PREFIXED: Final = (b"sec-", b"proxy-", b"x-lexgate-", b"x-forwarded-", b"x-envoy-", b"cf-")

FAMILIES: Final[Mapping[str, bytes]] = {"openai": b"openai-", "anthropic": b"anthropic-", "gemini": b"x-goog-"}
"""How the headers of each protocol begin. After a translation those of the client's say nothing to the backend."""

BETAS: Final = frozenset({b"anthropic-beta", b"openai-beta"})
"""Headers that are lists of names, each of which a backend may refuse."""

_YES, _NO, _LISTED, _REMEMBERED = "yes", "no", "listed", 1024


_OF_CLIENTS: Final = (
    *(b"x-stainless-", b"x-claude-", b"x-codex-", b"x-app", b"chatgpt-", b"originator", b"session-id", b"thread-id"),
)
"""What SDKs and agents say of themselves to their own provider."""


class Forwarding:
    """The headers of one backend. Whether a name goes on is worked out once, for as many names as clients really use."""

    def __init__(self, settings: Backend) -> None:
        self.own: Headers = [
            (name.lower().encode(), value.reveal().encode()) for name, value in settings.headers.items()
        ]
        self._own_names = frozenset(name for name, _ in self.own)
        family = FAMILIES.get(settings.protocol)
        self._foreign = (*(each for each in FAMILIES.values() if each != family), *_OF_CLIENTS)
        betas = settings.capabilities.betas
        self._passes = _beta_test(betas) if betas.drop or betas.allow is not None else None
        self._known: dict[bytes, str] = {}

    def headers(self, client: Headers, added: Mapping[str, str], *, translated: bool) -> Headers:
        """The client's headers without those of its connection, its proxies and its credentials; then ours.

        Of one name the operator's `headers` win over a rule's, and a rule's over the client's.
        """
        known = self._known
        kept: Headers = []
        for pair in client:
            fate = known.get(pair[0]) or self._fate(pair[0])
            if fate is _YES:
                kept.append(pair)
            elif fate is _LISTED and (rest := self._taken(pair[1])):
                kept.append((pair[0], rest))
        hop_by_hop = _named_by_connection(client)
        if added or hop_by_hop:
            kept = [pair for pair in kept if pair[0] not in hop_by_hop and pair[0].decode("latin-1") not in added]
        if translated:
            kept = [pair for pair in kept if not pair[0].startswith(self._foreign)]
        kept.append((b"content-type", b"application/json"))
        kept.append((b"accept-encoding", b"identity"))
        kept += self.own
        if added:
            by_rules = ((name.encode(), value.encode()) for name, value in added.items())
            kept += [each for each in by_rules if each[0] not in self._own_names]
        return kept

    def _fate(self, name: bytes) -> str:
        never = name in _NEVER_FORWARDED or name.startswith(_NEVER_PREFIXED) or name in self._own_names
        fate = _NO if never else _LISTED if self._passes is not None and name in BETAS else _YES
        if len(self._known) < _REMEMBERED:
            self._known[name] = fate
        return fate

    def _taken(self, value: bytes) -> bytes:
        """The names of a list that the backend takes."""
        assert self._passes is not None
        names = (each.strip() for each in value.split(b","))
        return b",".join(name for name in names if name and self._passes(name.decode("latin-1")))


def _beta_test(betas: Betas) -> Callable[[str], bool]:
    allow, drop = betas.allow, betas.drop

    def passes(name: str) -> bool:
        allowed = allow is None or any(fnmatchcase(name, each) for each in allow)
        return allowed and not any(fnmatchcase(name, each) for each in drop)

    return passes


def with_beta(headers: Headers, beta: bytes) -> Headers:
    """Headers whose `anthropic-beta` holds a name, beside what it held."""
    for at, (name, value) in enumerate(headers):
        if name == b"anthropic-beta":
            if beta in (each.strip() for each in value.split(b",")):
                return headers
            return [*headers[:at], (name, value + b"," + beta), *headers[at + 1 :]]
    return [*headers, (b"anthropic-beta", beta)]


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """The headers that the client says are meant for the next hop alone (RFC 9110 7.6.1)."""
    named = [value for name, value in headers if name == b"connection"]
    if not named or named == [b"keep-alive"]:
        return frozenset()
    return frozenset(option.strip().lower() for value in named for option in value.split(b","))
