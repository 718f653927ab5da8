"""A provider on loopback that gives scripted answers: what the mocks of all protocols share.

It runs in a thread of its own, so that synchronous and asynchronous tests use it alike.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

CREATED: Final = 1_700_000_000
PATIENCE: Final = 30.0
"""Seconds after which a test that waits for a mock has failed."""


class Gate:
    """A place where an answer waits until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def wait_until_reached(self) -> None:
        assert self._reached.wait(PATIENCE), "no answer came to the gate"

    def pass_through(self) -> None:
        self._reached.set()
        self._opened.wait(PATIENCE)


class Scripted(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is given, whatever it says.

    `gate` holds it back before its headers, or before the frame number `gate_before`. `cut_after`: the connection breaks
    after so many frames (or, not streamed, in the middle of the body). `network` is the bytes of one write, 0: a frame a
    write. With `status` other than 200 the answer is `error` in the protocol's shape, or `body` as it stands. `frames`
    replaces the whole stream.
    """

    gate: Gate | None = None
    gate_before: int = -1
    cut_after: int = -1
    network: int = 0
    status: int = 200
    error: str = "The server had an error while processing your request."
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    frames: tuple[bytes, ...] | None = None


class Received(msgspec.Struct, frozen=True):
    """A request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def cut(text: str, size: int) -> list[str]:
    """The text in pieces of so many characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


R = TypeVar("R", bound=Scripted)


class Provider(Generic[R]):
    """`requests` are those received. With `api_key`, another is refused; `models` are those that are listed."""

    def __init__(self, *script: R, api_key: str = "", models: Sequence[str] = ()) -> None:
        self.requests: list[Received] = []
        self._script: deque[R] = deque(script)
        self._gates = [reply.gate for reply in script if reply.gate is not None]
        self._api_key = api_key
        self._models = models
        self._answers = 0
        self._gone = threading.Semaphore(0)
        self._ready = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="provider", daemon=True)

    # --- what a protocol says ----------------------------------------------------------------------------------------

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        """The answer to a request that takes none from the script: a refusal, a list; None for one that does."""
        raise NotImplementedError

    def answer_to(self, received: Received) -> R | None:
        """The next answer of the script, None at its end; a mock that answers by what it reads says so here."""
        return self._script.popleft() if self._script else None

    def exhausted(self) -> bytes:
        """The error of a script that is at its end."""
        raise NotImplementedError

    def failing(self, reply: R) -> bytes:
        """The body of a scripted error."""
        raise NotImplementedError

    def whole(self, reply: R, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        """The answer `number`, not streamed."""
        raise NotImplementedError

    def stream(self, reply: R, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        """The frames of the answer `number`."""
        raise NotImplementedError

    def streams(self, received: Received) -> bool:
        return received.json.get("stream") is True

    def named(self, number: int) -> dict[str, str]:
        """The headers by which an answer is known."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the mock did not start"
        return self

    def stop(self) -> None:
        for gate in self._gates:
            gate.open()
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, *replies: R) -> None:
        """Add answers to the end of the script."""
        self._gates += [reply.gate for reply in replies if reply.gate is not None]
        self._script.extend(replies)

    def unused(self) -> list[R]:
        """The answers that nobody asked for; they are taken out of the script."""
        left = list(self._script)
        self._script.clear()
        return left

    def wait_for_disconnect(self) -> None:
        """Until a client has gone away in the middle of an answer; each is counted once."""
        assert self._gone.acquire(timeout=PATIENCE), "no client went away"

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            while (received := await read_request(reader)) is not None:
                self.requests.append(received)
                if not await self._answer(received, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()

    async def _answer(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can go on."""
        direct = self.direct(received)
        if direct is not None:
            status, body = direct
            return await _send(writer, status, b"" if received.method == "HEAD" else body)
        reply = self.answer_to(received)
        if reply is None:
            return await _send(writer, 500, self.exhausted())
        self._answers += 1
        number = self._answers
        answering = asyncio.ensure_future(self._give(reply, received, number, writer))
        watching = asyncio.ensure_future(_until_gone(reader))
        await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
        if answering.done() and not answering.cancelled() and answering.exception() is None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            return answering.result()
        answering.cancel()
        watching.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)
        self._gone.release()
        return False

    async def _give(self, reply: R, received: Received, number: int, writer: asyncio.StreamWriter) -> bool:
        if reply.gate is not None and reply.gate_before < 0:
            await asyncio.to_thread(reply.gate.pass_through)
        headers = {**self.named(number), **reply.headers}
        if reply.status != 200:
            body = self.failing(reply) if reply.body is None else reply.body
            return await _send(writer, reply.status, body, headers)
        request = received.json
        if not self.streams(received):
            body = json.dumps(self.whole(reply, request, number)).encode() if reply.body is None else reply.body
            return await _send(writer, 200, body, headers, cut=reply.cut_after >= 0)
        frames = self.stream(reply, request, number) if reply.frames is None else iter(reply.frames)
        return await self._give_stream(reply, frames, writer, headers)

    async def _give_stream(
        self, reply: R, frames: Iterator[bytes], writer: asyncio.StreamWriter, headers: Mapping[str, str]
    ) -> bool:
        head = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **headers}
        writer.write(_head(200, head))
        for place, frame in enumerate(frames):
            if place == reply.cut_after:
                await writer.drain()
                writer.transport.abort()
                return False
            if reply.gate is not None and place == reply.gate_before:
                await writer.drain()
                await asyncio.to_thread(reply.gate.pass_through)
            size = reply.network or len(frame)
            for start in range(0, len(frame), size):
                piece = frame[start : start + size]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """A client that waits for an answer sends nothing: what comes is its end."""
    await reader.read(1)


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """The next request of a connection, None where it has ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    cut: bool = False,
) -> bool:
    head = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    writer.write(_head(status, head) + (body[: len(body) // 2] if cut else body))
    await writer.drain()
    if cut:
        writer.transport.abort()
    return not cut
