"""The closed union of what rules may do, as data, and the one place that writes a patch into an event.

A transform says what it changes as operations of a JSON Patch (RFC 6902) on the event document: the same operations are
applied to the event that the next rule sees, folded into the exchange that goes on, and written into the decision record.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal

import msgspec

from .events import refresh, text_of

Path = tuple[str | int, ...]
"""The place of a value in an event: `("request", "messages", 3, "parts", 0, "text")`."""


class Op(msgspec.Struct, frozen=True):
    """One operation on the event document. `add` on a list inserts before the index."""

    op: Literal["replace", "add", "remove"]
    path: Path
    value: Any = None

    @property
    def pointer(self) -> str:
        """The path as a JSON Pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.path)


class Patch(msgspec.Struct, frozen=True):
    """Change the content."""

    ops: tuple[Op, ...]


class SetHeader(msgspec.Struct, frozen=True):
    """Add a header to the upstream request, or to the client's response."""

    name: str
    value: str
    to: Literal["upstream", "client"] = "upstream"


class Conceal(msgspec.Struct, frozen=True):
    """A value was replaced by a placeholder that this caller's answers turn back; never part of a record."""

    placeholder: str
    value: str
    tool_args: bool = False


class VerdictKind(IntEnum):
    """What happens to the event; the greater is the stronger."""

    ALLOW = 0
    RESPOND = 1
    DROP = 2
    STEER = 3
    HOLD = 4
    BLOCK = 5

    __hash__ = int.__hash__  # looked up for every decision; an enumeration's own is a call of Python code

    def __str__(self) -> str:
        return self.name.lower()


class Block(msgspec.Struct, frozen=True):
    """Refuse. `status` counts only before the answer began."""

    message: str
    status: int = 400
    code: str = "policy_blocked"
    retry_after: float | None = None
    fails_over: bool = False
    """Of an attempt: whether the next leg of the route is tried, whatever the status says."""


class Respond(msgspec.Struct, frozen=True):
    """Answer in the model's place."""

    message: str


class Drop(msgspec.Struct, frozen=True):
    """Leave a tool call out of the answer, as if the model had not made it."""


class Steer(msgspec.Struct, frozen=True):
    """Refuse a tool call or an answer and tell the model why; `then` is what happens after `attempts` re-asks."""

    message: str
    attempts: int = 1
    then: Literal["block", "reply", "allow"] = "block"
    mode: Literal["reask", "reply"] = "reask"


class ChooseRoute(msgspec.Struct, frozen=True):
    """Which backends are tried: the compact string of a plan, or `@name`.

    One that is not `fixed` was made of what the event says: it may be a model's name, and must be in the caller's scope.
    An `optional` one was made of names in the policy: where there is no such route or model, it is passed over.
    """

    plan: str
    fixed: bool = True
    optional: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Ask the same leg again after what its backend asked for and `plus`; where that is more than `most`, or would end
    later than `within` after the exchange began, or it waited `times` already, the rule's next step is taken."""

    most: float = 30.0
    within: float = 90.0
    plus: float = 1.0
    times: int = 5


class Retry(msgspec.Struct, frozen=True):
    """Ask the same leg again at once, `times` at most."""

    times: int = 1


class FailOver(msgspec.Struct, frozen=True):
    """Go on with the next leg."""


class Surface(msgspec.Struct, frozen=True):
    """Let the client hear what went wrong, without asking anybody else."""


class SkipLeg(msgspec.Struct, frozen=True):
    """Do not ask this leg."""

    reason: str


class Take(msgspec.Struct, frozen=True):
    """Take from a rate limit: one request, one place of those that may be held at once, or the tokens of an attempt.

    Without `burst` no stretch of `window` seconds holds more than `limit`; with it so many may come at once, and are
    free again at the rate of `limit` in `window` seconds.
    """

    key: str
    limit: int
    window: float
    of: Literal["requests", "tokens", "concurrency"]
    burst: int = 0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Take the cost of an attempt from a budget.

    `limit` is in nano-dollars or tokens. `window` is a calendar period of the time zone `zone`, or a fixed length in
    seconds. `unknown_price` is a price in US dollars per million tokens where it is a number. `warn_at` is a share of 1.
    """

    key: str
    limit: int
    window: Literal["hour", "day", "week", "month"] | int
    of: Literal["money", "tokens"] = "money"
    zone: str = "UTC"
    assume_output: int = 8192
    unknown_price: Literal["refuse", "allow"] | float = "refuse"
    warn_at: float | None = None
    on_exceed: Literal["refuse", "failover"] = "refuse"


Meter = Take | Budget


class Scope(StrEnum):
    """Whose state a state action writes."""

    SESSION = "session"
    CALLER = "caller"
    TEAM = "team"
    GLOBAL = "global"


class Remember(msgspec.Struct, frozen=True):
    scope: Scope
    key: str
    value: Any
    ttl: float


class Forget(msgspec.Struct, frozen=True):
    scope: Scope
    key: str


class Count(msgspec.Struct, frozen=True):
    scope: Scope
    key: str
    by: int
    ttl: float


class Label(msgspec.Struct, frozen=True):
    scope: Scope
    name: str
    ttl: float


class Log(msgspec.Struct, frozen=True):
    message: str
    level: Literal["debug", "info", "warning", "error"] = "info"


class Tag(msgspec.Struct, frozen=True):
    """A name and value in the decision record and the trace."""

    name: str
    value: str


class Metric(msgspec.Struct, frozen=True):
    name: str
    by: float
    labels: tuple[tuple[str, str], ...] = ()


class Notify(msgspec.Struct, frozen=True):
    """Send a JSON body to a webhook, beside the exchange."""

    url: str
    body: Any


Recovery = Wait | Retry | FailOver | Surface
"""What becomes of an attempt that failed."""


class Record(msgspec.Struct, frozen=True):
    """Record the exchange for replay, whatever the sample says."""


VerdictEffect = Block | Respond | Drop | Steer
StateEffect = Remember | Forget | Count | Label
ObserveEffect = Log | Tag | Metric | Notify | Record
Effect = (
    Patch | SetHeader | Conceal | VerdictEffect | ChooseRoute | Recovery | SkipLeg | Meter | StateEffect | ObserveEffect
)

STRENGTH: Final[Mapping[type, VerdictKind]] = {
    Respond: VerdictKind.RESPOND,
    Drop: VerdictKind.DROP,
    Steer: VerdictKind.STEER,
    Block: VerdictKind.BLOCK,
}


def applied(event: Mapping[str, Any], ops: Sequence[Op]) -> dict[str, Any]:
    """The event with the operations done: a new document that shares with the old one what did not change.

    Fields that follow from what was written (a message's `text`, `request.system`, ...) are true again afterwards.
    """
    changed: Any = event
    for op in ops:
        changed = written(changed, op.path, op)
        _renew_text(changed, op.path)
    result: dict[str, Any] = dict(changed)
    if any(op.path[0] == "request" for op in ops):
        result["request"] = dict(result["request"])
        refresh(result)
    return result


def written(value: Any, path: Path, op: Op) -> Any:
    """A JSON value with one place below it written, added or removed."""
    step: Any = path[0]
    copy: Any = list(value) if isinstance(value, list | tuple) else dict(value)
    if len(path) > 1:
        copy[step] = written(copy[step], path[1:], op)
    elif op.op == "remove":
        copy.pop(step) if isinstance(copy, list) else copy.pop(step, None)
    elif op.op == "add" and isinstance(copy, list):
        copy.insert(step, op.value)
    else:
        copy[step] = op.value
    return copy


def _renew_text(event: Any, path: Path) -> None:
    """The text beside written parts or arguments, made of them anew. What holds them was copied when it was written."""
    match path:
        case ("result", "parts", *_):
            event["result"]["text"] = text_of(event["result"]["parts"])
            event["result"]["bytes"] = len(event["result"]["text"].encode("utf-8", "surrogatepass"))
        case ("request", "messages", int(index), "parts", *_):
            message = event["request"]["messages"][index]
            message["text"] = text_of(message["parts"])
        case ("request", "messages", int(index), "tool_calls", int(number), "args", *_):
            _write_arguments(event["request"]["messages"][index]["tool_calls"][number])
        case ("tool", "args", *_):
            _write_arguments(event["tool"])
        case _:
            pass


def _write_arguments(call: dict[str, Any]) -> None:
    call["text"] = msgspec.json.encode(call["args"]).decode()
