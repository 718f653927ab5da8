"""Clients of the four protocols: each asks by its official SDK, and tells what it has in the end in the same words."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import anthropic
import msgspec
import openai
from google import genai
from google.genai import errors, types

SYSTEM: Final = "Be brief."
SCHEMAS: Final[dict[str, Any]] = {
    name: {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}
    for name, field in (("bash", "command"), ("read", "path"))
}


class Called(msgspec.Struct, frozen=True):
    """A tool call as the client has it."""

    id: str
    name: str
    args: dict[str, Any]


class Seen(msgspec.Struct, frozen=True):
    """An answer as the client has it. `finish` is `stop` or `tool_calls`; `usage` is input and output as OpenAI counts.

    `history` is what the client sends back of it, in its own form. An error has `status` and `message` instead.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[Called, ...] = ()
    finish: str = ""
    usage: tuple[int, int] = (0, 0)
    history: tuple[Any, ...] = ()
    status: int = 200
    message: str = ""


class Client(Protocol):
    """One SDK. A conversation is the user's words, answers (`Seen`) and results (`Result`), in order."""

    path: str
    """Below which its requests go: `/v1/...`."""

    def ask(self, origin: str, model: str, said: Sequence[Any], *, stream: bool, thinks: bool = False) -> Seen: ...


class Result(msgspec.Struct, frozen=True):
    """What came of a call."""

    call: Called
    text: str


class _Kept:
    """The SDK's clients by the address that they ask: to make one costs more than to ask."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}

    def __call__(self, origin: str) -> Any:
        if origin not in self._made:
            self._made[origin] = self._make(origin)
        return self._made[origin]


_openai: Final = _Kept(lambda origin: openai.OpenAI(base_url=f"{origin}/v1", api_key="mine", max_retries=0))
_anthropic: Final = _Kept(lambda origin: anthropic.Anthropic(base_url=origin, api_key="mine", max_retries=0))
_genai: Final = _Kept(
    lambda origin: genai.Client(api_key="mine", http_options=types.HttpOptions(base_url=origin, timeout=30_000))
)


def _arguments(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text or "{}")
    return found


class Chat:
    """openai, Chat Completions."""

    path = "/v1/chat/completions"

    def ask(self, origin: str, model: str, said: Sequence[Any], *, stream: bool, thinks: bool = False) -> Seen:
        request: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "system", "content": SYSTEM}, *(wire for each in said for wire in self._wire(each))],
            "tools": [
                {"type": "function", "function": {"name": name, "description": "Does.", "parameters": schema}}
                for name, schema in SCHEMAS.items()
            ],
            "max_completion_tokens": 4096,
            **({"reasoning_effort": "low"} if thinks else {}),
        }
        completions = _openai(origin).chat.completions
        try:
            if stream:
                with completions.stream(**request, stream_options={"include_usage": True}) as events:
                    answer = events.get_final_completion()
            else:
                answer = completions.create(**request)
        except openai.APIStatusError as error:
            return Seen(status=error.status_code, message=error.message)
        message = answer.choices[0].message
        calls = [Called(c.id, c.function.name, _arguments(c.function.arguments)) for c in message.tool_calls or ()]
        kept = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
        for call in kept.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        return Seen(
            text=message.content or "",
            thought=getattr(message, "reasoning_content", None) or "",
            calls=tuple(calls),
            finish=answer.choices[0].finish_reason,
            usage=(answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (0, 0),
            history=(kept,),
        )

    @staticmethod
    def _wire(each: Any) -> Sequence[Any]:
        match each:
            case str():
                return ({"role": "user", "content": each},)
            case Result(call, text):
                return ({"role": "tool", "tool_call_id": call.id, "content": text},)
            case _:
                history: Sequence[Any] = each.history
                return history


class Responses:
    """openai, Responses: the whole conversation is sent each time, reasoning encrypted."""

    path = "/v1/responses"

    def ask(self, origin: str, model: str, said: Sequence[Any], *, stream: bool, thinks: bool = False) -> Seen:
        request: dict[str, Any] = {
            "model": model,
            "instructions": SYSTEM,
            "input": [wire for each in said for wire in self._wire(each)],
            "tools": [
                {"type": "function", "name": name, "description": "Does.", "parameters": schema, "strict": False}
                for name, schema in SCHEMAS.items()
            ],
            "max_output_tokens": 4096,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            **({"reasoning": {"effort": "low", "summary": "auto"}} if thinks else {}),
        }
        responses = _openai(origin).responses
        try:
            if stream:
                with responses.stream(**request) as events:
                    answer = events.get_final_response()
            else:
                answer = responses.create(**request)
        except openai.APIStatusError as error:
            return Seen(status=error.status_code, message=error.message)
        calls = [
            Called(item.call_id, item.name, _arguments(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        assert answer.status == "completed"
        return Seen(
            text=answer.output_text,
            thought="".join(thoughts),
            calls=tuple(calls),
            finish="tool_calls" if calls else "stop",
            usage=(answer.usage.input_tokens, answer.usage.output_tokens) if answer.usage else (0, 0),
            history=tuple(self._kept(item) for item in answer.output),
        )

    @staticmethod
    def _kept(item: Any) -> Any:
        wire = item.model_dump(exclude_none=True)
        wire.pop("parsed_arguments", None)
        for part in wire.get("content", ()):
            part.pop("parsed", None)
        return wire

    @staticmethod
    def _wire(each: Any) -> Sequence[Any]:
        match each:
            case str():
                return ({"role": "user", "content": each},)
            case Result(call, text):
                return ({"type": "function_call_output", "call_id": call.id, "output": text},)
            case _:
                history: Sequence[Any] = each.history
                return history


class Messages:
    """anthropic, Messages."""

    path = "/v1/messages"

    def ask(self, origin: str, model: str, said: Sequence[Any], *, stream: bool, thinks: bool = False) -> Seen:
        request: dict[str, Any] = {
            "model": model,
            "max_tokens": 4096,
            "system": SYSTEM,
            "messages": _grouped(said, self._wire),
            "tools": [
                {"name": name, "description": "Does.", "input_schema": schema} for name, schema in SCHEMAS.items()
            ],
            **({"thinking": {"type": "enabled", "budget_tokens": 1024}} if thinks else {}),
        }
        messages = _anthropic(origin).messages
        try:
            if stream:
                with messages.stream(**request) as events:
                    answer = events.get_final_message()
            else:
                answer = messages.create(**request)
        except anthropic.APIStatusError as error:
            return Seen(status=error.status_code, message=error.message)
        calls = [Called(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
        kept = [block.model_dump(exclude_none=True, exclude={"parsed_output", "caller"}) for block in answer.content]
        return Seen(
            text="".join(block.text for block in answer.content if block.type == "text"),
            thought="".join(block.thinking for block in answer.content if block.type == "thinking"),
            calls=tuple(calls),
            finish={"end_turn": "stop", "tool_use": "tool_calls"}[answer.stop_reason],
            usage=(answer.usage.input_tokens, answer.usage.output_tokens),
            history=({"role": "assistant", "content": kept},),
        )

    @staticmethod
    def _wire(each: Any) -> Sequence[Any]:
        match each:
            case str():
                return ({"role": "user", "content": [{"type": "text", "text": each}]},)
            case Result(call, text):
                block = {"type": "tool_result", "tool_use_id": call.id, "content": text}
                return ({"role": "user", "content": [block]},)
            case _:
                history: Sequence[Any] = each.history
                return history


def _grouped(said: Sequence[Any], wire: Callable[[Any], Sequence[Any]]) -> list[Any]:
    """Messages of one role in a row are one message, as the SDKs' own examples send them."""
    messages: list[Any] = []
    for message in (message for each in said for message in wire(each)):
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1] = {**messages[-1], "content": [*messages[-1]["content"], *message["content"]]}
        else:
            messages.append(message)
    return messages


class Google:
    """google-genai, generateContent."""

    path = "/v1beta/models/"

    def ask(self, origin: str, model: str, said: Sequence[Any], *, stream: bool, thinks: bool = False) -> Seen:
        declared = [
            types.FunctionDeclaration(name=name, description="Does.", parameters_json_schema=schema)
            for name, schema in SCHEMAS.items()
        ]
        thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024) if thinks else None
        config = types.GenerateContentConfig(
            system_instruction=SYSTEM,
            max_output_tokens=4096,
            tools=[types.Tool(function_declarations=declared)],
            thinking_config=thinking,
        )
        contents = self._contents(said)
        models = _genai(origin).models
        try:
            if stream:
                answers = list(models.generate_content_stream(model=model, contents=contents, config=config))
            else:
                answers = [models.generate_content(model=model, contents=contents, config=config)]
        except errors.APIError as error:
            return Seen(status=error.code, message=error.message or "")
        said_back = [answer.candidates[0].content for answer in answers if answer.candidates[0].content.parts]
        parts = [part for content in said_back for part in content.parts]
        calls = tuple(
            Called(part.function_call.id or "", part.function_call.name, dict(part.function_call.args or {}))
            for part in parts
            if part.function_call
        )
        assert answers[-1].candidates[0].finish_reason == "STOP"
        used = answers[-1].usage_metadata
        return Seen(
            text="".join(part.text or "" for part in parts if not part.thought),
            thought="".join(part.text or "" for part in parts if part.thought),
            calls=calls,
            finish="tool_calls" if calls else "stop",
            usage=(
                used.prompt_token_count or 0,
                (used.candidates_token_count or 0) + (used.thoughts_token_count or 0),
            )
            if used
            else (0, 0),
            history=tuple(said_back),
        )

    @staticmethod
    def _contents(said: Sequence[Any]) -> list[Any]:
        contents: list[Any] = []
        for each in said:
            match each:
                case str():
                    contents.append(types.Content(role="user", parts=[types.Part(text=each)]))
                case Result(call, text):
                    found = types.FunctionResponse(id=call.id or None, name=call.name, response={"result": text})
                    part = types.Part(function_response=found)
                    if contents and contents[-1].role == "user" and contents[-1].parts[0].function_response:
                        contents[-1].parts.append(part)
                    else:
                        contents.append(types.Content(role="user", parts=[part]))
                case _:
                    contents += each.history
        return contents


CLIENTS: Final[dict[str, Client]] = {
    "openai-chat": Chat(),
    "openai-responses": Responses(),
    "anthropic": Messages(),
    "gemini": Google(),
}
