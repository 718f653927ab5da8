"""Models that answer by what they read: agents send what they like, in an order of their own, also at once.

A model wants to run `WANTED` in the agent's shell. Where it hears that this was refused it runs `INSTEAD`, and where it
reads the output of either it says `DONE`. A request that offers no tools wants a title.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tests.support import anthropic_mock, gemini_mock, openai_mock, responses_mock
from tests.support.anthropic_mock import AnthropicMock
from tests.support.gemini_mock import GeminiMock
from tests.support.openai_mock import OpenAIMock
from tests.support.provider import Received
from tests.support.responses_mock import ResponsesMock

from .agents import Agent

WANTED: Final = "touch wiped && printf 'it-is-%d-wiped' 42"
INSTEAD: Final = "printf 'it-is-%d-listed' 42 | tee listed"
OUTPUTS: Final = ("it-is-42-wiped", "it-is-42-listed")
REFUSED: Final = "Do not touch anything; list instead."
THOUGHT: Final = "First I look around."
DONE: Final = "All is done."


class Step(msgspec.Struct, frozen=True):
    """What the model does next: says `text`, or calls the shell."""

    text: str = ""
    call: tuple[str, str] = ("", "")


Mind = Callable[[Received], Step]


def mind_of(agent: Agent) -> Mind:
    def next_step(received: Received) -> Step:
        read = received.body.decode()
        if not received.json.get("tools"):
            return Step("A title")
        if any(output in read for output in OUTPUTS):
            return Step(DONE)
        return Step(call=agent.call(INSTEAD if REFUSED in read else WANTED))

    return next_step


class Chat(OpenAIMock):
    def __init__(self, mind: Mind, api_key: str = "upstream-key") -> None:
        super().__init__(api_key=api_key)
        self._mind = mind

    def answer_to(self, received: Received) -> openai_mock.Reply:
        step = self._mind(received)
        if step.text:
            return openai_mock.Reply(text=step.text)
        return openai_mock.Reply(reasoning=THOUGHT, text="I look.", calls=(openai_mock.Call(*step.call),))


class Responses(ResponsesMock):
    def __init__(self, mind: Mind, api_key: str = "upstream-key") -> None:
        super().__init__(api_key=api_key)
        self._mind = mind

    def answer_to(self, received: Received) -> responses_mock.Reply:
        step = self._mind(received)
        if step.text:
            return responses_mock.reply(responses_mock.Text(step.text))
        thought, call = responses_mock.Thought.of(THOUGHT), responses_mock.Call(*step.call)
        return responses_mock.reply(thought, responses_mock.Text("I look."), call)


class Messages(AnthropicMock):
    def __init__(self, mind: Mind, api_key: str = "upstream-key") -> None:
        super().__init__(api_key=api_key)
        self._mind = mind

    def answer_to(self, received: Received) -> anthropic_mock.Reply:
        step = self._mind(received)
        if step.text:
            return anthropic_mock.reply(anthropic_mock.Text(step.text))
        said = (anthropic_mock.Text("I look."), anthropic_mock.Call(*step.call))
        thinks = received.json.get("thinking", {}).get("type", "disabled") != "disabled"
        return anthropic_mock.reply(*((anthropic_mock.Thinking(THOUGHT),) if thinks else ()), *said)


class Gemini(GeminiMock):
    def __init__(self, mind: Mind, api_key: str = "upstream-key") -> None:
        super().__init__(api_key=api_key)
        self._mind = mind

    def answer_to(self, received: Received) -> gemini_mock.Reply:
        step = self._mind(received)
        if step.text:
            return gemini_mock.reply(gemini_mock.Text(step.text))
        name, arguments = step.call
        call = gemini_mock.Call(name, arguments, signed=True)
        return gemini_mock.reply(gemini_mock.Thinking(THOUGHT), gemini_mock.Text("I look."), call)


Model = Chat | Responses | Messages | Gemini
MODELS: Final[Mapping[str, type[Model]]] = {
    "chat": Chat,
    "responses": Responses,
    "messages": Messages,
    "gemini": Gemini,
}
"""What each backend speaks."""
BACKENDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "chat": {"protocol": "openai"},
    "responses": {"protocol": "openai", "capabilities": {"responses": True}},
    "messages": {"protocol": "anthropic"},
    "gemini": {"protocol": "gemini"},
}


def settings_of(protocol: str, model: Model, api_key: str = "upstream-key") -> dict[str, Any]:
    """A configuration in which `model` is the only backend."""
    backend = {**BACKENDS[protocol], "base_url": model.base_url, "api_key": api_key, "models": ["*"]}
    return {"backends": {"provider": backend}}
