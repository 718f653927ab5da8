"""A streamed answer: events pass as they come, held no further than rules need, through as many turns as are steered."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from engine.codecs.base import BadAnswer, Problem, StreamWriter, streams_events
from engine.codecs.beginning import failure_at_once
from engine.codecs.translation.tongue import Listener, Said
from engine.model.exchange import (
    CallDelta,
    CallOpened,
    Chunk,
    Closed,
    Exchange,
    Failed,
    Finished,
    Frame,
    TextDelta,
    UsageReported,
)
from engine.passage.answers import says, with_text
from engine.passage.attempts import Attempts, Failure
from engine.passage.governor import Governor
from engine.passage.passage import Passage, choices_of, refused_late
from engine.passage.passing import Passing, whole_events
from engine.passage.replies import Reply, stream_kind
from engine.passage.unread import Unread
from engine.world.http.base import Response, TransportError

_Heard = tuple[Frame | None, Sequence[Chunk]]
_CALL: Final = (CallOpened, CallDelta)


def _writer(passage: Passage) -> StreamWriter:
    return passage.codec.writer(passage.view.exchange)


async def streamed_answer(passage: Passage, sent: Exchange, attempts: Attempts) -> Reply:
    """The reply begins with the first event, or after `commit_after`; before that a failure has a real status."""
    stream = _stream(passage, sent, attempts)
    first = asyncio.create_task(_first_of(stream))
    try:
        done, _ = await asyncio.wait({first}, timeout=passage.world.settings.stream.commit_after)
    except asyncio.CancelledError:
        first.cancel()
        raise
    kind = stream_kind(passage.codec, passage.view.exchange)
    if done:
        begun = first.result()
        headers, chunks = passage.headers(kind, attempts.passed_headers), _from(begun, stream)
    else:
        headers, chunks = passage.headers(kind), _late(passage, first, stream)
    return Reply(200, headers, chunks=chunks, failing=lambda problem: _writer(passage).error(problem))


async def _first_of(stream: AsyncIterator[bytes]) -> bytes:
    return await anext(stream, b"")


async def _late(passage: Passage, first: asyncio.Future[bytes], stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream that was promised before its first event: keep-alives until it comes, then all of it."""
    writer = passage.codec.writer(passage.view.exchange)
    try:
        async for beat in _waiting(passage, first, writer):
            yield beat
        yield first.result()
        async for data in stream:
            yield data
    except Failure as failure:
        passage.answered(failure.problem.status)
        passage.log_end("exchange failed", failure.problem, rule=failure.rule)
        yield writer.error(failure.problem)
    finally:
        first.cancel()
        await asyncio.wait({first})
        await stream.aclose()  # type: ignore[attr-defined]


async def _waiting(passage: Passage, task: asyncio.Future[Any], writer: StreamWriter) -> AsyncIterator[bytes]:
    """Keep-alives until the task is done."""
    while not task.done():
        yield writer.keep_alive()
        await asyncio.wait({task}, timeout=passage.world.settings.stream.keep_alive)


def _counted(passage: Passage) -> Exchange:
    """The exchange with an estimate of its tokens: a beginning of our own says what the provider's would."""
    exchange = passage.view.exchange
    return replace(exchange, counted=passage.view.count(exchange))


async def _stream(passage: Passage, sent: Exchange, attempts: Attempts) -> AsyncIterator[bytes]:
    """The bytes that the client gets, or why there are none: raised as long as none went out, else said in the stream.

    Raises Failure.
    """
    exchange = passage.view.exchange
    translates = attempts.may_translate
    asks_usage = translates or passage.reading.meters_tokens or passage.reading.reads_usage
    if asks_usage:
        asked = passage.codec.ask_for_usage(sent)
        asks_usage, sent = asked is not sent, asked
    told = _counted(passage) if translates else exchange
    writer = passage.codec.writer(told, strip_usage=asks_usage)
    try:
        if translates or passage.reads():
            source = _governed_stream(passage, sent, attempts, writer, strip_usage=asks_usage)
        else:
            source = _raw(passage, sent, attempts)
        try:
            async with contextlib.aclosing(source):
                async for data in source:
                    if data:
                        passage.began = True
                    yield data
        except TransportError as error:
            raise attempts.broken(error) from error
    except Failure as failure:
        passage.ended = "error"
        if not passage.began:
            raise
        passage.answered(failure.problem.status)
        passage.log_end("exchange failed", failure.problem, rule=failure.rule)
        yield writer.error(failure.problem)
    finally:
        if not passage.settled:
            used = passage.estimated()
            passage.bill(used)
            await attempts.close(used)
            await passage.done(passage.ended, used)
        await attempts.close()


async def _raw(passage: Passage, sent: Exchange, attempts: Attempts) -> AsyncGenerator[bytes, None]:
    """A stream that no rule reads: the bytes that came, event by event. Of its end, the usage is noted."""
    response = await attempts.begin(sent)
    events = streams_events(passage.codec, passage.view.exchange)
    unread = passage.unread = Unread(passage.codec)
    rest = b""
    async for data in response.chunks():
        # Half an event is no use to a client; and where the upstream breaks, nothing could follow it.
        whole, rest = whole_events(rest + data if rest else data) if events else (data, b"")
        if not passage.began and events and (failed := failure_at_once(passage.codec, whole)) is not None:
            raise _failed_at_once(*failed)
        if whole:
            unread.add(whole)
            yield whole
    usage = unread.usage(rest)
    passage.bill(usage)
    await attempts.end(usage, passage.estimated)
    await passage.done("", usage)
    yield rest


async def _governed_stream(
    passage: Passage, sent: Exchange, attempts: Attempts, writer: StreamWriter, *, strip_usage: bool
) -> AsyncGenerator[bytes, None]:
    """A stream that rules read, with as many answers of the model as its calls are steered."""
    clock = asyncio.get_running_loop().time
    keep_alive = passage.world.settings.stream.keep_alive
    passes = passage.reading.reads_calls_alone and streams_events(passage.codec, passage.view.exchange)
    delayed: list[bytes] = []
    waiting: list[_Heard] = []
    task: asyncio.Future[Response] | None = None
    spoke = clock()
    try:
        while True:
            if not passage.reasked:
                response = await attempts.begin(sent)
            else:
                task = asyncio.ensure_future(attempts.begin(sent))
                await asyncio.wait({task}, timeout=keep_alive)
                async for beat in _waiting(passage, task, writer):
                    yield beat
                response = task.result()
                if passage.turns:
                    writer.next_attempt()
            governor = passage.governor(choices_of(passage.view.exchange))
            ended: list[tuple[Frame | None, Sequence[Chunk]]] = []
            source = response.chunks()
            listener = attempts.tongue.listener()
            if passes and attempts.tongue.native and not passage.turns:
                passing, unread = Passing(passage.codec), Unread(passage.codec)
                passage.unread = unread
                async for data in passing.until_call(source):
                    if not passage.began and (failed := failure_at_once(passage.codec, data)) is not None:
                        raise _failed_at_once(*failed)
                    unread.add(data)
                    yield data
                if passing.ended:
                    await _passed_through(passage, unread, attempts)
                    yield passing.rest
                    return
                passage.unread = None
                await _caught_up(passing.passed, listener, governor, writer)
                source = _preceded(passing.rest, source)
            async for frames in _frames(listener, source, attempts):
                pieces: list[bytes] = []
                for frame, chunks in frames:
                    passed = await governor.feed(chunks)
                    if governor.refusal is not None:
                        passed = [chunk for chunk in passed if isinstance(chunk, TextDelta)]
                    if governor.failed is not None and not (passage.began or pieces):
                        raise _failed_at_once(governor.failed, frame)
                    if ended or (governor.refusal is None and _ends(governor, passed)):
                        ended.append((frame, passed))
                    elif passage.reading.delays_all and governor.failed is None:
                        waiting.append((frame, passed))
                    elif piece := _written(writer, passed, frame):
                        pieces.append(piece)
                    if governor.cut or governor.failed is not None:
                        break
                if pieces:
                    spoke = clock()
                    yield b"".join(pieces)
                elif clock() - spoke > keep_alive:
                    spoke = clock()
                    yield writer.keep_alive()
                if governor.failed is not None:
                    passage.answered(governor.failed.status)
                    passage.ended = "error"
                    return
                if governor.cut:
                    break
            if governor.cut:
                await response.aclose()
            if governor.cut and governor.usage is None:
                governor.usage = passage.estimated()
            used = governor.usage
            passage.bill(used)
            await attempts.end(used, passage.estimated)
            if governor.error is not None:
                raise refused_late(governor.error)
            message = await passage.judge_response(governor) if governor.refusal is None else None
            if governor.refusal is None:
                break
            sent = passage.asked_again(sent, governor, listener.thoughts)
            delayed += [_written(writer, chunks, frame) for frame, chunks in waiting]
            waiting = []
            if not passage.turns:
                # Nothing of the answer went out: the next one has a beginning of its own.
                delayed, writer = [], passage.codec.writer(_counted(passage), strip_usage=strip_usage)
        shows_usage = used is not None and passage.codec.ask_for_usage(passage.view.exchange) is passage.view.exchange
        closing: list[Chunk] = [UsageReported(used)] if used is not None and shows_usage else []
        closing.append(Closed())
        if message is not None:
            # Nothing of the answer went out: this is another one, with a beginning of its own.
            delayed, waiting, writer = [], [], passage.codec.writer(_counted(passage), strip_usage=strip_usage)
            numbers = range(choices_of(passage.view.exchange))
            instead = [each for number in numbers for each in (TextDelta(number, "answer", message), _stop(number))]
            ended = [(None, [*instead, *closing])]
        elif governor.cut:
            ended.append((None, closing))
        if passage.rewritten is not None:
            # The last answer carries all that is said; what stood in front of it is part of that text.
            delayed, writer = [], passage.codec.writer(_counted(passage), strip_usage=strip_usage)
            waiting = _with_text([*waiting, *ended], passage.rewritten)
            ended = []
        await passage.remembered(governor)
        ending = [_written(writer, _adjusted(passage, chunks), frame) for frame, chunks in (*waiting, *ended)]
        yield b"".join((*delayed, *ending))
    finally:
        if task is not None:
            task.cancel()


def _with_text(frames: Sequence[_Heard], text: str) -> list[_Heard]:
    """The frames with another text of the answer, in the first of those that said some of it."""
    changed: list[_Heard] = []
    for frame, chunks in frames:
        said = with_text(chunks, text)
        if said != list(chunks):
            changed.append((frame, said))
        else:
            changed.append((frame, chunks))
        if any(says(chunk) for chunk in chunks):
            text = ""
    return changed


async def _frames(listener: Listener, source: AsyncIterator[bytes], attempts: Attempts) -> AsyncIterator[Said]:
    """The frames of an upstream's stream as they become whole. Raises Failure where they cannot be read."""
    try:
        async for data in source:
            yield listener.feed(data)
        yield listener.close()
    except BadAnswer as bad:
        raise attempts.unreadable(bad) from bad


async def _caught_up(passed: Sequence[bytes], listener: Listener, governor: Governor, writer: StreamWriter) -> None:
    """Let reader, governor and writer know what went out while nobody needed to look."""
    for data in passed:
        for frame, chunks in listener.feed(data):
            writer.write(await governor.feed(chunks), frame)


async def _passed_through(passage: Passage, unread: Unread, attempts: Attempts) -> None:
    """The stream held no call: nothing of it concerned a rule."""
    usage = unread.usage()
    passage.bill(usage)
    await attempts.end(usage, passage.estimated)
    await passage.done("", usage)


def _adjusted(passage: Passage, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """Usage as the client must see it, where refused turns stand behind the answer."""
    if not passage.turns:
        return chunks
    return [
        UsageReported(passage.shown(chunk.usage) or chunk.usage) if isinstance(chunk, UsageReported) else chunk
        for chunk in chunks
    ]


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
    others = {(each.choice, each.index) for each in chunks if isinstance(each, _CALL) and each not in frame.said}
    held: list[Chunk] = []
    own: list[Chunk] = []
    end: list[Chunk] = []
    ends = any(isinstance(chunk, Finished) for chunk in frame.said)
    for chunk in chunks:
        match chunk:
            case CallOpened() | CallDelta() if (chunk.choice, chunk.index) in others:
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


def _failed_at_once(failed: Failed, frame: Frame | None) -> Failure:
    """The provider's first event is an error: it becomes the answer, with a real status."""
    problem = Problem(status=failed.status, message=failed.message, kind=failed.kind)
    whole = frame is not None and isinstance(frame.data, dict)
    return Failure(problem, msgspec.json.encode(frame.data) if frame is not None and whole else None, answered=True)
