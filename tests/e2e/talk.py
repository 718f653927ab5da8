"""What the tests of answers share: the tools that are offered, requests, and an answer as a client puts it together."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.support.lexgate import Lexgate, Raw
from tests.support.openai_mock import Call

BASH = {
    "type": "function",
    "function": {"name": "bash", "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}},
}
READ = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
TOOLS = [BASH, READ]

NO_HEADERS: Mapping[str, str] = {}

WIPE = Call("bash", '{"command":"rm -rf /"}')
LIST = Call("bash", '{"command":"ls -l"}')
LOOK = Call("read", '{"path":"a.txt"}')


def asking(*messages: Any, stream: bool = False, **more: Any) -> dict[str, Any]:
    """A request body; a text is a user message. `tools=None` offers none."""
    said = [{"role": "user", "content": each} if isinstance(each, str) else each for each in messages or ("Go.",)]
    body = {"model": "gpt-4o", "messages": said, "stream": stream, "tools": TOOLS, **more}
    return {name: value for name, value in body.items() if value is not None}


class Heard(msgspec.Struct, frozen=True):
    """One choice as a client has it in the end."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    """(id, name, arguments)"""
    finish: str | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message that a client sends back."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in self.calls
            ]
        return message


def heard(raw: Raw, choice: int = 0) -> Heard:
    """What a choice says, streamed or not; checks on the way what every client relies on."""
    assert raw.status == 200, raw.body
    if not raw.headers["content-type"].startswith("text/event-stream"):
        wire = next(each for each in raw.json["choices"] if each["index"] == choice)
        message = wire["message"]
        calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
        return Heard(
            message["content"] or "",
            message.get("reasoning_content") or "",
            message.get("refusal") or "",
            tuple(calls),
            wire["finish_reason"],
        )
    frames = raw.frames
    assert frames[-1] == "[DONE]"
    assert frames.count("[DONE]") == 1
    said: dict[str, str] = {"content": "", "reasoning_content": "", "refusal": ""}
    built: list[dict[str, str]] = []
    finish: list[str] = []
    roles = 0
    assert len({frame["id"] for frame in frames[:-1]}) == 1
    for each in (each for frame in frames[:-1] for each in frame["choices"] if each["index"] == choice):
        assert not finish, "something follows the end"
        delta = each["delta"]
        roles += "role" in delta
        for field in said:
            said[field] += delta.get(field) or ""
        for call in delta.get("tool_calls") or []:
            if call["index"] == len(built):
                built.append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
            assert call["index"] == len(built) - 1, "indices without gaps, in order"
            built[-1]["arguments"] += call["function"].get("arguments") or ""
        if each["finish_reason"]:
            finish.append(each["finish_reason"])
    assert roles == 1, "one role frame"
    assert len(finish) == 1, "one end"
    calls = [(call["id"], call["name"], call["arguments"]) for call in built]
    return Heard(said["content"], said["reasoning_content"], said["refusal"], tuple(calls), finish[0])


def usage_of(raw: Raw) -> Mapping[str, Any] | None:
    """The usage that the client was shown."""
    if not raw.headers["content-type"].startswith("text/event-stream"):
        found: Mapping[str, Any] | None = raw.json.get("usage")
        return found
    shown = [frame["usage"] for frame in raw.frames[:-1] if frame.get("usage")]
    assert len(shown) <= 1
    return shown[0] if shown else None


def ask(
    lexgate: Lexgate, *messages: Any, stream: bool = False, headers: Mapping[str, str] = NO_HEADERS, **more: Any
) -> Raw:
    return lexgate.post(asking(*messages, stream=stream, **more), headers=headers)
