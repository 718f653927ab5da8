"""A provider on loopback that speaks Messages as Anthropic documents them, gives scripted answers, and is strict.

    with AnthropicMock(reply(Thinking("Hm."), Text("Hello")), reply(Call("bash", '{"command":"ls"}'))) as provider:
        client = anthropic.Anthropic(base_url=provider.base_url, api_key="key")

Shapes: API reference, "Messages", "Streaming messages", "Web search tool"; the order of the fields as on the wire.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from .anthropic_refusals import refusal_of, signature_of
from .provider import Gate, Provider, Received, Scripted, cut

__all__ = [
    "AnthropicMock",
    "Call",
    "Gate",
    "Received",
    "Redacted",
    "Reply",
    "Search",
    "Text",
    "Thinking",
    "reply",
    "stream",
    "whole",
]

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class Text(msgspec.Struct, frozen=True):
    """`citations` is how many citations the text carries."""

    text: str
    citations: int = 0


class Thinking(msgspec.Struct, frozen=True):
    text: str


class Redacted(msgspec.Struct, frozen=True):
    data: str = "EmwKAhgBEgy3va3pzix"


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model. `id` is made from its place where it is not given."""

    name: str
    arguments: str = "{}"
    id: str = ""


class Search(msgspec.Struct, frozen=True):
    """A web search that the provider makes: the call, then a block with its results."""

    query: str
    titles: tuple[str, ...] = ("A page",)


Content = Text | Thinking | Redacted | Call | Search


class Reply(Scripted, frozen=True, kw_only=True):
    """One scripted answer, given streamed or whole as the request asks.

    `usage` is input, output, read from the cache, written to it. `piece` and `fragment` are the characters of text and of
    arguments in one event. `late_input`: message_delta repeats the counts of the input. `fails_after`: after so many
    events comes one of type `error`, `overloaded_error`.
    """

    content: tuple[Content, ...] = ()
    finish: str = ""
    stop_sequence: str | None = None
    usage: tuple[int, int, int, int] = (9, 12, 0, 0)
    late_input: bool = True
    piece: int = 5
    fragment: int = 8
    fails_after: int = -1


def reply(*content: Content, **options: Any) -> Reply:
    return Reply(content=content, **options)


# --- the shapes ------------------------------------------------------------------------------------------------------


def _usage(reply: Reply, output: int) -> dict[str, Any]:
    given, _, read, written = reply.usage
    return {
        "input_tokens": given,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def _finish_of(reply: Reply) -> str:
    if reply.finish:
        return reply.finish
    if reply.stop_sequence is not None:
        return "stop_sequence"
    return "tool_use" if any(isinstance(each, Call) for each in reply.content) else "end_turn"


def blocks(reply: Reply, number: int) -> list[dict[str, Any]]:
    """The content blocks of the answer `number`."""
    made: list[dict[str, Any]] = []
    for place, each in enumerate(reply.content):
        match each:
            case Text(text, citations):
                made.append(
                    {"type": "text", "text": text, **({"citations": _citations(citations)} if citations else {})}
                )
            case Thinking(text):
                made.append({"type": "thinking", "thinking": text, "signature": signature_of(text)})
            case Redacted(data):
                made.append({"type": "redacted_thinking", "data": data})
            case Call(name, arguments, id):
                id = id or f"toolu_{number}_{place}"
                made.append({"type": "tool_use", "id": id, "name": name, "input": json.loads(arguments)})
            case Search(query, titles):
                made += _search(query, titles, f"srvtoolu_{number}_{place}")
    return made


def _citations(count: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "web_search_result_location",
            "cited_text": f"quoted {place}",
            "url": "https://example.com/",
            "title": "A page",
            "encrypted_index": f"Eo8B{place}",
        }
        for place in range(count)
    ]


def _search(query: str, titles: Sequence[str], id: str) -> list[dict[str, Any]]:
    results = [
        {
            "type": "web_search_result",
            "title": title,
            "url": "https://example.com/",
            "encrypted_content": "EqgfCioIARgB",
            "page_age": None,
        }
        for title in titles
    ]
    return [
        {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}},
        {"type": "web_search_tool_result", "tool_use_id": id, "content": results},
    ]


def whole(reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The `message` object of the answer `number`."""
    return {
        "model": request["model"],
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "content": blocks(reply, number),
        "stop_reason": _finish_of(reply),
        "stop_sequence": reply.stop_sequence,
        "usage": _usage(reply, reply.usage[1]),
    }


def _event(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + text + b"\n\n"


def stream(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """The events of the answer `number`, in the documented order, or up to the error."""
    events = _stream(reply, request, number)
    for place, event in enumerate(events):
        if place == reply.fails_after:
            yield _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
            return
        yield event


def _stream(reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
    empty = {**whole(reply, request, number), "content": [], "stop_reason": None, "stop_sequence": None}
    yield _event({"type": "message_start", "message": {**empty, "usage": _usage(reply, 1)}})
    made = blocks(reply, number)
    arguments = iter(each.arguments for each in reply.content if isinstance(each, Call))
    for index, block in enumerate(made):
        opened, deltas = _opened(block, reply, arguments)
        yield _event({"type": "content_block_start", "index": index, "content_block": opened})
        if index == 0:
            yield PING
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    usage = {**_usage(reply, reply.usage[1])} if reply.late_input else {"output_tokens": reply.usage[1]}
    usage.pop("service_tier", None)
    usage.pop("cache_creation", None)
    said = {"stop_reason": _finish_of(reply), "stop_sequence": reply.stop_sequence}
    yield _event({"type": "message_delta", "delta": said, "usage": usage})
    yield _event({"type": "message_stop"})


def _opened(
    block: dict[str, Any], reply: Reply, arguments: Iterator[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and the deltas that make it whole."""
    match block["type"]:
        case "text":
            begun: dict[str, Any] = {"type": "text", "text": ""}
            cited = block.get("citations", ())
            deltas = [{"type": "citations_delta", "citation": each} for each in cited]
            if cited:
                begun["citations"] = []
            return begun, [
                *({"type": "text_delta", "text": piece} for piece in cut(block["text"], reply.piece)),
                *deltas,
            ]
        case "thinking":
            thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"], reply.piece)]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signed]
        case "tool_use" | "server_tool_use":
            text = next(arguments) if block["type"] == "tool_use" else json.dumps(block["input"])
            pieces = ["", *(cut(text, reply.fragment) if text != "{}" else ())]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        case _:
            return block, []


def error_object(message: str, kind: str, number: int = 0) -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{number}"}
    return json.dumps(error).encode()


# --- the server ------------------------------------------------------------------------------------------------------


class AnthropicMock(Provider[Reply]):
    """`base_url` is without `/v1`. With `api_key`, another is refused with 401, as a key or as a bearer token."""

    def __init__(self, *script: Reply, api_key: str = "", models: Sequence[str] = ("claude-opus-4-7",)) -> None:
        super().__init__(*script, api_key=api_key, models=models)

    @property
    def base_url(self) -> str:
        return self.address

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        path = received.path.partition("?")[0]
        refused = self._refusal(received, path)
        if refused is not None:
            return refused
        if path == "/v1/messages/count_tokens":
            return 200, json.dumps({"input_tokens": max(1, len(received.body) // 4)}).encode()
        if path != "/v1/models":
            return None
        models = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2025-09-29T00:00:00Z",
                "lifecycle": "active",
            }
            for name in self._models
        ]
        ends = {"first_id": self._models[0], "last_id": self._models[-1]}
        return 200, json.dumps({"data": models, "has_more": False, **ends}).encode()

    def _refusal(self, received: Received, path: str) -> tuple[int, bytes] | None:
        known = (("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models"))
        if (received.method, path) not in known:
            return 404, error_object("Not found", "not_found_error")
        keys = (received.headers.get("x-api-key"), received.headers.get("authorization", "").removeprefix("Bearer "))
        if self._api_key and self._api_key not in keys:
            return 401, error_object("invalid x-api-key", "authentication_error")
        if "anthropic-version" not in received.headers:
            return 400, error_object("anthropic-version: header is required", "invalid_request_error")
        if received.method == "GET":
            return None
        try:
            refusal = refusal_of(received.json, counting=path.endswith("/count_tokens"))
        except ValueError:
            refusal = refusal_of(None)
        return None if refusal is None else (400, error_object(refusal, "invalid_request_error"))

    def exhausted(self) -> bytes:
        return error_object("the script of the mock is at its end", "api_error")

    def failing(self, reply: Reply) -> bytes:
        return error_object(reply.error, _KINDS.get(reply.status, "api_error"), self._answers)

    def whole(self, reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        return whole(reply, request, number)

    def stream(self, reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        return stream(reply, request, number)

    def named(self, number: int) -> dict[str, str]:
        return {"request-id": f"req_{number}"}
