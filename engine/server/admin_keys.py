"""Keys, teams and roles over the admin interface. A key's text is in the answer that makes it, and nowhere else."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta

from engine.access.records import KeyRecord
from engine.access.registry import Draft, Issued
from engine.access.scopes import Scope
from engine.settings.model import Reach
from engine.world.store.base import StoreDown

from .admin_base import (
    FOR_ADMINS,
    NEEDS,
    After,
    AnyRequest,
    Body,
    Desk,
    Limit,
    Refusal,
    delete,
    desk,
    get,
    noted,
    post,
    put,
)

Names = tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...]
Name = Annotated[str, PathParameter(max_length=64, description="Letters, digits and . _ @ + -")]
Which = Annotated[str, PathParameter(max_length=64, description="The key's public id, or its name.")]
YEARS: Final = 100 * 365 * 86_400


class ScopeBody(Body, frozen=True, kw_only=True, omit_defaults=True):
    """What may be used. Left out or null: not limited; empty: nothing. Globs are allowed."""

    models: Annotated[Names | None, Meta(description="`model` or `backend:model`.")] = None
    routes: Names | None = None
    tools: Names | None = None
    protocols: Names | None = None
    addresses: Annotated[Names | None, Meta(description="Networks: 10.0.0.0/8.")] = None

    def scope(self) -> Scope:
        return Scope(**msgspec.structs.asdict(self))

    @classmethod
    def of(cls, scope: Scope | Reach) -> "ScopeBody":
        return cls(**{name: getattr(scope, name) for name in cls.__struct_fields__})


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. Times are seconds since 1970."""

    id: Annotated[str, Meta(description="The public part of the key, `caller.key` in rules.")]
    name: str
    caller: Annotated[str, Meta(description="`caller.id` in rules.")]
    state: Literal["active", "expired", "revoked"]
    team: str | None
    roles: tuple[str, ...]
    scope: ScopeBody
    created: float
    expires: float | None
    revoked: float | None
    last_used: Annotated[float | None, Meta(description="To the minute; null: never, or before it was counted.")]


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[KeyView]
    next: Annotated[str, Meta(description="`after` of the next page; empty: this is the last one.")] = ""


class NewKey(Body, frozen=True, kw_only=True):
    """A key that is to be made."""

    name: Annotated[str, Meta(max_length=64)] = ""
    team: Annotated[str, Meta(max_length=64)] | None = None
    roles: Names = ()
    scope: ScopeBody = ScopeBody()
    expires_in: Annotated[
        Annotated[float, Meta(gt=0, le=YEARS)] | None, Meta(description="Seconds from now; null: it never expires.")
    ] = None


class Rotation(Body, frozen=True, kw_only=True):
    grace: Annotated[float, Meta(ge=0, le=YEARS, description="Seconds for which the old secret still counts.")] = 0.0


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its text, which nobody can show again."""

    key: KeyView
    text: str


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A team or a role, and what it may use. Where both places define it, both must allow."""

    name: str
    stored: Annotated[ScopeBody | None, Meta(description="As this interface set it; null: it did not.")]
    configured: Annotated[ScopeBody | None, Meta(description="As `lexgate.yaml` says; null: it does not.")]


def _view(record: KeyRecord, now: float, used: Mapping[str, float]) -> KeyView:
    state: Literal["active", "expired", "revoked"]
    match record.state(now):
        case "revoked":
            state = "revoked"
        case "expired":
            state = "expired"
        case _:
            state = "active"
    return KeyView(
        id=record.id,
        name=record.name,
        caller=record.caller,
        state=state,
        team=record.team,
        roles=record.roles,
        scope=ScopeBody.of(record.scope),
        created=record.created,
        expires=record.expires,
        revoked=record.revoked,
        last_used=used.get(record.id),
    )


async def _issued(at: Desk, issued: Issued) -> IssuedKey:
    try:
        used = await at.registry.last_used()
    except StoreDown:
        used = {}  # what was made must not be lost for want of this
    return IssuedKey(key=_view(issued.record, at.world.clock(), used), text=issued.text)


@get("/keys", tags=["keys"])
async def list_keys(
    state: State,
    limit: Limit = 100,
    after: After = "",
    team: Annotated[str, QueryParameter(max_length=64, description="Keys of this team.")] = "",
    only: Annotated[
        Literal["", "active", "expired", "revoked"], QueryParameter(description="Keys in this state.")
    ] = "",
) -> KeyPage:
    """Keys, the oldest first."""
    at = desk(state)
    used, now = await at.registry.last_used(), at.world.clock()
    views = [_view(each, now, used) for each in await at.registry.all()]
    found = [each for each in views if (not team or each.team == team) and (not only or each.state == only)]
    places = {each.id: place for place, each in enumerate(found)}
    if after and after not in places:
        raise Refusal(400, "invalid_request", "`after` is not the `next` of a page.")
    start = places[after] + 1 if after else 0
    page = found[start : start + limit]
    return KeyPage(items=page, next=page[-1].id if start + limit < len(found) else "")


@post("/keys", tags=["keys"], opt={NEEDS: FOR_ADMINS})
async def create_key(request: AnyRequest, state: State, data: JSONBody[NewKey]) -> IssuedKey:
    """Make a key. Its text is in this answer alone."""
    at = desk(state)
    expires = at.world.clock() + data.expires_in if data.expires_in is not None else None
    draft = Draft(name=data.name, team=data.team, roles=data.roles, scope=data.scope.scope(), expires=expires)
    issued = await at.registry.create(draft)
    noted(request, "keys.create", issued.record.id, name=data.name, team=data.team, roles=data.roles, expires=expires)
    return await _issued(at, issued)


@get("/keys/{which:str}", tags=["keys"])
async def show_key(state: State, which: Which) -> KeyView:
    """One key."""
    at = desk(state)
    return _view(await at.registry.get(which), at.world.clock(), await at.registry.last_used())


@post("/keys/{which:str}/rotate", tags=["keys"], opt={NEEDS: FOR_ADMINS})
async def rotate_key(request: AnyRequest, state: State, which: Which, data: JSONBody[Rotation]) -> IssuedKey:
    """Give a key another secret; it stays the same caller."""
    at = desk(state)
    issued = await at.registry.rotate(which, data.grace)
    noted(request, "keys.rotate", issued.record.id, grace=data.grace)
    return await _issued(at, issued)


@post("/keys/{which:str}/revoke", tags=["keys"], status_code=200, opt={NEEDS: FOR_ADMINS})
async def revoke_key(request: AnyRequest, state: State, which: Which) -> KeyView:
    """End a key for good. The last admin key that counts stays: nobody could make another one."""
    at = desk(state)
    now = at.world.clock()
    record = await at.registry.get(which)
    admins = [each for each in await at.registry.all() if "admin" in each.roles and each.state(now) == "active"]
    if [each.id for each in admins] == [record.id]:
        raise Refusal(409, "last_admin", "This is the last admin key.", "create another one first")
    noted(request, "keys.revoke", record.id, name=record.name)
    return _view(await at.registry.revoke(record.id), now, await at.registry.last_used())


def _reached(stored: Mapping[str, Scope], configured: Mapping[str, Reach]) -> list[Reached]:
    return [
        Reached(
            name=name,
            stored=ScopeBody.of(stored[name]) if name in stored else None,
            configured=ScopeBody.of(configured[name]) if name in configured else None,
        )
        for name in sorted({*stored, *configured})
    ]


def _one(found: list[Reached], what: str, name: str) -> Reached:
    for each in found:
        if each.name == name:
            return each
    raise Refusal(404, f"{what}_not_found", f"There is no {what} '{name}'.")


async def _teams(at: Desk) -> list[Reached]:
    return _reached(await at.registry.teams(), at.world.settings.teams)


async def _roles(at: Desk) -> list[Reached]:
    return _reached(await at.registry.roles(), at.world.settings.roles)


@get("/teams", tags=["teams and roles"])
async def list_teams(state: State) -> list[Reached]:
    """Teams, of the configuration and of this interface."""
    return await _teams(desk(state))


@get("/teams/{name:str}", tags=["teams and roles"])
async def show_team(state: State, name: Name) -> Reached:
    """One team."""
    return _one(await _teams(desk(state)), "team", name)


@put("/teams/{name:str}", tags=["teams and roles"], opt={NEEDS: FOR_ADMINS})
async def put_team(request: AnyRequest, state: State, name: Name, data: JSONBody[ScopeBody]) -> Reached:
    """Make or change a team."""
    at = desk(state)
    await at.registry.put_team(name, data.scope())
    noted(request, "teams.put", name, scope=msgspec.to_builtins(data))
    return _one(await _teams(at), "team", name)


@delete("/teams/{name:str}", tags=["teams and roles"], opt={NEEDS: FOR_ADMINS})
async def remove_team(request: AnyRequest, state: State, name: Name) -> None:
    """Remove a team of this interface. Keys of a team that is nowhere else are refused from now on."""
    at = desk(state)
    if _one(await _teams(at), "team", name).stored is None:
        raise Refusal(409, "configured", f"The team '{name}' stands in the configuration.", "remove it there")
    await at.registry.remove_team(name)
    noted(request, "teams.remove", name)


@get("/roles", tags=["teams and roles"])
async def list_roles(state: State) -> list[Reached]:
    """Roles, of the configuration and of this interface."""
    return await _roles(desk(state))


@get("/roles/{name:str}", tags=["teams and roles"])
async def show_role(state: State, name: Name) -> Reached:
    """One role."""
    return _one(await _roles(desk(state)), "role", name)


@put("/roles/{name:str}", tags=["teams and roles"], opt={NEEDS: FOR_ADMINS})
async def put_role(request: AnyRequest, state: State, name: Name, data: JSONBody[ScopeBody]) -> Reached:
    """Make or change a role."""
    at = desk(state)
    await at.registry.put_role(name, data.scope())
    noted(request, "roles.put", name, scope=msgspec.to_builtins(data))
    return _one(await _roles(at), "role", name)


@delete("/roles/{name:str}", tags=["teams and roles"], opt={NEEDS: FOR_ADMINS})
async def remove_role(request: AnyRequest, state: State, name: Name) -> None:
    """Remove a role of this interface."""
    at = desk(state)
    if _one(await _roles(at), "role", name).stored is None:
        raise Refusal(409, "configured", f"The role '{name}' stands in the configuration.", "remove it there")
    await at.registry.remove_role(name)
    noted(request, "roles.remove", name)


ROUTES: Final = (
    *(list_keys, create_key, show_key, rotate_key, revoke_key),
    *(list_teams, show_team, put_team, remove_team),
    *(list_roles, show_role, put_role, remove_role),
)
