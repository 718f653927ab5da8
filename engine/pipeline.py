"""THE STORY: one exchange, from the client's bytes to the client's bytes.

A request is decoded, admitted, judged, routed, and tried on backends until one answers; the answer is governed chunk by
chunk and goes out as it came wherever no rule acted. Where a rule refuses a tool call by `steer`, the model is asked
again inside the same response.
"""

from msgspec.structs import replace

from engine.access.denial import OutOfScope
from engine.access.scopes import EVERYTHING
from engine.codecs import COUNTERS
from engine.codecs.base import BadRequest, Problem
from engine.model.decision import Decision
from engine.model.effects import Block, Patch, Respond, SetHeader
from engine.model.exchange import (
    Answer,
    Choice,
    Exchange,
    Part,
    Protocol,
    Usage,
)
from engine.model.folding import folded, with_header
from engine.model.phases import Phase
from engine.model.plan import Plan
from engine.passage.attempts import Attempts, Failure
from engine.passage.commanding import run_commands
from engine.passage.counting import counted, estimated
from engine.passage.hidden import keys_in, put_back
from engine.passage.judging import Judge
from engine.passage.passage import Passage
from engine.passage.reading import reading_of
from engine.passage.replies import JSON, House, Incoming, Reply, own_headers, problem_reply, readable, stream_kind
from engine.passage.responses_by_id import continued, remembering
from engine.passage.routing import NotServed, with_model
from engine.passage.sessions import identify, remember_chain
from engine.passage.streamed import streamed_answer
from engine.passage.view import View, result_section
from engine.passage.whole import whole_answer
from engine.policy.ruleset import RuleSet, Stage
from engine.world import answer_chunks
from engine.world.store import base as store


async def handle(incoming: Incoming, rules: RuleSet, house: House) -> Reply:
    """One exchange under the rule set that it begins with."""
    codec = incoming.codec
    reading = reading_of(rules)
    if house.world.records(incoming.id):
        reading = reading.recording
    headers = readable(incoming.headers) if reading.reads_headers else {}
    decode = COUNTERS[codec.protocol].decode_count_request if incoming.counts else codec.decode_request
    try:
        exchange = decode(incoming.body, id=incoming.id, headers=headers, query=incoming.query, path=incoming.path)
        if codec.protocol is Protocol.OPENAI_RESPONSES:
            exchange = await continued(exchange, incoming, house.world)
    except BadRequest as bad:
        house.world.log.info(
            "exchange refused", request=incoming.id, status=bad.problem.status, reason=bad.problem.code or "bad_request"
        )
        house.world.metrics.answered(codec.protocol.value, "", "", bad.problem.status, 0.0)
        return problem_reply(codec, bad.problem, [*own_headers(rules, incoming.id)])
    now = house.world.clock()
    exchange = replace(exchange, received=int(now))
    view = View(exchange, incoming.caller, now, house.shell_tools, house.world.estimates.tokens)
    passage = Passage(incoming, Judge(reading, view, house.world), house)
    reply = await _reply(passage)
    if reply.chunks is None and passage.judge.tape is not None:
        passage.judge.end_tape()  # a refusal has no end of its own; what flows ends with its last byte
    return await remembering(passage, reply) if codec.protocol is Protocol.OPENAI_RESPONSES else reply


async def _reply(passage: Passage) -> Reply:
    """Every way that an exchange can end, in the order in which it can. What no rule concerns is not even called."""
    reading = passage.reading
    try:
        if reading.needs_session:
            await identify(passage.view, passage.world)
        stopped = await _admitted(passage) if reading.admits else None
        if stopped is None and reading.commands:
            stopped = await _commanded(passage)
        if stopped is None:
            _within_scope(passage)
            stopped = await _governed(passage) if reading.governs_requests else None
        if stopped is not None:
            return stopped
        plan = await _routed(passage) if passage.judge.has(Phase.ROUTE) else _by_model(passage)
        steered = reading.steers or passage.world.has_hidden_turns
        sent = await _with_hidden_turns(passage) if steered else passage.view.exchange
        if passage.incoming.counts:
            return await counted(passage, sent, plan)
        attempts = Attempts(plan, passage.judge, passage.codec, passage.incoming.headers, passage.world, passage.bill)
        if passage.view.exchange.stream:
            return await streamed_answer(passage, sent, attempts)
        return await whole_answer(passage, sent, attempts)
    except NotServed as unserved:
        problem = Problem(
            status=404, message=str(unserved), kind="invalid_request_error", code="model_not_found", param="model"
        )
        return passage.stopped(problem)
    except OutOfScope as refused:
        denied = refused.denied
        return passage.stopped(
            Problem(
                status=denied.status, message=denied.message, kind=denied.kind, code=denied.code, param=denied.param
            )
        )
    except Failure as failure:
        await passage.done("error")
        return passage.failed(failure)


def _within_scope(passage: Passage) -> None:
    """What the client asks for, by its own words, is in the caller's scope. Raises OutOfScope."""
    grant, exchange, routes = passage.incoming.grant, passage.view.exchange, passage.house.routes
    if grant is EVERYTHING:
        return
    grant.admit_model(exchange.model, routes.default_models, routes.default)
    grant.admit_tools([tool.name for tool in exchange.tools])


async def _admitted(passage: Passage) -> Reply | None:
    """The rate limits of phase `request`, on the event as it came."""
    decision = await passage.judge.judge(Phase.REQUEST, Stage.ADMISSION)
    return await _refusal(passage, decision)


async def _commanded(passage: Passage) -> Reply | None:
    """The command in the newest message, answered in the model's place; no backend sees it, now or later."""
    match await run_commands(passage):
        case str() if passage.incoming.counts:
            return estimated(passage, passage.view.exchange)
        case str() as answer:
            return await _responded(passage, answer)
        case refused:
            return await _refusal(passage, refused)


async def _governed(passage: Passage) -> Reply | None:
    """The rules on the request, then on every tool result in it."""
    decision = await passage.judge.judge(Phase.REQUEST)
    _fold(passage, decision)
    refused = await _refusal(passage, decision)
    if refused is not None or not passage.judge.has(Phase.TOOL_RESULT):
        return refused
    for index, message in enumerate(passage.view.exchange.messages):
        if not message.tool_call_id:
            continue
        section = result_section(passage.view.exchange, index)
        decision = await passage.judge.judge(Phase.TOOL_RESULT, result=section)
        if decision is None:
            continue
        refused = await _refusal(passage, decision)
        if refused is not None:
            return refused
        ops = [
            replace(op, path=("request", "messages", index, *op.path[1:]))
            for effect in decision.effects
            if isinstance(effect, Patch)
            for op in effect.ops
        ]
        if ops:
            passage.view.replace(folded(passage.view.exchange, ops))
    return None


def _fold(passage: Passage, decision: Decision | None) -> None:
    """What transforms decided, written into the exchange."""
    exchange = passage.view.exchange
    for effect in decision.effects if decision is not None else ():
        match effect:
            case Patch(ops):
                exchange = folded(exchange, ops)
            case SetHeader(to="upstream"):
                exchange = with_header(exchange, effect)
            case SetHeader(name=name, value=value):
                passage.client_headers.append((name.encode(), value.encode("latin-1", "replace")))
            case _:
                pass
    passage.view.replace(exchange)


async def _refusal(passage: Passage, decision: Decision | None) -> Reply | None:
    """The reply of a decision that lets no request through; None where it does."""
    if decision is None or not decision.refused:
        return None
    match decision.effect:
        case Respond() if passage.incoming.counts:
            return estimated(passage, passage.view.exchange)  # no backend would see it
        case Respond(message=message) if passage.codec.protocol is Protocol.OPENAI_EMBEDDINGS:
            return passage.stopped(Problem(status=400, message=message, code="policy_blocked"), decision.by)
        case Respond(message=message):
            return await _responded(passage, message)
        case Block(message=message, status=status, code=code, retry_after=retry_after):
            kind = {429: "rate_limit_error"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
            problem = Problem(status=status, message=message, kind=kind, code=code, retry_after=retry_after)
            return passage.stopped(problem, decision.by)
        case _:
            raise AssertionError(f"{decision.verdict} is no verdict of phase {decision.phase}")


async def _responded(passage: Passage, message: str) -> Reply:
    """An answer in the model's place, streaming or not, as the client asked."""
    exchange = passage.view.exchange
    choice = Choice(parts=(Part(kind="text", text=message),), finish="stop")
    answer = Answer(model=exchange.model, choices=(choice,), usage=Usage())
    passage.answered(200)
    if passage.reading.needs_session:
        await remember_chain(passage.view, passage.world, message, ())
    if not exchange.stream:
        return Reply(200, passage.headers(JSON), passage.codec.encode_answer(answer, exchange))
    wants_usage = passage.codec.ask_for_usage(exchange) is exchange
    writer = passage.codec.writer(exchange)
    body = b"".join(writer.write([chunk]) for chunk in answer_chunks(answer, usage=wants_usage))
    return Reply(200, passage.headers(stream_kind(passage.codec, exchange)), body)


async def _routed(passage: Passage) -> Plan:
    """The legs that rules choose, or the model. Raises NotServed."""
    decision = await passage.judge.judge(Phase.ROUTE)
    routes = passage.house.routes
    if decision is None or decision.route is None:
        return _by_model(passage)
    chosen = decision.route
    if chosen.optional:
        return _optional(passage, chosen.plan)
    if chosen.fixed:
        return routes.plan(chosen.plan)
    plan = routes.chosen(chosen.plan, passage.view.session.vars)
    if plan.name:
        passage.incoming.grant.admit_route(plan.name)
        return plan
    return _within_reach(passage, plan)


def _optional(passage: Passage, text: str) -> Plan:
    """A route that a policy names by its own lists; where it is not configured, the one of the model. Raises NotServed."""
    routes = passage.house.routes
    try:
        return routes.chosen(text)
    except NotServed as missing:
        if routes.misses(text):
            help = "name it in `routes`, or switch the rule off"
            passage.world.log.warning("route passed over", route=text, reason=str(missing), help=help)
        return _by_model(passage)


def _by_model(passage: Passage) -> Plan:
    """The plan of the model that the client asked for. Raises NotServed, OutOfScope."""
    routes, asked = passage.house.routes, passage.view.exchange.model
    plan = routes.for_model(asked)
    return plan if routes.default and asked in routes.default_models else _within_reach(passage, plan)


def _within_reach(passage: Passage, plan: Plan) -> Plan:
    """The backends and models that a name leads to are in the caller's scope; a named route is the operator's choice.

    Raises OutOfScope.
    """
    grant, exchange = passage.incoming.grant, passage.view.exchange
    if grant is not EVERYTHING:
        for leg in plan.leaves:
            grant.admit_attempt(leg.backend, with_model(leg, exchange.model).model)
    return plan


async def _with_hidden_turns(passage: Passage) -> Exchange:
    """The history as the backend knows it: what steering hid from the client is put back where it stood."""
    exchange = passage.view.exchange
    keys = keys_in(passage.view.original, exchange.messages, passage.view.caller.id, exchange.protocol)
    if not keys:
        return exchange
    try:
        found = (await passage.world.store.read(keys=set(keys.values()))).values
    except store.StoreDown:
        passage.world.metrics.store_failed("read")
        return exchange
    return put_back(exchange, {index: found[key].value for index, key in keys.items() if key in found})
