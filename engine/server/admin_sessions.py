"""Sessions: which there are, what rules remember of them, and how one is ended or its state forgotten."""

from typing import Annotated, Any, Final
from urllib.parse import quote, unquote

import msgspec
from litestar.datastructures import State
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from engine.passage.sessions import CHAINS
from engine.world.store.base import Clear, Delete, Key

from .admin_base import FOR_OPERATORS, NEEDS, AnyRequest, Body, Desk, Limit, Refusal, desk, get, noted, post

READ_AT_MOST: Final = 20_000
"""Facts of the store that one question reads."""

_STATE: Final = ("vars", "labels")
_OWN: Final = (*_STATE, "placeholder-keys")
_OWNER: Final = "session/"
_CALLER: Final = "caller/"
Text = Annotated[str, Meta(min_length=1, max_length=400)]


class SessionRef(Body, frozen=True, kw_only=True):
    """Which session: of which caller, and in clients that have threads, which thread."""

    caller: Text
    session: Text
    thread: Annotated[str, Meta(max_length=400)] = ""

    @property
    def owner(self) -> str:
        return "/".join(("session", *(quote(each, safe="") for each in (self.caller, self.session, self.thread))))


class SessionView(msgspec.Struct, kw_only=True):
    """A session that something is remembered of. What clients and models said is not."""

    caller: str
    session: str
    thread: str = ""
    vars: dict[str, Any] = msgspec.field(default_factory=dict)
    labels: list[str] = msgspec.field(default_factory=list)
    turns: Annotated[int, Meta(description="Answers by which a session without a name is known again.")] = 0


class SessionList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[SessionView]
    complete: Annotated[bool, Meta(description="Whether all that is stored was read, and all sessions are shown.")]


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    facts: Annotated[int, Meta(description="How much was forgotten: variables, labels, answers.")]


def _ref(owner: str) -> SessionRef | None:
    parts = owner.removeprefix(_OWNER).split("/")
    if not owner.startswith(_OWNER) or len(parts) != 3:
        return None
    caller, session, thread = (unquote(each) for each in parts)
    return SessionRef(caller=caller, session=session, thread=thread)


async def _chains(at: Desk, caller: str | None) -> tuple[list[tuple[Key, str]], bool]:
    """The answers that sessions without a name are known by, each with its session; whether these are all."""
    found: list[tuple[Key, str]] = []
    after: Key | None = None
    owner = None if caller is None else f"{_CALLER}{caller}"
    while True:
        page = await at.world.store.scan(CHAINS, owner, after=after, limit=500)
        found += [(key, msgspec.json.decode(fact.value, type=str)) for key, fact in page.facts.items()]
        if page.after is None or len(found) >= READ_AT_MOST:
            return found, page.after is None
        after = page.after


@get("/sessions", tags=["sessions"])
async def list_sessions(
    state: State,
    caller: Annotated[str | None, QueryParameter(max_length=400, description="Only of this caller.")] = None,
    session: Annotated[str | None, QueryParameter(max_length=400, description="Only this session.")] = None,
    limit: Limit = 100,
) -> SessionList:
    """Sessions that something is remembered of, by caller and name."""
    at = desk(state)
    found: dict[tuple[str, str, str], SessionView] = {}
    complete = True

    def view(ref: SessionRef) -> SessionView | None:
        if (caller is not None and ref.caller != caller) or (session is not None and ref.session != session):
            return None
        place = (ref.caller, ref.session, ref.thread)
        return found.setdefault(place, SessionView(caller=ref.caller, session=ref.session, thread=ref.thread))

    for space in _STATE:
        after: Key | None = None
        read = 0
        while True:
            page = await at.world.store.scan(space, after=after, limit=500)
            read += len(page.facts)
            for key, fact in page.facts.items():
                ref = _ref(key.owner)
                each = view(ref) if ref is not None else None
                if each is not None and space == "vars":
                    each.vars[key.name] = msgspec.json.decode(fact.value)
                elif each is not None:
                    each.labels.append(key.name)
            after = page.after
            if after is None or read >= READ_AT_MOST:
                complete = complete and after is None
                break
    chains, all_of_them = await _chains(at, caller)
    for key, name in chains:
        each = view(SessionRef(caller=key.owner.removeprefix(_CALLER), session=name))
        if each is not None:
            each.turns += 1
    items = [found[place] for place in sorted(found)]
    return SessionList(items=items[:limit], complete=complete and all_of_them and len(items) <= limit)


async def _forget(at: Desk, ref: SessionRef, spaces: tuple[str, ...]) -> int:
    done = await at.world.store.commit([Clear(space, ref.owner) for space in spaces])
    results = getattr(done, "results", ())
    return sum(each for each in results if isinstance(each, int))


@post("/sessions/reset", tags=["sessions"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def reset_session(request: AnyRequest, state: State, data: JSONBody[SessionRef]) -> Forgotten:
    """Forget what rules remember of a session: variables, counters and labels. The session goes on."""
    count = await _forget(desk(state), data, _STATE)
    if not count:
        raise Refusal(404, "session_not_found", "Nothing is remembered of this session.")
    noted(request, "sessions.reset", data.session, caller=data.caller, thread=data.thread, facts=count)
    return Forgotten(facts=count)


@post("/sessions/end", tags=["sessions"], status_code=200, opt={NEEDS: FOR_OPERATORS})
async def end_session(request: AnyRequest, state: State, data: JSONBody[SessionRef]) -> Forgotten:
    """Forget a session as a whole: its next request begins a new one, or without anything remembered under its name."""
    at = desk(state)
    count = await _forget(at, data, _OWN)
    chains, _ = await _chains(at, data.caller)
    links = [Delete(key) for key, name in chains if name == data.session]
    for start in range(0, len(links), 100):
        await at.world.store.commit(links[start : start + 100])
    if not count + len(links):
        raise Refusal(404, "session_not_found", "Nothing is remembered of this session.")
    noted(request, "sessions.end", data.session, caller=data.caller, thread=data.thread, facts=count + len(links))
    return Forgotten(facts=count + len(links))


ROUTES: Final = (list_sessions, reset_session, end_session)
