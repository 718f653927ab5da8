"""In-chat commands: lines taken out of what users wrote, so that no backend sees them; the newest one is run by rules.

The client re-sends a conversation whole, so that commands of earlier turns, and what was answered to them, are taken out
again each time. An answer to a command is known by what was kept when it was given; where the message held nothing but
commands, whatever follows it can be nothing else.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.model.exchange import Exchange, Message, Protocol
from engine.model.plan import PlanError, parse_plan
from engine.passage.routing import NO_VARIABLES, NotServed, Routes, own_routes
from engine.passage.view import Caller
from engine.policy.commands import Command, CommandTable, Known, Spoken, WrongArguments, arguments_of
from engine.policy.spec import ArgumentType
from engine.world.store import base as store

_ROUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_ANOTHER: Final = "another:"
"""A leg beside the one that is judged, so that it is judged as one of several."""

SPACE: Final = "commanded"
_RESULTS_IN_USER_MESSAGES: Final = frozenset({Protocol.ANTHROPIC, Protocol.GEMINI})


class Found(msgspec.Struct, frozen=True):
    """What the messages of a user hold of commands. `messages` is the conversation without them."""

    messages: tuple[Message | None, ...]
    """In the place of each message that came: what is left of it, None for nothing."""
    newest: Spoken | None
    """The command to run, which stands in the newest message."""
    answered: tuple[int, ...]
    """The places of assistant messages that may be answers to earlier commands."""
    certain: frozenset[int]
    """Those of them that can be nothing else."""
    says_more: bool
    """Whether the newest message says something beside its commands."""


def find_commands(exchange: Exchange, table: CommandTable, prefix: str) -> Found | None:
    """The commands of a conversation; None where there is none."""
    messages: list[Message | None] = list(exchange.messages)
    newest_place = max(
        (place for place, each in enumerate(exchange.messages) if each.role not in ("system", "developer")), default=-1
    )
    newest: Spoken | None = None
    answered: list[int] = []
    certain: set[int] = set()
    for place, message in enumerate(exchange.messages):
        if not _may_command(exchange, place):
            continue
        rest, spoken = _without_commands(message, table, prefix)
        if not spoken:
            continue
        messages[place] = rest
        if place == newest_place:
            newest = spoken[-1]
            continue
        after = place + 1
        if after < len(messages) and exchange.messages[after].role == "assistant":
            answered.append(after)
            if rest is None:
                certain.add(after)
    if newest is None and all(now is before for now, before in zip(messages, exchange.messages, strict=True)):
        return None
    says_more = newest_place >= 0 and messages[newest_place] is not None
    return Found(tuple(messages), newest, tuple(answered), frozenset(certain), says_more)


def _may_command(exchange: Exchange, place: int) -> bool:
    """Whether a user wrote the message; one that holds a tool result is a tool's."""
    message = exchange.messages[place]
    if message.role != "user" or message.tool_call_id:
        return False
    before = exchange.messages[place - 1] if place else None
    return not (before is not None and before.tool_call_id and exchange.protocol in _RESULTS_IN_USER_MESSAGES)


def _without_commands(message: Message, table: CommandTable, prefix: str) -> tuple[Message | None, tuple[Spoken, ...]]:
    """The message without its command lines, None where nothing is left; and the commands."""
    spoken: list[Spoken] = []
    parts = []
    for part in message.parts:
        if part.kind == "text" and prefix in part.text:
            text, found = table.split(part.text, prefix)
            spoken += found
            if found:
                if not text.strip():
                    continue
                part = replace(part, text=text)
        parts.append(part)
    if not spoken:
        return message, ()
    return (replace(message, parts=tuple(parts)) if parts else None), tuple(spoken)


def left_of(exchange: Exchange, found: Found, answers: frozenset[int]) -> Exchange:
    """The exchange without commands, and without the assistant messages at these places."""
    kept = tuple(each for place, each in enumerate(found.messages) if each is not None and place not in answers)
    return replace(exchange, messages=kept, body=None)


def answer_key(caller: str, asked: Message, text: str) -> store.Key:
    """Under which it is kept that a message of ours answered a command: what was asked, what was said, to whom."""
    said = msgspec.json.encode((asked.text.strip(), text.strip()))
    return store.Key(SPACE, f"caller/{caller}", hashlib.blake2b(said, digest_size=20).hexdigest())


def known_in(routes: Routes, variables: Mapping[str, Any] = NO_VARIABLES) -> Known:
    """Judges the values that name backends, routes and models; `variables` of the session hold the routes that it made."""

    def known(type: ArgumentType, value: str) -> str:
        match type:
            case "backend" if value not in routes.backends:
                return f"there is no backend '{value}'; there are {', '.join(routes.backends)}"
            case "route" if value.removeprefix("@") not in (*routes.named, *own_routes(variables)):
                return f"there is no route '{value}'; there are {', '.join(routes.named) or 'none'}"
            case "leg":
                return _no_leg(routes, value)
            case "new-route" if not _ROUTE_NAME.fullmatch(value):
                return f"'{value}' is no name of a route: letters, digits, `-`, `_` and `.`, 40 at most"
            case "new-route" if value in routes.named:
                return f"'{value}' is a route of the configuration, which no session changes"
            case "model" if not value.startswith("@"):
                try:
                    routes.for_model(value)
                except NotServed as unserved:
                    return str(unserved)
            case _:
                pass
        return ""

    return known


def _no_leg(routes: Routes, value: str) -> str:
    """Why a value is no leg that can be asked; "" where it is one."""
    try:
        plan = parse_plan(f"{value}|{_ANOTHER}")
    except PlanError as wrong:
        return f"'{value}' is no leg: {wrong}"
    if plan.kind != "failover" or len(plan.legs) > 2:
        return f"'{value}' is more than one leg; give them one by one"
    leg = plan.legs[0]
    if leg.route and leg.route not in routes.named:
        return f"there is no route '{leg.route}'; there are {', '.join(routes.named) or 'none'}"
    if not leg.route and leg.backend not in routes.backends:
        return f"there is no backend '{leg.backend}'; there are {', '.join(routes.backends)}"
    return ""


def section_of(command: Command, spoken: Spoken, known: Known, table: CommandTable, prefix: str, caller: Caller) -> Any:
    """The event's `command`. Raises WrongArguments."""
    arguments = arguments_of(command, spoken, known)
    about = arguments.get("name") if command.name == "help" else None
    told = table.help(prefix, roles_of(caller), about if isinstance(about, str) else "")
    return {"name": command.name, "args": arguments, "help": told}


def roles_of(caller: Caller) -> Sequence[str] | None:
    """The roles by which commands are allowed; None for the developer's own proxy, where everything is."""
    return None if caller.kind == "local" else caller.roles


def refusal_of(table: CommandTable, spoken: Spoken, prefix: str, caller: Caller) -> str:
    """Why a command cannot be run by this caller, in words for them; "" where it can."""
    command = table.get(spoken.name)
    roles = roles_of(caller)
    if command is None:
        near = table.near(spoken.name)
        meant = f" Did you mean `{prefix}{near}`?" if near else ""
        listed = f" `{prefix}help` lists the commands." if table.get("help") else ""
        return f"There is no command `{prefix}{spoken.name}`.{meant}{listed}"
    if roles is not None and not command.allows(roles):
        wanted = " or ".join(f"'{each}'" for each in command.roles)
        return f"`{prefix}{command.name}` is for callers with the role {wanted}."
    return ""


def wrong_arguments(command: Command, wrong: WrongArguments, prefix: str) -> str:
    return f"`{prefix}{command.name}`: {wrong}. It is written {command.usage(prefix)}."
