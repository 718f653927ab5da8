"""A provider on loopback that speaks chat completions as OpenAI documents them, gives scripted answers, and is strict.

    with OpenAIMock(Reply(text="Hello"), Reply(calls=(Call("bash", '{"command":"ls"}'),), fragment=1)) as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key="key")

It runs in a thread of its own, so that synchronous and asynchronous tests use it alike. Shapes: API reference,
"Create chat completion" and "Streaming"; the order of the fields as on the wire.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from .openai_refusals import refusal_of

CREATED: Final = 1_700_000_000
FINGERPRINT: Final = "fp_44709d6fcb"
PATIENCE: Final = 30.0
"""Seconds after which a test that waits for the mock has failed."""


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model. `id` is made from its place where it is not given."""

    name: str
    arguments: str = "{}"
    id: str = ""
    kind: str = "function"


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


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted answer, given streamed or whole as the request asks.

    `piece` and `fragment` are the characters of text and of arguments in one frame. `gate` holds the answer back before
    its headers, or before the frame number `gate_before`. `cut_after`: the connection breaks after so many frames (or,
    not streamed, in the middle of the body). `network` is the bytes of one write, 0: a frame a write. With `status`
    other than 200 the answer is `error` in OpenAI's shape, or `body` as it stands. `frames` replaces the whole stream.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    usage: tuple[int, int, int, int] = (9, 12, 0, 0)  # prompt, completion, cached, reasoning
    piece: int = 5
    fragment: int = 8
    gate: Gate | None = None
    gate_before: int = -1
    cut_after: int = -1
    network: int = 0
    status: int = 200
    error: str = "The server had an error while processing your request."
    code: str | None = None
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


# --- the shapes ------------------------------------------------------------------------------------------------------


def usage_object(reply: Reply) -> dict[str, Any]:
    prompt, completion, cached, reasoning = reply.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish_of(reply: Reply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def _call_id(call: Call, number: int, place: int) -> str:
    return call.id or f"call_{number}_{place}"


def whole(reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The `chat.completion` object of the answer `number`."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {"id": _call_id(call, number, place), "type": call.kind, call.kind: _named(call, call.arguments)}
            for place, call in enumerate(reply.calls)
        ]
    message["annotations"] = []
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": _finish_of(reply)}
            for index in range(request.get("n") or 1)
        ],
        "usage": usage_object(reply),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _named(call: Call, text: str) -> dict[str, str]:
    return {"name": call.name, "input" if call.kind == "custom" else "arguments": text}


def _deltas(reply: Reply, number: int) -> Iterator[dict[str, Any]]:
    opened = [
        {"index": place, "id": _call_id(call, number, place), "type": call.kind, call.kind: _named(call, "")}
        for place, call in enumerate(reply.calls)
    ]
    said = reply.text or reply.refusal or reply.reasoning
    first: dict[str, Any] = {"role": "assistant", "content": "" if said or not opened else None}
    alone = not said and len(opened) == 1
    if alone:
        first["tool_calls"] = opened  # one call alone opens in the first frame
    yield {**first, "refusal": None}
    for field, text in (("reasoning_content", reply.reasoning), ("content", reply.text), ("refusal", reply.refusal)):
        for piece in _cut(text, reply.piece):
            yield {field: piece}
    for place, call in enumerate(reply.calls):
        if not alone:
            yield {"tool_calls": [opened[place]]}
        field = "input" if call.kind == "custom" else "arguments"
        for fragment in _cut(call.arguments, reply.fragment):
            yield {"tool_calls": [{"index": place, call.kind: {field: fragment}}]}


def _cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def stream(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """The frames of the answer `number`, in the documented order."""
    if reply.frames is not None:
        yield from reply.frames
        return
    options = request.get("stream_options") or {}
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    padding = 0

    def frame(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
        nonlocal padding
        said: dict[str, Any] = {**head, "choices": choices}
        if options.get("include_usage"):
            said["usage"] = usage
        if options.get("include_obfuscation") is not False:
            padding += 1
            said["obfuscation"] = "aB3dE5gH7jK9mN"[: padding * 5 % 13 + 1]
        return b"data: " + json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"

    indices = range(request.get("n") or 1)
    for delta in _deltas(reply, number):
        for index in indices:
            yield frame([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
    for index in indices:
        yield frame([{"index": index, "delta": {}, "logprobs": None, "finish_reason": _finish_of(reply)}])
    if options.get("include_usage"):
        yield frame([], usage_object(reply))
    yield b"data: [DONE]\n\n"


def error_object(message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


_KINDS: Final = {400: "invalid_request_error", 401: "invalid_request_error", 429: "rate_limit_error"}


# --- the server ------------------------------------------------------------------------------------------------------


class OpenAIMock:
    """`requests` are those received, `base_url` ends in `/v1`. With `api_key`, another is refused with 401."""

    def __init__(self, *script: Reply, api_key: str = "", models: Sequence[str] = ("gpt-4o", "gpt-4o-mini")) -> None:
        self.requests: list[Received] = []
        self._script: deque[Reply] = deque(script)
        self._gates = [reply.gate for reply in script if reply.gate is not None]
        self._api_key = api_key
        self._models = models
        self._answers = 0
        self._gone = threading.Semaphore(0)
        self._ready = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="openai-mock", daemon=True)

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
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *replies: Reply) -> None:
        """Add answers to the end of the script."""
        self._gates += [reply.gate for reply in replies if reply.gate is not None]
        self._script.extend(replies)

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
            while (received := await _read_request(reader)) is not None:
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
        refused = self._refusal(received)
        if refused is not None:
            return await _send(writer, *refused)
        if received.path.partition("?")[0].endswith("/models"):
            models = [{"id": name, "object": "model", "created": CREATED, "owned_by": "mock"} for name in self._models]
            return await _send(writer, 200, json.dumps({"object": "list", "data": models}).encode())
        request = received.json
        if not self._script:
            return await _send(writer, 500, error_object("the script of the mock is at its end", "server_error"))
        reply = self._script.popleft()
        self._answers += 1
        number = self._answers
        answering = asyncio.ensure_future(self._give(reply, request, number, writer))
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

    def _refusal(self, received: Received) -> tuple[int, bytes] | None:
        path = received.path.partition("?")[0]
        if self._api_key and received.headers.get("authorization") != f"Bearer {self._api_key}":
            message = "Incorrect API key provided."
            return 401, error_object(message, "invalid_request_error", None, "invalid_api_key")
        if (received.method, path) not in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            return 404, error_object(f"Invalid URL ({received.method} {path})", "invalid_request_error")
        if received.method == "GET":
            return None
        try:
            refusal = refusal_of(received.json)
        except ValueError:
            refusal = refusal_of(None)
        return None if refusal is None else (400, error_object(refusal[0], "invalid_request_error", *refusal[1:]))

    async def _give(self, reply: Reply, request: Mapping[str, Any], number: int, writer: asyncio.StreamWriter) -> bool:
        if reply.gate is not None and reply.gate_before < 0:
            await asyncio.to_thread(reply.gate.pass_through)
        headers = {"x-request-id": f"req_{number}", **reply.headers}
        if reply.status != 200:
            kind = _KINDS.get(reply.status, "server_error")
            body = error_object(reply.error, kind, None, reply.code) if reply.body is None else reply.body
            return await _send(writer, reply.status, body, headers)
        if request.get("stream") is not True:
            body = json.dumps(whole(reply, request, number)).encode() if reply.body is None else reply.body
            return await _send(writer, 200, body, headers, cut=reply.cut_after >= 0)
        return await self._give_stream(reply, request, number, writer, headers)

    async def _give_stream(
        self,
        reply: Reply,
        request: Mapping[str, Any],
        number: int,
        writer: asyncio.StreamWriter,
        headers: Mapping[str, str],
    ) -> bool:
        head = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **headers}
        writer.write(_head(200, head))
        for place, frame in enumerate(stream(reply, request, number)):
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


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
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
