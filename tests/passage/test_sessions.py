"""Which session a request belongs to, by what the client says and by its history."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.exchange import Exchange, Message, Part, Protocol, ToolCall
from engine.passage.sessions import conversation_digests, extended_digest, named_session, owner_of
from engine.passage.view import Session

CHAT = Protocol.OPENAI_CHAT
CLAUDE_CODE = json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s-1"})


def asking(headers: dict[str, str] | None = None, user_id: Any = None) -> Exchange:
    params = {"metadata": {"user_id": user_id}} if user_id is not None else {}
    return Exchange(id="e", protocol=Protocol.ANTHROPIC, model="m", stream=False, headers=headers or {}, params=params)


def said(role: str, text: str = "", *calls: str, answers: str = "") -> Message:
    made = tuple(ToolCall(id=call, name="bash") for call in calls)
    parts = (Part(kind="text", text=text),) if text else ()
    return Message(role=role, parts=parts, tool_calls=made, tool_call_id=answers)


def test_the_sources_count_in_their_order() -> None:
    order = ["x-session-id", "x-claude-code-session-id", "metadata", "session-id", "thread-id", "x-session-affinity"]
    for place, source in enumerate(order):
        headers = {name: f"by {name}" for name in order[place:] if name != "metadata"}
        session = named_session(asking(headers, CLAUDE_CODE if place <= 2 else None))
        assert session is not None
        assert session.id == ("metadata/s-1" if source == "metadata" else f"{source}/by {source}")
        assert session.kind == "explicit"


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (CLAUDE_CODE, "metadata/s-1"),
        ("user_0a1b_account_4c6d-e_session_11aa-22bb", "metadata/11aa-22bb"),
        ("user_0a1b_account__session_11aa-22bb", "metadata/11aa-22bb"),
        ("user_0a1b_session_11aa", "metadata/11aa"),
        ("somebody", None),
        ("somebody_session_", None),
        ('{"session_id": 3}', None),
        ("{", None),
        ("[]", None),
        (3, None),
        ("", None),
    ],
)
def test_claude_codes_user_id_names_its_session(user_id: Any, session: str | None) -> None:
    found = named_session(asking(user_id=user_id))
    assert (found.id if found else None) == session


def test_a_thread_separates_the_sub_agents_of_a_session() -> None:
    one, two = (named_session(asking({"session-id": "s", "thread-id": thread})) for thread in "ab")
    assert one is not None
    assert two is not None
    assert one.id == two.id
    assert owner_of("me", one) != owner_of("me", two)


def test_an_identifier_that_is_too_long_is_still_one_of_its_own() -> None:
    ids = set()
    for ending in "ab":
        found = named_session(asking({"x-session-id": "x" * 5000 + ending}))
        assert found is not None
        assert len(found.id) <= 200
        ids.add(found.id)
    assert len(ids) == 2


def test_nothing_named_is_no_session() -> None:
    assert named_session(asking()) is None
    assert named_session(asking({"x-session-id": ""})) is None


names = st.text("ab/%", max_size=6)


@given(st.tuples(names, names, names), st.tuples(names, names, names))
def test_no_two_sessions_of_any_callers_have_the_same_owner(one: Any, two: Any) -> None:
    """A caller may be named as a client likes (a token's subject), also with slashes."""
    owners = [owner_of(caller, Session(id, "explicit", thread)) for caller, id, thread in (one, two)]
    assert (owners[0] == owners[1]) == (one == two)


def test_a_request_extends_the_conversation_that_was_answered() -> None:
    history = (said("system", "Be brief."), said("user", "Hi."))
    kept = extended_digest(history, "Hello!", (), CHAT)
    again = (*history, said("assistant", "Hello!"), said("user", "And?"))
    assert [digest for _, digest in conversation_digests(again, CHAT)] == [kept]


def test_an_answer_in_several_items_is_one_answer() -> None:
    """A client of Responses sends reasoning, text and each call as items of their own."""
    history = (said("user", "Tidy."),)
    calls = [ToolCall(id="c1", name="bash"), ToolCall(id="c2", name="bash")]
    kept = extended_digest(history, "Looking.", calls, Protocol.OPENAI_RESPONSES)
    items = (said("assistant"), said("assistant", "Looking."), said("assistant", "", "c1"), said("assistant", "", "c2"))
    results = (said("tool", "a", answers="c1"), said("tool", "b", answers="c2"))
    assert conversation_digests((*history, *items, *results), Protocol.OPENAI_RESPONSES) == [(4, kept)]


def test_calls_of_gemini_are_known_by_what_they_ask_for() -> None:
    """Gemini may leave a call without an id; Gemini CLI re-sends it with one of its own."""

    def call(id: str, arguments: str) -> ToolCall:
        return ToolCall(id=id, name="run_shell_command", arguments=arguments)

    def digests(id: str, arguments: str) -> list[tuple[int, str]]:
        answer = Message(role="assistant", tool_calls=(call(id, arguments),))
        return conversation_digests((said("user", "Tidy."), answer), Protocol.GEMINI)

    kept = extended_digest((said("user", "Tidy."),), "", [call("made", '{"a":1,"b":[2]}')], Protocol.GEMINI)
    assert digests("run_shell_command_17_0", '{ "b": [2], "a": 1 }') == [(1, kept)]
    assert digests("made", '{"a":1,"b":[3]}') != [(1, kept)]


@pytest.mark.parametrize(
    "again",
    [
        (said("user", "Hi."), said("assistant", "Hello!!")),
        (said("user", "Hi!"), said("assistant", "Hello!")),
        (said("system", "Other."), said("user", "Hi."), said("assistant", "Hello!")),
        (said("user", "Hi."), said("assistant", "Hello!", "c1")),
        (said("user", "Hi."), said("user", "Hi."), said("assistant", "Hello!")),
    ],
)
def test_a_conversation_that_differs_anywhere_proves_nothing(again: tuple[Message, ...]) -> None:
    kept = extended_digest((said("user", "Hi."),), "Hello!", (), CHAT)
    assert kept not in {digest for _, digest in conversation_digests(again, CHAT)}
