"""The ASGI edge of an exchange: bytes in under limits, bytes out, and a client that goes away cancels all of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from engine.codecs.base import Codec, Problem
from engine.pipeline import House, Incoming, Reply, handle
from engine.policy.live import Live
from engine.server.door import client_address, header, personal_problem
from engine.view import Caller
from engine.world.http.base import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

AGENT_LENGTH: Final = 200


class Edge:
    """Serves the paths that a codec speaks; everything else is `rest`'s."""

    def __init__(self, paths: Mapping[str, Codec], rest: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._paths = paths
        self._rest = rest
        self.house: House | None = None
        self.live: Live | None = None
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        codec = self._paths.get(scope["path"]) if scope["type"] == "http" else None
        if codec is None or self.house is None or self.live is None:
            await self._rest(scope, receive, send)
            return
        await self._exchange(codec, self.house, self.live, scope, receive, send)

    async def _exchange(
        self, codec: Codec, house: House, live: Live, scope: Scope, receive: Receive, send: Send
    ) -> None:
        settings = house.world.settings
        headers: Headers = scope["headers"]
        metrics = house.world.metrics
        problem = self._refused(house, scope["method"], headers)
        body = b""
        if problem is None:
            try:
                async with asyncio.timeout(settings.server.body_timeout):
                    taken = await _body(receive, headers, settings.server.max_body)
            except TimeoutError:
                problem = Problem(status=408, message="The request's body did not arrive in time.", code="timeout")
            else:
                if taken is None:
                    return
                if isinstance(taken, Problem):
                    problem = taken
                else:
                    body = taken
        if problem is not None:
            metrics.answered(codec.protocol.value, "", "", problem.status, 0.0)
            await _send_whole(send, _refusal(codec, problem))
            return
        incoming = Incoming(
            codec, body, headers, self._caller(scope, headers, house), house.world.new_id(), _query(scope)
        )
        metrics.in_flight += 1
        began = False
        watch = _Departure(receive)
        try:
            reply = await handle(incoming, live.current, house)
            began = True
            if reply.chunks is None:
                watch.stop()
                await _send_whole(send, reply)
            else:
                await _send_stream(send, reply)
        except asyncio.CancelledError:
            if not watch.gone:
                raise  # the server stops: it was not the client
        except Exception:
            # The outermost edge: whatever it was, the client is answered, and the log has it.
            house.world.log.exception("exchange failed", request=incoming.id, path=scope["path"])
            if not began:
                message = f"The proxy failed; its log has the reason (request {incoming.id})."
                await _send_whole(send, _refusal(codec, Problem(status=500, message=message, kind="server_error")))
        finally:
            metrics.in_flight -= 1
            watch.stop()

    def _refused(self, house: House, method: str, headers: Headers) -> Problem | None:
        """Why a request is not even read."""
        settings = house.world.settings
        if method != "POST":
            return Problem(status=405, message=f"{method} is not possible here; use POST.", code="method_not_allowed")
        if settings.server.mode == "personal" and (problem := personal_problem(method, headers)) is not None:
            return problem
        if self.draining:
            return Problem(status=503, message="The proxy is stopping.", kind="server_error", retry_after=1.0)
        if house.world.metrics.in_flight >= settings.limits.in_flight:
            message = "The proxy is busy."
            return Problem(status=503, message=message, kind="server_error", code="overloaded", retry_after=1.0)
        if settings.audit.when_full == "refuse" and not house.world.audit_has_room:
            message = "The audit log cannot take a record."
            return Problem(status=503, message=message, kind="server_error", code="audit_full", retry_after=1.0)
        return None

    def _caller(self, scope: Scope, headers: Headers, house: House) -> Caller:
        peer = scope["client"][0] if scope.get("client") else ""
        address = client_address(peer, headers, house.world.settings.server.trusted_proxies)
        agent = header(headers, b"user-agent")[:AGENT_LENGTH].decode("latin-1")
        return Caller(ip=address, agent=agent)


def _query(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode("latin-1") if query else ""


class _Departure:
    """Watches for the client to go away, and cancels the exchange when it does."""

    __slots__ = ("_task", "_waiting", "gone")

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._task = asyncio.current_task()
        self._waiting = asyncio.ensure_future(receive())
        self._waiting.add_done_callback(self._left)

    def _left(self, _: object) -> None:
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """The client may go now."""
        self._waiting.remove_done_callback(self._left)
        self._waiting.cancel()


async def _body(receive: Receive, headers: Headers, limit: int) -> bytes | Problem | None:
    """The whole body; a Problem where it is too large, None where the client went away."""
    too_large = Problem(status=413, message=f"The request is larger than {limit} bytes.", code="request_too_large")
    announced = header(headers, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        return too_large
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else too_large
    pieces = bytearray(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces += message.get("body", b"")
        if len(pieces) > limit:
            return too_large
    return bytes(pieces)


def _refusal(codec: Codec, problem: Problem) -> Reply:
    headers: Headers = [(b"content-type", b"application/json")]
    if problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(problem.retry_after))))
    if problem.status in (408, 413):
        headers.append((b"connection", b"close"))
    return Reply(problem.status, headers, codec.encode_problem(problem))


async def _send_whole(send: Send, reply: Reply) -> None:
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(send: Send, reply: Reply) -> None:
    chunks = reply.chunks
    if chunks is None:
        raise AssertionError("nothing to stream")
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    try:
        async for data in chunks:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]
    await send({"type": "http.response.body", "body": b"", "more_body": False})
