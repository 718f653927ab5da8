"""The nouns of a conversation, the same for every wire protocol: what was asked, what was answered, and in which pieces.

Everything is frozen. `wire` holds the provider's own object that a noun was read from, so that fields which we do not
know survive: a codec writes a noun back over its `wire` and changes only what differs.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

Channel = Literal["answer", "reasoning", "refusal"]

NOTHING: Mapping[str, Any] = {}


class Protocol(StrEnum):
    """The wire protocols that clients and backends speak."""

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    OPENAI_EMBEDDINGS = "openai-embeddings"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"

    __hash__ = str.__hash__  # looked up for every exchange; an enumeration's own is a call of Python code


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a sound or a document: one of `data` (base64), `url` and `file_id` (the provider's own object) is set."""

    mime: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    name: str = ""
    detail: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a message. `text` is what rules read; a part of kind `image`, `audio`, `file` or `opaque` has none.

    `media` and `signature` are filled in where a request is translated. `signature` is what proves a piece of reasoning
    to the provider that thought it (`issuer`): a signature of Anthropic's, encrypted content of Responses, a thought
    signature of Gemini's. Reasoning without `text` is redacted. `backend` is the one that a thought goes back to alone,
    where its protocol has no proof by which another one would know that it is not its own.
    """

    kind: Literal["text", "reasoning", "refusal", "image", "audio", "file", "opaque"]
    text: str = ""
    media: Media | None = None
    signature: str = ""
    issuer: Protocol | None = None
    backend: str = ""
    wire: Any = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model made. `arguments` is the text as it stood on the wire, JSON for a function.

    `signature` is Gemini's thought signature of the call, which it wants to see again.
    """

    id: str
    name: str
    arguments: str = ""
    kind: Literal["function", "custom", "server"] = "function"
    signature: str = ""
    wire: Any = None

    @property
    def args(self) -> dict[str, Any]:
        """The arguments as an object; `{}` where the text is none (a custom tool's free text, a broken call)."""
        if self.kind == "custom":
            return {"input": self.arguments}
        try:
            decoded = msgspec.json.decode(self.arguments) if self.arguments else {}
        except msgspec.DecodeError:
            return {}
        return decoded if isinstance(decoded, dict) else {}

    def with_args(self, args: Mapping[str, Any]) -> "ToolCall":
        """The same call with other arguments, written compactly."""
        text = str(args.get("input", "")) if self.kind == "custom" else msgspec.json.encode(args).decode()
        return msgspec.structs.replace(self, arguments=text)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message, in the order of the conversation; the system prompt is the messages of role `system` or `developer`."""

    role: str
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    wire: Any = None

    @property
    def text(self) -> str:
        """What the message says, without reasoning and without what cannot be read."""
        return "".join(part.text for part in self.parts if part.kind == "text")


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the client offers to the model. `schema` is the JSON Schema of its arguments, where it has one."""

    name: str
    description: str = ""
    kind: str = "function"
    schema: Mapping[str, Any] = NOTHING
    wire: Any = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one attempt, as OpenAI counts: `input` includes cached ones, `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    wire: Any = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
        )


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a client, canonical. `body` is the bytes that came, kept until something is changed.

    `params` are the settings of generation under their canonical names (`max_tokens`, `temperature`, `top_p`, `stop`,
    `tool_choice`, `response_format`, `reasoning_effort`, ...); fields without one keep the name that they have on the
    wire. `added_headers` are what rules add to the upstream request. `received` is when the request came, in seconds
    since 1970: the time on answers that are made here. `counted` is an estimate of the input in tokens, filled in where
    a stream's beginning must say one before the provider does.
    """

    id: str
    protocol: Protocol
    model: str
    stream: bool
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    params: Mapping[str, Any] = NOTHING
    headers: Mapping[str, str] = NOTHING
    added_headers: Mapping[str, str] = NOTHING
    query: str = ""
    received: int = 0
    counted: int = 0
    body: bytes | None = None
    wire: Any = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a model. `finish` is canonical: `stop`, `length`, `tool_calls`, `content_filter`, or the wire's own."""

    index: int = 0
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    wire: Any = None

    def said(self, kind: str) -> str:
        return "".join(part.text for part in self.parts if part.kind == kind)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, streamed or not. `body` is the bytes that came, kept until something is changed."""

    id: str = ""
    model: str = ""
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    body: bytes | None = None
    wire: Any = None


# A streamed answer is a sequence of chunks. One server-sent event may hold several (text, a call and the end at once):
# all of them then carry the same `frame`, so that a frame of which nothing changed goes on as the bytes that came.


class Frame(msgspec.Struct, frozen=True):
    """One server-sent event as it came: its bytes with the blank line, and its decoded data (None: not JSON).

    `said` is the chunks that were read from it, all of them: by it a writer sees that nothing was changed.
    """

    raw: bytes
    data: Any = None
    said: tuple["Chunk", ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    choice: int
    channel: Channel
    text: str


class CallOpened(msgspec.Struct, frozen=True):
    """A tool call begins; `index` is its place among the calls of its choice, `wire` the fields that we do not know.

    `signature` is that of a ToolCall.
    """

    choice: int
    index: int
    id: str
    name: str
    kind: Literal["function", "custom", "server"] = "function"
    wire: Any = None
    signature: str = ""


class CallDelta(msgspec.Struct, frozen=True):
    choice: int
    index: int
    arguments: str


class Finished(msgspec.Struct, frozen=True):
    """A choice has ended."""

    choice: int
    finish: str


class UsageReported(msgspec.Struct, frozen=True):
    usage: Usage


class Failed(msgspec.Struct, frozen=True):
    """The provider reports an error inside the stream."""

    status: int
    kind: str
    message: str


class Closed(msgspec.Struct, frozen=True):
    """The protocol's own end of the stream; a stream that stops without it was cut."""


class Other(msgspec.Struct, frozen=True):
    """Part of a frame that says nothing a rule can read: the role, log probabilities, a ping."""


Chunk = TextDelta | CallOpened | CallDelta | Finished | UsageReported | Failed | Closed | Other
