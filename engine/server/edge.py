"""The ASGI edge of an exchange: bytes in under limits, bytes out, and a client that goes away cancels all of it."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from engine.access.denial import Denied
from engine.codecs.base import Codec, Problem
from engine.diagnostics import LexgateError
from engine.passage.replies import House, Incoming, Reply
from engine.passage.view import Caller
from engine.pipeline import handle
from engine.policy.live import Live
from engine.server.door import (
    AGENT_LENGTH,
    VISITOR,
    Visitor,
    client_address,
    denied_answer,
    enter,
    firsts,
    personal_problem,
)
from engine.server.paths import codec_for, without_credentials
from engine.world.http.base import Headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Opened = Callable[[], AbstractAsyncContextManager[tuple[House, Live]]]

LINGER: Final = 4
"""How many times the limit of a body is read and thrown away, so that a client that is still sending hears the 413."""


class Edge:
    """Serves the paths that a codec speaks; everything else is `rest`'s. `opened` is the life of what it serves with."""

    def __init__(self, rest: Callable[[Scope, Receive, Send], Awaitable[None]], opened: Opened) -> None:
        self._rest = rest
        self._opened = opened
        self.house: House | None = None
        self.live: Live | None = None
        self.draining = False
        """The process stops: exchanges in flight go on, new ones are refused."""
        self.leaving = False
        """The process will stop: it is not ready for more, and answers what is on its way."""
        self.failure: LexgateError | None = None
        """Why it could not be opened, where the operator can mend it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._life(receive, send)
            return
        spoken = codec_for(scope["path"]) if scope["type"] == "http" else None
        house = self.house
        if house is not None and house.door is not None and scope["type"] == "http":
            codec = spoken[0] if spoken is not None else None
            denied = await enter(house.door, house.world.settings.server, scope, codec)
            if denied is not None:
                await self._turned_away(house, denied, scope, codec, send)
                return
        if spoken is None or self.house is None or self.live is None:
            await self._rest(scope, receive, send)
            return
        codec, values = spoken
        if values:
            query, scope["headers"] = without_credentials(_query(scope), scope["headers"])
            scope["query_string"] = query.encode("latin-1")
        await self._exchange(codec, values, self.house, self.live, scope, receive, send)

    async def _life(self, receive: Receive, send: Send) -> None:
        """Open before the first request, close after the last one. Whoever runs the server asks for `failure`."""
        await receive()
        opened = self._opened()
        try:
            self.house, self.live = await opened.__aenter__()
        except LexgateError as failure:
            self.failure = failure
            await send({"type": "lifespan.startup.failed", "message": str(failure)})
            return
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            self.draining = True
            await opened.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})

    async def _turned_away(self, house: House, denied: Denied, scope: Scope, codec: Codec | None, send: Send) -> None:
        """Answer who may not come in. One line in the log for each, but for those that only come too often."""
        if codec is not None:
            house.world.metrics.answered(codec.protocol.value, "", "", denied.status, 0.0)
        if denied.status != 429:
            address = client_address(_peer(scope), scope["headers"], house.world.settings.server.trusted_proxies)
            house.world.log.info(
                "caller refused", status=denied.status, reason=denied.reason or denied.code, address=address
            )
        headers, body = denied_answer(denied, scope, codec)
        await _send_whole(send, Reply(denied.status, headers, body))

    async def _exchange(
        self, codec: Codec, values: dict[str, str], house: House, live: Live, scope: Scope, receive: Receive, send: Send
    ) -> None:
        metrics = house.world.metrics
        id = house.world.new_id()
        metrics.in_flight += 1
        reply: Reply | None = None
        watch = _Watch(receive, house.world.settings.server.body_timeout, scope.get(CONNECTION))
        try:
            first = firsts(scope["headers"])
            body = self._refused(house, scope["method"], scope["headers"], first) or await _body(
                watch, first, house.world.settings.server.max_body
            )
            if body is None:
                return
            watch.has_body()
            if isinstance(body, Problem):
                watch.stop()
                metrics.answered(codec.protocol.value, "", "", body.status, 0.0)
                house.world.log.info("request refused", request=id, status=body.status, code=body.code)
                await _send_whole(send, _refusal(codec, body, live, id))
                return
            visitor = self.visitor(scope, first)
            incoming = Incoming(codec, body, scope["headers"], visitor.caller, id, _query(scope), values, visitor.grant)
            reply = await handle(incoming, live.current, house)
            if reply.chunks is None:
                watch.stop()
                await _send_whole(send, reply)
            else:
                await _send_stream(send, reply, reply.chunks)
        except asyncio.CancelledError:
            if not watch.gone:
                raise  # the server stops: it was not the client
        except Exception:
            # The outermost edge: whatever it was, the client is answered, and the log has it.
            house.world.log.exception("exchange failed", request=id, path=scope["path"])
            message = f"The proxy failed; its log has the reason (request {id})."
            problem = Problem(status=500, message=message, kind="server_error", code="internal_error")
            if reply is None:
                metrics.answered(codec.protocol.value, "", "", problem.status, 0.0)
                await _send_whole(send, _refusal(codec, problem, live, id))
            else:
                if reply.failing is not None:
                    await send({"type": "http.response.body", "body": reply.failing(problem), "more_body": True})
                raise  # so that the connection is closed: what was begun must not look whole
        finally:
            metrics.in_flight -= 1
            watch.stop()

    def _refused(self, house: House, method: str, headers: Headers, first: Mapping[bytes, bytes]) -> Problem | None:
        """Why a request is not even read."""
        settings = house.world.settings
        if settings.server.mode == "personal" and (problem := personal_problem(method, headers, first)) is not None:
            return problem
        if method != "POST":
            return Problem(status=405, message=f"{method} is not possible here; use POST.", code="method_not_allowed")
        if first.get(b"content-encoding", b"") not in (b"", b"identity"):
            message = "The request's body must not be compressed."
            return Problem(status=415, message=message, code="unsupported_media_type")
        if self.draining:
            return Problem(
                status=503, message="The proxy is stopping.", kind="server_error", code="stopping", retry_after=1.0
            )
        if house.world.metrics.in_flight > settings.limits.in_flight:
            message = "The proxy is busy."
            return Problem(status=503, message=message, kind="server_error", code="overloaded", retry_after=1.0)
        if settings.audit.when_full == "refuse" and not house.world.audit_has_room:
            message = "The audit log cannot take a record."
            return Problem(status=503, message=message, kind="server_error", code="audit_full", retry_after=1.0)
        return None

    def visitor(self, scope: Scope, first: Mapping[bytes, bytes] | None = None) -> Visitor:
        """Who asks, and what it may use, of exchanges and of pages alike; `first` as for `personal_problem`."""
        known: Visitor | None = scope.get(VISITOR)
        if known is not None:
            return known
        headers: Headers = scope["headers"]
        trusted = self.house.world.settings.server.trusted_proxies if self.house is not None else ()
        agent = (firsts(headers) if first is None else first).get(b"user-agent", b"")[:AGENT_LENGTH]
        return _anybody(client_address(_peer(scope), headers, trusted), agent)

    def caller(self, scope: Scope) -> Caller:
        """Who asks."""
        return self.visitor(scope).caller


def _peer(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _query(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode("latin-1") if query else ""


@functools.lru_cache(maxsize=128)
def _anybody(address: str, agent: bytes) -> Visitor:
    """Who asks where nobody says who they are: made once for a client, which asks many times."""
    return Visitor(Caller(ip=address, agent=agent.decode("latin-1")))


UNWATCHED: Final = 0.01
"""Seconds of an exchange in which nobody looks whether its body comes, or whether the client is still there."""


CONNECTION: Final = "lexgate.connection"
"""Where a server that can say it puts the client's `Connected` into the scope of a request."""


class Connected(Protocol):
    """A client's connection that says by itself when it ends: then nobody need wait for that, request by request."""

    @property
    def has_whole_body(self) -> bool:
        """Whether all of the newest request has arrived."""

    def watch(self, departed: Callable[[], None] | None) -> None:
        """Call this when the client goes away; at once where it has gone."""


class _Watch:
    """Watches over an exchange that takes its time: cancels it where its body does not come, or its client goes away.

    Where the connection does not speak for itself it begins after a moment: an exchange that is over by then has cost a
    timer, not a task.
    """

    __slots__ = (
        *("_body_timeout", "_connection", "_has_body", "_is_slow", "_loop", "_task", "_timer", "_waiting"),
        *("gone", "late", "receive"),
    )

    def __init__(self, receive: Receive, body_timeout: float, connection: Connected | None) -> None:
        self.receive = receive
        self.gone = False
        self.late = False
        self._body_timeout = body_timeout
        self._connection = connection
        self._has_body = False
        self._is_slow = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._waiting: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if connection is None:
            self._timer = self._loop.call_later(UNWATCHED, self._look)
        elif not connection.has_whole_body:
            self._timer = self._loop.call_later(body_timeout, self._give_up)

    def has_body(self) -> None:
        """From now on the client may not go away."""
        self._has_body = True
        if self._connection is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._connection.watch(self._left)
        elif self._is_slow and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(UNWATCHED, self._look)

    def _look(self) -> None:
        if not self._has_body:
            self._is_slow = True
            self._timer = self._loop.call_later(max(0.0, self._body_timeout - UNWATCHED), self._give_up)
            return
        waiting = self._waiting = asyncio.ensure_future(self.receive())
        waiting.add_done_callback(self._left)

    def _give_up(self) -> None:
        if not self._has_body and self._task is not None:
            self.late = self._task.cancel()

    def _left(self, *_: object) -> None:
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def forgiven(self) -> None:
        """The cancellation for the body was answered: the task goes on."""
        if self._task is not None:
            self._task.uncancel()

    def stop(self) -> None:
        """The client may go now."""
        if self._connection is not None:
            self._connection.watch(None)
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.remove_done_callback(self._left)
            self._waiting.cancel()


async def _body(watch: _Watch, first: Mapping[bytes, bytes], limit: int) -> bytes | Problem | None:
    """The whole body; a Problem where it is too large or too slow, None where the client went away."""
    try:
        return await _read(watch.receive, first, limit)
    except asyncio.CancelledError:
        if not watch.late:
            raise
        watch.forgiven()
        return Problem(status=408, message="The request's body did not arrive in time.", code="timeout")


async def _read(receive: Receive, first: Mapping[bytes, bytes], limit: int) -> bytes | Problem | None:
    """The whole body; a Problem where it is too large, None where the client went away.

    A body that is too large is read and forgotten for a while: a connection that is closed on a client that is still
    sending is reset, and the client would never see why. One that asks first (`expect`) is told before it sends.
    """
    announced = first.get(b"content-length", b"")
    too_large = announced.isdigit() and int(announced) > limit
    if too_large and b"expect" in first:
        return _too_large(limit)
    message = await receive()
    if not too_large and not message.get("more_body", False) and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        return body if len(body) <= limit else _too_large(limit)
    pieces = bytearray()
    seen = 0
    while True:
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        seen += len(piece)
        if seen > limit:
            too_large = True
            pieces.clear()
        if not too_large:
            pieces += piece
        if not message.get("more_body", False) or seen > LINGER * limit:
            return _too_large(limit) if too_large else bytes(pieces)
        message = await receive()


def _too_large(limit: int) -> Problem:
    return Problem(status=413, message=f"The request is larger than {limit} bytes.", code="request_too_large")


def _refusal(codec: Codec, problem: Problem, live: Live, id: str) -> Reply:
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"x-lexgate-revision", live.current.revision.encode() or b"none"),
        (b"x-lexgate-decision", id.encode()),
    ]
    if problem.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(problem.retry_after))))
    if problem.status in (408, 413):
        headers.append((b"connection", b"close"))
    if problem.status == 405:
        headers.append((b"allow", b"POST"))
    return Reply(problem.status, headers, codec.encode_problem(problem))


async def _send_whole(send: Send, reply: Reply) -> None:
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(send: Send, reply: Reply, chunks: AsyncIterator[bytes]) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    try:
        async for data in chunks:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]
    await send({"type": "http.response.body", "body": b"", "more_body": False})
