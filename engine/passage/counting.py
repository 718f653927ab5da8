"""How many tokens a request has: asked of a backend that counts in the client's protocol, else estimated.

What is counted is what would be sent: the request as rules left it, so that no backend sees in a count what it would
not see in the request itself.
"""

from typing import Final

from msgspec.structs import replace

from engine.codecs import COUNTERS
from engine.codecs.base import BadAnswer
from engine.model.exchange import Exchange
from engine.model.plan import Leg, Plan
from engine.passage.attempts import Failure
from engine.passage.passage import Passage
from engine.passage.replies import JSON, Reply
from engine.passage.routing import legs_in_order, with_model
from engine.passage.view import Taken
from engine.world.backends import Backend
from engine.world.http.base import TransportError

HOW: Final = b"x-lexgate-count"
"""The header that says whether a count was `asked` of a backend or `estimated`."""

ANSWER_LIMIT: Final = 1_000_000
_OF_THE_REQUEST: Final = frozenset({400, 413, 422})
"""What a backend answers to a request that it would not take either; anything else is its own trouble."""


async def counted(passage: Passage, sent: Exchange, plan: Plan) -> Reply:
    """The count of the first leg that counts in the client's protocol; where none does, or it fails, an estimate.

    What a backend says is wrong with the request itself, the client hears.
    """
    for leg in legs_in_order(plan, passage.world.random()):
        backend = passage.world.backends.by_name.get(leg.backend)
        if backend is None or not (backend.counts_tokens and backend.speaks(sent.protocol)):
            continue
        try:
            body = await _asked(passage, backend, with_model(leg, sent.model), sent)
        except Failure as failure:
            return passage.failed(failure)
        if body is not None:
            return _reply(passage, body, b"asked")
    return estimated(passage, sent)


def estimated(passage: Passage, exchange: Exchange) -> Reply:
    """The estimate in the client's shape."""
    return _reply(passage, COUNTERS[exchange.protocol].encode_count(passage.view.count(exchange)), b"estimated")


def _reply(passage: Passage, body: bytes, how: bytes) -> Reply:
    passage.answered(200)
    return Reply(200, [*passage.headers(JSON), (HOW, how)], body)


async def _asked(passage: Passage, backend: Backend, leg: Leg, exchange: Exchange) -> bytes | None:
    """The backend's answer as it came; None where it gave no count. Raises Failure."""
    counter = COUNTERS[exchange.protocol]
    if leg.model and leg.model != exchange.model:
        exchange = replace(exchange, model=leg.model, body=None)
    exchange = backend.fitted(exchange)
    passage.view.taken = Taken(leg.backend, leg.model)
    try:
        response = await backend.send(
            counter.count_path(exchange),
            counter.encode_count_request(exchange),
            passage.incoming.headers,
            exchange.added_headers,
            query=exchange.query,
        )
        body = await response.read(ANSWER_LIMIT)
        if response.status in _OF_THE_REQUEST:
            raise Failure(passage.codec.decode_problem(response.status, body), body)
        if response.status == 200:
            counter.decode_count(body)
            return body
        why = f"status {response.status}"
    except (TransportError, BadAnswer) as failed:
        why = type(failed).__name__
    passage.world.log.info("count estimated", backend=backend.name, reason=why, request=exchange.id)
    return None
