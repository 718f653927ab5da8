"""A provider on loopback that speaks Responses as OpenAI documents them, gives scripted answers, and is strict.

    with ResponsesMock(reply(Thought("Hm."), Text("Hello")), reply(Call("bash", '{"command":"ls"}'))) as provider:
        client = openai.OpenAI(base_url=provider.base_url, api_key="key")

Shapes: API reference, "Responses" and "Streaming events"; the order of events as on the wire. It remembers its responses
and items by their ids, and refuses ids, results and encrypted content that it does not know.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from .provider import CREATED, Provider, Received, Scripted, cut
from .responses_refusals import Memory, Refusal, encrypted_of, refusal_of

__all__ = [
    "Call",
    "Custom",
    "Refused",
    "Reply",
    "ResponsesMock",
    "Search",
    "Shell",
    "Text",
    "Thought",
    "reply",
    "stream",
]


class Text(msgspec.Struct, frozen=True):
    """`citations` is how many citations the text carries."""

    text: str
    citations: int = 0


class Refused(msgspec.Struct, frozen=True):
    text: str


class Thought(msgspec.Struct, frozen=True):
    """Reasoning: its summary in so many parts as there are texts."""

    texts: tuple[str, ...] = ()
    sealed: bool = True

    @classmethod
    def of(cls, *texts: str) -> "Thought":
        return cls(texts)


class Call(msgspec.Struct, frozen=True):
    name: str
    arguments: str = "{}"
    id: str = ""
    namespace: str = ""


class Custom(msgspec.Struct, frozen=True):
    name: str
    input: str = ""
    id: str = ""


class Shell(msgspec.Struct, frozen=True):
    """A call of the shell tool that OpenAI defines."""

    commands: tuple[str, ...]
    id: str = ""


class Search(msgspec.Struct, frozen=True):
    """A web search that the provider makes."""

    query: str


Content = Text | Refused | Thought | Call | Custom | Shell | Search


class Reply(Scripted, frozen=True, kw_only=True):
    """One scripted answer, given streamed or whole as the request asks.

    `usage` is input, cached, output, reasoning. `piece` and `fragment` are the characters of text and of arguments in one
    event. `incomplete` is a reason. `fails_after`: after so many events comes `error`, or with `failed` the event
    `response.failed`. `obfuscates`: deltas carry padding, as OpenAI's do.
    """

    content: tuple[Content, ...] = ()
    incomplete: str = ""
    usage: tuple[int, int, int, int] = (9, 0, 12, 0)
    piece: int = 5
    fragment: int = 8
    fails_after: int = -1
    failed: bool = False
    obfuscates: bool = True


def reply(*content: Content, **options: Any) -> Reply:
    return Reply(content=content, **options)


# --- the shapes ------------------------------------------------------------------------------------------------------


def items(reply: Reply, number: int) -> list[dict[str, Any]]:
    """The items of the answer `number`."""
    made: list[dict[str, Any]] = []
    for place, each in enumerate(reply.content):
        id = f"{number}_{place}"
        match each:
            case Text(text, citations):
                part = {"type": "output_text", "annotations": _citations(citations), "logprobs": [], "text": text}
                made.append(_message(f"msg_{id}", part))
            case Refused(text):
                made.append(_message(f"msg_{id}", {"type": "refusal", "refusal": text}))
            case Thought(texts, sealed):
                summary = [{"type": "summary_text", "text": text} for text in texts]
                thought: dict[str, Any] = {"id": f"rs_{id}", "type": "reasoning", "summary": summary}
                made.append({**thought, "encrypted_content": encrypted_of("".join(texts) + id)} if sealed else thought)
            case Call(name, arguments, call, namespace):
                item = {"id": f"fc_{id}", "type": "function_call", "status": "completed", "arguments": arguments}
                item |= {"call_id": call or f"call_{id}", "name": name}
                made.append(item | ({"namespace": namespace} if namespace else {}))
            case Custom(name, text, call):
                item = {"id": f"ctc_{id}", "type": "custom_tool_call", "status": "completed"}
                made.append(item | {"call_id": call or f"call_{id}", "input": text, "name": name})
            case Shell(commands, call):
                action: dict[str, Any] = {"commands": list(commands), "timeout_ms": None, "max_output_length": None}
                shell = {"id": f"sh_{id}", "type": "shell_call", "status": "completed", "action": action}
                made.append(shell | {"call_id": call or f"call_{id}"})
            case Search(query):
                action = {"type": "search", "query": query}
                made.append({"id": f"ws_{id}", "type": "web_search_call", "status": "completed", "action": action})
    return made


def _message(id: str, part: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": id, "type": "message", "status": "completed", "content": [part], "role": "assistant"}


def _citations(count: int) -> list[dict[str, Any]]:
    made = {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "https://example.com/"}
    return [{**made, "title": f"Page {place}"} for place in range(count)]


def whole(reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The `response` object of the answer `number`."""
    given, cached, made, thought = reply.usage
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if reply.incomplete else "completed",
        "background": False,
        "completed_at": None if reply.incomplete else CREATED + 1,
        "error": None,
        "incomplete_details": {"reason": reply.incomplete} if reply.incomplete else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": request["model"],
        "output": items(reply, number),
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **(request.get("reasoning") or {})},
        "safety_identifier": None,
        "service_tier": "default",
        "store": request.get("store") is not False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(request.get("text") or {})},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": given + made,
        },
        "user": None,
        "metadata": request.get("metadata") or {},
    }


def stream(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """The events of the answer `number`, in the documented order, or up to the error."""
    sequence = itertools.count()
    for place, (kind, data) in enumerate(_events(reply, request, number)):
        if place == reply.fails_after:
            kind, data = _failing(reply, request, number)
        event = {"type": kind, "sequence_number": next(sequence), **data}
        if kind.endswith(".delta") and reply.obfuscates:
            event["obfuscation"] = "x" * (16 - len(event["delta"]) % 16)
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        yield b"event: " + kind.encode() + b"\ndata: " + text + b"\n\n"
        if place == reply.fails_after:
            return


def _failing(reply: Reply, request: Mapping[str, Any], number: int) -> tuple[str, dict[str, Any]]:
    error = {"code": "server_error", "message": "The server had an error."}
    if not reply.failed:
        return "error", {**error, "param": None}
    failed = {**whole(reply, request, number), "status": "failed", "error": error, "output": [], "usage": None}
    return "response.failed", {"response": failed}


def _events(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    response = whole(reply, request, number)
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    begun["incomplete_details"] = None
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(response["output"]):
        at = {"output_index": index}
        yield "response.output_item.added", {**at, "item": _opened(item)}
        for kind, data in _inside(item, reply):
            yield kind, {"item_id": item["id"], **at, **data}
        yield "response.output_item.done", {**at, "item": item}
    yield f"response.{response['status']}", {"response": response}


def _opened(item: Mapping[str, Any]) -> dict[str, Any]:
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "reasoning":
            return {**item, "summary": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case "custom_tool_call":
            return {**item, "status": "in_progress", "input": ""}
        case _:
            return {**item, "status": "in_progress"}


def _inside(item: Mapping[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    match item["type"]:
        case "message":
            (part,) = item["content"]
            at = {"content_index": 0}
            field = "text" if part["type"] == "output_text" else "refusal"
            empty = {**part, field: ""} | ({"annotations": []} if field == "text" else {})
            stem = "response.output_text" if field == "text" else "response.refusal"
            more: dict[str, Any] = {"logprobs": []} if field == "text" else {}
            yield "response.content_part.added", {**at, "part": empty}
            for piece in cut(part[field], reply.piece):
                yield f"{stem}.delta", {**at, "delta": piece, **more}
            for number, annotation in enumerate(part.get("annotations", ())):
                yield f"{stem}.annotation.added", {**at, "annotation_index": number, "annotation": annotation}
            yield f"{stem}.done", {**at, field: part[field], **more}
            yield "response.content_part.done", {**at, "part": part}
        case "reasoning":
            for index, part in enumerate(item["summary"]):
                at = {"summary_index": index}
                yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
                for piece in cut(part["text"], reply.piece):
                    yield "response.reasoning_summary_text.delta", {**at, "delta": piece}
                yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
                yield "response.reasoning_summary_part.done", {**at, "part": part}
        case "function_call":
            yield from _streamed("response.function_call_arguments", "arguments", item["arguments"], reply)
        case "custom_tool_call":
            yield from _streamed("response.custom_tool_call_input", "input", item["input"], reply)
        case "web_search_call":
            for state in ("in_progress", "searching", "completed"):
                yield f"response.web_search_call.{state}", {}


def _streamed(stem: str, field: str, text: str, reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    for piece in cut(text, reply.fragment):
        yield f"{stem}.delta", {"delta": piece}
    yield f"{stem}.done", {field: text}


def error_object(refusal: Refusal, kind: str = "invalid_request_error") -> bytes:
    error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
    return json.dumps({"error": error}).encode()


# --- the server ------------------------------------------------------------------------------------------------------


class ResponsesMock(Provider[Reply]):
    """`base_url` ends in `/v1`. With `api_key`, another is refused with 401."""

    def __init__(self, *script: Reply, api_key: str = "", models: Sequence[str] = ("gpt-5",)) -> None:
        super().__init__(*script, api_key=api_key, models=models)
        self.memory = Memory()

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        if (received.method, received.path.partition("?")[0]) != ("POST", "/v1/responses"):
            return 404, error_object(Refusal("Not found"))
        if self._api_key and received.headers.get("authorization") != f"Bearer {self._api_key}":
            return 401, error_object(Refusal("Incorrect API key provided.", None, "invalid_api_key"))
        try:
            refusal = refusal_of(received.json, self.memory)
        except ValueError:
            refusal = refusal_of(None, self.memory)
        return None if refusal is None else (refusal.status, error_object(refusal))

    def exhausted(self) -> bytes:
        return error_object(Refusal("the script of the mock is at its end"), "server_error")

    def failing(self, reply: Reply) -> bytes:
        return error_object(Refusal(reply.error), "server_error" if reply.status >= 500 else "invalid_request_error")

    def whole(self, reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        self._remember(reply, request, number)
        return whole(reply, request, number)

    def stream(self, reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        self._remember(reply, request, number)
        return stream(reply, request, number)

    def _remember(self, reply: Reply, request: Mapping[str, Any], number: int) -> None:
        made = items(reply, number)
        self.memory.encrypted |= {item["encrypted_content"] for item in made if "encrypted_content" in item}
        if request.get("store") is not False:
            self.memory.items |= {item["id"] for item in made}
            calls = [(item["type"], item["call_id"]) for item in made if "call_id" in item]
            self.memory.responses[f"resp_{number}"] = calls

    def named(self, number: int) -> dict[str, str]:
        return {"x-request-id": f"req_{number}"}
