"""A Python process beside the server that compiles policies, so that the server's interpreter is not held by it.

Orders come on standard input, answers go to standard output: each a message of msgpack behind its length in four
bytes. The process ends when its input does, and so does not outlive the server.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

import engine

from .compiler import Answer, Compiler, Order

LENGTH: Final = 4
"""Bytes of a message's length, the most significant first."""
LARGEST: Final = 512 * 1024 * 1024
NICE: Final = 10
"""Lets the server's requests go first, and still has a tenth of a core that is never idle."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Said once at the start. A process of another version would not be understood."""

    version: str = engine.__version__


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    answer: Answer


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An error of the compiler itself, with where it happened."""

    error: str
    trace: str


Message = Ready | Answered | Failed


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH, "big") + message


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next message; None at the end of the stream, also where it ends within a message."""
    head = stream.read(LENGTH)
    if len(head) < LENGTH:
        return None
    size = int.from_bytes(head, "big")
    body = stream.read(size)
    return body if len(body) == size else None


def serve(orders: BinaryIO, answers: BinaryIO, answer: Callable[[Order], Answer]) -> None:
    """Answer orders until there are no more."""

    def say(message: Message) -> None:
        answers.write(framed(msgspec.msgpack.encode(message)))
        answers.flush()

    decode = msgspec.msgpack.Decoder(Order).decode
    say(Ready())
    while (frame := read_frame(orders)) is not None:
        try:
            say(Answered(answer(decode(frame))))
        except Exception as wrong:  # the outermost edge: what the server is told, it reports
            say(Failed(f"{type(wrong).__name__}: {wrong}", traceback.format_exc()))
        gc.collect()  # now that nobody waits


def main() -> None:
    """The process: quiet towards the terminal, polite towards the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the server ends this process
    if hasattr(os, "nice"):
        os.nice(NICE)
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not write into the messages
    sys.stdout = sys.stderr
    gc.disable()
    try:
        serve(orders, answers, Compiler().answer)
    except BrokenPipeError:
        os._exit(0)  # the server is gone; nothing can be flushed to it


if __name__ == "__main__":
    main()
