"""What comes in and what goes out: the request as the server hands it over, and the shapes of every reply."""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from engine.access.door import Door
from engine.access.registry import Registry
from engine.access.scopes import EVERYTHING, Grant
from engine.codecs import COUNT_METHODS
from engine.codecs.base import Codec, Problem, streams_events
from engine.language.shell import ShellTools
from engine.model.exchange import Exchange
from engine.passage.routing import Routes
from engine.passage.view import Caller
from engine.policy.ruleset import RuleSet
from engine.world import World
from engine.world.credentials import CREDENTIALS
from engine.world.http.base import Headers

_PASSED: Final = (
    b"openai-",
    b"anthropic-",
    b"x-ratelimit-",
    b"x-request-id",
    b"request-id",
    b"retry-after",
    b"x-goog-",
)
EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")
JSON: Final = (b"content-type", b"application/json")
_NOT_READABLE: Final = CREDENTIALS | {
    *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length"),
}


class Incoming(msgspec.Struct, frozen=True):
    """A request as it came in: `headers` with lower-case names, `caller` as the server authenticated it."""

    codec: Codec
    body: bytes
    headers: Headers
    caller: Caller
    id: str
    query: str = ""
    path: dict[str, str] | None = None
    grant: Grant = EVERYTHING

    @property
    def counts(self) -> bool:
        """Whether the tokens of the request are asked for, and no answer to it."""
        return self.path is not None and self.path.get("method") in COUNT_METHODS


class Reply(msgspec.Struct):
    """What goes out: a whole body, or one that is still being made; `failing` says a problem inside such a one."""

    status: int
    headers: Headers
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None
    failing: Callable[[Problem], bytes] | None = None


class House(msgspec.Struct, frozen=True):
    """What all exchanges share: the world, the routes, the table of tools that carry commands; the keys, and in team
    mode the door."""

    world: World
    routes: Routes
    shell_tools: ShellTools
    registry: Registry | None = None
    door: Door | None = None

    async def aclose(self) -> None:
        """Let nobody in any more, then finish what was begun."""
        if self.door is not None:
            await self.door.aclose()
        await self.world.aclose()


def readable(headers: Headers) -> dict[str, str]:
    """Headers as rules may read them: no credentials, no cookies, nothing of the connection."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name not in _NOT_READABLE}


def own_headers(rules: RuleSet, decision: str) -> Headers:
    return [_revision_header(rules.revision), (b"x-lexgate-decision", decision.encode())]


@functools.lru_cache(maxsize=8)
def _revision_header(revision: str) -> tuple[bytes, bytes]:
    return b"x-lexgate-revision", revision.encode() or b"none"


def passed_headers(headers: Headers) -> Headers:
    """The upstream's headers that its protocol defines for clients."""
    return [(name, value) for name, value in headers if name.startswith(_PASSED)]


def problem_reply(codec: Codec, problem: Problem, headers: Headers) -> Reply:
    more = headers
    if problem.retry_after is not None and not any(name == b"retry-after" for name, _ in headers):
        more = [*headers, (b"retry-after", b"%d" % max(1, round(problem.retry_after + 0.499)))]
    return Reply(problem.status, [JSON, *more], codec.encode_problem(problem))


def stream_kind(codec: Codec, exchange: Exchange) -> tuple[bytes, bytes]:
    """The content type of a streamed answer."""
    return EVENT_STREAM if streams_events(codec, exchange) else JSON
