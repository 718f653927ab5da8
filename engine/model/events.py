"""The document that conditions see: declared here field by field, for each phase, and nowhere else.

The structs are the declaration: JSON Schemas, the checker's types, the reference page and the defaults that complete a
partial event are all derived from them. In an event every field of its phase exists; null occurs only where a type says
so. At run time an event is a plain JSON document (dicts and lists), because that is what JMESPath reads.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from .phases import Phase

Text = Annotated[str, Meta(max_length=10_000_000)]


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of an event. Unknown fields in a test's `given` are a mistake, so they are refused."""


class Now(Section):
    """When the event happened, in UTC; the only clock that a condition can read."""

    iso: Annotated[str, Meta(description="ISO 8601, UTC, seconds: `2026-11-22T15:04:05Z`.")] = "1970-01-01T00:00:00Z"
    epoch: Annotated[float, Meta(description="Seconds since 1970.")] = 0.0
    weekday: Annotated[
        Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        Meta(description="The day's English name."),
    ] = "thursday"
    hour: Annotated[int, Meta(description="0 to 23.", ge=0, le=23)] = 0


class Caller(Section):
    """Who asks, as the proxy authenticated it; nothing here comes from the client's word, but `agent` does."""

    id: Annotated[str, Meta(description="The caller's name.")] = "local"
    kind: Annotated[Literal["local", "key", "token"], Meta(description="How the caller was authenticated.")] = "local"
    team: Annotated[str | None, Meta(description="The caller's team; null where it has none.")] = None
    roles: Annotated[list[str], Meta(description="Roles granted by the operator.")] = []
    key: Annotated[str, Meta(description="The public id of the key, never the key.")] = ""
    ip: Annotated[str, Meta(description="The client's address, behind trusted proxies the forwarded one.")] = ""
    agent: Annotated[str, Meta(description="The client's `user-agent`. Client-supplied.")] = ""


class Session(Section):
    """The conversation that the request belongs to."""

    id: str = ""
    kind: Annotated[
        Literal["explicit", "inferred"], Meta(description="`explicit` where the client names its session.")
    ] = "inferred"
    thread: Annotated[str, Meta(description="Tells sub-agents of one session apart.")] = ""
    turn: Annotated[int, Meta(description="How many user turns the conversation has.", ge=0)] = 0
    vars: Annotated[dict[str, Any], Meta(description="What `remember` keeps; open.")] = {}
    labels: Annotated[list[str], Meta(description="What `label` set on the session.")] = []


class EventPart(Section):
    kind: Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"] = "text"
    text: Text = ""


class EventCall(Section):
    """A tool call in the history or in an answer."""

    id: str = ""
    name: str = ""
    args: Annotated[dict[str, Any], Meta(description="The arguments; open.")] = {}
    text: Annotated[str, Meta(description="The arguments as they stood on the wire.")] = ""


class EventMessage(Section):
    role: Annotated[
        str, Meta(description="`system`, `developer`, `user`, `assistant`, `tool`, as the client wrote.")
    ] = "user"
    text: Annotated[Text, Meta(description="All text parts, joined.")] = ""
    tool_calls: list[EventCall] = []
    tool_call_id: Annotated[str, Meta(description="For a tool result: the call that it answers.")] = ""
    parts: list[EventPart] = []


class EventTool(Section):
    """A tool that the client offers."""

    name: str = ""
    kind: str = "function"
    description: str = ""


class Request(Section):
    """What the client asked for."""

    id: Annotated[str, Meta(description="The proxy's id of the exchange.")] = ""
    protocol: Annotated[
        Literal["openai-chat", "openai-responses", "openai-embeddings", "anthropic", "gemini"],
        Meta(description="The wire protocol that the client speaks."),
    ] = "openai-chat"
    model: Annotated[str, Meta(description="The model asked for.")] = ""
    stream: bool = False
    system: Annotated[Text, Meta(description="The system prompt: all system and developer messages, joined.")] = ""
    messages: list[EventMessage] = []
    last_user: Annotated[Text, Meta(description="The text of the newest user message.")] = ""
    tools: list[EventTool] = []
    tool_names: list[str] = []
    params: Annotated[
        dict[str, Any], Meta(description="Settings of generation under canonical names (`max_tokens`, ...); open.")
    ] = {}
    input_tokens: Annotated[int, Meta(description="An estimate, made without a network.", ge=0)] = 0
    headers: Annotated[
        dict[str, str | None],
        Meta(description="Lower-case, without credentials, cookies and hop-by-hop fields; open. Client-supplied."),
    ] = {}
    opaque: Annotated[
        list[str], Meta(description="The kinds of content that no rule can read: images, files, encrypted items.")
    ] = []


class Command(Section):
    """The in-chat command in the newest user message."""

    name: str = ""
    args: Annotated[dict[str, Any], Meta(description="Its typed arguments, null for one that was left out; open.")] = {}
    help: Annotated[str, Meta(description="What the commands are that the caller may use, or the one asked about.")] = (
        ""
    )


class Result(Section):
    """One tool result of the request."""

    tool: Annotated[str, Meta(description="The tool whose call it answers; empty where the call is not there.")] = ""
    call_id: str = ""
    text: Annotated[Text, Meta(description="All text parts, joined.")] = ""
    parts: list[EventPart] = []
    bytes: Annotated[int, Meta(description="The length of the text in UTF-8.", ge=0)] = 0
    new: Annotated[bool, Meta(description="It stands after the last assistant message.")] = False
    is_error: bool = False


class RouteLeg(Section):
    """One leg of the plan, as far as it was considered."""

    leg: Annotated[str, Meta(description="`backend:model`.")] = ""
    fate: Annotated[
        Literal["asked", "answered", "failed", "skipped", "lost", "not reached"],
        Meta(description="What became of it."),
    ] = "asked"
    why: str = ""


class Route(Section):
    """The backend plan, once it is chosen."""

    name: Annotated[str, Meta(description="The named route, where one was chosen.")] = ""
    plan: Annotated[str, Meta(description="The plan in compact form.")] = ""
    legs: Annotated[list[RouteLeg], Meta(description="What became of each leg so far, in order.")] = []


class Attempt(Section):
    """One try to get an answer from a backend."""

    backend: str = ""
    model: Annotated[str, Meta(description="The model as the backend is asked for it.")] = ""
    number: Annotated[int, Meta(description="1 for the first of the exchange; re-asks and retries count.", ge=0)] = 0


class Error(Section):
    """Why an attempt failed, before its first output byte."""

    status: Annotated[int, Meta(description="The upstream's status; 0 where there was none.", ge=0)] = 0
    kind: Literal["status", "connect", "timeout", "protocol", "refused"] = "status"
    retry_after: Annotated[float, Meta(description="Seconds, where the upstream said so; else 0.", ge=0)] = 0.0
    message: str = ""
    elapsed: Annotated[float, Meta(description="Seconds since the exchange began.", ge=0)] = 0.0


class Flow(Section):
    """Decoded text on its way to the client: one channel of one choice."""

    channel: Literal["answer", "reasoning", "refusal"] = "answer"
    window: Annotated[Text, Meta(description="Text sent before (256 code points at most), then what is held.")] = ""
    sent: Annotated[int, Meta(description="How many code points of the window were sent already.", ge=0)] = 0
    settled: Annotated[
        int, Meta(description="Up to where the window is about to be sent; what follows may yet become a match.", ge=0)
    ] = 0


class ShellRedirect(Section):
    op: str = ""
    target: str = ""
    dynamic: Annotated[bool, Meta(description="The target could not be known.")] = False


class ShellCommand(Section):
    """One command of a command line, found by a real grammar, with quoting undone."""

    program: Annotated[str, Meta(description="Base name, lower case.")] = ""
    subcommand: Annotated[str, Meta(description="For programs that have them (`git push`); else empty.")] = ""
    argv: Annotated[list[str], Meta(description="Program and arguments, quoting undone.")] = []
    words: Annotated[list[str], Meta(description="The words of `argv` as they stand in the source.")] = []
    flags: Annotated[
        list[str],
        Meta(description="Long names without value; the letters of a short cluster; and each word as written."),
    ] = []
    operands: list[str] = []
    dynamic: Annotated[bool, Meta(description="A word could not be known (a variable, a substitution).")] = False
    raw: Annotated[str, Meta(description="The source text of the command.")] = ""
    redirects: list[ShellRedirect] = []
    input: Annotated[str, Meta(description="What is known to feed it: a here-document, a here-string, an echo.")] = ""
    fed_by: Annotated[
        list[str],
        Meta(description="Programs whose output reaches it by a pipe or substitution: `curl` in `curl | sh`."),
    ] = []


class ShellAssignment(Section):
    name: str = ""
    value: str = ""
    dynamic: Annotated[bool, Meta(description="The value could not be known.")] = False


class ShellFunction(Section):
    name: str = ""
    forks_itself: Annotated[bool, Meta(description="It calls itself in the background: a fork bomb.")] = False


class Shell(Section):
    """The command line that a tool call carries."""

    dialect: Literal["posix", "powershell", "cmd"] = "posix"
    resolved: Annotated[bool, Meta(description="False where a program is not known or the text does not parse.")] = True
    commands: list[ShellCommand] = []
    assignments: Annotated[list[ShellAssignment], Meta(description="Variables that are set: `A=1`, `export A=1`.")] = []
    functions: Annotated[list[ShellFunction], Meta(description="Functions that are defined.")] = []


class CalledTool(Section):
    """One complete tool call of the model, held until it is decided."""

    id: str = ""
    name: str = ""
    args: Annotated[dict[str, Any], Meta(description="The arguments; open.")] = {}
    text: Annotated[str, Meta(description="The arguments as they stood on the wire.")] = ""
    paths: Annotated[list[str], Meta(description="Every argument that names a file or folder.")] = []
    offered: Annotated[bool, Meta(description="The request offers a tool of this name.")] = True
    shell: Annotated[Shell | None, Meta(description="The command line, where the tool carries one; else null.")] = None


class EventUsage(Section):
    """Tokens as OpenAI counts: `input` includes cached ones, `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    billed: Annotated[int, Meta(description="Input and output of every attempt, re-asks included.")] = 0
    cost: Annotated[float | None, Meta(description="US dollars; null where the price is not known.")] = None


class Response(Section):
    """The assembled answer."""

    text: Text = ""
    reasoning: Text = ""
    finish_reason: str = ""
    tool_calls: list[EventCall] = []
    usage: EventUsage = msgspec.field(default_factory=EventUsage)
    empty: Annotated[bool, Meta(description="Nothing was said: no text, no refusal and no tool call.")] = False


SECTIONS: Final[Mapping[str, type[Section]]] = {
    "now": Now,
    "caller": Caller,
    "session": Session,
    "request": Request,
    "command": Command,
    "result": Result,
    "route": Route,
    "attempt": Attempt,
    "error": Error,
    "text": Flow,
    "tool": CalledTool,
    "response": Response,
}

_ALWAYS: Final = ("now", "caller", "session", "request")
_ROUTED: Final = (*_ALWAYS, "route", "attempt")

FIELDS: Final[Mapping[Phase, tuple[str, ...]]] = {
    Phase.COMMAND: (*_ALWAYS, "command"),
    Phase.REQUEST: _ALWAYS,
    Phase.TOOL_RESULT: (*_ALWAYS, "result"),
    Phase.ROUTE: _ALWAYS,
    Phase.ATTEMPT: _ROUTED,
    Phase.ERROR: (*_ROUTED, "error"),
    Phase.TEXT: (*_ROUTED, "text"),
    Phase.TOOL_CALL: (*_ROUTED, "tool"),
    Phase.RESPONSE: (*_ROUTED, "response"),
    Phase.DONE: (*_ROUTED, "response"),
}
"""The top-level sections of each phase's event, besides `phase` itself."""


def _event_struct(phase: Phase) -> type[msgspec.Struct]:
    sections = [(name, SECTIONS[name], msgspec.field(default_factory=SECTIONS[name])) for name in FIELDS[phase]]
    return msgspec.defstruct(
        f"{phase.value.title().replace('_', '')}Event",
        [("phase", Literal[phase.value], phase.value), *sections],
        kw_only=True,
        forbid_unknown_fields=True,
    )


EVENTS: Final[Mapping[Phase, type[msgspec.Struct]]] = {phase: _event_struct(phase) for phase in Phase}


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """A whole event from a partial one, as in `tests: given`: the schema's defaults, and the fields that others imply.

    Raises `msgspec.ValidationError` with the path of a wrong or unknown field.
    """
    phase = Phase(given.get("phase", Phase.REQUEST))
    event: dict[str, Any] = msgspec.to_builtins(msgspec.convert(dict(given), EVENTS[phase]))
    _imply(event, given)
    return event


def _imply(event: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Fill what follows from the rest where the giver left it out: parts from text, text from parts, names from tools."""
    request = event["request"]
    written = given.get("request", {})
    for message in request["messages"]:
        _pair_text_and_parts(message)
    if "tools" not in written and request["tool_names"]:
        request["tools"] = [{"name": name, "kind": "function", "description": ""} for name in request["tool_names"]]
    if "messages" not in written:
        if request["system"]:
            request["messages"].append(_message("system", request["system"]))
        if request["last_user"]:
            request["messages"].append(_message("user", request["last_user"]))
    refresh(event)
    if "result" in event:
        _pair_text_and_parts(event["result"])
        if "bytes" not in given.get("result", {}):
            event["result"]["bytes"] = len(event["result"]["text"].encode())
    if "response" in event and "empty" not in given.get("response", {}):
        said = event["response"]
        said["empty"] = not (said["text"].strip() or said["tool_calls"])
    if "text" in event and "settled" not in given.get("text", {}):
        event["text"]["settled"] = len(event["text"]["window"])
    if "tool" in event and "text" not in given.get("tool", {}):
        event["tool"]["text"] = msgspec.json.encode(event["tool"]["args"]).decode()


def _message(role: str, text: str) -> dict[str, Any]:
    parts = [{"kind": "text", "text": text}]
    return {"role": role, "text": text, "tool_calls": [], "tool_call_id": "", "parts": parts}


def _pair_text_and_parts(holder: dict[str, Any]) -> None:
    if holder["text"] and not holder["parts"]:
        holder["parts"] = [{"kind": "text", "text": holder["text"]}]
    elif holder["parts"] and not holder["text"]:
        holder["text"] = text_of(holder["parts"])


def text_of(parts: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in parts if part["kind"] == "text")


INSTRUCTING: Final = frozenset({"system", "developer"})


def system_of(messages: list[dict[str, Any]]) -> str:
    return "\n\n".join(message["text"] for message in messages if message["role"] in INSTRUCTING)


def last_user_of(messages: list[dict[str, Any]]) -> str:
    """The text of the newest message of the user, "" where there is none."""
    return next((str(message["text"]) for message in reversed(messages) if message["role"] == "user"), "")


def refresh(event: dict[str, Any]) -> None:
    """Make the derived fields of `request` true again after its messages or tools were written; in place."""
    request = event["request"]
    if "messages" in request:
        if "system" in request:
            request["system"] = system_of(request["messages"])
        if "last_user" in request:
            request["last_user"] = last_user_of(request["messages"])
    if "tools" in request and "tool_names" in request:
        request["tool_names"] = [tool["name"] for tool in request["tools"]]


def event_schema(phase: Phase) -> dict[str, Any]:
    """The JSON Schema of a phase's event, as committed in `schemas/event.PHASE.json`."""
    schema = msgspec.json.schema(EVENTS[phase])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Lexgate event of phase {phase.value}",
        **schema,
    }
