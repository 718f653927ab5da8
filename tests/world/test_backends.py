"""Which protocols a backend is asked in, and how it is asked."""

import pytest

from engine.model.exchange import Protocol
from engine.settings.model import Backend as BackendSettings
from engine.settings.model import Capabilities
from engine.settings.values import Secret
from engine.world.backends import Backend
from engine.world.http.base import Request, Timeouts
from engine.world.sandbox import MadeResponse

pytestmark = pytest.mark.anyio


class Upstream:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[Request] = []

    async def send(self, request: Request, timeouts: Timeouts) -> MadeResponse:
        self.asked.append(request)
        return MadeResponse(self.statuses.pop(0) if self.statuses else 200, b"application/json", [b"{}"])

    async def aclose(self) -> None:
        """There is nothing to close."""


def backend(protocol: str = "openai", upstream: Upstream | None = None, **settings: object) -> Backend:
    made = BackendSettings(protocol=protocol, base_url="http://127.0.0.1/v1", **settings)  # type: ignore[arg-type]
    return Backend("it", made, upstream or Upstream())


@pytest.mark.parametrize(
    ("kind", "client", "asked_in"),
    [
        ("openai", Protocol.OPENAI_CHAT, Protocol.OPENAI_CHAT),
        ("openai", Protocol.OPENAI_RESPONSES, Protocol.OPENAI_CHAT),
        ("openai", Protocol.OPENAI_EMBEDDINGS, Protocol.OPENAI_EMBEDDINGS),
        ("openai", Protocol.ANTHROPIC, Protocol.OPENAI_CHAT),
        ("openai", Protocol.GEMINI, Protocol.OPENAI_CHAT),
        ("anthropic", Protocol.ANTHROPIC, Protocol.ANTHROPIC),
        ("anthropic", Protocol.OPENAI_RESPONSES, Protocol.ANTHROPIC),
        ("anthropic", Protocol.OPENAI_EMBEDDINGS, None),
        ("gemini", Protocol.GEMINI, Protocol.GEMINI),
        ("gemini", Protocol.OPENAI_CHAT, Protocol.GEMINI),
        ("gemini", Protocol.OPENAI_EMBEDDINGS, None),
        ("sandbox", Protocol.OPENAI_RESPONSES, Protocol.OPENAI_RESPONSES),
    ],
)
async def test_a_backend_is_asked_in_the_clients_protocol_or_in_its_own_main_one(
    kind: str, client: Protocol, asked_in: Protocol | None
) -> None:
    assert backend(kind).protocol_for(client) is asked_in


async def test_responses_are_spoken_where_the_capabilities_say_so() -> None:
    native = backend(capabilities=Capabilities(responses=True))
    assert native.speaks(Protocol.OPENAI_RESPONSES)
    assert native.protocol_for(Protocol.OPENAI_RESPONSES) is Protocol.OPENAI_RESPONSES
    assert native.protocol_for(Protocol.ANTHROPIC) is Protocol.OPENAI_CHAT


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("openai", (b"authorization", b"Bearer sk-1")),
        ("anthropic", (b"x-api-key", b"sk-1")),
        ("gemini", (b"x-goog-api-key", b"sk-1")),
    ],
)
async def test_the_key_goes_where_the_protocol_has_it(kind: str, header: tuple[bytes, bytes]) -> None:
    upstream = Upstream()
    await backend(kind, upstream, api_key=(Secret("sk-1"),)).send("/x", b"{}", [(b"authorization", b"Bearer mine")], {})
    sent = upstream.asked[0].headers
    assert header in sent
    assert (b"authorization", b"Bearer mine") not in sent
