"""Where the texts of an item stand: the places that rules read, and how another text is written into them.

Every part of a message names its place in the item that it was read from, so that what differs is written there and
nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from engine.model.effects import Op, Path, written
from engine.model.exchange import Part

PartKind = Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"]

_KINDS: Final[Mapping[str, PartKind]] = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "refusal": "refusal",
    "summary_text": "reasoning",
    "reasoning_text": "reasoning",
    "input_image": "image",
    "output_image": "image",
    "computer_screenshot": "image",
    "input_audio": "audio",
    "output_audio": "audio",
    "input_file": "file",
}

ALTERED: Final = "lexgate-altered"
"""The encrypted content of reasoning that went out otherwise than the model thought it. A client re-sends what it got:
such items are taken out of its next request, because no provider can decrypt them."""

OWN: Final = "_lexgate_"
"""Stands in the id of every item that was made here: no provider knows it, so it is not sent to one."""


class Place(msgspec.Struct, frozen=True):
    """One place of an item: `path` leads to a text, or to the object of which a text is a field."""

    item: Any
    path: Path


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def type_of(item: Any) -> str:
    """The type of an item; one without a type that has a role is a message."""
    if not isinstance(item, dict):
        return ""
    kind = text_of(item.get("type"))
    return kind or ("message" if "role" in item else "item_reference" if "id" in item else "")


def parts_of(item: Mapping[str, Any]) -> list[Part]:
    """What an item that is no call says, each part with its place."""
    found = [Part(kind=kind, text=text, wire=Place(item, path)) for path, kind, text in _places(item)]
    return found or [Part(kind="opaque", wire=Place(item, ()))]


def _places(item: Mapping[str, Any]) -> Iterator[tuple[Path, PartKind, str]]:
    kind = type_of(item)
    if kind == "message":
        yield from _content(item.get("content"), ("content",))
    elif kind == "reasoning":
        for field in ("summary", "content"):
            yield from _content(item.get(field), (field,))
    elif kind == "shell_call_output":
        output = item.get("output")
        for place, each in enumerate(output if isinstance(output, list) else ()):
            for field in ("stdout", "stderr"):
                if isinstance(each, dict) and text_of(each.get(field)):
                    yield ("output", place, field), "text", each[field]
    elif kind.endswith("_output"):
        yield from _content(item.get("output"), ("output",))
    elif text_of(item.get("text")):
        yield ("text",), "text", item["text"]


def _content(content: Any, path: Path) -> Iterator[tuple[Path, PartKind, str]]:
    """A text, an object, or a list of them. One of an unknown type that has a `text` is text: a model may read it."""
    if isinstance(content, str):
        if content:
            yield path, "text", content
        return
    if isinstance(content, dict):
        kind, text = _kind_and_text(content)
        yield path, kind, text
        return
    for place, each in enumerate(content if isinstance(content, list) else ()):
        if isinstance(each, dict):
            kind, text = _kind_and_text(each)
        else:
            kind, text = ("text", each) if isinstance(each, str) else ("opaque", "")
        yield (*path, place), kind, text


def _kind_and_text(wire: Mapping[str, Any]) -> tuple[PartKind, str]:
    kind = _KINDS.get(text_of(wire.get("type")), "opaque")
    text = text_of(wire.get("refusal" if kind == "refusal" else "text"))
    if kind == "opaque" and text:
        kind = "text"
    return kind, text if kind in ("text", "refusal", "reasoning") else ""


def said_in(item: Mapping[str, Any], parts: Sequence[Part]) -> Any:
    """The item saying only `parts`, which were read from it; None where nothing of it is left."""
    if list(parts) == parts_of(item):
        return item
    kept = {part.wire.path: part for part in parts}
    changed: Any = item
    altered = False
    # From the last place to the first, so that taking one away moves no other.
    for path, kind, text in reversed(list(_places(item))):
        part = kept.get(path)
        if part is None or (text and not part.text):
            changed = written(changed, path, Op("remove", path))
            altered = True
        elif part.text != text:
            changed = written(changed, path, Op("replace", path, _with_text(_at(changed, path), kind, part.text)))
            altered = True
    type_ = type_of(item)
    if type_ == "reasoning":
        return {**changed, "encrypted_content": ALTERED} if altered else item
    if type_.endswith("_output"):
        # A call must have its output, be it empty.
        return changed if "output" in changed else {**changed, "output": ""}
    if type_ == "message":
        return changed if changed.get("content") else None
    return changed


def _with_text(value: Any, kind: PartKind, text: str) -> Any:
    if not isinstance(value, dict):
        return text
    said = {**value, "refusal" if kind == "refusal" else "text": text}
    # They point into the text that was there, and spell it.
    for field in ("annotations", "logprobs"):
        if said.get(field):
            said[field] = []
    return said


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value
