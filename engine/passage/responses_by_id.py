"""Answers of Responses that a client may go on from by their id: whose each is, and what was said where we know it best.

An id that a caller was given is remembered as its own; another caller's is as unknown as one that never was. The provider
has the conversation, unless it spoke another protocol, or the client saw another answer than it gave: then the
conversation is kept here, and put in front of the next request, where rules see all of it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.codecs.base import BadRequest, Codec, Problem
from engine.codecs.json_text import encode_json
from engine.model.exchange import Exchange, Protocol
from engine.passage.passage import Passage
from engine.passage.replies import Incoming, Reply
from engine.world import World
from engine.world.store import base as store

SPACE: Final = "responses"
_OWN: Final = "_lexgate_"
_LAST_EVENTS: Final = (b'"response.completed"', b'"response.incomplete"')


class Kept(msgspec.Struct, frozen=True):
    """What is known under an id. `items`: the conversation up to and with that answer, None where the provider has it;
    `previous` is the provider's answer that they follow. Under the id of an item it is the item alone."""

    items: list[Any] | None = None
    previous: str | None = None


class _Item(msgspec.Struct):
    id: str | None = None


class _Response(msgspec.Struct):
    """What is read of an answer that the provider has."""

    id: str = ""
    output: list[_Item] = []


class _Last(msgspec.Struct):
    response: _Response


class _LastWhole(msgspec.Struct):
    response: dict[str, Any]


_LAST: Final = msgspec.json.Decoder(_Last)
_LAST_WHOLE: Final = msgspec.json.Decoder(_LastWhole)


# --- the request -----------------------------------------------------------------------------------------------------


async def continued(exchange: Exchange, incoming: Incoming, world: World) -> Exchange:
    """The request with the conversation that it goes on from, where that is kept here. Raises BadRequest where it is not
    the caller's to go on from."""
    if exchange.protocol is not Protocol.OPENAI_RESPONSES:
        return exchange
    wire: Mapping[str, Any] = exchange.wire
    if wire.get("conversation") is not None:
        message = "Conversations of the provider cannot be used here: whose they are is not known."
        raise BadRequest(Problem(status=400, message=message, param="conversation", code="unsupported_parameter"))
    previous, given = wire.get("previous_response_id"), wire.get("input")
    items = given if isinstance(given, list) else []
    named = [item["id"] for item in items if _is_reference(item)]
    if not previous and not named:
        return exchange
    if previous and not isinstance(previous, str):
        message = "Invalid type for 'previous_response_id': expected a string."
        raise BadRequest(Problem(status=400, message=message, param="previous_response_id", code="invalid_type"))
    found = await _found([*([previous] if previous else []), *named], incoming.caller.id, world)
    changed: dict[str, Any] = {}
    for id in named:
        if id not in found:
            message = f"Item with id '{id}' not found."
            raise BadRequest(Problem(status=404, message=message, kind="invalid_request_error", param="input"))
    if any(found[id].items is not None for id in named):
        changed["input"] = [each for item in items for each in _referred(item, found)]
    if previous:
        if previous not in found:
            message = f"Previous response with id '{previous}' not found."
            code = "previous_response_not_found"
            raise BadRequest(Problem(status=400, message=message, param="previous_response_id", code=code))
        kept = found[previous]
        if kept.items is not None:
            changed |= {"input": [*kept.items, *_items(changed.get("input", given))]}
            changed["previous_response_id"] = kept.previous
    return _with(exchange, changed, incoming.codec) if changed else exchange


def _is_reference(item: Any) -> bool:
    kind = item.get("type") if isinstance(item, dict) else None
    bare = kind is None and isinstance(item, dict) and "role" not in item
    return (kind == "item_reference" or bare) and isinstance(item.get("id"), str)


def _referred(item: Any, found: Mapping[str, Kept]) -> Sequence[Any]:
    kept = found[item["id"]].items if _is_reference(item) else None
    return [item] if kept is None else kept


async def _found(ids: Sequence[str], caller: str, world: World) -> dict[str, Kept]:
    keys = {id: _key(caller, id) for id in ids if len(id) <= store.NAME_LENGTH}
    try:
        values = (await world.store.read(keys=list(keys.values()))).values
    except store.StoreDown as down:
        world.metrics.store_failed("read")
        message = "What was said before cannot be looked up now."
        raise BadRequest(Problem(status=503, message=message, kind="server_error", code="store_down")) from down
    return {id: msgspec.json.decode(values[key].value, type=Kept) for id, key in keys.items() if key in values}


def _with(exchange: Exchange, changed: Mapping[str, Any], codec: Codec) -> Exchange:
    """The request that says the conversation itself."""
    wire = {**exchange.wire, **changed}
    if wire.get("previous_response_id") is None:
        wire.pop("previous_response_id", None)
    return codec.decode_request(encode_json(wire), id=exchange.id, headers=exchange.headers, query=exchange.query)


def _items(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}] if given else []
    return list(given or ())


def _key(caller: str, id: str) -> store.Key:
    return store.Key(SPACE, f"caller/{caller}", id)


# --- the answer ------------------------------------------------------------------------------------------------------


async def remembering(passage: Passage, reply: Reply) -> Reply:
    """The reply; before its client can go on from it, its id is known."""
    exchange = passage.view.exchange
    if reply.status != 200:
        return reply
    if exchange.wire.get("store") is False or passage.incoming.counts:
        return reply
    if reply.chunks is not None:
        reply.chunks = _watched(passage, reply.chunks)
    elif reply.body.startswith(b"{"):
        await _remember(passage, b'{"response":%b}' % reply.body)
    else:
        await _remember_last(passage, reply.body)
    return reply


async def _watched(passage: Passage, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for piece in chunks:
            if any(name in piece for name in _LAST_EVENTS):
                await _remember_last(passage, piece)
            yield piece
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]


async def _remember_last(passage: Passage, events: bytes) -> None:
    """From the last event of a stream; its pieces are whole events."""
    for line in reversed(events.splitlines()):
        # The type stands first or last among the fields; in between, only as text.
        if line.startswith(b"data:") and any(name in line[:200] or name in line[-200:] for name in _LAST_EVENTS):
            await _remember(passage, line[len(b"data:") :])
            return


async def _remember(passage: Passage, last: bytes) -> None:
    try:
        response = _LAST.decode(last).response
    except msgspec.DecodeError:
        return
    ttl = float(passage.world.settings.responses.ttl)
    caller = passage.view.caller.id
    kept = Kept()
    items = {item.id: Kept() for item in response.output if item.id}
    if _OWN in response.id or _differs(passage):
        wire: Mapping[str, Any] = passage.view.exchange.wire
        output = _LAST_WHOLE.decode(last).response["output"]
        kept = Kept([*_items(wire.get("input")), *output], wire.get("previous_response_id"))
        items = {item["id"]: Kept([item]) for item in output if isinstance(item.get("id"), str)}
    puts = [
        store.Put(_key(caller, id), msgspec.json.encode(each), ttl)
        for id, each in {response.id: kept, **items}.items()
        if id and len(id) <= store.NAME_LENGTH
    ]
    try:
        await _put(puts, passage)
    except store.StoreDown:
        passage.world.metrics.store_failed("commit")


async def _put(puts: Sequence[store.Put], passage: Passage) -> None:
    """What is too large for the store is left out: its id is then unknown. Raises StoreDown."""
    left = list(puts)
    while left:
        outcome = await passage.world.store.commit(left)
        if not isinstance(outcome, store.Refused):
            return
        put = left.pop(outcome.which)
        passage.world.log.warning(
            "response cannot be continued",
            response=put.key.name,
            bytes=len(put.value),
            reason=outcome.reason,
            request=passage.view.exchange.id,
        )


def _differs(passage: Passage) -> bool:
    """The provider has another answer than the client: calls that it waits for the results of, or words that are not so."""
    return (
        bool(passage.turns)
        or passage.replaced is not None
        or any(each.cut or each.withheld for each in passage.answers)
    )
