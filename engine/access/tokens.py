"""Signed tokens (JWT): whose signature is believed, for whom they are meant, and which caller their claims speak of."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

import jwt
from jwt.types import Options

from engine.access.denial import EXPIRED_TOKEN, Denied, unauthenticated
from engine.access.keysets import KeySet
from engine.access.records import ADMIN_ROLES
from engine.settings.model import Issuer

LONGEST_CALLER: Final = 200
_OPTIONS: Final = Options(
    require=["exp", "iss", "aud"],
    verify_exp=False,
    verify_nbf=False,
    verify_iat=False,
    verify_sub=False,
    verify_jti=False,
)
"""Times are compared with a clock that is given, below."""


class Claimed(NamedTuple):
    """What a token says that was found to be true. `until` is seconds since 1970."""

    caller: str
    team: str | None
    roles: tuple[str, ...]
    until: float


def looks_like_token(text: str) -> bool:
    """Whether a credential has the three parts of a signed token."""
    return text.startswith("eyJ") and text.count(".") == 2


class Tokens:
    """The issuers that are believed. `clock` is seconds since 1970."""

    def __init__(
        self, issuers: Mapping[str, Issuer], keysets: Mapping[str, KeySet], clock: Callable[[], float]
    ) -> None:
        """`keysets` by the same names as `issuers`."""
        self._by_issuer = {issuer.issuer: (name, issuer, keysets[name]) for name, issuer in issuers.items()}
        self._clock = clock

    async def verify(self, token: str) -> Claimed | Denied:
        """Who a token speaks of, or why it is not believed."""
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            return _invalid("unreadable")
        known = self._by_issuer.get(issuer) if isinstance(issuer := said.get("iss"), str) else None
        if known is None:
            return _invalid("issuer")
        name, settings, keys = known
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if algorithm not in settings.algorithms or "crit" in header or not isinstance(kid, str):
            return _invalid("algorithm")
        key = await keys.key(kid, algorithm)
        if key is None:
            return _invalid("signing key")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=list(settings.audience),
                issuer=settings.issuer,
                options=_OPTIONS,
            )
        except jwt.InvalidAudienceError:
            return _invalid("audience")
        except (jwt.PyJWTError, ValueError):
            return _invalid("signature")
        return self._judged(name, settings, claims)

    def _judged(self, name: str, settings: Issuer, claims: Mapping[str, Any]) -> Claimed | Denied:
        now, leeway = self._clock(), float(settings.leeway)
        expires, starts, issued = (claims.get(each) for each in ("exp", "nbf", "iat"))
        if not _is_time(expires) or expires + leeway <= now:
            return EXPIRED_TOKEN
        if any(each is not None and (not _is_time(each) or each - leeway > now) for each in (starts, issued)):
            return _invalid("not valid yet")
        caller = _claim(claims, settings.caller_claim)
        if not isinstance(caller, str) or not caller or len(caller) > LONGEST_CALLER or not caller.isprintable():
            return _invalid("caller")
        team: str | None = None
        if settings.team_claim:
            value = _claim(claims, settings.team_claim)
            values = value if isinstance(value, list) else [value]
            found = [str(each) for each in values if isinstance(each, str) and each]
            if settings.teams:
                found = [settings.teams[each] for each in found if each in settings.teams]
            if len(set(found)) > 1:
                return _invalid("several teams")  # which one's budget would pay is nobody's to guess
            team = found[0] if found else None
            if team is None:
                return _invalid("team")
        return Claimed(f"token:{name}/{caller}", team, _roles(settings, claims), float(expires) + leeway)


def _roles(settings: Issuer, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles that a token gives; an admin role only where the operator wrote down which value stands for it."""
    value = _claim(claims, settings.roles_claim) if settings.roles_claim else None
    if isinstance(value, str):
        value = value.split()
    said = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    if settings.roles:
        return tuple(dict.fromkeys(settings.roles[each] for each in said if each in settings.roles))
    return tuple(dict.fromkeys(each for each in said if each not in ADMIN_ROLES))


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name; where there is none of it, `a.b` is the member `b` of the claim `a`."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _invalid(reason: str) -> Denied:
    """What is told to the client does not say which check it was; the log does."""
    return unauthenticated("The token is not valid here.", "invalid_token", reason=f"token: {reason}")
