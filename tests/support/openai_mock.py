"""A provider on loopback that speaks chat completions as OpenAI documents them, gives scripted answers, and is strict.

    with OpenAIMock(Reply(text="Hello"), Reply(calls=(Call("bash", '{"command":"ls"}'),), fragment=1)) as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key="key")

Shapes: API reference, "Create chat completion" and "Streaming"; the order of the fields as on the wire.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from .openai_refusals import refusal_of
from .provider import CREATED, PATIENCE, Gate, Provider, Received, Scripted, cut

__all__ = ["CREATED", "PATIENCE", "Call", "Gate", "OpenAIMock", "Received", "Reply", "stream", "whole"]

FINGERPRINT: Final = "fp_44709d6fcb"


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model. `id` is made from its place where it is not given."""

    name: str
    arguments: str = "{}"
    id: str = ""
    kind: str = "function"


class Reply(Scripted, frozen=True, kw_only=True):
    """One scripted answer, given streamed or whole as the request asks.

    `piece` and `fragment` are the characters of text and of arguments in one frame.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    usage: tuple[int, int, int, int] = (9, 12, 0, 0)  # prompt, completion, cached, reasoning
    piece: int = 5
    fragment: int = 8
    code: str | None = None


# --- the shapes ------------------------------------------------------------------------------------------------------


def usage_object(reply: Reply) -> dict[str, Any]:
    prompt, completion, cached, reasoning = reply.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish_of(reply: Reply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def _call_id(call: Call, number: int, place: int) -> str:
    return call.id or f"call_{number}_{place}"


def whole(reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The `chat.completion` object of the answer `number`."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {"id": _call_id(call, number, place), "type": call.kind, call.kind: _named(call, call.arguments)}
            for place, call in enumerate(reply.calls)
        ]
    message["annotations"] = []
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": _finish_of(reply)}
            for index in range(request.get("n") or 1)
        ],
        "usage": usage_object(reply),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _named(call: Call, text: str) -> dict[str, str]:
    return {"name": call.name, "input" if call.kind == "custom" else "arguments": text}


def _deltas(reply: Reply, number: int) -> Iterator[dict[str, Any]]:
    opened = [
        {"index": place, "id": _call_id(call, number, place), "type": call.kind, call.kind: _named(call, "")}
        for place, call in enumerate(reply.calls)
    ]
    said = reply.text or reply.refusal or reply.reasoning
    first: dict[str, Any] = {"role": "assistant", "content": "" if said or not opened else None}
    alone = not said and len(opened) == 1
    if alone:
        first["tool_calls"] = opened  # one call alone opens in the first frame
    yield {**first, "refusal": None}
    for field, text in (("reasoning_content", reply.reasoning), ("content", reply.text), ("refusal", reply.refusal)):
        for piece in cut(text, reply.piece):
            yield {field: piece}
    for place, call in enumerate(reply.calls):
        if not alone:
            yield {"tool_calls": [opened[place]]}
        field = "input" if call.kind == "custom" else "arguments"
        for fragment in cut(call.arguments, reply.fragment):
            yield {"tool_calls": [{"index": place, call.kind: {field: fragment}}]}


def stream(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """The frames of the answer `number`, in the documented order."""
    options = request.get("stream_options") or {}
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request["model"],
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    padding = 0

    def frame(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
        nonlocal padding
        said: dict[str, Any] = {**head, "choices": choices}
        if options.get("include_usage"):
            said["usage"] = usage
        if options.get("include_obfuscation") is not False:
            padding += 1
            said["obfuscation"] = "aB3dE5gH7jK9mN"[: padding * 5 % 13 + 1]
        return b"data: " + json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"

    indices = range(request.get("n") or 1)
    for delta in _deltas(reply, number):
        for index in indices:
            yield frame([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
    for index in indices:
        yield frame([{"index": index, "delta": {}, "logprobs": None, "finish_reason": _finish_of(reply)}])
    if options.get("include_usage"):
        yield frame([], usage_object(reply))
    yield b"data: [DONE]\n\n"


def error_object(message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


_KINDS: Final = {400: "invalid_request_error", 401: "invalid_request_error", 429: "rate_limit_error"}


# --- the server ------------------------------------------------------------------------------------------------------


class OpenAIMock(Provider[Reply]):
    """`base_url` ends in `/v1`. With `api_key`, another is refused with 401."""

    def __init__(self, *script: Reply, api_key: str = "", models: Sequence[str] = ("gpt-4o", "gpt-4o-mini")) -> None:
        super().__init__(*script, api_key=api_key, models=models)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        refused = self._refusal(received)
        if refused is not None or received.method != "GET":
            return refused
        models = [{"id": name, "object": "model", "created": CREATED, "owned_by": "mock"} for name in self._models]
        return 200, json.dumps({"object": "list", "data": models}).encode()

    def _refusal(self, received: Received) -> tuple[int, bytes] | None:
        path = received.path.partition("?")[0]
        if self._api_key and received.headers.get("authorization") != f"Bearer {self._api_key}":
            message = "Incorrect API key provided."
            return 401, error_object(message, "invalid_request_error", None, "invalid_api_key")
        if (received.method, path) not in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            return 404, error_object(f"Invalid URL ({received.method} {path})", "invalid_request_error")
        if received.method == "GET":
            return None
        try:
            refusal = refusal_of(received.json)
        except ValueError:
            refusal = refusal_of(None)
        return None if refusal is None else (400, error_object(refusal[0], "invalid_request_error", *refusal[1:]))

    def exhausted(self) -> bytes:
        return error_object("the script of the mock is at its end", "server_error")

    def failing(self, reply: Reply) -> bytes:
        return error_object(reply.error, _KINDS.get(reply.status, "server_error"), None, reply.code)

    def whole(self, reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        return whole(reply, request, number)

    def stream(self, reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        return stream(reply, request, number)

    def named(self, number: int) -> dict[str, str]:
        return {"x-request-id": f"req_{number}"}
