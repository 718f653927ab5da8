"""Tool names and call ids that the other provider takes, and the way back for names.

Both are functions of the request alone: the same name has the same stand-in on every turn, on every replica, and after a
failover. An id needs no way back: a client is given ids that every provider takes, and what it re-sends, call and result
alike, is fitted anew.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from engine.model.exchange import Exchange, Message, Protocol, ToolCall

replace = msgspec.structs.replace


class Limits(msgspec.Struct, frozen=True):
    """What a provider takes: a tool's name as a whole (`name`), up to `name_length`; an id, up to `id_length`."""

    name: re.Pattern[str]
    name_length: int
    id: re.Pattern[str]
    id_length: int


_WORD: Final = re.compile(r"[a-zA-Z0-9_-]+")
_GEMINI_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*")
_ANY: Final = re.compile(r".+", re.DOTALL)

LIMITS: Final[Mapping[Protocol, Limits]] = {
    Protocol.OPENAI_CHAT: Limits(_WORD, 64, _ANY, 40),
    Protocol.OPENAI_RESPONSES: Limits(_WORD, 64, _WORD, 64),
    Protocol.ANTHROPIC: Limits(_WORD, 128, _WORD, 64),
    Protocol.GEMINI: Limits(_GEMINI_NAME, 64, _ANY, 64),
}

_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_-]")
_MARK: Final = 8
"""Characters of the mark by which a stand-in differs from those of other names."""


def _marked(text: str, length: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()[:length]


class ToolNames(msgspec.Struct, frozen=True):
    """The stand-ins of a request's tool names; a name that the provider takes as it is has none."""

    there: Mapping[str, str] = {}
    back: Mapping[str, str] = {}

    def outward(self, name: str) -> str:
        return self.there.get(name, name)

    def inward(self, name: str) -> str:
        """The client's name; of a tool that was not offered, the model's."""
        return self.back.get(name, name)


def tool_names(names: Iterable[str], limits: Limits) -> ToolNames:
    """Stand-ins for the names that the limits do not take: what is left of the name, and a mark of all of it."""
    given = set(names)
    there: dict[str, str] = {}
    for name in sorted(given):
        if not name or (limits.name.fullmatch(name) and len(name) <= limits.name_length):
            continue
        readable = _FOREIGN.sub("_", name)
        readable = readable if readable[0].isalpha() or readable[0] == "_" else f"_{readable}"
        salt = ""
        while True:
            mark = _marked(name + salt, _MARK)
            stand_in = f"{readable[: limits.name_length - _MARK - 1]}_{mark}"
            if stand_in not in given and stand_in not in there.values():
                break
            salt += "'"
        there[name] = stand_in
    return ToolNames(there, {stand_in: name for name, stand_in in there.items()})


def fitted_id(id: str, limits: Limits) -> str:
    """The id, or its stand-in where the provider would refuse it."""
    if id and len(id) <= limits.id_length and limits.id.fullmatch(id):
        return id
    return f"call_{_marked(id, 24)}"


def fitted(exchange: Exchange, limits: Limits) -> tuple[Exchange, ToolNames]:
    """A neutral request with names and ids that the provider takes, and the names' way back."""
    names = tool_names(
        [
            *(tool.name for tool in exchange.tools),
            *(call.name for message in exchange.messages for call in message.tool_calls),
        ],
        limits,
    )
    messages = _with_fitting_ids(exchange.messages, limits, names)
    if not names.there:
        return replace(exchange, messages=messages), names
    tools = tuple(replace(tool, name=names.outward(tool.name)) for tool in exchange.tools)
    params = dict(exchange.params)
    match params.get("tool_choice"):
        case {"type": "function", "function": {"name": str(name)}}:
            params["tool_choice"] = {"type": "function", "function": {"name": names.outward(name)}}
    return replace(exchange, messages=messages, tools=tools, params=params), names


def _with_fitting_ids(messages: Sequence[Message], limits: Limits, names: ToolNames) -> tuple[Message, ...]:
    """Every call with an id of its own: some servers number the calls of each answer from nought, some send no ids."""
    taken: dict[str, int] = {}
    current: dict[str, list[str]] = {}
    made: list[Message] = []
    for place, message in enumerate(messages):
        if message.tool_calls:
            current = {}
            calls = [
                _fitting_call(call, (place, number), limits, taken, current, names)
                for number, call in enumerate(message.tool_calls)
            ]
            message = replace(message, tool_calls=tuple(calls))
        elif message.role == "tool":
            open_ids = current.get(message.tool_call_id)
            id = open_ids.pop(0) if open_ids else fitted_id(message.tool_call_id, limits)
            if id != message.tool_call_id:
                message = replace(message, tool_call_id=id)
        made.append(message)
    return tuple(made)


def _fitting_call(
    call: ToolCall,
    at: tuple[int, int],
    limits: Limits,
    taken: dict[str, int],
    current: dict[str, list[str]],
    names: ToolNames,
) -> ToolCall:
    times = taken.get(call.id, 0)
    taken[call.id] = times + 1
    if not call.id:
        id = fitted_id(f"\0{at[0]}.{at[1]}", limits)
    elif times:
        id = fitted_id(f"{call.id}\0{times}", limits)
    else:
        id = fitted_id(call.id, limits)
    current.setdefault(call.id, []).append(id)
    name = names.outward(call.name)
    return call if (id, name) == (call.id, call.name) else replace(call, id=id, name=name)
