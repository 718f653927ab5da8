"""Which conversation a request belongs to: as the client names it, else as its history proves it, else a new one.

An inferred session is a chain: when an answer went out, the fingerprint of the whole conversation up to it is kept; a
request whose history begins with exactly that conversation extends it. Nothing is guessed: where the proof is missing
(two conversations that merely begin alike, an answer that the client changed), a new session begins.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote

import msgspec

from engine.model.exchange import Exchange, Message, Part, Protocol, ToolCall
from engine.passage.view import Session, View
from engine.world import World
from engine.world.store import base as store

CHAINS: Final = "chains"
LOOKED_UP: Final = 16
"""How many of the newest answers of a history are looked for."""

_BEFORE_METADATA: Final = ("x-session-id", "x-claude-code-session-id")
_AFTER_METADATA: Final = ("session-id", "thread-id", "x-session-affinity")
"""Headers in which clients name a session, in the order in which they count. Codex names a thread too (`thread-id`)."""

_LONGEST: Final = 200
_IN_USER_ID: Final = re.compile(r"user_[^_]*(?:_account_[^_]*)?_session_([A-Za-z0-9-]+)")
"""`metadata.user_id` as Claude Code wrote it before it was a JSON object."""


def owner_of(caller: str, session: Session) -> str:
    """Whose a session's state is, as a name in the store. No two sessions share one, of whichever callers: what stands
    between the slashes holds none itself."""
    return "/".join(("session", quote(caller, safe=""), quote(session.id, safe=""), quote(session.thread, safe="")))


def named_session(exchange: Exchange) -> Session | None:
    """The session that the client names: by header, or in `metadata.user_id` as Claude Code does."""
    for source, value in _named(exchange):
        if value:
            return Session(_bounded(f"{source}/{value}"), "explicit", _thread(exchange))
    return None


def _named(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """The sources of a session's name, in the order in which they count."""
    headers = exchange.headers
    for header in _BEFORE_METADATA:
        yield header, headers.get(header, "")
    yield "metadata", _metadata_session(exchange.params.get("metadata"))
    for header in _AFTER_METADATA:
        yield header, headers.get(header, "")


def _metadata_session(metadata: Any) -> str:
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return ""
    older = _IN_USER_ID.fullmatch(user)
    if older is not None:
        return older[1]
    try:
        named = msgspec.json.decode(user)
    except msgspec.DecodeError:
        return ""
    session = named.get("session_id") if isinstance(named, dict) else None
    return session if isinstance(session, str) else ""


def _thread(exchange: Exchange) -> str:
    return exchange.headers.get("thread-id", "")[:_LONGEST]


def _bounded(name: str) -> str:
    """A client's identifier; one that is too long to keep is known by its digest."""
    return name if len(name) <= _LONGEST else hashlib.blake2b(name.encode(), digest_size=20).hexdigest()


def mark_of(call: ToolCall, protocol: Protocol) -> str:
    """By what a call is known when the client sends it again: its id, or with Gemini what it asks for.

    Gemini may leave a call without an id, and then clients re-send it with an id of their own (Gemini CLI).
    """
    return call.id if protocol is not Protocol.GEMINI else msgspec.json.encode(call.args, order="sorted").decode()


def conversation_digests(messages: Sequence[Message], protocol: Protocol) -> list[tuple[int, str]]:
    """For every answer of the assistant, newest last: its place, and the digest of the conversation up to and with it.

    Messages of the assistant in a row are one answer: in Responses its text and each of its calls are items of their own.
    """
    state = hashlib.blake2b(digest_size=20)
    found: list[tuple[int, str]] = []
    last = -1
    for answers, group in groupby(messages, key=_is_answer):
        run = list(group)
        last += len(run)
        if answers:
            text = "".join(message.text for message in run)
            calls = [(mark_of(call, protocol), call.name) for message in run for call in message.tool_calls]
            state.update(_said("assistant", text, calls, ""))
            found.append((last, state.copy().hexdigest()))
            continue
        for message in run:
            calls = [(mark_of(call, protocol), call.name) for call in message.tool_calls]
            state.update(_said(message.role, message.text, calls, message.tool_call_id))
    return found


def _is_answer(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_call_id


def extended_digest(messages: Sequence[Message], text: str, calls: Iterable[ToolCall], protocol: Protocol) -> str:
    """The digest of a conversation with the answer that it was given."""
    answer = Message(role="assistant", parts=(Part(kind="text", text=text),), tool_calls=tuple(calls))
    return conversation_digests((*messages, answer), protocol)[-1][1]


def _said(role: str, text: str, calls: Sequence[tuple[str, str]], answered: str) -> bytes:
    return msgspec.json.encode((role, text.strip(), calls, answered))


def _key(view: View, digest: str) -> store.Key:
    return store.Key(CHAINS, f"caller/{view.caller.id}", digest)


async def identify(view: View, world: World) -> None:
    """Find the session of a request; of this caller's alone."""
    named = named_session(view.exchange)
    if named is not None:
        view.session = named
        return
    view.session = Session(view.exchange.id, "inferred")
    digests = conversation_digests(view.exchange.messages, view.exchange.protocol)[-LOOKED_UP:]
    if not digests:
        return
    keys = [_key(view, digest) for _, digest in reversed(digests)]
    try:
        found = (await world.store.read(keys=keys)).values
    except store.StoreDown:
        world.metrics.store_failed("read")
        return
    for key in keys:
        if key in found:
            view.session = Session(msgspec.json.decode(found[key].value, type=str), "inferred")
            return


async def remember_chain(view: View, world: World, text: str, calls: Iterable[ToolCall]) -> None:
    """Keep the fingerprint of an inferred session's conversation, so that the next turn is known to extend it."""
    if view.session.kind != "inferred" or not view.session.id:
        return
    digest = extended_digest(view.original, text, calls, view.exchange.protocol)
    ttl = float(world.settings.limits.session_ttl)
    try:
        await world.store.commit([store.Put(_key(view, digest), msgspec.json.encode(view.session.id), ttl)])
    except store.StoreDown:
        world.metrics.store_failed("commit")
