"""The credential of a request: where clients put one, and a refusal where it is not clear which of several counts. Pure."""

from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from engine.access.denial import AMBIGUOUS, Denied
from engine.world.credentials import OWN_KEY
from engine.world.http.base import Headers

OWN: Final = OWN_KEY
"""A header for the key alone, so that a client's own login can go on to a backend of `api_key: client`."""

_PLAIN: Final = frozenset((b"x-api-key", b"x-goog-api-key", b"api-key"))
_CARRIERS: Final = _PLAIN | {b"authorization", OWN}
_QUERY: Final = frozenset(("key", "access_token"))
LONGEST: Final = 8192
"""Characters of a credential that is looked at: room for a signed token with many claims."""


class Presented(NamedTuple):
    """What a request shows of itself. `text` "" is nothing at all; `own` says that it came in the header for it alone."""

    text: str
    own: bool = False


NOTHING: Final = Presented("")


def presented(headers: Headers, query: bytes) -> Presented | Denied:
    """The one credential of a request; the same one in several places counts once.

    The same place twice is refused even then: of two headers of a name, each program behind us might take another.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _CARRIERS:
            if name in found:
                return AMBIGUOUS
            found[name] = _bearer(value) if name == b"authorization" else value.decode("latin-1").strip()
    if query and (b"key" in query.lower() or b"token" in query.lower() or b"%" in query):
        given = _in_query(query)
        if len(given) > 1:
            return AMBIGUOUS
        if given:
            found[b"?"] = given[0]
    own = found.get(OWN)
    texts = set(filter(None, found.values()))
    if own:
        others = {text for text in texts if text != own and text.startswith("lxg_")}
        return AMBIGUOUS if others else Presented(own, own=True)
    if not texts:
        return NOTHING
    return Presented(texts.pop()) if len(texts) == 1 else AMBIGUOUS


def _in_query(query: bytes) -> list[str]:
    """The values of all fields that hold a credential, however their names are written."""
    found = []
    for field in query.decode("latin-1").replace(";", "&").split("&"):
        name, _, value = field.partition("=")
        if unquote_plus(name).strip().lower() in _QUERY and value:
            found.append(unquote_plus(value))
    return found


def _bearer(value: bytes) -> str:
    """What stands behind `Bearer`; another scheme is no credential of ours, but it is one that was shown."""
    scheme, _, rest = value.decode("latin-1").strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value.decode("latin-1").strip()


def stripped(headers: Headers, shown: Presented) -> Headers:
    """The headers without the credential: nobody behind the door needs it, and no backend may ever see it.

    Where it came in the header for it alone, the others are the client's own login and stay, but for copies of the key;
    the header itself stays empty, and says that.
    """
    if shown.own:
        secret = shown.text.encode("latin-1", "replace")
        return [(OWN, b""), *(each for each in headers if not (each[0] in _CARRIERS and secret in each[1]))]
    return [pair for pair in headers if pair[0] not in _CARRIERS]


def stripped_query(query: str) -> str:
    """The query without the fields that hold a credential; of anything unusual, nothing is left."""
    if not query:
        return query
    if ";" in query:
        query = query.replace(";", "&")
    return "&".join(
        field for field in query.split("&") if unquote_plus(field.partition("=")[0]).strip().lower() not in _QUERY
    )
