"""What the tests of streams share: the bytes of scripted answers in both forms, and what a client puts together."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.codecs.gemini import Gemini
from engine.model.exchange import Chunk, Exchange, Frame
from tests.support.gemini_mock import Call, Code, Image, Reply, Text, Thinking, frames, reply

CODEC = Gemini()
MODEL = "gemini-3-pro"
EVERYTHING = reply(
    *(Thinking("Hm, wait."), Text("Look: é\u2028", signed=True), Code("print(1)", "1\n"), Image()),
    *(Call("bash", '{"command":"\\"[{\\\\"}', "a", signed=True), Call("read")),
    usage=(9, 12, 5, 3),
)
TWO = reply(Text("One of two."), candidates=2)


def wire_of(scripted: Reply, *, array: bool) -> bytes:
    said = list(frames(scripted, MODEL, 1))
    if not array:
        return b"".join(b"data: " + json.dumps(frame).encode() + b"\r\n\r\n" for frame in said)
    return b"[" + b"\n,\r\n".join(json.dumps(frame, indent=2).encode() for frame in said) + b"\n]\n"


def asked(*, array: bool) -> Exchange:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Go."}]}]}).encode()
    path = {"model": MODEL, "method": "streamGenerateContent"}
    return CODEC.decode_request(body, id="ex-1", headers={}, query="" if array else "alt=sse", path=path)


def heard(wire: bytes, cuts: Iterable[int] = ()) -> list[tuple[Frame, tuple[Chunk, ...]]]:
    """The frames of a stream that came in pieces."""
    reader = CODEC.reader()
    said: list[tuple[Frame, tuple[Chunk, ...]]] = []
    before = 0
    for cut in (*sorted(cuts), len(wire)):
        said += reader.feed(wire[before:cut])
        before = cut
    said += reader.close()
    assert reader.complete
    return said


def rewritten(wire: bytes, change: Callable[[Frame, tuple[Chunk, ...]], Sequence[Chunk]], *, array: bool) -> bytes:
    writer = CODEC.writer(asked(array=array))
    return b"".join(writer.write(change(frame, chunks), frame) for frame, chunks in heard(wire))


def documents(wire: bytes) -> list[Any]:
    if wire.lstrip()[:1] == b"[":
        return json.loads(wire)  # type: ignore[no-any-return]
    events = [event for event in wire.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]
    assert all(event.lstrip(b"\n").startswith(b"data: ") for event in events)
    return [json.loads(event.lstrip(b"\n")[len(b"data: ") :]) for event in events]


def parts_of(wire: bytes, choice: int = 0) -> list[Any]:
    return [
        part
        for frame in documents(wire)
        for candidate in frame.get("candidates", ())
        if candidate["index"] == choice
        for part in candidate["content"]["parts"]
    ]
