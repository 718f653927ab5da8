"""An exchange as an event: builds the document that conditions see, and of it only what the loaded rules read."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from engine.language.shell import ShellTools
from engine.model.events import FIELDS, INSTRUCTING, SECTIONS, last_user_of, system_of, text_of
from engine.model.exchange import Choice, Exchange, Message, Part, ToolCall, Usage
from engine.model.legs import Considered
from engine.model.phases import Phase
from engine.model.plan import Plan
from engine.policy.given import tool_section
from engine.world.estimates import Estimates

Reads = frozenset[tuple[str, ...]]
Fields = Mapping[str, frozenset[str]]
"""Of each section the fields that are wanted."""

_ALL: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(struct.__struct_fields__) for name, struct in SECTIONS.items()
}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES: Final = {phase: phase.value for phase in Phase}
_HIDDEN_HEADERS: Final = frozenset({"cookie", "set-cookie", "host"})


def wanted_fields(phase: Phase, reads: Reads) -> Fields:
    """Which fields of which sections a phase's rules read: worked out once for a rule set."""
    wanted: dict[str, set[str]] = {"caller": {"id"}, "now": {"epoch"}}
    for path in reads:
        match path:
            case ():
                return {name: _ALL[name] for name in FIELDS[phase]}
            case (section,):
                wanted[section] = set(_ALL.get(section, ()))
            case (section, field, *_):
                wanted.setdefault(section, set()).add(field)
    return {name: frozenset(fields) for name, fields in wanted.items() if name in FIELDS[phase]}


class Caller(msgspec.Struct, frozen=True):
    """Who asks, once authenticated."""

    id: str = "local"
    kind: str = "local"
    team: str | None = None
    roles: tuple[str, ...] = ()
    key: str = ""
    ip: str = ""
    agent: str = ""


class Session(msgspec.Struct, frozen=True):
    """The conversation that the request belongs to, with what state rules keep for it."""

    id: str = ""
    kind: str = "inferred"
    thread: str = ""
    vars: Mapping[str, Any] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class Taken(msgspec.Struct, frozen=True):
    """The attempt that an event belongs to, and the route that it is part of."""

    backend: str = ""
    model: str = ""
    number: int = 0
    route: str = ""
    plan: Plan | str = ""
    trail: Sequence[Considered] = ()
    """What became of the legs so far."""


class View:
    """What events of one exchange are made of. Parts that several events share are made once."""

    __slots__ = ("_made", "caller", "count", "exchange", "now", "original", "session", "shell_tools", "taken")

    def __init__(
        self,
        exchange: Exchange,
        caller: Caller,
        now: float,
        shell_tools: ShellTools,
        count: Callable[[Exchange], int] = Estimates().tokens,
    ) -> None:
        self.exchange = exchange
        self.caller = caller
        self.session = Session()
        self.taken = Taken()
        self.now = now
        self.shell_tools = shell_tools
        self.count = count
        """Says how many tokens a request has as input."""
        self._made: dict[str, Any] = {}
        self.original = exchange.messages
        """The conversation as the client sent it, which is what it will re-send."""

    def replace(self, exchange: Exchange) -> None:
        """The exchange was changed: what was made of it is made anew when it is next read."""
        if exchange is not self.exchange:
            self.exchange = exchange
            self._made.clear()

    def event(self, phase: Phase, wanted: Fields, **sections: Mapping[str, Any]) -> dict[str, Any]:
        """An event of a phase; `sections` are those that belong to this event alone (`tool`, `text`, ...)."""
        event: dict[str, Any] = {"phase": _NAMES[phase]}
        for name, fields in wanted.items():
            given = sections.get(name) if sections else None
            event[name] = given if given is not None else _maker(name, fields)(self)
        return event

    def clock(self, fields: frozenset[str]) -> dict[str, Any]:
        made: dict[str, Any] = {"epoch": self.now}
        if len(fields) > 1:
            moment = datetime.fromtimestamp(self.now, UTC)
            made["iso"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            made["weekday"] = _WEEKDAYS[moment.weekday()]
            made["hour"] = moment.hour
        return made

    def session_field(self, field: str) -> Any:
        if field == "turn":
            return sum(message.role == "user" for message in self.exchange.messages)
        return _plain(getattr(self.session, field))

    def request(self, fields: Iterable[tuple[str, "Make"]]) -> dict[str, Any]:
        """The fields, each made once for all events of the exchange, as long as that stays as it is."""
        made, section = self._made, {}
        for field, make in fields:
            value = made.get(field)
            if value is None:
                value = made[field] = make(self)
            section[field] = value
        return section

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request(_MESSAGES)["messages"]
        return found


Make = Callable[[View], Any]


@functools.lru_cache(maxsize=1024)
def _maker(name: str, fields: frozenset[str]) -> Make:
    """What makes a section of events with these fields; worked out once for those that a rule set reads."""
    match name:
        case "request":
            makers = tuple((field, _REQUEST[field]) for field in sorted(fields))
            return lambda view: view.request(makers)
        case "caller":
            return lambda view: {field: _plain(getattr(view.caller, field)) for field in fields}
        case "session":
            return lambda view: {field: view.session_field(field) for field in fields}
        case "now":
            return lambda view: view.clock(fields)
        case "attempt":
            return lambda view: {
                "backend": view.taken.backend, "model": view.taken.model, "number": view.taken.number
            }  # fmt: skip
        case "route":
            return lambda view: {
                "name": view.taken.route,
                "plan": str(view.taken.plan),
                "legs": [{"leg": each.leg, "fate": each.fate, "why": each.why} for each in view.taken.trail],
            }
        case _:
            raise AssertionError(f"section {name} must be given")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def event_part(part: Part) -> dict[str, Any]:
    return {"kind": part.kind, "text": part.text}


def event_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "name": call.name, "args": call.args, "text": call.arguments}


def event_message(message: Message) -> dict[str, Any]:
    parts = [{"kind": part.kind, "text": part.text} for part in message.parts]
    alone = len(parts) == 1 and parts[0]["kind"] == "text"
    return {
        "role": message.role,
        "text": parts[0]["text"] if alone else text_of(parts),
        "tool_calls": [event_call(call) for call in message.tool_calls] if message.tool_calls else [],
        "tool_call_id": message.tool_call_id,
        "parts": parts,
    }


def _opaque(view: View) -> list[str]:
    parts = (part for message in view.exchange.messages for part in message.parts)
    return sorted({part.kind for part in parts if part.kind in ("image", "audio", "file", "opaque")})


_REQUEST: Final[Mapping[str, Make]] = {
    "id": lambda view: view.exchange.id,
    "protocol": lambda view: view.exchange.protocol.value,
    "model": lambda view: view.exchange.model,
    "stream": lambda view: view.exchange.stream,
    "messages": lambda view: [event_message(message) for message in view.exchange.messages],
    "system": lambda view: (
        system_of(view.messages) if any(each.role in INSTRUCTING for each in view.exchange.messages) else ""
    ),
    "last_user": lambda view: last_user_of(view.messages),
    "tools": lambda view: [
        {"name": tool.name, "kind": tool.kind, "description": tool.description} for tool in view.exchange.tools
    ],
    "tool_names": lambda view: [tool.name for tool in view.exchange.tools],
    "params": lambda view: dict(view.exchange.params),
    "input_tokens": lambda view: view.count(view.exchange),
    "headers": lambda view: {
        name: value for name, value in view.exchange.headers.items() if name not in _HIDDEN_HEADERS
    },
    "opaque": _opaque,
}
_MESSAGES: Final = (("messages", _REQUEST["messages"]),)


def result_section(exchange: Exchange, index: int) -> dict[str, Any]:
    """`result` of the message at `index`, which holds a tool's result."""
    message = exchange.messages[index]
    parts = [event_part(part) for part in message.parts]
    text = text_of(parts)
    later = exchange.messages[index + 1 :]
    return {
        "tool": called_tool(exchange, message.tool_call_id, index),
        "call_id": message.tool_call_id,
        "text": text,
        "parts": parts,
        "bytes": len(text.encode("utf-8", "surrogatepass")),
        "new": not any(each.role == "assistant" for each in later),
        "is_error": message.is_error,
    }


def called_tool(exchange: Exchange, call_id: str, before: int) -> str:
    """The tool whose call has this id, "" where the call is not in the history."""
    for message in reversed(exchange.messages[:before]):
        for call in message.tool_calls:
            if call.id == call_id:
                return call.name
    return ""


def call_section(view: View, call: ToolCall, wanted: Fields) -> dict[str, Any]:
    """`tool` of one complete call of the model."""
    tool = next((tool for tool in view.exchange.tools if tool.name == call.name), None)
    return tool_section(
        call.id,
        call.name,
        call.args,
        call.arguments,
        offered=tool is not None,
        schema=tool.schema if tool is not None else None,
        shell_tools=view.shell_tools,
        want=wanted.get("tool", frozenset()),
    )


def response_section(
    text: str,
    reasoning: str,
    finish: str,
    calls: Iterable[ToolCall],
    usage: Usage | None,
    billed: int,
    cost: float | None,
    refusal: str = "",
) -> dict[str, Any]:
    """`response` of an assembled answer; `billed` and `cost` are those of all attempts. A refusal says something, too."""
    made = [event_call(call) for call in calls]
    tokens = usage or Usage()
    return {
        "text": text,
        "reasoning": reasoning,
        "finish_reason": finish,
        "tool_calls": made,
        "usage": {
            "input": tokens.input,
            "output": tokens.output,
            "cached": tokens.cached,
            "reasoning": tokens.reasoning,
            "billed": billed,
            "cost": cost,
        },
        "empty": not (made or text.strip() or refusal.strip()),
    }


def said(choice: Choice) -> tuple[str, str]:
    """Text and reasoning of a choice."""
    return choice.said("text"), choice.said("reasoning")
