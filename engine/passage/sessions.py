"""Which conversation a request belongs to: as the client names it, else as its history proves it, else a new one.

An inferred session is a chain: when an answer went out, the fingerprint of the whole conversation up to it is kept; a
request whose history begins with exactly that conversation extends it. Nothing is guessed: where the proof is missing
(two conversations that merely begin alike, an answer that the client changed), a new session begins.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from engine.model.exchange import Exchange, Message, ToolCall
from engine.passage.view import Session, View
from engine.world import World
from engine.world.store import base as store

CHAINS: Final = "chains"
LOOKED_UP: Final = 16
"""How many of the newest answers of a history are looked for."""

_HEADERS: Final = ("x-session-id", "x-claude-code-session-id", "session-id", "x-session-affinity")
_LONGEST: Final = 200


def named_session(exchange: Exchange) -> Session | None:
    """The session that the client names: by header, or in `metadata.user_id` as Claude Code does."""
    headers = exchange.headers
    for header in _HEADERS[:2]:
        if value := headers.get(header):
            return Session(_bounded(f"{header}/{value}"), "explicit", _thread(exchange))
    if value := _metadata_session(exchange.params.get("metadata")):
        return Session(_bounded(f"metadata/{value}"), "explicit", _thread(exchange))
    for header in _HEADERS[2:]:
        if value := headers.get(header):
            return Session(_bounded(f"{header}/{value}"), "explicit", _thread(exchange))
    return None


def _metadata_session(metadata: Any) -> str:
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return ""
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


def conversation_digests(messages: Sequence[Message]) -> list[tuple[int, str]]:
    """For every assistant message, newest last: its place, and the digest of the conversation up to and with it."""
    state = hashlib.blake2b(digest_size=20)
    found: list[tuple[int, str]] = []
    for index, message in enumerate(messages):
        state.update(_said(message.role, message.text, message.tool_calls, message.tool_call_id))
        if message.role == "assistant":
            found.append((index, state.copy().hexdigest()))
    return found


def extended_digest(messages: Sequence[Message], text: str, calls: Iterable[ToolCall]) -> str:
    """The digest of a conversation with the answer that it was given."""
    answer = Message(role="assistant", tool_calls=tuple(calls))
    state = hashlib.blake2b(digest_size=20)
    for message in messages:
        state.update(_said(message.role, message.text, message.tool_calls, message.tool_call_id))
    state.update(_said("assistant", text, answer.tool_calls, ""))
    return state.hexdigest()


def _said(role: str, text: str, calls: Sequence[ToolCall], answered: str) -> bytes:
    return msgspec.json.encode((role, text.strip(), [(call.id, call.name) for call in calls], answered))


def _key(view: View, digest: str) -> store.Key:
    return store.Key(CHAINS, f"caller/{view.caller.id}", digest)


async def identify(view: View, world: World) -> None:
    """Find the session of a request; of this caller's alone."""
    named = named_session(view.exchange)
    if named is not None:
        view.session = named
        return
    view.session = Session(view.exchange.id, "inferred")
    digests = conversation_digests(view.exchange.messages)[-LOOKED_UP:]
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
    digest = extended_digest(view.original, text, calls)
    ttl = float(world.settings.limits.session_ttl)
    try:
        await world.store.commit([store.Put(_key(view, digest), msgspec.json.encode(view.session.id), ttl)])
    except store.StoreDown:
        world.metrics.store_failed("commit")
