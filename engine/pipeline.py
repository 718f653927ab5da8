"""THE STORY: one exchange, from the client's bytes to the client's bytes.

A request is decoded, admitted, judged, routed, and tried on backends until one answers; the answer is governed chunk by
chunk and goes out as it came wherever no rule acted. Where a rule refuses a tool call by `steer`, the model is asked
again inside the same response.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.attempts import Attempts, Failure
from engine.codecs.base import BadAnswer, BadRequest, Codec, Problem, StreamReader, StreamWriter
from engine.hidden import HiddenTurn, kept, key_of, keys_in, put_back, refused_turn
from engine.judging import Judge
from engine.language.shell import ShellTools
from engine.model.decision import Decision
from engine.model.effects import Block, Patch, Respond, SetHeader, Steer
from engine.model.exchange import (
    Answer,
    CallDelta,
    CallOpened,
    Choice,
    Chunk,
    Closed,
    Exchange,
    Finished,
    Frame,
    Part,
    TextDelta,
    Usage,
    UsageReported,
)
from engine.model.folding import folded, with_header
from engine.model.phases import Phase
from engine.passing import Passing
from engine.policy.ruleset import RuleSet, Stage
from engine.reading import reading_of
from engine.routing import NotServed, Routes
from engine.sessions import identify, remember_chain
from engine.stream import Governor
from engine.view import Caller, View, response_section, result_section
from engine.world import World, answer_chunks
from engine.world.http.base import Headers, Response, TransportError
from engine.world.store import base as store

ANSWER_LIMIT: Final = 64_000_000
TAIL: Final = 16_384
"""Bytes at the end of an unread stream in which its usage is looked for."""

_PASSED: Final = (
    b"openai-",
    b"anthropic-",
    b"x-ratelimit-",
    b"x-request-id",
    b"request-id",
    b"retry-after",
    b"x-goog-",
)
_EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")
_JSON: Final = (b"content-type", b"application/json")


class Incoming(msgspec.Struct, frozen=True):
    """A request as it came in: `headers` with lower-case names, `caller` as the server authenticated it."""

    codec: Codec
    body: bytes
    headers: Headers
    caller: Caller
    id: str
    query: str = ""
    path: dict[str, str] | None = None


class Reply(msgspec.Struct):
    """What goes out: a whole body, or one that is still being made."""

    status: int
    headers: Headers
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None


class House(msgspec.Struct, frozen=True):
    """What all exchanges share: the world, the routes, the table of tools that carry commands."""

    world: World
    routes: Routes
    shell_tools: ShellTools


async def handle(incoming: Incoming, rules: RuleSet, house: House) -> Reply:
    """One exchange under the rule set that it begins with."""
    codec = incoming.codec
    try:
        exchange = codec.decode_request(
            incoming.body, id=incoming.id, headers=_readable(incoming.headers), query=incoming.query, path=incoming.path
        )
    except BadRequest as bad:
        house.world.metrics.answered(codec.protocol.value, "", "", bad.problem.status, 0.0)
        return _problem_reply(codec, bad.problem, [*_own_headers(rules, incoming.id)])
    now = house.world.clock()
    exchange = replace(exchange, received=int(now))
    view = View(exchange, incoming.caller, now, house.shell_tools)
    return await _Passage(incoming, Judge(reading_of(rules), view, house.world), house).reply()


class _Passage:
    """One exchange on its way."""

    def __init__(self, incoming: Incoming, judge: Judge, house: House) -> None:
        self.incoming = incoming
        self.codec = incoming.codec
        self.judge = judge
        self.view = judge.view
        self.reading = judge.reading
        self.world = house.world
        self.house = house
        self.client_headers: Headers = []
        self.billed: list[Usage] = []
        self.turns: list[tuple[Any, ...]] = []
        self.spoken = ""
        self._settled = False

    # -- the request --

    async def reply(self) -> Reply:
        """Every way that an exchange can end, in the order in which it can."""
        try:
            if self.reading.needs_session:
                await identify(self.view, self.world)
            stopped = await self._admitted() or await self._governed()
            if stopped is not None:
                return stopped
            attempts = await self._routed()
            sent = await self._with_hidden_turns()
            if self.view.exchange.stream:
                return await self._streaming(sent, attempts)
            return await self._whole(sent, attempts)
        except NotServed as unserved:
            problem = Problem(
                status=404, message=str(unserved), kind="invalid_request_error", code="model_not_found", param="model"
            )
            return self._stopped(problem)
        except Failure as failure:
            await self._done("", "", "error", (), None)
            return self._failed(failure)

    async def _admitted(self) -> Reply | None:
        """The rate limits of phase `request`, on the event as it came."""
        decision = await self.judge.judge(Phase.REQUEST, Stage.ADMISSION)
        return self._refusal(decision)

    async def _governed(self) -> Reply | None:
        """The rules on the request, then on every tool result in it."""
        decision = await self.judge.judge(Phase.REQUEST)
        self._fold(decision)
        refused = self._refusal(decision)
        if refused is not None or not self.judge.has(Phase.TOOL_RESULT):
            return refused
        for index, message in enumerate(self.view.exchange.messages):
            if not message.tool_call_id:
                continue
            section = result_section(self.view.exchange, index)
            decision = await self.judge.judge(Phase.TOOL_RESULT, result=section)
            if decision is None:
                continue
            refused = self._refusal(decision)
            if refused is not None:
                return refused
            ops = [
                replace(op, path=("request", "messages", index, *op.path[1:]))
                for effect in decision.effects
                if isinstance(effect, Patch)
                for op in effect.ops
            ]
            if ops:
                self.view.replace(folded(self.view.exchange, ops))
        return None

    def _fold(self, decision: Decision | None) -> None:
        """What transforms decided, written into the exchange."""
        exchange = self.view.exchange
        for effect in decision.effects if decision is not None else ():
            match effect:
                case Patch(ops):
                    exchange = folded(exchange, ops)
                case SetHeader(to="upstream"):
                    exchange = with_header(exchange, effect)
                case SetHeader(name=name, value=value):
                    self.client_headers.append((name.encode(), value.encode("latin-1", "replace")))
                case _:
                    pass
        self.view.replace(exchange)

    def _refusal(self, decision: Decision | None) -> Reply | None:
        """The reply of a decision that lets no request through; None where it does."""
        if decision is None or not decision.refused:
            return None
        match decision.effect:
            case Respond(message=message):
                return self._responded(message)
            case Block(message=message, status=status, code=code, retry_after=retry_after):
                kind = {429: "rate_limit_error"}.get(
                    status, "server_error" if status >= 500 else "invalid_request_error"
                )
                return self._stopped(
                    Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
                )
            case _:
                raise AssertionError(f"{decision.verdict} is no verdict of phase {decision.phase}")

    def _responded(self, message: str) -> Reply:
        """An answer in the model's place, streaming or not, as the client asked."""
        exchange = self.view.exchange
        choice = Choice(parts=(Part(kind="text", text=message),), finish="stop")
        answer = Answer(model=exchange.model, choices=(choice,), usage=Usage())
        self._answered(200)
        if not exchange.stream:
            return Reply(200, self._headers(_JSON), self.codec.encode_answer(answer, exchange))
        wants_usage = self.codec.ask_for_usage(exchange) is exchange
        writer = self.codec.writer(exchange)
        body = b"".join(writer.write([chunk]) for chunk in answer_chunks(answer, usage=wants_usage))
        return Reply(200, self._headers(_EVENT_STREAM), body)

    async def _routed(self) -> Attempts:
        """The legs that will be tried. Raises NotServed."""
        decision = await self.judge.judge(Phase.ROUTE)
        routes = self.house.routes
        if decision is not None and decision.route is not None:
            plan = routes.plan(decision.route.plan)
        else:
            plan = routes.for_model(self.view.exchange.model)
        return Attempts(plan, self.judge, self.codec, self.incoming.headers, self.world)

    async def _with_hidden_turns(self) -> Exchange:
        """The history as the backend knows it: what steering hid from the client is put back where it stood."""
        exchange = self.view.exchange
        if not (self.reading.steers or self.world.has_hidden_turns):
            return exchange
        keys = keys_in(exchange, self.view.caller.id)
        if not keys:
            return exchange
        try:
            found = (await self.world.store.read(keys=set(keys.values()))).values
        except store.StoreDown:
            self.world.metrics.store_failed("read")
            return exchange
        return put_back(exchange, {index: found[key].value for index, key in keys.items() if key in found})

    # -- a whole answer --

    async def _whole(self, sent: Exchange, attempts: Attempts) -> Reply:
        exchange = self.view.exchange
        while True:
            response = await attempts.begin(sent)
            try:
                body = await response.read(ANSWER_LIMIT)
            except TransportError as error:
                raise attempts.broken(error) from error
            headers = _passed_headers(response.headers)
            if not self.reading.reads_stream(exchange) or (
                not self.turns and self.reading.reads_calls_alone and not self.codec.may_hold_calls(body)
            ):
                return await self._untouched(body, headers, attempts)
            try:
                answer = self.codec.decode_answer(body)
            except BadAnswer as bad:
                raise attempts.unreadable(bad) from bad
            governor = Governor(self.judge, choices=len(answer.choices), restores=bool(self.judge.concealed))
            before = _chunks_of(answer)
            after: list[Chunk] = []
            for chunk in before:
                after += await governor.feed((chunk,))
            self._bill(answer.usage)
            await attempts.end(answer.usage)
            if governor.refusal is None:
                break
            sent = self._asked_again(sent, governor)
        answer = self._with_earlier_text(_rebuilt(answer, before, after))
        self.spoken += governor.text()
        response_decision = await self._judge_response(governor)
        if response_decision is not None and response_decision.refused:
            answer = _replaced(answer, _message_of(response_decision))
        await self._keep_hidden_turn(governor, answer.choices[0].said("text") if answer.choices else "")
        await self._finished(governor, answer.usage)
        return Reply(200, self._headers(_JSON, headers), self.codec.encode_answer(answer, exchange))

    async def _untouched(self, body: bytes, headers: Headers, attempts: Attempts) -> Reply:
        """An answer that no rule reads goes on as the bytes that came."""
        await attempts.end(None)
        self._bill(self.codec.usage_of(body))
        await self._done("", "", "", (), None)
        return Reply(200, self._headers(_JSON, headers), body)

    def _with_earlier_text(self, answer: Answer) -> Answer:
        """What refused turns said to the client stands in front of what the last one says, as in a stream."""
        if not self.spoken or not answer.choices:
            return answer
        first = answer.choices[0]
        parts = list(first.parts)
        place = next((index for index, part in enumerate(parts) if part.kind == "text"), None)
        if place is None:
            parts.append(Part(kind="text", text=self.spoken))
        else:
            parts[place] = replace(parts[place], text=self.spoken + parts[place].text)
        choices = (replace(first, parts=tuple(parts)), *answer.choices[1:])
        return replace(answer, choices=choices, usage=self._shown(answer.usage), body=None)

    # -- a streamed answer --

    async def _streaming(self, sent: Exchange, attempts: Attempts) -> Reply:
        """The reply begins with the first event, or after `commit_after`; before that a failure has a real status."""
        stream = self._stream(sent, attempts)
        first = asyncio.ensure_future(anext(stream, b""))
        try:
            done, _ = await asyncio.wait({first}, timeout=self.world.settings.stream.commit_after)
        except asyncio.CancelledError:
            first.cancel()
            raise
        if done:
            begun = first.result()
            return Reply(200, self._headers(_EVENT_STREAM, attempts.passed_headers), chunks=_from(begun, stream))
        return Reply(200, self._headers(_EVENT_STREAM), chunks=self._late(first, stream))

    async def _late(self, first: asyncio.Future[bytes], stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream that was promised before its first event: keep-alives until it comes, then all of it."""
        writer = self.codec.writer(self.view.exchange)
        try:
            async for beat in self._waiting(first, writer):
                yield beat
            yield first.result()
            async for data in stream:
                yield data
        except Failure as failure:
            yield writer.error(failure.problem)
        finally:
            first.cancel()

    async def _waiting(self, task: asyncio.Future[Any], writer: StreamWriter) -> AsyncIterator[bytes]:
        """Keep-alives until the task is done."""
        while not task.done():
            yield writer.keep_alive()
            await asyncio.wait({task}, timeout=self.world.settings.stream.keep_alive)

    async def _stream(self, sent: Exchange, attempts: Attempts) -> AsyncIterator[bytes]:
        """The bytes that the client gets. Raises Failure as long as none went out; after that it says what failed."""
        exchange = self.view.exchange
        asks_usage = self.reading.meters_tokens
        if asks_usage:
            asked = self.codec.ask_for_usage(sent)
            asks_usage, sent = asked is not sent, asked
        writer = self.codec.writer(exchange, strip_usage=asks_usage)
        began = False
        try:
            if not self.reading.reads_stream(exchange):
                response = await attempts.begin(sent)
                async for data in self._raw(response, attempts):
                    began = True
                    yield data
                return
            async for data in self._governed_stream(sent, attempts, writer):
                began = True
                yield data
        except Failure as failure:
            if not began:
                raise
            yield writer.error(failure.problem)
        finally:
            await attempts.close()
            if not self._settled:
                await self._done("", "", "cancelled", (), None)

    async def _raw(self, response: Response, attempts: Attempts) -> AsyncIterator[bytes]:
        """A stream that no rule reads: the bytes that came. Of its end, the usage is noted."""
        tail = b""
        try:
            async for data in response.chunks():
                tail = (tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
                yield data
        except TransportError as error:
            raise attempts.broken(error) from error
        usage = self.codec.usage_in_tail(tail)
        self._bill(usage)
        await attempts.end(usage)
        await self._done("", "", "", (), usage)

    async def _governed_stream(self, sent: Exchange, attempts: Attempts, writer: StreamWriter) -> AsyncIterator[bytes]:
        """A stream that rules read, with as many answers of the model as its calls are steered."""
        clock = asyncio.get_running_loop().time
        keep_alive = self.world.settings.stream.keep_alive
        delayed: list[bytes] = []
        task: asyncio.Future[Response] | None = None
        spoke = clock()
        try:
            while True:
                if not self.turns:
                    response = await attempts.begin(sent)
                else:
                    task = asyncio.ensure_future(attempts.begin(sent))
                    await asyncio.wait({task}, timeout=keep_alive)
                    async for beat in self._waiting(task, writer):
                        yield beat
                    response = task.result()
                    writer.next_attempt()
                governor = Governor(
                    self.judge, choices=_choices(self.view.exchange), restores=bool(self.judge.concealed)
                )
                ended: list[tuple[Frame | None, Sequence[Chunk]]] = []
                source = self._bytes_of(response, attempts)
                reader = self.codec.reader()
                if not self.turns and self.reading.reads_calls_alone:
                    passing = Passing(self.codec)
                    async for data in passing.until_call(source):
                        yield data
                    if passing.ended:
                        await self._passed_through(passing, attempts)
                        yield passing.rest
                        return
                    await self._caught_up(passing.passed, reader, governor, writer)
                    source = _preceded(passing.rest, source)
                async for frames in self._frames(reader, source, attempts):
                    pieces: list[bytes] = []
                    for frame, chunks in frames:
                        passed = await governor.feed(chunks)
                        if governor.refusal is not None:
                            continue
                        if ended or _ends(passed):
                            ended.append((frame, passed))
                        elif piece := writer.write(passed, frame):
                            pieces.append(piece)
                        if governor.cut:
                            break
                    if self.reading.delays_all:
                        delayed += pieces
                        pieces = []
                    if pieces:
                        spoke = clock()
                        yield b"".join(pieces)
                    elif clock() - spoke > keep_alive:
                        spoke = clock()
                        yield writer.keep_alive()
                    if governor.cut:
                        await response.aclose()
                        break
                self._bill(governor.usage)
                await attempts.end(governor.usage)
                self.spoken += governor.text()
                if governor.refusal is None:
                    break
                sent = self._asked_again(sent, governor, in_stream=True)
            verdict = await self._judge_response(governor)
            if verdict is not None and verdict.refused:
                delayed = []
                ended = [(None, [TextDelta(0, "answer", _message_of(verdict)), Finished(0, "stop")])]
            await self._keep_hidden_turn(governor, self.spoken)
            ending = [writer.write(self._adjusted(chunks), frame) for frame, chunks in ended]
            if governor.cut or (verdict is not None and verdict.refused):
                ending.append(writer.write([Closed()]))
            await self._finished(governor, governor.usage)
            yield b"".join((*delayed, *ending))
        finally:
            if task is not None:
                task.cancel()

    async def _bytes_of(self, response: Response, attempts: Attempts) -> AsyncIterator[bytes]:
        """The upstream's bytes. Raises Failure where they break off."""
        try:
            async for data in response.chunks():
                yield data
        except TransportError as error:
            raise attempts.broken(error) from error

    async def _frames(
        self, reader: StreamReader, source: AsyncIterator[bytes], attempts: Attempts
    ) -> AsyncIterator[list[tuple[Frame, tuple[Chunk, ...]]]]:
        """The frames of an upstream's stream as they become whole. Raises Failure where they cannot be read."""
        try:
            async for data in source:
                yield reader.feed(data)
            yield reader.close()
        except BadAnswer as bad:
            raise attempts.unreadable(bad) from bad

    async def _caught_up(
        self, passed: Sequence[bytes], reader: StreamReader, governor: Governor, writer: StreamWriter
    ) -> None:
        """Let reader, governor and writer know what went out while nobody needed to look."""
        for data in passed:
            for frame, chunks in reader.feed(data):
                writer.write(await governor.feed(chunks), frame)

    async def _passed_through(self, passing: Passing, attempts: Attempts) -> None:
        """The stream held no call: nothing of it concerned a rule."""
        usage = self.codec.usage_in_tail(passing.tail)
        self._bill(usage)
        await attempts.end(usage)
        await self._done("", "", "", (), usage)

    def _adjusted(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Usage as the client must see it, where refused turns stand behind the answer."""
        if not self.turns:
            return chunks
        return [
            UsageReported(self._shown(chunk.usage) or chunk.usage) if isinstance(chunk, UsageReported) else chunk
            for chunk in chunks
        ]

    def _shown(self, usage: Usage | None) -> Usage | None:
        """The input of the last attempt, and the output that the client received."""
        if usage is None or not self.turns:
            return usage
        return replace(usage, output=usage.output + sum(len(text) for text, *_ in self.turns) // 4)

    # -- steering --

    def _asked_again(self, sent: Exchange, governor: Governor, *, in_stream: bool = False) -> Exchange:
        """The request that goes upstream next: the refused calls, why they were refused, and everything before."""
        refusal = governor.refusal
        if refusal is None:
            raise AssertionError("nothing was refused")
        self.judge.steered[refusal.rule] = self.judge.steered.get(refusal.rule, 0) + 1
        self.judge.reasks_left -= 1
        self.world.metrics.reasked(self.view.taken.backend)
        turn = refused_turn(governor.text(), governor.text("reasoning"), refusal.results)
        self.turns.append((governor.text(), turn))
        if not in_stream:
            self.spoken += governor.text()
        return replace(sent, messages=(*sent.messages, *turn), body=None)

    async def _keep_hidden_turn(self, governor: Governor, shown: str) -> None:
        """What the client did not see is kept until it re-sends what it did see."""
        if not self.turns:
            return
        messages = tuple(message for _, turn in self.turns for message in turn)
        turn = HiddenTurn(messages, governor.text())
        key = key_of(self.view.caller.id, shown, governor.went_out)
        self.world.has_hidden_turns = True
        try:
            await self.world.store.commit([store.Put(key, kept(turn), float(self.world.settings.steer.ttl))])
        except store.StoreDown:
            self.world.metrics.store_failed("commit")

    # -- the end --

    async def _judge_response(self, governor: Governor) -> Decision | None:
        if not self.judge.has(Phase.RESPONSE):
            return None
        return await self.judge.judge(Phase.RESPONSE, response=self._response(governor, governor.usage))

    def _response(self, governor: Governor, usage: Usage | None) -> dict[str, Any]:
        return response_section(
            self.spoken or governor.text(),
            governor.text("reasoning"),
            governor.finish,
            governor.went_out,
            self._shown(usage),
            sum(each.input + each.output for each in self.billed),
        )

    async def _finished(self, governor: Governor, usage: Usage | None) -> None:
        if self.reading.needs_session:
            await remember_chain(self.view, self.world, self.spoken, governor.went_out)
        await self._done(
            self.spoken, governor.text("reasoning"), governor.finish, governor.went_out, self._shown(usage)
        )

    async def _done(self, text: str, reasoning: str, finish: str, calls: Iterable[Any], usage: Usage | None) -> None:
        """Usage and cost are known: the last event of an exchange, once."""
        if self._settled:
            return
        self._settled = True
        if finish != "error":
            self._answered(499 if finish == "cancelled" else 200)
        if self.judge.has(Phase.DONE):
            billed = sum(each.input + each.output for each in self.billed)
            await self.judge.judge(Phase.DONE, response=response_section(text, reasoning, finish, calls, usage, billed))

    def _answered(self, status: int) -> None:
        exchange, taken = self.view.exchange, self.view.taken
        seconds = self.world.clock() - self.view.now
        self.world.metrics.answered(
            exchange.protocol.value, taken.model or exchange.model, taken.backend, status, seconds
        )

    def _bill(self, usage: Usage | None) -> None:
        if usage is not None:
            self.billed.append(usage)
            taken = self.view.taken
            self.world.metrics.used(taken.backend, taken.model, usage.input, usage.output)

    # -- replies --

    def _headers(self, kind: tuple[bytes, bytes], passed: Headers = []) -> Headers:  # noqa: B006 - never written to
        own = _own_headers(self.judge.rules, self.judge.last_decision)
        return [kind, *passed, *own, *self.client_headers]

    def _stopped(self, problem: Problem) -> Reply:
        self._answered(problem.status)
        return _problem_reply(self.codec, problem, self._headers(_JSON)[1:])

    def _failed(self, failure: Failure) -> Reply:
        """The upstream's own answer where it gave one, else ours."""
        self._answered(failure.problem.status)
        if failure.body is None:
            return _problem_reply(self.codec, failure.problem, self._headers(_JSON)[1:])
        return Reply(failure.problem.status, self._headers(_JSON, failure.headers), failure.body)


# -- pure parts --


def _readable(headers: Headers) -> dict[str, str]:
    """Headers as rules may read them: no credentials, no cookies, nothing of the connection."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name not in _NOT_READABLE}


_NOT_READABLE: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"proxy-authorization", b"cookie"),
        *(
            b"connection",
            b"keep-alive",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
            b"host",
            b"content-length",
        ),
    }
)


def _own_headers(rules: RuleSet, decision: str) -> Headers:
    return [(b"x-lexgate-revision", rules.revision.encode() or b"none"), (b"x-lexgate-decision", decision.encode())]


def _passed_headers(headers: Headers) -> Headers:
    """The upstream's headers that its protocol defines for clients."""
    return [(name, value) for name, value in headers if name.startswith(_PASSED)]


def _problem_reply(codec: Codec, problem: Problem, headers: Headers) -> Reply:
    more = headers
    if problem.retry_after is not None:
        more = [*headers, (b"retry-after", b"%d" % max(1, round(problem.retry_after + 0.499)))]
    return Reply(problem.status, [_JSON, *more], codec.encode_problem(problem))


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for data in rest:
            yield data
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


async def _preceded(first: bytes, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for data in source:
        yield data


def _ends(chunks: Sequence[Chunk]) -> bool:
    """The answer's last words: what follows waits until the response is judged."""
    return any(isinstance(chunk, Finished | UsageReported | Closed) for chunk in chunks)


def _choices(exchange: Exchange) -> int:
    n = exchange.params.get("n")
    return n if isinstance(n, int) and n > 0 else 1


def _message_of(decision: Decision) -> str:
    match decision.effect:
        case Block(message=message) | Respond(message=message) | Steer(message=message):
            return message
        case _:
            return ""


_CHANNEL_OF: Final = {"text": "answer", "reasoning": "reasoning", "refusal": "refusal"}
_KIND_OF: Final = {channel: kind for kind, channel in _CHANNEL_OF.items()}


def _chunks_of(answer: Answer) -> list[Chunk]:
    """A whole answer as the chunks of a stream: one for each channel and call."""
    chunks: list[Chunk] = []
    for choice in answer.choices:
        for kind, channel in _CHANNEL_OF.items():
            text = choice.said(kind)
            if text:
                chunks.append(TextDelta(choice.index, channel, text))  # type: ignore[arg-type]
        for index, call in enumerate(choice.tool_calls):
            chunks.append(CallOpened(choice.index, index, call.id, call.name, call.kind, call.wire))
            chunks.append(CallDelta(choice.index, index, call.arguments))
        chunks.append(Finished(choice.index, choice.finish))
    if answer.usage is not None:
        chunks.append(UsageReported(answer.usage))
    return chunks


def _rebuilt(answer: Answer, before: Sequence[Chunk], after: Sequence[Chunk]) -> Answer:
    """The answer saying what was let through; the same object, with its bytes, where that is all of it."""
    if list(before) == list(after):
        return answer
    return replace(answer, choices=tuple(_rebuilt_choice(choice, after) for choice in answer.choices), body=None)


def _rebuilt_choice(choice: Choice, after: Sequence[Chunk]) -> Choice:
    mine = [chunk for chunk in after if getattr(chunk, "choice", None) == choice.index]
    parts = choice.parts
    for kind, channel in _CHANNEL_OF.items():
        text = "".join(chunk.text for chunk in mine if isinstance(chunk, TextDelta) and chunk.channel == channel)
        if text != choice.said(kind):
            parts = _with_said(parts, kind, text)
    opened = {chunk.index: chunk for chunk in mine if isinstance(chunk, CallOpened)}
    arguments = {chunk.index: chunk.arguments for chunk in mine if isinstance(chunk, CallDelta)}
    by_id = {call.id: call for call in choice.tool_calls}
    calls = tuple(
        replace(by_id[chunk.id], arguments=arguments.get(index, "")) for index, chunk in sorted(opened.items())
    )
    finish = next((chunk.finish for chunk in mine if isinstance(chunk, Finished)), choice.finish)
    return replace(choice, parts=parts, tool_calls=calls, finish=finish)


def _with_said(parts: tuple[Part, ...], kind: str, text: str) -> tuple[Part, ...]:
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


def _replaced(answer: Answer, message: str) -> Answer:
    """The answer with nothing in it but a message, ended as a normal one."""
    choices = tuple(
        replace(choice, parts=_with_said(choice.parts, "text", message), tool_calls=(), finish="stop")
        for choice in answer.choices
    )
    return replace(answer, choices=choices, body=None)
