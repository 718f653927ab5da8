"""An issuer's public keys: from a file, or from its URL, read again as they change and never more often than is kind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import jwt
import msgspec
import structlog

from engine.diagnostics import LexgateError

OLD: Final = 600.0
"""Seconds after which keys are read again, so that one that was taken back is soon not believed any more."""

LEAST: Final = 30.0
"""Seconds between two readings, however many tokens name a key that is not known."""

TOO_OLD: Final = 86_400.0
"""Seconds for which keys count while the issuer cannot be reached."""

MOST_KEYS: Final = 100
_SIGNS: Final[Mapping[str, frozenset[str]]] = {
    "RSA": frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    "EC": frozenset(("ES256", "ES384", "ES512")),
    "OKP": frozenset(("EdDSA", "Ed25519")),
}
"""What a key of each type can have signed. Shared secrets (`oct`) are not among them: who can check could also sign."""

_LOG: Final = structlog.get_logger("lexgate")


class Unreadable(LexgateError):
    """What should be a set of keys is none."""


def decoded_keys(document: bytes) -> dict[str, dict[str, Any]]:
    """The keys of a JWKS document (RFC 7517) that can verify signatures, by id ("" for none). Raises Unreadable."""
    try:
        keys = msgspec.json.decode(document)["keys"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise Unreadable("it is not a JSON object with a list `keys`") from None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise Unreadable(f"`keys` is not a list of at most {MOST_KEYS} keys")
    found = {}
    for each in keys:
        if not isinstance(each, dict) or each.get("kty") not in _SIGNS or each.get("use", "sig") != "sig":
            continue
        operations = each.get("key_ops")
        if isinstance(operations, list) and "verify" not in operations:
            continue
        found[str(each.get("kid", ""))] = each
    return found


class KeySet:
    """The keys of one issuer. `timer` never goes back; `fetch` raises LexgateError where there is no document."""

    def __init__(self, name: str, fetch: Callable[[], Awaitable[bytes]], timer: Callable[[], float]) -> None:
        self._name = name
        self._fetch = fetch
        self._timer = timer
        self._keys: Mapping[str, dict[str, Any]] = {}
        self._made: dict[tuple[str, str], jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def key(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The public key that a token names, for its algorithm; None where there is none that could have signed it."""
        age = self._timer() - self._read_at if self._read_at is not None else None
        if age is None or age > OLD or self._named(kid) is None:
            await self._read_again(wait=age is None or age > TOO_OLD or self._named(kid) is None)
        if self._read_at is None or self._timer() - self._read_at > TOO_OLD:
            return None
        key = self._named(kid)
        if key is None or algorithm not in _SIGNS[key["kty"]] or key.get("alg", algorithm) != algorithm:
            return None
        place = (str(key.get("kid", "")), algorithm)
        made = self._made.get(place)
        if made is None:
            try:
                made = self._made[place] = jwt.PyJWK(key, algorithm)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                return None
        return made

    def _named(self, kid: str) -> dict[str, Any] | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _read_again(self, *, wait: bool) -> None:
        """Read the keys anew, unless that was tried a moment ago; those who wait at one time share one reading."""
        if self._reading is None or self._reading.done():
            if self._tried_at is not None and self._timer() - self._tried_at < LEAST:
                return
            self._tried_at = self._timer()
            self._reading = asyncio.create_task(self._read())
        if wait:
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        began = self._timer()
        try:
            keys = decoded_keys(await self._fetch())
        except LexgateError as problem:
            _LOG.warning("keys of an issuer cannot be read", issuer=self._name, reason=str(problem))
            return
        self._keys, self._made, self._read_at = keys, {}, began
