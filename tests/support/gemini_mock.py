"""A mock of Google's Gemini API (`:generateContent`, `:streamGenerateContent`, `:countTokens`, the list of models).

It refuses what the API refuses, and answers in its shapes: a stream is events with `alt=sse`, else one JSON array.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

from .gemini_refusals import refusal_of, signature_of
from .provider import Provider, Received, Scripted, cut

_PATH: Final = re.compile(r"/v1(?:beta|alpha)?/models/(.+):(\w+)")
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class Text(msgspec.Struct, frozen=True):
    text: str
    signed: bool = False


class Thinking(msgspec.Struct, frozen=True):
    text: str


class Call(msgspec.Struct, frozen=True):
    """A call of a function. Without `id` none is sent, as older models do; with `signed` it has a thought signature."""

    name: str
    arguments: str = "{}"
    id: str = ""
    signed: bool = False


class Code(msgspec.Struct, frozen=True):
    """Code that the provider runs, and what came of it."""

    code: str
    output: str


class Image(msgspec.Struct, frozen=True):
    data: str = "aGVsbG8="


Content = Text | Thinking | Call | Code | Image


class Reply(Scripted, frozen=True, kw_only=True):
    """One scripted answer, given streamed or whole as the request asks.

    `usage` is prompt, candidates, thoughts, cached. `piece` is the characters of text in one frame. `together`: the calls
    stand in one frame, the last one, with the end; else each in its own. `blocked` refuses the prompt. `extra` is put
    into the candidate of the last frame. `lines` writes JSON on several lines, as the array form really comes.
    """

    content: tuple[Content, ...] = ()
    finish: str = "STOP"
    usage: tuple[int, int, int, int] = (9, 12, 0, 0)
    piece: int = 5
    together: bool = True
    blocked: str = ""
    extra: Mapping[str, Any] = {}
    candidates: int = 1
    lines: bool = True


def reply(*content: Content, **options: Any) -> Reply:
    return Reply(content=content, **options)


# --- the shapes ------------------------------------------------------------------------------------------------------


def parts(reply: Reply) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for each in reply.content:
        match each:
            case Text(text, signed):
                made.append({"text": text, **({"thoughtSignature": signature_of("text")} if signed else {})})
            case Thinking(text):
                made.append({"text": text, "thought": True})
            case Call(name, arguments, id, signed):
                said = {"name": name, "args": json.loads(arguments), **({"id": id} if id else {})}
                made.append(
                    {"functionCall": said, **({"thoughtSignature": signature_of(name)} if signed else {})},
                )
            case Code(code, output):
                made.append({"executableCode": {"language": "PYTHON", "code": code}})
                made.append({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": output}})
            case Image(data):
                made.append({"inlineData": {"mimeType": "image/png", "data": data}})
    return made


def _usage(reply: Reply) -> dict[str, Any]:
    prompt, candidates, thoughts, cached = reply.usage
    counted: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    if thoughts:
        counted["thoughtsTokenCount"] = thoughts
    if cached:
        counted["cachedContentTokenCount"] = cached
    return counted


def _frame(reply: Reply, candidates: Sequence[Mapping[str, Any]], model: str, number: int) -> dict[str, Any]:
    said = {"candidates": list(candidates)} if candidates else {}
    return {**said, "usageMetadata": _usage(reply), "modelVersion": model, "responseId": f"resp-{number}"}


def _candidate(said: Sequence[Mapping[str, Any]], index: int, more: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": {"parts": list(said), "role": "model"}, **more, "index": index}


def _blocked(reply: Reply, model: str, number: int) -> dict[str, Any]:
    return {"promptFeedback": {"blockReason": reply.blocked}, **_frame(reply, (), model, number)}


def whole(reply: Reply, model: str, number: int) -> dict[str, Any]:
    """The body of the answer `number`."""
    if reply.blocked:
        return _blocked(reply, model, number)
    end = {"finishReason": reply.finish, **reply.extra}
    return _frame(reply, [_candidate(parts(reply), index, end) for index in range(reply.candidates)], model, number)


def frames(reply: Reply, model: str, number: int) -> Iterator[dict[str, Any]]:
    """The frames of the answer `number`."""
    if reply.blocked:
        yield _blocked(reply, model, number)
        return
    made = parts(reply)
    last = [part for part in made if "functionCall" in part] if reply.together else []
    for index in range(reply.candidates):
        for part in made:
            if part in last:
                continue
            texts = cut(part["text"], reply.piece) if "text" in part else []
            rest = {name: value for name, value in part.items() if name in ("thought",)}
            for text in texts[:-1]:
                yield _frame(reply, [_candidate([{"text": text, **rest}], index, {})], model, number)
            end = {**part, "text": texts[-1]} if texts else part
            yield _frame(reply, [_candidate([end], index, {})], model, number)
        end_said = last or [{"text": ""}]
        end = {"finishReason": reply.finish, **reply.extra}
        yield _frame(reply, [_candidate(end_said, index, end)], model, number)


def error_object(message: str, status: int) -> bytes:
    error = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}
    return json.dumps({"error": error}, indent=2).encode() + b"\n"


# --- the server ------------------------------------------------------------------------------------------------------


class GeminiMock(Provider[Reply]):
    """`base_url` ends in the version. With `api_key`, another is refused with 400, as Google does."""

    def __init__(self, *script: Reply, api_key: str = "", models: Sequence[str] = ("gemini-2.5-flash",)) -> None:
        super().__init__(*script, api_key=api_key, models=models)
        self._asked: list[Received] = []

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1beta"

    def direct(self, received: Received) -> tuple[int, bytes] | None:
        path, _, query = received.path.partition("?")
        if (received.method, path) == ("GET", "/v1beta/models"):
            return 200, json.dumps({"models": [_listed(name) for name in self._models]}).encode()
        model, method = _named(path)
        if received.method != "POST" or method not in ("generateContent", "streamGenerateContent", "countTokens"):
            return 404, error_object("Requested entity was not found.", 404)
        if self._api_key and received.headers.get("x-goog-api-key") != self._api_key:
            return 400, error_object("API key not valid. Please pass a valid API key.", 400)
        if "key" in dict(parse_qsl(query)):
            return 400, error_object("a key in the query does not belong here", 400)
        try:
            refusal = refusal_of(received.json, model=model, counting=method == "countTokens")
        except ValueError:
            refusal = refusal_of(None, model=model)
        if refusal is not None:
            body = error_object(refusal, 400)
            return 400, body if method != "streamGenerateContent" or "alt=sse" in query else b"[" + body + b"]"
        if method == "countTokens":
            return 200, json.dumps({"totalTokens": max(1, len(received.body) // 4)}).encode()
        self._asked.append(received)
        return None

    def streams(self, received: Received) -> bool:
        return _named(received.path.partition("?")[0])[1] == "streamGenerateContent"

    def exhausted(self) -> bytes:
        return error_object("the script of the mock is at its end", 500)

    def failing(self, reply: Reply) -> bytes:
        return error_object(reply.error, reply.status)

    def whole(self, reply: Reply, request: Mapping[str, Any], number: int) -> dict[str, Any]:
        return whole(reply, self._model(), number)

    def stream(self, reply: Reply, request: Mapping[str, Any], number: int) -> Iterator[bytes]:
        made = frames(reply, self._model(), number)
        if "alt=sse" in self._asked[-1].path:
            for frame in made:
                yield b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\r\n\r\n"
            return
        before = b"["
        for frame in made:
            yield before + json.dumps(frame, ensure_ascii=False, indent=2 if reply.lines else None).encode()
            before = b"\n,\r\n"
        yield b"\n]\n"

    def named(self, number: int) -> dict[str, str]:
        streams = self.streams(self._asked[-1])
        array = streams and "alt=sse" not in self._asked[-1].path
        return {"content-type": "text/event-stream" if streams and not array else "application/json; charset=UTF-8"}

    def _model(self) -> str:
        return _named(self._asked[-1].path.partition("?")[0])[0]


def _named(path: str) -> tuple[str, str]:
    """Model and method; the SDK asks version `v1` of an address that is not Google's own."""
    found = _PATH.fullmatch(unquote(path))
    return (found[1], found[2]) if found else ("", "")


def _listed(name: str) -> dict[str, Any]:
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{name}", "version": "001", "displayName": name, "supportedGenerationMethods": methods}
