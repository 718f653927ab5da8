"""Sessions as rules see them, in every protocol: by what clients say or by history, and never another caller's."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from engine.access.registry import Draft
from tests.support import anthropic_mock, gemini_mock, openai_mock, responses_mock
from tests.support.lexgate import Lexgate
from tests.support.provider import Provider
from tests.support.team import bearer, issue, team_settings

from .conftest import Serve

SEEN = """
version: 1
policy: seen
rules:
  - id: turns
    phase: request
    actions: [{count: {key: turns, ttl: 1h}}]
  - id: tell
    phase: done
    actions: [{log: {message: "turn {{ var('turns', `0`) }} of {{ session.kind }} {{ session.thread }}"}}]
"""
"""Counts the turns of a session, and says the count."""


class Wire(msgspec.Struct, frozen=True):
    """How a protocol's client talks: its provider, a first request, and the same with an answer and more behind it."""

    mock: Callable[..., Provider[Any]]
    backend: str
    path: str
    replies: Callable[[], list[Any]]
    first: Callable[[str], dict[str, Any]]
    again: Callable[[dict[str, Any], Any], dict[str, Any]]


def _chat(text: str) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
    return {"model": "m", "messages": [{"role": "user", "content": text}], "tools": [tool]}


def _chat_again(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    message = answer["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in message["tool_calls"]]
    return {**body, "messages": [*body["messages"], message, *results]}


def _messages(text: str) -> dict[str, Any]:
    tool = {"name": "bash", "input_schema": {"type": "object"}}
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}], "tools": [tool]}


def _messages_again(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "done"}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    more = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": results}]
    return {**body, "messages": [*body["messages"], *more]}


def _responses(text: str) -> dict[str, Any]:
    tool = {"type": "function", "name": "bash", "parameters": {"type": "object"}, "strict": False}
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"model": "m", "input": [said], "tools": [tool], "store": False}


def _responses_again(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "done"}
        for item in answer["output"]
        if item["type"] == "function_call"
    ]
    return {**body, "input": [*body["input"], *answer["output"], *results]}


def _gemini(text: str) -> dict[str, Any]:
    tool = {"functionDeclarations": [{"name": "bash", "parametersJsonSchema": {"type": "object"}}]}
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "tools": [tool]}


def _gemini_again(body: dict[str, Any], answer: Any) -> dict[str, Any]:
    content = answer["candidates"][0]["content"]
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    results = [
        {"functionResponse": {**_id(call), "name": call["name"], "response": {"output": "done"}}} for call in calls
    ]
    return {**body, "contents": [*body["contents"], content, {"role": "user", "parts": results}]}


def _id(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": call["id"]} if "id" in call else {}


LS = ("bash", '{"command":"ls"}')
WIRES = {
    "openai-chat": Wire(
        openai_mock.OpenAIMock,
        "openai",
        "/v1/chat/completions",
        lambda: [openai_mock.Reply(text="Looking.", calls=(openai_mock.Call(*LS),))],
        _chat,
        _chat_again,
    ),
    "anthropic": Wire(
        anthropic_mock.AnthropicMock,
        "anthropic",
        "/v1/messages",
        lambda: [anthropic_mock.reply(anthropic_mock.Text("Looking."), anthropic_mock.Call(*LS))],
        _messages,
        _messages_again,
    ),
    "openai-responses": Wire(
        responses_mock.ResponsesMock,
        "openai",
        "/v1/responses",
        lambda: [responses_mock.reply(responses_mock.Text("Looking."), responses_mock.Call(*LS))],
        _responses,
        _responses_again,
    ),
    "gemini": Wire(
        gemini_mock.GeminiMock,
        "gemini",
        "/v1beta/models/m:generateContent",
        lambda: [gemini_mock.reply(gemini_mock.Text("Looking."), gemini_mock.Call(*LS))],
        _gemini,
        _gemini_again,
    ),
}


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
def mock(wire: Wire) -> Iterator[Provider[Any]]:
    with wire.mock() as mock:
        yield mock


def served(serve: Serve, wire: Wire, mock: Provider[Any]) -> Lexgate:
    capabilities = {"capabilities": {"responses": True}} if wire.path == "/v1/responses" else {}
    backend = {"protocol": wire.backend, "base_url": mock.base_url, "api_key": "key", "models": ["*"], **capabilities}  # type: ignore[attr-defined]
    return serve(SEEN, settings={"backends": {"one": backend}})


def told(lexgate: Lexgate) -> list[str]:
    return [line["event"].strip() for line in lexgate.logs if line["event"].startswith("turn ")]


def test_a_history_that_goes_on_is_the_same_session(serve: Serve, wire: Wire, mock: Provider[Any]) -> None:
    """Also where the turn between was a tool call, with its text in front."""
    lexgate = served(serve, wire, mock)
    body = wire.first("Tidy up.")
    for _ in range(3):
        mock.script(*wire.replies())
        raw = lexgate.post(body, wire.path)
        assert raw.status == 200, raw.body
        body = wire.again(body, raw.json)
    mock.script(*wire.replies())
    assert lexgate.post(wire.first("Something else."), wire.path).status == 200
    assert told(lexgate) == ["turn 1 of inferred", "turn 2 of inferred", "turn 3 of inferred", "turn 1 of inferred"]


@pytest.mark.parametrize(
    ("headers", "thread"),
    [
        ({"x-session-id": "s"}, ""),
        ({"x-claude-code-session-id": "s"}, ""),
        ({"session-id": "s", "thread-id": "t"}, " t"),
        ({"x-session-affinity": "s"}, ""),
    ],
    ids=str,
)
def test_a_session_that_the_client_names_is_one_whatever_it_says(
    serve: Serve, wire: Wire, mock: Provider[Any], headers: dict[str, str], thread: str
) -> None:
    lexgate = served(serve, wire, mock)
    for text in ("One.", "Two."):
        mock.script(*wire.replies())
        assert lexgate.post(wire.first(text), wire.path, headers).status == 200
    assert told(lexgate) == [f"turn 1 of explicit{thread}", f"turn 2 of explicit{thread}"]


def test_a_thread_has_a_state_of_its_own(serve: Serve, wire: Wire, mock: Provider[Any]) -> None:
    lexgate = served(serve, wire, mock)
    for thread in ("a", "b", "a"):
        mock.script(*wire.replies())
        headers = {"session-id": "s", "thread-id": thread}
        assert lexgate.post(wire.first("Go."), wire.path, headers).status == 200
    assert told(lexgate) == ["turn 1 of explicit a", "turn 1 of explicit b", "turn 2 of explicit a"]


def test_claude_codes_metadata_names_its_session(serve: Serve) -> None:
    wire = WIRES["anthropic"]
    with wire.mock() as mock:
        lexgate = served(serve, wire, mock)
        for user in ('{"device_id":"d","session_id":"s-1"}', "user_1a_account_2b_session_s-1"):
            mock.script(*wire.replies())
            body = {**wire.first("Go."), "metadata": {"user_id": user}}
            assert lexgate.post(json.dumps(body).encode(), wire.path).status == 200
        assert told(lexgate) == ["turn 1 of explicit", "turn 2 of explicit"]


def test_two_callers_never_share_a_session_however_they_name_it(
    wire: Wire, mock: Provider[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither by the same identifier, nor by the same history."""
    folder = tmp_path_factory.mktemp("team")
    issue(folder, Draft(name="root", roles=("admin",)))
    one, two = (issue(folder, Draft(name=name, team="a")) for name in ("one", "two"))
    capabilities = {"capabilities": {"responses": True}} if wire.path == "/v1/responses" else {}
    backend = {"protocol": wire.backend, "base_url": mock.base_url, "api_key": "key", "models": ["*"], **capabilities}  # type: ignore[attr-defined]
    with Lexgate(folder, SEEN, settings=team_settings(backends={"one": backend})) as lexgate:
        body = wire.first("Tidy up.")
        for key in (one, two, one):
            mock.script(*wire.replies())
            raw = lexgate.post(body, wire.path, {**bearer(key), "x-session-id": "s"})
            assert raw.status == 200, raw.body
        body = wire.first("Tidy up.")
        for key in (one, two):
            mock.script(*wire.replies())
            raw = lexgate.post(body, wire.path, bearer(key))
            body = wire.again(body, raw.json)
        assert told(lexgate) == [
            *("turn 1 of explicit", "turn 1 of explicit", "turn 2 of explicit"),
            *("turn 1 of inferred", "turn 1 of inferred"),
        ]
