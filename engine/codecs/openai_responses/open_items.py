"""Items of a stream that are open at the client: what was sent of each, and so what its last words must repeat."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from engine.model.exchange import Channel

from .places import ALTERED, text_of, type_of

_CHANNELS: Final[Mapping[str, tuple[Channel, str]]] = {
    "output_text": ("answer", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
    "summary_text": ("reasoning", "response.reasoning_summary_text"),
    "reasoning_text": ("reasoning", "response.reasoning_text"),
}
"""By the type of a part: its channel, and the events that stream it."""

_PART_STEMS: Final[Mapping[str, tuple[str, str, dict[str, Any]]]] = {
    "response.output_text": ("response.content_part", "content_index", {"type": "output_text", "annotations": []}),
    "response.refusal": ("response.content_part", "content_index", {"type": "refusal"}),
    "response.reasoning_summary_text": ("response.reasoning_summary_part", "summary_index", {"type": "summary_text"}),
    "response.reasoning_text": ("response.content_part", "content_index", {"type": "reasoning_text"}),
}


class Piece(msgspec.Struct):
    """A text that is streamed: one part of an item.

    `owed` is text that came and was not written yet; `altered`: something else was written. `told`: its text is said to be
    done, `closed`: the part is.
    """

    channel: Channel
    index: Any
    stem: str
    wire: dict[str, Any]
    said: list[str] = []
    owed: str = ""
    altered: bool = False
    told: bool = False
    closed: bool = False
    announced: bool = True

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def whole(self) -> bool:
        return not (self.altered or self.owed)

    @property
    def field(self) -> str:
        return "refusal" if self.channel == "refusal" else "text"

    @property
    def index_name(self) -> str:
        return _PART_STEMS[self.stem][1]

    @property
    def part_stem(self) -> str:
        """The events of its part; "" where the server never announced the part."""
        return _PART_STEMS[self.stem][0] if self.announced else ""

    def come(self, text: str) -> None:
        if not self.altered:
            self.owed += text

    def write(self, text: str) -> None:
        self.said.append(text)
        if self.owed.startswith(text):
            self.owed = self.owed[len(text) :]
        else:
            self.owed, self.altered = "", True

    def close(self) -> None:
        """Nothing can follow: what is still owed of it is not part of it."""
        self.closed = True
        self.altered = self.altered or bool(self.owed)
        self.owed = ""

    def as_sent(self) -> dict[str, Any]:
        """The part that says what was sent; what pointed into another text is left out."""
        made = {**self.wire, self.field: self.text}
        if self.altered:
            for name in ("annotations", "logprobs"):
                if made.get(name):
                    made[name] = []
        return made


class Item(msgspec.Struct):
    """An item that is open at the client. `source` is its index upstream, None where it is ours; `finished` is what the
    upstream says of it in the end, `ended` that it has."""

    index: Any
    source: Any
    wire: dict[str, Any]
    pieces: list[Piece] = []
    finished: dict[str, Any] | None = None
    ended: bool = False
    arguments: list[str] = []

    @property
    def id(self) -> str:
        return text_of(self.wire.get("id"))

    @property
    def whole(self) -> bool:
        return all(piece.whole for piece in self.pieces)

    def visible(self, open_item: "Item | None") -> bool:
        """Whether the client can still be told of it: a call always, a text until another one has begun."""
        return self is open_item or type_of(self.wire) not in ("message", "reasoning")

    def find(self, part_stem: str, index: Any) -> Piece | None:
        return next(
            (each for each in self.pieces if each.index == index and _PART_STEMS[each.stem][0] == part_stem), None
        )

    def piece(self, channel: Channel, index: Any, stem: str) -> Piece:
        """The text at a place, begun where no part announced it."""
        for each in self.pieces:
            if each.index == index and each.stem == stem:
                return each
        wire = _PART_STEMS[stem][2]
        made = Piece(channel, index, stem, wire, announced=False)
        self.pieces.append(made)
        return made

    def opened(self, index: Any, part: dict[str, Any], stem: str = "") -> Piece | None:
        """The piece of a part that was announced; None for a part that is no text."""
        channel, known = _CHANNELS.get(text_of(part.get("type")), ("answer", ""))
        stem = stem or known
        if not stem:
            return None
        made = Piece(channel, index, stem, part)
        self.pieces.append(made)
        return made

    def last(self, channel: Channel) -> Piece | None:
        """The piece to which more text of a channel belongs."""
        piece = self.pieces[-1] if self.pieces else None
        return piece if piece is not None and piece.channel == channel and not piece.closed else None

    def close(self, part_stem: str, data: Mapping[str, Any]) -> None:
        """A part has ended as the upstream says."""
        number = data.get("content_index", data.get("summary_index"))
        piece = self.find(part_stem, number)
        part = data.get("part")
        if piece is not None:
            piece.closed = True
            if isinstance(part, dict):
                piece.wire = part

    def as_sent(self) -> dict[str, Any]:
        """The finished item that says what was sent of it."""
        base = self.finished or self.wire
        made = {**base, "status": "completed"} if type_of(base) == "message" or "status" in base else dict(base)
        fields: dict[str, list[Any]] = {}
        for piece in self.pieces:
            field = "summary" if piece.index_name == "summary_index" else "content"
            fields.setdefault(field, []).append(piece.as_sent())
        if type_of(base) == "message":
            others = [each for each in base.get("content") or () if text_of(each.get("type")) not in _CHANNELS]
            made["content"] = [*fields.get("content", ()), *others]
            return made
        made |= fields
        if not (self.whole and self.ended):
            made["encrypted_content"] = ALTERED  # nobody signed what was sent
        return made


class Held(msgspec.Struct):
    """The events of a call that waits for a decision. `out`: it was let go."""

    wire: dict[str, Any]
    events: list[dict[str, Any]]
    out: bool = False
