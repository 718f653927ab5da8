"""Runs the command in a request: its rules decide, and what they say answers it in the model's place."""

from typing import Final

from engine.model.decision import Decision, Mode, OutcomeKind
from engine.model.effects import Block, Respond
from engine.model.exchange import Message, Protocol
from engine.model.phases import Phase
from engine.passage.commands import (
    Found,
    answer_key,
    find_commands,
    known_in,
    left_of,
    refusal_of,
    section_of,
    wrong_arguments,
)
from engine.passage.passage import Passage
from engine.policy.commands import WrongArguments
from engine.world.store import base as store

_OFF: Final = "Commands in messages are switched off here."


async def run_commands(passage: Passage) -> Decision | str | None:
    """Take the commands out of the conversation and run the newest.

    A text answers the client in the model's place, a decision refuses the request, and None lets it go on.
    """
    table, settings = passage.judge.rules.commands, passage.world.settings.commands
    exchange = passage.view.exchange
    if not table or exchange.protocol is Protocol.OPENAI_EMBEDDINGS:
        return None
    found = find_commands(exchange, table, settings.prefix)
    if found is None:
        return None
    passage.view.replace(left_of(exchange, found, await _answers_in(passage, found)))
    if passage.incoming.counts:  # what is only counted does nothing
        return None if found.newest is None or found.says_more else ""
    if found.newest is None or not settings.enabled:
        return None if found.says_more else _OFF
    answer = await _run(passage, found)
    if isinstance(answer, str):
        await _keep_answer(passage, answer)
    return answer


async def _run(passage: Passage, found: Found) -> Decision | str | None:
    table, prefix = passage.judge.rules.commands, passage.world.settings.commands.prefix
    spoken, caller = found.newest, passage.view.caller
    assert spoken is not None
    if refusal := refusal_of(table, spoken, prefix, caller):
        return refusal
    command = table.get(spoken.name)
    assert command is not None
    try:
        known = known_in(passage.house.routes, await passage.judge.variables())
        section = section_of(command, spoken, known, table, prefix, caller)
    except WrongArguments as wrong:
        return wrong_arguments(command, wrong, prefix)
    decision = await passage.judge.judge(Phase.COMMAND, command=section)
    match decision.effect if decision is not None else None:
        case Block():
            return decision
        case Respond(message=message):
            return message
        case _:
            pass
    if decision is None or not _acted(decision):
        return f"`{prefix}{command.name}` does nothing here: no rule answers it for you."
    return None if found.says_more else f"`{prefix}{command.name}`: done."


def _acted(decision: Decision) -> bool:
    return any(each.outcome is OutcomeKind.MATCHED and each.mode is Mode.ENFORCE for each in decision.outcomes)


def _asked(passage: Passage) -> Message:
    """The newest message as the client sent it, and will re-send it."""
    return next(each for each in reversed(passage.view.original) if each.role not in ("system", "developer"))


async def _answers_in(passage: Passage, found: Found) -> frozenset[int]:
    """The places of the messages in which we answered earlier commands."""
    original, caller = passage.view.original, passage.view.caller.id
    keys = {
        place: answer_key(caller, original[place - 1], original[place].text)
        for place in found.answered
        if place not in found.certain
    }
    if not keys:
        return found.certain
    try:
        known = (await passage.world.store.read(keys=set(keys.values()))).values
    except store.StoreDown:
        passage.world.metrics.store_failed("read")
        return found.certain
    return found.certain | {place for place, key in keys.items() if key in known}


async def _keep_answer(passage: Passage, answer: str) -> None:
    key = answer_key(passage.view.caller.id, _asked(passage), answer)
    ttl = float(passage.world.settings.limits.session_ttl)
    try:
        await passage.world.store.commit([store.Put(key, b"true", ttl)])
    except store.StoreDown:
        passage.world.metrics.store_failed("commit")
