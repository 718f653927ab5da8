"""Backends of the four protocols: each is a strict mock that is told its answers, and that tells what it was sent."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from tests.support import anthropic_mock, gemini_mock, openai_mock, responses_mock
from tests.support.openai_mock import OpenAIMock
from tests.support.provider import Provider, Received, Scripted
from tests.support.responses_mock import ResponsesMock


class Turn(msgspec.Struct, frozen=True):
    """What the model says, whatever its protocol. A call is id, name and arguments as JSON."""

    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    piece: int = 5


Told = tuple[str, ...]
"""One thing that a backend was sent: `system`, `user`, `said` or `thought` with a text, `call` with id, name and
arguments, `result` with id and text. A thought is what the provider knows it by: its signature or what it encrypted; a
thought of Gemini's that nothing signs is `mused`."""


class Backend(msgspec.Struct, frozen=True):
    """A provider: how it is configured and asked for, how it is scripted, and how what it was sent is read."""

    model: str
    settings: dict[str, Any]
    make: Callable[[str], Provider[Any]]
    reply: Callable[[Turn], Any]
    heard: Callable[[Any], Iterator[Told]]
    offered: Callable[[Any], list[str]]

    def told(self, body: Any) -> list[Told]:
        """What it was sent, in order; what was said in several pieces is one."""
        told: list[Told] = []
        for each in self.heard(body):
            if told and each[0] == told[-1][0] == "said":
                told[-1] = ("said", told[-1][1] + each[1])
            else:
                told.append(each)
        return told

    def script(self, mock: Provider[Any], *turns: Turn) -> None:
        mock.script(*(self.reply(turn) for turn in turns))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def _tool_names(body: Any) -> list[str]:
    return [tool["name"] for tool in body.get("tools") or ()]


def _chat_names(body: Any) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools") or ()]


# --- Chat Completions ------------------------------------------------------------------------------------------------


def _chat_reply(turn: Turn) -> Any:
    calls = tuple(openai_mock.Call(name, arguments, id) for id, name, arguments in turn.calls)
    return openai_mock.Reply(text=turn.text, reasoning=turn.thought, calls=calls, piece=turn.piece, fragment=3)


def _chat_heard(body: Any) -> Iterator[Told]:
    for message in body["messages"]:
        match message["role"]:
            case "tool":
                yield "result", message["tool_call_id"], _texts(message["content"])
            case "assistant":
                if text := _texts(message.get("content")):
                    yield "said", text
                for call in message.get("tool_calls") or ():
                    made = call["function"]
                    yield "call", call["id"], made["name"], _json(json.loads(made["arguments"]))
            case role:
                yield ("system" if role in ("system", "developer") else role), _texts(message["content"])


# --- Responses -------------------------------------------------------------------------------------------------------


def _responses_reply(turn: Turn) -> Any:
    thoughts = (responses_mock.Thought.of(turn.thought),) if turn.thought else ()
    texts = (responses_mock.Text(turn.text),) if turn.text else ()
    calls = (responses_mock.Call(name, arguments, id) for id, name, arguments in turn.calls)
    return responses_mock.reply(*thoughts, *texts, *calls, piece=turn.piece, fragment=3)


def _responses_heard(body: Any) -> Iterator[Told]:
    if body.get("instructions"):
        yield "system", body["instructions"]
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        match item.get("type", "message"):
            case "message":
                role = {"assistant": "said", "developer": "system"}.get(item["role"], item["role"])
                yield role, _texts(item["content"])
            case "reasoning":
                yield "thought", item["encrypted_content"]
            case "function_call":
                yield "call", item["call_id"], item["name"], _json(json.loads(item["arguments"]))
            case "function_call_output":
                yield "result", item["call_id"], _texts(item["output"])
            case other:
                raise AssertionError(f"an item of type {other}")


# --- Messages --------------------------------------------------------------------------------------------------------


def _messages_reply(turn: Turn) -> Any:
    thoughts = (anthropic_mock.Thinking(turn.thought),) if turn.thought else ()
    texts = (anthropic_mock.Text(turn.text),) if turn.text else ()
    calls = (anthropic_mock.Call(name, arguments, id) for id, name, arguments in turn.calls)
    return anthropic_mock.reply(*thoughts, *texts, *calls, piece=turn.piece, fragment=3)


def _messages_heard(body: Any) -> Iterator[Told]:
    if body.get("system"):
        yield "system", _texts(body["system"])
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match block["type"]:
                case "text":
                    yield ("said" if message["role"] == "assistant" else message["role"]), block["text"]
                case "thinking":
                    yield "thought", block["signature"]
                case "tool_use":
                    yield "call", block["id"], block["name"], _json(block["input"])
                case "tool_result":
                    yield "result", block["tool_use_id"], _texts(block["content"])
                case other:
                    raise AssertionError(f"a block of type {other}")


# --- a server of OpenAI's, that speaks both ---------------------------------------------------------------------------


class _Either(Scripted, frozen=True, kw_only=True):
    """An answer in the protocol that is asked for."""

    chat: openai_mock.Reply
    responses: responses_mock.Reply


class OpenAIBoth(Provider[_Either]):
    """Chat Completions and Responses at one address, as OpenAI has them: each as strict as its own mock."""

    def __init__(self, api_key: str = "") -> None:
        super().__init__(api_key=api_key)
        self._chat, self._responses = OpenAIMock(api_key=api_key), ResponsesMock(api_key=api_key)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        return (self._responses if "/responses" in received.path else self._chat).direct(received)

    def exhausted(self) -> bytes:
        return self._chat.exhausted()

    def failing(self, reply: _Either) -> bytes:
        return self._chat.failing(reply.chat)

    def whole(self, reply: _Either, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        if "input" in request:
            return self._responses.whole(reply.responses, request, number)
        return self._chat.whole(reply.chat, request, number)

    def stream(self, reply: _Either, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        if "input" in request:
            return self._responses.stream(reply.responses, request, number)
        return self._chat.stream(reply.chat, request, number)

    def named(self, number: int) -> dict[str, str]:
        return self._chat.named(number)


def _either_reply(turn: Turn) -> _Either:
    return _Either(chat=_chat_reply(turn), responses=_responses_reply(turn))


def _either_heard(body: Any) -> Iterator[Told]:
    return _responses_heard(body) if "input" in body else _chat_heard(body)


def _either_names(body: Any) -> list[str]:
    return _tool_names(body) if "input" in body else _chat_names(body)


# --- generateContent -------------------------------------------------------------------------------------------------


def _gemini_reply(turn: Turn) -> Any:
    thoughts = (gemini_mock.Thinking(turn.thought),) if turn.thought else ()
    texts = (gemini_mock.Text(turn.text),) if turn.text else ()
    calls = (
        gemini_mock.Call(name, arguments, id, signed=not place)
        for place, (id, name, arguments) in enumerate(turn.calls)
    )
    return gemini_mock.reply(*thoughts, *texts, *calls, piece=turn.piece)


def _gemini_heard(body: Any) -> Iterator[Told]:
    if "systemInstruction" in body:
        yield "system", _texts(body["systemInstruction"]["parts"])
    for content in body["contents"]:
        for part in content["parts"]:
            match part:
                case {"functionCall": call}:
                    if signature := part.get("thoughtSignature"):
                        yield "thought", signature
                    yield "call", call.get("id", ""), call["name"], _json(call.get("args") or {})
                case {"functionResponse": found}:
                    said = found["response"]
                    yield "result", found.get("id", ""), str(next(iter(said.values()), ""))
                case {"thought": True}:
                    yield "mused", part["text"]
                case {"text": text}:
                    yield ("said" if content.get("role") == "model" else "user"), text
                case _:
                    raise AssertionError(f"a part {part}")


def _gemini_offered(body: Any) -> list[str]:
    tools = body.get("tools") or ()
    return [each["name"] for tool in tools for each in tool.get("functionDeclarations") or ()]


def as_given(mock: Any, reply: Any) -> bytes:
    """The bytes of the mock's newest answer, which was this reply."""
    received, number = mock.requests[-1], mock._answers
    if mock.streams(received):
        return b"".join(mock.stream(reply, received.json, number))
    return json.dumps(mock.whole(reply, received.json, number)).encode()


BACKENDS: Final[dict[str, Backend]] = {
    "openai-chat": Backend(
        "gpt-5-mini", {"protocol": "openai"}, lambda key: OpenAIMock(api_key=key), _chat_reply, _chat_heard, _chat_names
    ),
    "openai-responses": Backend(
        "gpt-5",
        {"protocol": "openai", "capabilities": {"responses": True}},
        OpenAIBoth,
        _either_reply,
        _either_heard,
        _either_names,
    ),
    "anthropic": Backend(
        "claude-haiku-4-5",
        {"protocol": "anthropic"},
        lambda key: anthropic_mock.AnthropicMock(api_key=key),
        _messages_reply,
        _messages_heard,
        _tool_names,
    ),
    "gemini": Backend(
        "gemini-3-pro",
        {"protocol": "gemini"},
        lambda key: gemini_mock.GeminiMock(api_key=key),
        _gemini_reply,
        _gemini_heard,
        _gemini_offered,
    ),
}
"""By name. An `openai` backend that speaks Responses is asked so by clients of Responses, and in Chat Completions by all
others: `openai-responses` is a server that speaks both."""
