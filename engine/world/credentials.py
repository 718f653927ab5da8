"""Keys in requests: which headers hold a client's secrets, and how a caller's own key goes on to a backend."""

from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from .http.base import Headers

CREDENTIALS: Final = frozenset(
    {
        *(b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-auth-token"),
        *(b"cookie", b"cookie2", b"ocp-apim-subscription-key", b"x-amz-security-token", b"x-access-token"),
    }
)
"""Client headers that are the caller's own secrets: never forwarded, but its key to a backend of `api_key: client`."""

CLIENT_KEYS: Final = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key")
"""Where a client puts the key that it asks a provider with."""

AUTHORIZATION: Final = b"authorization"
OWN_KEY: Final = b"x-lexgate-key"
"""Where a caller puts the key for us, when it brings a login of the provider's too."""

OAUTH_BETA: Final = b"oauth-2025-04-20"
"""Without it Anthropic's API answers a login 401."""

_LOGINS: Final = (b"sk-ant-oat", b"ya29.", b"eyJ")
"""How tokens of a login begin: Claude Code's, Google's, and signed ones (JWT) such as Codex has. No API key does."""
_BEARER: Final = b"bearer "
_KEYS_IN_QUERY: Final = frozenset({"key", "access_token"})


class Given(NamedTuple):
    """The headers that carry a caller's key to a backend; `beta` is what `anthropic-beta` must then hold."""

    headers: Headers
    beta: bytes = b""


def with_key(header: bytes, key: bytes) -> tuple[bytes, bytes]:
    """The header that carries a key: as it is, in `authorization` behind `Bearer`."""
    return header, b"Bearer " + key if header == AUTHORIZATION else key


def forwarded_key(headers: Headers, in_query: str, header: bytes, *, native: bool, team: bool) -> Given:
    """A caller's own key, as the backend wants it.

    To a backend of the client's own protocol its headers go on as they came. Another protocol's header is rewritten: a
    plain key goes where `header` says, a login stays a bearer token. In team mode the caller's key for us is none of the
    backend's business: only who brings it in `x-lexgate-key` has another one to forward.
    """
    if team and not any(name == OWN_KEY for name, _ in headers):
        return Given([])
    found = [(name, value) for name, value in headers if name in CLIENT_KEYS]
    if native and (found or not in_query):
        login = any(name == AUTHORIZATION and _plain(value).startswith(_LOGINS[0]) for name, value in found)
        return Given(found, OAUTH_BETA if login else b"")
    values = dict(found)
    value = next((values[name] for name in CLIENT_KEYS if name in values), in_query.encode())
    key = _plain(value)
    if not key:
        return Given([])
    if key.startswith(_LOGINS):
        return Given([with_key(AUTHORIZATION, key)], OAUTH_BETA if key.startswith(_LOGINS[0]) else b"")
    return Given([with_key(header, key)])


def _plain(value: bytes) -> bytes:
    return value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else value.strip()


def without_key(query: str) -> tuple[str, str]:
    """A query without the fields that hold a key (`?key=` of Gemini's clients), and the first key that it held.

    What else it says stays as it is written.
    """
    kept, key = [], ""
    for field in query.split("&"):
        name, _, value = field.partition("=")
        if unquote_plus(name).lower() in _KEYS_IN_QUERY:
            key = key or unquote_plus(value)
        else:
            kept.append(field)
    return "&".join(kept), key
