"""`policy keys`: make, list, rotate and revoke the keys of team mode."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from rich.table import Table

from engine.access.records import KeyRecord
from engine.access.registry import Draft, Issued, Registry
from engine.access.scopes import Scope
from engine.diagnostics import UsageError
from engine.opening import open_registry
from engine.settings import load_settings
from engine.settings.model import Settings

from .output import console, output_format, print_json

Result = TypeVar("Result")
F = TypeVar("F", bound=Callable[..., Any])

_LENGTH: Final = re.compile(r"(\d+)\s*([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def _configured(command: F) -> F:
    """The options by which the store is found, as for `policy serve`."""
    for option in (
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a setting."),
        click.option("--config", type=click.Path(path_type=Path), help="The configuration (default: ./lexgate.yaml)."),
    ):
        command = option(command)
    return command


@click.group("keys")
def command() -> None:
    """Make, list, rotate and revoke the keys of team mode. What changes acts on running servers within a second."""


@command.command("create")
@click.option("--name", default="", help="Who the caller is: `ci` becomes key:ci. Never given twice.")
@click.option("--team", help="The team that the key belongs to.")
@click.option("--role", "roles", multiple=True, help="A role; may be given several times.")
@click.option("--admin", is_flag=True, help="A key for looking after the endpoint: the role admin, no models.")
@click.option("--models", multiple=True, metavar="GLOB", help="Models that it may use, as `model` or `backend:model`.")
@click.option("--routes", multiple=True, metavar="GLOB", help="Named routes that it may use.")
@click.option("--tools", multiple=True, metavar="GLOB", help="Tools that it may offer to a model.")
@click.option("--protocols", multiple=True, metavar="GLOB", help="Wire protocols that it may speak.")
@click.option("--addresses", multiple=True, metavar="CIDR", help="Networks that it may be used from.")
@click.option("--expires", metavar="TIME", help="90d, 12h, or a day such as 2027-01-31 (UTC); default: never.")
@output_format("text", "json")
@_configured
def create(
    name: str,
    team: str | None,
    roles: tuple[str, ...],
    admin: bool,
    expires: str | None,
    output: str,
    config: Path | None,
    changes: tuple[str, ...],
    **reach: tuple[str, ...],
) -> None:
    """Make a key and show it, once: only a hash of it is kept.

    The options of scopes take several values, each with the option again or joined by commas.
    """
    settings = _settings(config, changes)
    given = (*roles, "admin") if admin else roles
    scope = Scope(**{field: _listed(values) for field, values in reach.items()})
    draft = Draft(name=name, team=team, roles=given, scope=scope, expires=_moment(expires) if expires else None)

    async def make(registry: Registry) -> Issued:
        await _known(settings, registry, draft)
        return await registry.create(draft)

    issued = _done(settings, make)
    _show_issued(issued, output, f"The key of {issued.record.caller}. It is not shown again:")


@command.command("rotate")
@click.argument("key", metavar="ID|NAME")
@click.option("--grace", default="0s", show_default=True, help="How long the old secret still counts, such as 24h.")
@output_format("text", "json")
@_configured
def rotate(key: str, grace: str, output: str, config: Path | None, changes: tuple[str, ...]) -> None:
    """Give a key another secret. It stays the same caller, with the same budgets and sessions."""
    seconds = _length(grace)
    if seconds is None:
        raise UsageError(f"--grace takes a length of time such as 24h, not '{grace}'")
    issued = _done(_settings(config, changes), lambda registry: registry.rotate(key, seconds))
    _show_issued(issued, output, f"The new key of {issued.record.caller}. It is not shown again:")


@command.command("revoke")
@click.argument("key", metavar="ID|NAME")
@_configured
def revoke(key: str, config: Path | None, changes: tuple[str, ...]) -> None:
    """End a key for good. It stays on record, and its name is not given again."""
    record = _done(_settings(config, changes), lambda registry: registry.revoke(key))
    click.echo(f"{record.id} ({record.caller}) is revoked.")


@command.command("list")
@output_format("text", "json")
@_configured
def list_keys(output: str, config: Path | None, changes: tuple[str, ...]) -> None:
    """All keys, with their state and when each was used last (to the minute)."""

    async def all_of_them(registry: Registry) -> tuple[list[KeyRecord], dict[str, float]]:
        return await registry.all(), await registry.last_used()

    records, used = _done(_settings(config, changes), all_of_them)
    if output == "json":
        print_json([_shown(each, used.get(each.id)) for each in records])
        return
    if not records:
        click.echo("There are no keys. The first one is for looking after the endpoint: policy keys create --admin")
        return
    rows = Table(box=None, pad_edge=False)
    for column in ("id", "caller", "team", "roles", "state", "expires", "last used"):
        rows.add_column(column, no_wrap=column == "id", overflow="fold")
    for each in records:
        seen = used.get(each.id)
        rows.add_row(
            each.id, each.caller, each.team or "", ", ".join(each.roles), each.state(time.time()),
            _day(each.expires) if each.expires is not None else "never", _minute(seen) if seen else "",
        )  # fmt: skip
    console().print(rows)


@command.command("show")
@click.argument("key", metavar="ID|NAME")
@output_format("text", "json")
@_configured
def show(key: str, output: str, config: Path | None, changes: tuple[str, ...]) -> None:
    """One key: whose it is and what it may use, but never the key itself."""

    async def one(registry: Registry) -> tuple[KeyRecord, float | None]:
        record = await registry.get(key)
        return record, (await registry.last_used()).get(record.id)

    record, used = _done(_settings(config, changes), one)
    shown = _shown(record, used)
    if output == "json":
        print_json(shown)
        return
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in shown.items():
        rows.add_row(name.replace("_", " "), ", ".join(value) or "none" if isinstance(value, list) else str(value))
    console().print(rows)


# --- how


def _settings(config: Path | None, changes: tuple[str, ...]) -> Settings:
    given = []
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not '{change}'")
        given.append((path, text))
    settings = load_settings(config, os.environ, given).settings
    if settings.state.reveal().startswith("memory:"):
        raise UsageError("keys live in the store, and memory:// forgets them: set state: sqlite:///var/lexgate.db")
    return settings


def _done(settings: Settings, what: Callable[[Registry], Awaitable[Result]]) -> Result:
    async def inside() -> Result:
        async with open_registry(settings) as registry:
            return await what(registry)

    return asyncio.run(inside())


async def _known(settings: Settings, registry: Registry, draft: Draft) -> None:
    """A team and roles that nobody defined are a slip where others are defined. Raises UsageError."""
    teams = {*settings.teams, *await registry.teams()}
    if draft.team is not None and teams and draft.team not in teams:
        raise UsageError(f"there is no team '{draft.team}'; there are {', '.join(sorted(teams))}")
    roles = {*settings.roles, *await registry.roles()}
    for role in draft.roles:
        if roles and role not in roles | {"admin", "operator", "auditor"}:
            raise UsageError(f"there is no role '{role}'; there are {', '.join(sorted(roles))}")


def _show_issued(issued: Issued, output: str, words: str) -> None:
    """The key alone on standard output, so that it can be piped into a secret store."""
    if output == "json":
        print_json({**_shown(issued.record, None), "key": issued.text})
        return
    click.echo(words, err=True)
    click.echo(issued.text)


def _shown(record: KeyRecord, used: float | None) -> dict[str, Any]:
    """A key for people and programs: without its hashes."""
    shown: dict[str, Any] = {
        "id": record.id,
        "caller": record.caller,
        "team": record.team or "",
        "roles": list(record.roles),
        "state": record.state(time.time()),
        "created": _minute(record.created),
        "expires": _minute(record.expires) if record.expires is not None else "never",
        "last_used": _minute(used) if used else "",
    }
    scope = msgspec.structs.asdict(record.scope)
    return shown | {field: list(values) for field, values in scope.items() if values is not None}


def _listed(values: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(each.strip() for value in values for each in value.split(",") if each.strip()) if values else None


def _length(text: str) -> float | None:
    found = _LENGTH.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None


def _moment(text: str) -> float:
    """When a key ends: after a length of time, or as a day begins."""
    length = _length(text)
    if length is not None:
        return time.time() + length
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires takes 90d, 12h or a day such as 2027-01-31, not '{text}'") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
