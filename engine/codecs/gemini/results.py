"""Results of calls (`functionResponse`): an object of whatever the tool said, of which rules read every text and number.

The object is read place by place, so that a redaction changes a value and never the shape around it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.model.effects import Op, Path, written
from engine.model.exchange import Message, Part

from .fields import get, inner, objects, spelled, text_of
from .parts import is_made, kind_of_media

OUTPUT: Final = "output"
ERROR: Final = "error"
"""The keys that Google's API gives a meaning: what the function said, and what went wrong."""


class Place(msgspec.Struct, frozen=True):
    """Where a part stands in a `functionResponse`: the object, and the path to the value."""

    result: Any
    path: Path


def decode_result(wire: Mapping[str, Any]) -> tuple[Part, ...]:
    """The parts of a `functionResponse`: its texts and numbers in order, then its media."""
    said = inner(wire, "functionResponse")
    parts = [
        Part(kind="text", text=value if isinstance(value, str) else str(value), wire=Place(said, ("response", *path)))
        for path, value in _leaves(said.get("response"), ())
    ]
    for place, item in enumerate(objects(said.get("parts"))):
        data = next((inner(item, name) for name in ("inlineData", "fileData") if inner(item, name)), {})
        parts.append(Part(kind=kind_of_media(data) if data else "opaque", wire=Place(said, ("parts", place))))
    return tuple(parts)


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, str | int | float]]:
    match value:
        case bool():
            pass
        case str() | int() | float():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from _leaves(item, (*path, key))
        case list():
            for place, item in enumerate(value):
                yield from _leaves(item, (*path, place))
        case _:
            pass


def is_error(wire: Mapping[str, Any]) -> bool:
    response = inner(wire, "functionResponse").get("response")
    return isinstance(response, dict) and ERROR in response and OUTPUT not in response


def encode_result(message: Message, name: str, wire: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The part that says a result, over the one that came. `name` is that of the function that was called."""
    if wire is None:
        key = ERROR if message.is_error else OUTPUT
        id = {} if is_made(message.tool_call_id) or not message.tool_call_id else {"id": message.tool_call_id}
        return {"functionResponse": {**id, "name": name, "response": {key: message.text}}}
    said = inner(wire, "functionResponse")
    return {**wire, spelled(wire, "functionResponse"): _rewritten(said, message.parts)}


def _rewritten(said: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    kept = {part.wire.path: part for part in parts if isinstance(part.wire, Place)}
    changed: Any = dict(said)
    for path, value in _leaves(said.get("response"), ("response",)):
        text = kept[path].text if path in kept else ""
        if text != (value if isinstance(value, str) else str(value)):
            changed = written(changed, path, Op("replace", path, text))
    if isinstance(said.get("parts"), list):
        media = [item for place, item in enumerate(said["parts"]) if ("parts", place) in kept]
        changed["parts"] = media
        if not media:
            del changed["parts"]
    added = "".join(part.text for part in parts if part.wire is None and part.kind == "text")
    if added:
        response = changed.get("response")
        changed["response"] = {**response, OUTPUT: added} if isinstance(response, dict) else {OUTPUT: added}
    result: dict[str, Any] = changed
    return result


def call_of(wire: Mapping[str, Any], calls: list[tuple[str, str]]) -> str:
    """The id of the call that a result belongs to; taken out of `calls`, the (id, name) that have no result yet.

    By its id, else by its name in order: a call that came without an id has one of ours, which no client knows.
    """
    said = inner(wire, "functionResponse")
    id, name = text_of(said.get("id")), text_of(said.get("name"))
    found = _first(calls, lambda each: bool(id) and each[0] == id)
    if found is None:
        found = _first(calls, lambda each: each[1] == name and (not id or is_made(each[0])))
    if found is None:
        return id or name or "result"
    calls.remove(found)
    return found[0]


def _first(calls: Iterable[tuple[str, str]], fits: Any) -> tuple[str, str] | None:
    return next((each for each in calls if fits(each)), None)


def is_result(wire: Any) -> bool:
    return isinstance(wire, dict) and isinstance(get(wire, "functionResponse"), dict)
