"""How a stream begins that nobody reads: with an answer, or with the provider's error, which is then no answer at all."""

from engine.model.exchange import Failed, Frame

from .base import BadAnswer, Codec
from .frames import NOTHING_SAID


def failure_at_once(codec: Codec, data: bytes) -> tuple[Failed, Frame] | None:
    """The error that a stream says before anything else, and its frame; None where it begins as an answer.

    `data` are the first events, whole. A stream without the word is not looked into.
    """
    if b"error" not in data:
        return None
    try:
        said = codec.reader().feed(data)
    except BadAnswer:
        return None  # goes on as the bytes that came: nobody was asked to judge them
    for frame, chunks in said:
        for chunk in chunks:
            if isinstance(chunk, Failed):
                return chunk, frame
        if chunks != NOTHING_SAID:
            return None
    return None
