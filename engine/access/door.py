"""Who asks: a credential becomes an identity, quickly where it was verified before, or a refusal that says what next."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec
import structlog

from engine.access import keys
from engine.access.credentials import LONGEST, Presented, presented
from engine.access.denial import (
    EXPIRED,
    EXPIRED_TOKEN,
    NO_CREDENTIAL,
    REVOKED,
    STORE_DOWN,
    WRONG_KEY,
    Denied,
    OutOfScope,
    forbidden,
    too_many_failures,
)
from engine.access.directory import LIVES, Directory
from engine.access.guard import Guard
from engine.access.records import ADMIN_ROLES, KeyRecord
from engine.access.scopes import Grant, Scope
from engine.access.tokens import Claimed, Tokens, looks_like_token
from engine.settings.model import Settings
from engine.world.fetch import Fetcher
from engine.world.http.base import Headers
from engine.world.store.base import StoreDown

TOKEN_LIVES: Final = 30.0
"""Seconds after which a token's signature is verified again, so that a key that its issuer took back counts no more."""

TRUSTED: Final = 3600.0
"""Seconds for which a credential that was right is looked at even while its address waits for its wrong ones."""

_LOG: Final = structlog.get_logger("lexgate")


class Identity(msgspec.Struct, frozen=True):
    """Who asks, once authenticated. `id` begins with the kind, so that no key can be named like a token's holder."""

    id: str
    kind: str
    team: str | None
    roles: tuple[str, ...]
    key: str
    grant: Grant

    @property
    def is_admin(self) -> bool:
        return not ADMIN_ROLES.isdisjoint(self.roles)


class _Known(msgspec.Struct):
    """What was found out of one credential. `until` is seconds since 1970; the other times are of the timer."""

    identity: Identity | Denied
    key_id: str
    revision: int
    until: float
    verified: float


class Admitted(msgspec.Struct, frozen=True):
    """Who came in, and with what, so that it can be taken out of the request."""

    identity: Identity
    shown: Presented


class Door:
    """Authenticates requests. `timer` never goes back, `clock` is seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        tokens: Tokens,
        timer: Callable[[], float],
        clock: Callable[[], float],
        fetcher: Fetcher | None = None,
    ) -> None:
        access = settings.access
        self._directory = directory
        self._tokens = tokens
        self._timer = timer
        self._clock = clock
        self._fetcher = fetcher
        self._grace = max(LIVES, float(access.store_down.serve_for))
        self._teams = {name: Scope.of(reach) for name, reach in settings.teams.items()}
        self._roles = {name: Scope.of(reach) for name, reach in settings.roles.items()}
        self._backends = tuple(settings.served_backends)
        self._most = access.cached
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self.guard = Guard(access.free_failures, float(access.longest_wait))

    async def aclose(self) -> None:
        """Stop looking at the store and at issuers."""
        await self._directory.close()
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def admit(self, headers: Headers, query: bytes, address: str) -> Admitted | Denied:
        """The caller of a request from `address`, or why it has none."""
        shown = presented(headers, query)
        if isinstance(shown, Denied):
            return shown
        if not shown.text:
            return NO_CREDENTIAL
        if len(shown.text) > LONGEST:
            return self._failed(address, WRONG_KEY)
        digest = hashlib.sha256(shown.text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        fresh = self._directory.is_fresh()
        if known is None or not fresh or not self._counts(known):
            found = await self._found_out(shown.text, digest, known, fresh, address)
            if isinstance(found, Denied):
                return found
            known = found
        if known.until <= self._clock():
            self._known.pop(digest, None)
            return EXPIRED if known.key_id else EXPIRED_TOKEN
        if isinstance(known.identity, Denied):
            return known.identity
        try:
            known.identity.grant.admit_address(address)
        except OutOfScope as refused:
            return refused.denied
        if known.key_id:
            self._directory.used(known.key_id)
        return Admitted(known.identity, shown)

    def _counts(self, known: _Known) -> bool:
        """Whether what was found out before still holds, as far as the store's revision says."""
        if known.revision != self._directory.revision:
            return False
        return bool(known.key_id) or self._timer() - known.verified <= TOKEN_LIVES

    async def _found_out(
        self, text: str, digest: bytes, known: _Known | None, fresh: bool, address: str
    ) -> _Known | Denied:
        """What the store, or the issuer's keys, say of a credential now."""
        now = self._timer()
        trusted = known is not None and now - known.verified <= TRUSTED
        if not trusted and (wait := self.guard.wait(address, now)) > 0:
            return too_many_failures(wait)
        id = keys.id_of(text)
        if id is None and not looks_like_token(text):
            return self._failed(address, WRONG_KEY)  # a typing error, or a guess: it costs nobody a look
        try:
            if not fresh:
                await self._directory.refresh()
            if known is not None and self._counts(known):
                return known
            revision = self._directory.revision  # before the key is read, so that a change meanwhile is seen
            made = await (self._by_key(id, text, revision) if id is not None else self._by_token(text, revision))
        except StoreDown as down:
            # What was known and not changed up to the last contact is served for as long as the operator says.
            if known is not None and self._counts(known) and now - self._directory.contact <= self._grace:
                return known
            _LOG.warning("caller refused", reason="store_down", problem=str(down))
            return STORE_DOWN
        if isinstance(made, Denied):
            self._known.pop(digest, None)
            return self._failed(address, made) if made.status == 401 and made not in _RIGHT_ONCE else made
        self._known.pop(digest, None)
        self._known[digest] = made
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return made

    async def _by_key(self, id: str, text: str, revision: int) -> _Known | Denied:
        record = await self._directory.find(id)
        now = self._clock()
        digest = keys.digest(text)
        if record is None:
            return WRONG_KEY
        until = record.expires if record.expires is not None else float("inf")
        if not keys.is_same(record.hash, digest):
            if not record.old_hash or not keys.is_same(record.old_hash, digest) or record.old_until <= now:
                return WRONG_KEY
            until = min(until, record.old_until)
        match record.state(now):
            case "revoked":
                return REVOKED
            case "expired":
                return EXPIRED
            case _:
                identity = self._identity(record)
                return _Known(identity, record.id, revision, until, self._timer())

    async def _by_token(self, text: str, revision: int) -> _Known | Denied:
        claimed = await self._tokens.verify(text)
        if isinstance(claimed, Denied):
            return claimed
        return _Known(self._of_token(claimed), "", revision, claimed.until, self._timer())

    def _identity(self, record: KeyRecord) -> Identity | Denied:
        try:
            scopes = [(f"the key {record.name or record.id}", record.scope)]
            scopes += self._scopes_of(record.team, record.roles)
        except OutOfScope as refused:
            return refused.denied
        grant = Grant(scopes, self._backends)
        return Identity(record.caller, "key", record.team, record.roles, record.id, grant)

    def _of_token(self, claimed: Claimed) -> Identity | Denied:
        roles = claimed.roles
        if self._all_roles:
            roles = tuple(each for each in roles if each in self._all_roles or each in ADMIN_ROLES)
        try:
            grant = Grant(self._scopes_of(claimed.team, roles), self._backends)
        except OutOfScope as refused:
            return refused.denied
        return Identity(claimed.caller, "token", claimed.team, roles, "", grant)

    @property
    def _all_roles(self) -> Collection[str]:
        return {*self._roles, *self._directory.roles}

    def _scopes_of(self, team: str | None, roles: Collection[str]) -> list[tuple[str, Scope]]:
        """The scopes of a team and of roles, from the configuration and from the store. Raises OutOfScope.

        Where teams (roles) are defined at all, one that is not is refused: that it was taken away must not widen
        what its callers may do.
        """
        found: list[tuple[str, Scope]] = []
        if team is not None:
            found += _defined("team", team, self._teams, self._directory.teams)
        for role in roles:
            if role not in ADMIN_ROLES:
                found += _defined("role", role, self._roles, self._directory.roles)
        return found

    def _failed(self, address: str, denied: Denied) -> Denied:
        self.guard.failed(address, self._timer())
        return denied


_RIGHT_ONCE: Final = (EXPIRED, EXPIRED_TOKEN, REVOKED)
"""Refusals of keys whose secret was right: nobody guessed."""


def _defined(
    kind: str, name: str, configured: Mapping[str, Scope], stored: Mapping[str, Scope]
) -> Iterator[tuple[str, Scope]]:
    if not configured and not stored:
        return
    if name not in configured and name not in stored:
        message = f"Your {kind} '{name}' is not defined any more; ask your operator."
        raise OutOfScope(forbidden(message, "team_unknown" if kind == "team" else "role_unknown"))
    for scopes in (configured, stored):
        if name in scopes:
            yield f"the {kind} '{name}'", scopes[name]
