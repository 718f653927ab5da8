"""A whole answer: read to its end, governed as a stream of one chunk a channel, and said again where a rule changed it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from engine.codecs.base import BadAnswer
from engine.model.exchange import (
    Answer,
    Chunk,
    Exchange,
    Message,
    Part,
)
from engine.passage.answers import CHANNEL_OF, chunks_of, rebuilt, replaced_by, with_said
from engine.passage.attempts import Attempts
from engine.passage.passage import Passage, refused_late
from engine.passage.replies import JSON, Reply
from engine.world.http.base import Headers, TransportError

ANSWER_LIMIT: Final = 64_000_000


async def whole_answer(passage: Passage, sent: Exchange, attempts: Attempts) -> Reply:
    exchange = passage.view.exchange
    reads = passage.reads()
    try:
        while True:
            response = await attempts.begin(sent)
            try:
                body = await response.read(ANSWER_LIMIT)
            except TransportError as error:
                raise attempts.broken(error) from error
            tongue = attempts.tongue
            headers = attempts.passed_headers
            if tongue.native and (
                not reads
                or (not passage.turns and passage.reading.reads_calls_alone and not passage.codec.may_hold_calls(body))
            ):
                return await _untouched(passage, body, headers, attempts)
            try:
                answer, thoughts = tongue.answer(body)
            except BadAnswer as bad:
                raise attempts.unreadable(bad) from bad
            governor = passage.governor(len(answer.choices))
            before = chunks_of(answer)
            after: list[Chunk] = []
            for chunk in before:
                after += await governor.feed((chunk,))
            governor.usage = answer.usage
            passage.bill(answer.usage)
            await attempts.end(answer.usage)
            if governor.error is not None:
                raise refused_late(governor.error)
            message = await passage.judge_response(governor) if governor.refusal is None else None
            if governor.refusal is None:
                break
            sent = passage.asked_again(sent, governor, thoughts)
    except asyncio.CancelledError:
        # The client went away: what the backend did by then is counted all the same.
        used = passage.estimated()
        passage.bill(used)
        await attempts.close(used)
        await passage.done("cancelled", used)
        raise
    finally:
        await attempts.close()
    answer = _with_earlier_words(passage, rebuilt(answer, before, after), native=attempts.tongue.native)
    if passage.rewritten is not None:
        first = replace(answer.choices[0], parts=with_said(answer.choices[0].parts, "text", passage.rewritten))
        answer = replace(answer, choices=(first, *answer.choices[1:]), body=None)
    if message is not None:
        answer = replaced_by(answer, message)
    await passage.remembered(governor)
    return Reply(200, passage.headers(JSON, headers), passage.codec.encode_answer(answer, exchange))


async def _untouched(passage: Passage, body: bytes, headers: Headers, attempts: Attempts) -> Reply:
    """An answer that no rule reads goes on as the bytes that came."""
    usage = passage.codec.usage_of(body)
    passage.bill(usage)
    await attempts.end(usage)
    await passage.done("", usage)
    return Reply(200, passage.headers(JSON, headers), body)


def _with_earlier_words(passage: Passage, answer: Answer, *, native: bool) -> Answer:
    """What refused turns said to the client stands in front of what the last one says, as in a stream.

    Their thoughts keep the objects that they came in (`native`: which are the client's own), where no rule changed them.
    """
    if not passage.turns or not answer.choices:
        return answer
    first = answer.choices[0]
    parts = first.parts
    for kind, channel in CHANNEL_OF.items():
        earlier = "".join(each.text(channel) for each in passage.answers[:-1])
        thoughts = _thoughts(passage.turns) if kind == "reasoning" and native else ()
        if thoughts and "".join(part.text for part in thoughts) == earlier:
            parts = (*thoughts, *parts)
        elif earlier:
            parts = with_said(parts, kind, earlier + first.said(kind))
    choices = (replace(first, parts=parts), *answer.choices[1:])
    return replace(answer, choices=choices, usage=passage.shown(answer.usage), body=None)


def _thoughts(turns: Sequence[Message]) -> tuple[Part, ...]:
    return tuple(
        part
        for message in turns
        for part in message.parts
        if part.kind in ("reasoning", "opaque") and part.wire is not None
    )
