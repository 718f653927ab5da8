"""THE STORY: one exchange, from the client's bytes to the client's bytes.

A request is decoded, admitted, judged, routed, and tried on backends until one answers; the answer is governed chunk by
chunk and goes out as it came wherever no rule acted. Where a rule refuses a tool call by `steer`, the model is asked
again inside the same response.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
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
    Channel,
    Choice,
    Chunk,
    Closed,
    Exchange,
    Failed,
    Finished,
    Frame,
    Message,
    Part,
    TextDelta,
    ToolCall,
    Usage,
    UsageReported,
)
from engine.model.folding import folded, with_header
from engine.model.phases import Phase
from engine.passing import Passing, whole_events
from engine.policy.ruleset import POLICY_ERROR, RuleSet, Stage
from engine.reading import reading_of
from engine.routing import NotServed, Routes
from engine.sessions import identify, remember_chain
from engine.stream import BETWEEN, Governor
from engine.view import Caller, View, estimated_tokens, response_section, result_section
from engine.world import World, answer_chunks
from engine.world.backends import CREDENTIALS
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
    """What goes out: a whole body, or one that is still being made; `failing` says a problem inside such a one."""

    status: int
    headers: Headers
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    failing: Callable[[Problem], bytes] | None = None


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
        house.world.log.info(
            "exchange refused", request=incoming.id, status=bad.problem.status, reason=bad.problem.code or "bad_request"
        )
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
        self.answers: list[Governor] = []
        """The answers of the model so far; all but the last were refused by steering."""
        self.turns: list[Message] = []
        """What the refused answers and the results of their calls are in the backend's history."""
        self.replaced: str | None = None
        self._began = False
        self._ended = "cancelled"
        """How a stream ended that did not come to its end."""
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
            await self._done("error")
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
                problem = Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
                return self._stopped(problem, decision.by)
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
        keys = keys_in(self.view.original, exchange.messages, self.view.caller.id)
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
        reads = self._reads()
        try:
            while True:
                response = await attempts.begin(sent)
                try:
                    body = await response.read(ANSWER_LIMIT)
                except TransportError as error:
                    raise attempts.broken(error) from error
                headers = _passed_headers(response.headers)
                if not reads or (
                    not self.turns and self.reading.reads_calls_alone and not self.codec.may_hold_calls(body)
                ):
                    return await self._untouched(body, headers, attempts)
                try:
                    answer = self.codec.decode_answer(body)
                except BadAnswer as bad:
                    raise attempts.unreadable(bad) from bad
                governor = self._governor(len(answer.choices))
                before = _chunks_of(answer)
                after: list[Chunk] = []
                for chunk in before:
                    after += await governor.feed((chunk,))
                governor.usage = answer.usage
                self._bill(answer.usage)
                await attempts.end(answer.usage)
                if governor.error is not None:
                    raise _refused_late(governor.error)
                if governor.refusal is None:
                    break
                sent = self._asked_again(sent, governor)
        except asyncio.CancelledError:
            # The client went away: what the backend did by then is counted all the same.
            used = self._estimated()
            self._bill(used)
            await attempts.close(used)
            await self._done("cancelled", used)
            raise
        finally:
            await attempts.close()
        answer = self._with_earlier_words(_rebuilt(answer, before, after))
        message = await self._judge_response(governor)
        if message is not None:
            answer = _replaced(answer, message)
        await self._remembered(governor)
        return Reply(200, self._headers(_JSON, headers), self.codec.encode_answer(answer, exchange))

    async def _untouched(self, body: bytes, headers: Headers, attempts: Attempts) -> Reply:
        """An answer that no rule reads goes on as the bytes that came."""
        usage = self.codec.usage_of(body)
        self._bill(usage)
        await attempts.end(usage)
        await self._done("", usage)
        return Reply(200, self._headers(_JSON, headers), body)

    def _with_earlier_words(self, answer: Answer) -> Answer:
        """What refused turns said to the client stands in front of what the last one says, as in a stream."""
        if not self.turns or not answer.choices:
            return answer
        first = answer.choices[0]
        parts = first.parts
        for kind, channel in _CHANNEL_OF.items():
            earlier = "".join(each.text(channel) for each in self.answers[:-1])
            if earlier:
                parts = _with_said(parts, kind, earlier + first.said(kind))
        choices = (replace(first, parts=parts), *answer.choices[1:])
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
            headers, chunks = self._headers(_EVENT_STREAM, attempts.passed_headers), _from(begun, stream)
        else:
            headers, chunks = self._headers(_EVENT_STREAM), self._late(first, stream)
        return Reply(200, headers, chunks=chunks, failing=lambda problem: self._writer().error(problem))

    def _writer(self) -> StreamWriter:
        return self.codec.writer(self.view.exchange)

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
            self._answered(failure.problem.status)
            self._log_end("exchange failed", failure.problem, rule=failure.rule)
            yield writer.error(failure.problem)
        finally:
            first.cancel()
            await asyncio.wait({first})
            await stream.aclose()  # type: ignore[attr-defined]

    async def _waiting(self, task: asyncio.Future[Any], writer: StreamWriter) -> AsyncIterator[bytes]:
        """Keep-alives until the task is done."""
        while not task.done():
            yield writer.keep_alive()
            await asyncio.wait({task}, timeout=self.world.settings.stream.keep_alive)

    async def _stream(self, sent: Exchange, attempts: Attempts) -> AsyncIterator[bytes]:
        """The bytes that the client gets. Raises Failure as long as none went out; after that it says what failed."""
        exchange = self.view.exchange
        asks_usage = self.reading.meters_tokens or self.reading.reads_usage
        if asks_usage:
            asked = self.codec.ask_for_usage(sent)
            asks_usage, sent = asked is not sent, asked
        writer = self.codec.writer(exchange, strip_usage=asks_usage)
        try:
            if self._reads():
                source = self._governed_stream(sent, attempts, writer, strip_usage=asks_usage)
            else:
                source = self._raw(sent, attempts)
            async with contextlib.aclosing(source):
                async for data in source:
                    self._began = self._began or bool(data)
                    yield data
        except Failure as failure:
            self._ended = "error"
            if not self._began:
                raise
            self._answered(failure.problem.status)
            self._log_end("exchange failed", failure.problem, rule=failure.rule)
            yield writer.error(failure.problem)
        finally:
            if not self._settled:
                used = self._estimated()
                self._bill(used)
                await attempts.close(used)
                await self._done(self._ended, used)
            await attempts.close()

    async def _raw(self, sent: Exchange, attempts: Attempts) -> AsyncGenerator[bytes, None]:
        """A stream that no rule reads: the bytes that came, event by event. Of its end, the usage is noted."""
        response = await attempts.begin(sent)
        tail = rest = b""
        async for data in self._bytes_of(response, attempts):
            # Half an event is no use to a client; and where the upstream breaks, nothing could follow it.
            whole, rest = whole_events(rest + data if rest else data)
            if whole:
                tail = (tail + whole)[-TAIL:] if len(whole) < TAIL else whole[-TAIL:]
                yield whole
        usage = self.codec.usage_in_tail(tail + rest)
        self._bill(usage)
        await attempts.end(usage)
        await self._done("", usage)
        yield rest

    async def _governed_stream(
        self, sent: Exchange, attempts: Attempts, writer: StreamWriter, *, strip_usage: bool
    ) -> AsyncGenerator[bytes, None]:
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
                governor = self._governor(_choices(self.view.exchange))
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
                            passed = [chunk for chunk in passed if isinstance(chunk, TextDelta)]
                        if governor.failed is not None and not (self._began or pieces):
                            raise _failed_at_once(governor.failed, frame)
                        if ended or (governor.refusal is None and _ends(governor, passed)):
                            ended.append((frame, passed))
                        elif piece := _written(writer, passed, frame):
                            pieces.append(piece)
                        if governor.cut or governor.failed is not None:
                            break
                    if self.reading.delays_all and governor.failed is None:
                        delayed += pieces
                        pieces = []
                    if pieces:
                        spoke = clock()
                        yield b"".join(pieces)
                    elif clock() - spoke > keep_alive:
                        spoke = clock()
                        yield writer.keep_alive()
                    if governor.failed is not None:
                        self._answered(governor.failed.status)
                        self._ended = "error"
                        return
                    if governor.cut:
                        break
                if governor.cut:
                    await response.aclose()
                if governor.cut and governor.usage is None:
                    governor.usage = self._estimated()
                used = governor.usage
                self._bill(used)
                await attempts.end(used)
                if governor.error is not None:
                    raise _refused_late(governor.error)
                if governor.refusal is None:
                    break
                sent = self._asked_again(sent, governor)
            message = await self._judge_response(governor)
            shows_usage = used is not None and self.codec.ask_for_usage(self.view.exchange) is self.view.exchange
            closing: list[Chunk] = [UsageReported(used)] if used is not None and shows_usage else []
            closing.append(Closed())
            if message is not None:
                # Nothing of the answer went out: this is another one, with a beginning of its own.
                delayed, writer = [], self.codec.writer(self.view.exchange, strip_usage=strip_usage)
                numbers = range(_choices(self.view.exchange))
                instead = [each for number in numbers for each in (TextDelta(number, "answer", message), _stop(number))]
                ended = [(None, [*instead, *closing])]
            elif governor.cut:
                ended.append((None, closing))
            await self._remembered(governor)
            ending = [_written(writer, self._adjusted(chunks), frame) for frame, chunks in ended]
            yield b"".join((*delayed, *ending))
        finally:
            if task is not None:
                task.cancel()

    def _reads(self) -> bool:
        """Whether the answer must be looked into."""
        session = self.view.session
        return self.reading.reads_stream(self.view.exchange, inferred=session.kind == "inferred")

    def _governor(self, choices: int) -> Governor:
        """What governs the model's next answer."""
        spoke = any(each.text() for each in self.answers)
        governor = Governor(self.judge, choices=choices, restores=bool(self.judge.concealed), continues=spoke)
        self.answers.append(governor)
        return governor

    def _estimated(self) -> Usage | None:
        """About what the last answer used, where it was broken off before it said so; None where nothing came of it."""
        if not self.answers or self.answers[-1].usage is not None:
            return None
        return Usage(input=estimated_tokens(self.view.exchange), output=self.answers[-1].size // 4)

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
        await self._done("", usage)

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
        earlier = sum(len(each.text(channel)) for each in self.answers[:-1] for channel in _CHANNEL_OF.values())
        return replace(usage, output=usage.output + earlier // 4)

    # -- steering --

    def _asked_again(self, sent: Exchange, governor: Governor) -> Exchange:
        """The request that goes upstream next: the refused calls, why they were refused, and everything before."""
        refusal = governor.refusal
        if refusal is None:
            raise AssertionError("nothing was refused")
        for rule in refusal.rules:
            self.judge.steered[rule] = self.judge.steered.get(rule, 0) + 1
        self.judge.reasks_left -= 1
        self.world.metrics.reasked(self.view.taken.backend)
        turn = refused_turn(governor.said(), governor.said("reasoning"), refusal.results)
        self.turns += turn
        return replace(sent, messages=(*sent.messages, *turn), body=None)

    async def _keep_hidden_turn(self, governor: Governor) -> None:
        """What the client did not see is kept until it re-sends what it did see."""
        if not self.turns or self.replaced is not None:
            return
        own = governor.said()
        earlier = [text for each in self.answers[:-1] if (text := each.said())]
        before = BETWEEN.join([*earlier, ""] if own else earlier) if earlier else ""
        turn = HiddenTurn(tuple(self.turns), before, own)
        asked = self.view.original[-1] if self.view.original else None
        key = key_of(self.view.caller.id, asked, self._text(), governor.went_out)
        self.world.has_hidden_turns = True
        try:
            await self.world.store.commit([store.Put(key, kept(turn), float(self.world.settings.steer.ttl))])
        except store.StoreDown:
            self.world.metrics.store_failed("commit")

    # -- the end --

    def _text(self) -> str:
        """What the client has for the assistant's text."""
        return self.replaced if self.replaced is not None else "".join(each.text() for each in self.answers)

    async def _judge_response(self, governor: Governor) -> str | None:
        """The message that stands in the answer's place; None where it goes out. Raises Failure.

        An answer that was not delayed as a whole has gone out: its rules can only observe it.
        """
        if not self.judge.has(Phase.RESPONSE):
            return None
        decision = await self.judge.judge(Phase.RESPONSE, response=self._response(governor.finish, governor.usage))
        if decision is None or not decision.refused or not self.reading.delays_all:
            return None
        if isinstance(decision.effect, Block) and decision.effect.code == POLICY_ERROR:
            raise _refused_late(decision.effect)
        self.replaced = _message_of(decision)
        return self.replaced

    def _response(self, finish: str, usage: Usage | None) -> dict[str, Any]:
        """`response` as rules see it: where values were restored for the client, with their placeholders."""
        billed = sum(each.input + each.output for each in self.billed)
        if self.replaced is not None:
            return response_section(self.replaced, "", "stop", (), self._shown(usage), billed)
        text = BETWEEN.join(text for each in self.answers if (text := each.said()))
        reasoning = "".join(each.said("reasoning") for each in self.answers)
        calls = self.answers[-1].went_out if self.answers else ()
        return response_section(text, reasoning, finish, calls, self._shown(usage), billed)

    async def _remembered(self, governor: Governor) -> None:
        """The answer is whole: what its next turn needs is kept, and its end is told, before the client can ask again."""
        await self._keep_hidden_turn(governor)
        if self.reading.needs_session:
            calls = governor.went_out if self.replaced is None else ()
            await remember_chain(self.view, self.world, self._text(), calls)
        await self._done(governor.finish, governor.usage)

    async def _done(self, finish: str, usage: Usage | None = None) -> None:
        """Usage and cost are known: the last event of an exchange, once."""
        if self._settled:
            return
        self._settled = True
        if finish != "error":
            self._answered(499 if finish == "cancelled" else 200)
        if self.judge.has(Phase.DONE):
            await self.judge.judge(Phase.DONE, response=self._response(finish, usage))

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

    def _stopped(self, problem: Problem, rule: str = "") -> Reply:
        self._answered(problem.status)
        self._log_end("exchange refused", problem, rule=rule)
        return _problem_reply(self.codec, problem, self._headers(_JSON)[1:])

    def _failed(self, failure: Failure) -> Reply:
        """The upstream's own answer where it gave one, else ours."""
        self._answered(failure.problem.status)
        self._log_end("exchange failed", failure.problem, rule=failure.rule)
        if failure.body is None:
            return _problem_reply(self.codec, failure.problem, self._headers(_JSON, failure.headers)[1:])
        return Reply(failure.problem.status, self._headers(_JSON, failure.headers), failure.body)

    def _log_end(self, event: str, problem: Problem, rule: str = "") -> None:
        """One line for an exchange that got no answer. What a rule or an upstream said may hold content: never its words."""
        write = self.world.log.warning if problem.status >= 500 else self.world.log.info
        write(
            event,
            request=self.incoming.id,
            status=problem.status,
            reason=problem.code or problem.kind,
            rule=rule,
            backend=self.view.taken.backend,
            model=self.view.taken.model or self.view.exchange.model,
            caller=self.view.caller.id,
        )


# -- pure parts --


def _readable(headers: Headers) -> dict[str, str]:
    """Headers as rules may read them: no credentials, no cookies, nothing of the connection."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name not in _NOT_READABLE}


_NOT_READABLE: Final = CREDENTIALS | {
    *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length"),
}


def _own_headers(rules: RuleSet, decision: str) -> Headers:
    return [(b"x-lexgate-revision", rules.revision.encode() or b"none"), (b"x-lexgate-decision", decision.encode())]


def _passed_headers(headers: Headers) -> Headers:
    """The upstream's headers that its protocol defines for clients."""
    return [(name, value) for name, value in headers if name.startswith(_PASSED)]


def _problem_reply(codec: Codec, problem: Problem, headers: Headers) -> Reply:
    more = headers
    if problem.retry_after is not None and not any(name == b"retry-after" for name, _ in headers):
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


def _ends(governor: Governor, chunks: Sequence[Chunk]) -> bool:
    """The answer's last words, after which no choice says anything: they wait until the response is judged."""
    return any(isinstance(chunk, Closed) or (isinstance(chunk, Finished) and governor.complete) for chunk in chunks)


def _written(writer: StreamWriter, chunks: Sequence[Chunk], frame: Frame | None) -> bytes:
    """The bytes that say the chunks. What was held until the frame came goes in frames of its own in front of it, and an
    end that a rule made behind it: clients look for one call at a time, and for the end alone, where providers put them.
    """
    if frame is None or chunks is frame.said:
        return writer.write(chunks, frame)
    spoke = any(isinstance(chunk, TextDelta) for chunk in frame.said)
    held: list[Chunk] = []
    own: list[Chunk] = []
    end: list[Chunk] = []
    ends = any(isinstance(chunk, Finished) for chunk in frame.said)
    for chunk in chunks:
        match chunk:
            case CallOpened() | CallDelta() if chunk not in frame.said:
                held.append(chunk)
            case TextDelta() if not spoke:
                held.append(chunk)
            case Finished() if not ends:
                (held if Closed() in frame.said else end).append(chunk)
            case _:
                own.append(chunk)
    return writer.write(held) + writer.write(own if held or end else chunks, frame) + writer.write(end)


def _stop(choice: int) -> Chunk:
    return Finished(choice, "stop")


def _refused_late(block: Block) -> Failure:
    """A rule that must not be skipped could not be evaluated when the answer was there."""
    return Failure(Problem(status=block.status, message=block.message, kind="server_error", code=block.code))


def _failed_at_once(failed: Failed, frame: Frame) -> Failure:
    """The provider's first event is an error: it becomes the answer, with a real status."""
    problem = Problem(status=failed.status, message=failed.message, kind=failed.kind)
    return Failure(problem, msgspec.json.encode(frame.data) if isinstance(frame.data, dict) else None)


def _choices(exchange: Exchange) -> int:
    n = exchange.params.get("n")
    return n if isinstance(n, int) and n > 0 else 1


def _message_of(decision: Decision) -> str:
    match decision.effect:
        case Block(message=message) | Respond(message=message) | Steer(message=message):
            return message
        case _:
            return ""


_CHANNEL_OF: Final[Mapping[str, Channel]] = {"reasoning": "reasoning", "text": "answer", "refusal": "refusal"}


def _chunks_of(answer: Answer) -> list[Chunk]:
    """A whole answer as the chunks of a stream: one for each channel and call."""
    chunks: list[Chunk] = []
    for choice in answer.choices:
        for kind, channel in _CHANNEL_OF.items():
            text = choice.said(kind)
            if text:
                chunks.append(TextDelta(choice.index, channel, text))
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
    choices = tuple(_rebuilt_choice(choice, after) for choice in answer.choices)
    return answer if choices == answer.choices else replace(answer, choices=choices, body=None)


def _rebuilt_choice(choice: Choice, after: Sequence[Chunk]) -> Choice:
    mine = [chunk for chunk in after if getattr(chunk, "choice", None) == choice.index]
    parts = choice.parts
    for kind, channel in _CHANNEL_OF.items():
        text = "".join(chunk.text for chunk in mine if isinstance(chunk, TextDelta) and chunk.channel == channel)
        if text != choice.said(kind):
            parts = _with_said(parts, kind, text)
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
        replace(choice, parts=(Part(kind="text", text=message),), tool_calls=(), finish="stop")
        for choice in answer.choices
    )
    return replace(answer, choices=choices, body=None)
