"""Where the text of an event stands: the one walk that every action on content shares."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from engine.model.effects import Path
from engine.model.phases import Phase

PLACES: Final = ("system", "user", "assistant", "tool_calls")
"""The words that `in:` takes in phase `request`."""

_ROLE_PLACES: Final[Mapping[str, str]] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "model": "assistant",
}
"""A role that is not here is read as `user`: no name that a client gives to a role keeps its text from the rules."""

_TOOL_ROLES: Final = frozenset({"tool", "function"})

READS: Final[Mapping[Phase, frozenset[tuple[str, ...]]]] = {
    Phase.REQUEST: frozenset({("request", "messages")}),
    Phase.TOOL_RESULT: frozenset({("result", "parts")}),
    Phase.TEXT: frozenset({("text", "window"), ("text", "sent"), ("text", "settled")}),
    Phase.TOOL_CALL: frozenset({("tool", "args")}),
}
"""What the walk reads of each phase's event."""


def texts(phase: Phase, event: Mapping[str, Any], places: Collection[str] = PLACES) -> Iterator[tuple[Path, str]]:
    """Every text of the phase with its place. In `request` tool results are left out: they are `tool_result`'s alone."""
    match phase:
        case Phase.REQUEST:
            for index, message in enumerate(event["request"]["messages"]):
                yield from _of_message(index, message, places)
        case Phase.TOOL_RESULT:
            for index, part in enumerate(event["result"]["parts"]):
                if part["text"]:
                    yield ("result", "parts", index, "text"), part["text"]
        case Phase.TEXT:
            yield ("text", "window"), event["text"]["window"]
        case Phase.TOOL_CALL:
            yield from strings(event["tool"]["args"], ("tool", "args"))
        case _:
            raise AssertionError(f"no text in phase {phase}")


def _of_message(index: int, message: Mapping[str, Any], places: Collection[str]) -> Iterator[tuple[Path, str]]:
    role = message["role"]
    if role in _TOOL_ROLES:
        return
    at: Path = ("request", "messages", index)
    if _ROLE_PLACES.get(role, "user") in places:
        for number, part in enumerate(message["parts"]):
            if part["text"]:
                yield (*at, "parts", number, "text"), part["text"]
    if "tool_calls" in places:
        for number, call in enumerate(message["tool_calls"]):
            yield from strings(call["args"], (*at, "tool_calls", number, "args"))


def strings(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every string inside a JSON value, keys not among them."""
    match value:
        case str() if value:
            yield path, value
        case dict():
            for key, item in value.items():
                yield from strings(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from strings(item, (*path, index))
