"""A whole answer as the chunks of a stream, and back: the same rules hold for both because they are the same."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Channel,
    Choice,
    Chunk,
    Finished,
    Part,
    TextDelta,
    ToolCall,
    UsageReported,
)

CHANNEL_OF: Final[Mapping[str, Channel]] = {"reasoning": "reasoning", "text": "answer", "refusal": "refusal"}


def chunks_of(answer: Answer) -> list[Chunk]:
    """A whole answer as the chunks of a stream: one for each channel and call."""
    chunks: list[Chunk] = []
    for choice in answer.choices:
        for kind, channel in CHANNEL_OF.items():
            text = choice.said(kind)
            if text:
                chunks.append(TextDelta(choice.index, channel, text))
        for index, call in enumerate(choice.tool_calls):
            chunks.append(CallOpened(choice.index, index, call.id, call.name, call.kind, call.wire, call.signature))
            chunks.append(CallDelta(choice.index, index, call.arguments))
        chunks.append(Finished(choice.index, choice.finish))
    if answer.usage is not None:
        chunks.append(UsageReported(answer.usage))
    return chunks


def rebuilt(answer: Answer, before: Sequence[Chunk], after: Sequence[Chunk]) -> Answer:
    """The answer saying what was let through; the same object, with its bytes, where that is all of it."""
    if list(before) == list(after):
        return answer
    choices = tuple(_rebuilt_choice(choice, after) for choice in answer.choices)
    return answer if choices == answer.choices else replace(answer, choices=choices, body=None)


def _rebuilt_choice(choice: Choice, after: Sequence[Chunk]) -> Choice:
    mine = [chunk for chunk in after if getattr(chunk, "choice", None) == choice.index]
    parts = choice.parts
    for kind, channel in CHANNEL_OF.items():
        text = "".join(chunk.text for chunk in mine if isinstance(chunk, TextDelta) and chunk.channel == channel)
        if text != choice.said(kind):
            parts = with_said(parts, kind, text)
    arguments = {chunk.index: chunk.arguments for chunk in mine if isinstance(chunk, CallDelta)}
    made = list(choice.tool_calls)
    calls: list[ToolCall] = []
    for opened in (chunk for chunk in mine if isinstance(chunk, CallOpened)):
        # Calls keep their order; ids need not be there, or differ.
        place = next(place for place, call in enumerate(made) if (call.id, call.name) == (opened.id, opened.name))
        call = made[place]
        del made[: place + 1]
        calls.append(replace(call, arguments=arguments.get(opened.index, "")))
    finish = next((chunk.finish for chunk in mine if isinstance(chunk, Finished)), choice.finish)
    return replace(choice, parts=parts, tool_calls=tuple(calls), finish=finish)


def with_said(parts: tuple[Part, ...], kind: str, text: str) -> tuple[Part, ...]:
    """The parts with the text of one kind replaced; it stands where the first of them stood."""
    kept_parts: list[Part] = []
    placed = False
    for part in parts:
        if part.kind != kind:
            kept_parts.append(part)
        elif not placed and text:
            kept_parts.append(replace(part, text=text))
            placed = True
    if text and not placed:
        kept_parts.append(Part(kind=kind, text=text))  # type: ignore[arg-type]
    return tuple(kept_parts)


def says(chunk: Chunk) -> bool:
    """Whether it is text of the first choice's answer."""
    return isinstance(chunk, TextDelta) and chunk.choice == 0 and chunk.channel == "answer"


def with_text(chunks: Sequence[Chunk], text: str) -> list[Chunk]:
    """The chunks with another text of the first choice: it stands where the first of it stood."""
    changed: list[Chunk] = []
    for chunk in chunks:
        if says(chunk):
            if text:
                changed.append(TextDelta(0, "answer", text))
            text = ""
        else:
            changed.append(chunk)
    return changed


def replaced_by(answer: Answer, message: str) -> Answer:
    """The answer with nothing in it but a message, ended as a normal one."""
    choices = tuple(
        replace(choice, parts=(Part(kind="text", text=message),), tool_calls=(), finish="stop")
        for choice in answer.choices
    )
    return replace(answer, choices=choices, body=None)
