"""How many tokens a request has: asked of a backend that counts, in its own protocol, else estimated.

What is counted is what would be sent: the request as rules left it, translated where the backend speaks another protocol,
so that no backend sees in a count what it would not see in the request itself.
"""

from typing import Final

from msgspec.structs import replace

from engine.codecs import CODECS, COUNTERS
from engine.codecs.base import BadAnswer, BadRequest, Problem
from engine.codecs.neutral import Translatable
from engine.codecs.translation.problems import problem_for
from engine.codecs.translation.request import translated
from engine.model.exchange import Exchange, Protocol
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
    """The count of the first leg that counts; where none does, or it fails, an estimate.

    What a backend says is wrong with the request itself, the client hears.
    """
    for leg in legs_in_order(plan, passage.world.random()):
        backend = passage.world.backends.by_name.get(leg.backend)
        if backend is None or not backend.counts_tokens:
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
    """The count in the client's shape, as it came where the backend speaks its protocol; None where it gave none.
    Raises Failure."""
    client = exchange.protocol
    there = backend.protocol_for(client)
    if there is None or there not in COUNTERS:
        return None
    counter = COUNTERS[there]
    if leg.model and leg.model != exchange.model:
        exchange = replace(exchange, model=leg.model, body=None)
    passage.view.taken = Taken(leg.backend, leg.model)
    try:
        exchange = backend.fitted(_in_words_of(there, exchange, backend.name))
        response = await backend.send(
            counter.count_path(exchange),
            counter.encode_count_request(exchange),
            passage.incoming.headers,
            exchange.added_headers,
            client=client,
            query=exchange.query,
        )
        body = await response.read(ANSWER_LIMIT)
        if response.status in _OF_THE_REQUEST:
            raise _refused(CODECS[there].decode_problem(response.status, body), body, client, native=there is client)
        if response.status == 200:
            tokens = counter.decode_count(body)
            return body if there is client else COUNTERS[client].encode_count(tokens)
        why = f"status {response.status}"
    except (TransportError, BadAnswer, BadRequest) as failed:
        why = type(failed).__name__
    passage.world.log.info("count estimated", backend=backend.name, reason=why, request=exchange.id)
    return None


def _in_words_of(there: Protocol, exchange: Exchange, backend: str) -> Exchange:
    """The request in the backend's protocol. Raises BadRequest where it cannot be said there."""
    if there is exchange.protocol:
        return exchange
    client, codec = CODECS[exchange.protocol], CODECS[there]
    if not (isinstance(client, Translatable) and isinstance(codec, Translatable)):
        raise BadRequest(Problem(status=400, message=f"{exchange.protocol} is not translated into {there}"))
    return translated(exchange, client, codec, there, backend).exchange


def _refused(problem: Problem, body: bytes, client: Protocol, *, native: bool) -> Failure:
    return Failure(problem, body) if native else Failure(problem_for(problem, client), answered=True)
