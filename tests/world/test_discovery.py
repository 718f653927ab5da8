"""Backends are asked for their models beside the traffic; what is no list changes nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from engine.settings.model import Backend as BackendSettings
from engine.settings.values import Seconds, Secret
from engine.world.backends import Backend
from engine.world.discovery import Discovery, NoList, model_names
from engine.world.http.base import ConnectFailed, Request, Timeouts
from engine.world.sandbox import MadeResponse

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Upstream:
    """Answers one thing after the other; a status of 0 is a connection that fails."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def send(self, request: Request, timeouts: Timeouts) -> MadeResponse:
        self.asked.append(request)
        status, body = self.answers.pop(0)
        if not status:
            raise ConnectFailed("nobody is there", sent=False)
        return MadeResponse(status, b"application/json", [body])

    async def aclose(self) -> None:
        """There is nothing to close."""


class Heard:
    def __init__(self) -> None:
        self.lists: list[tuple[str, Sequence[str]]] = []
        self.failures: list[str] = []
        self.first = asyncio.Event()

    def listed(self, backend: str, models: Sequence[str]) -> None:
        self.lists.append((backend, models))
        self.first.set()

    def failed(self, backend: str, why: str) -> None:
        self.failures.append(why)


def backend(upstream: Upstream, protocol: str = "openai") -> Backend:
    settings = BackendSettings(
        protocol=protocol,  # type: ignore[arg-type]
        base_url="http://127.0.0.1/base",
        api_key=(Secret("k"),),
        discover=True,
        discover_every=Seconds(3600),
    )
    return Backend("it", settings, upstream, clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object": "list", "data": [{"id": "a"}, {"id": "b", "owned_by": "x"}, {"id": "a"}]}', ("a", "b")),
        (b'{"data": [{"type": "model", "id": "claude-x"}], "has_more": false}', ("claude-x",)),
        (
            b'{"models": [{"name": "models/g", "supportedGenerationMethods": ["generateContent"]},'
            b' {"name": "models/e", "supportedGenerationMethods": ["embedContent"]}]}',
            ("g",),
        ),
        (b'[{"id": "meta/llama"}]', ("meta/llama",)),
        (b'{"data": [1, {"id": 2}, {"id": ""}, {"id": "a\\nb"}, {"id": "models/kept"}]}', ("models/kept",)),
    ],
)
async def test_every_protocols_list_is_read(body: bytes, names: tuple[str, ...]) -> None:
    assert model_names(body) == names


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data": {}}', b"3"])
async def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(NoList):
        model_names(body)


@pytest.mark.parametrize(
    ("protocol", "target", "key"),
    [
        ("openai", b"/base/models", (b"authorization", b"Bearer k")),
        ("anthropic", b"/base/v1/models?limit=1000", (b"x-api-key", b"k")),
        ("gemini", b"/base/models?pageSize=1000", (b"x-goog-api-key", b"k")),
    ],
)
async def test_each_protocol_is_asked_at_its_own_place(protocol: str, target: bytes, key: tuple[bytes, bytes]) -> None:
    upstream = Upstream((200, b'{"data": []}'))
    heard = Heard()
    assert await Discovery([], heard.listed, heard.failed).ask(backend(upstream, protocol))
    assert (upstream.asked[0].method, upstream.asked[0].target) == (b"GET", target)
    assert key in upstream.asked[0].headers


@pytest.mark.parametrize(
    ("answer", "why"), [((0, b""), "nobody is there"), ((500, b""), "it answered 500"), ((200, b"x"), "no JSON")]
)
async def test_a_backend_that_gives_no_list_is_said_and_the_last_one_stays(answer: tuple[int, bytes], why: str) -> None:
    heard = Heard()
    assert not await Discovery([], heard.listed, heard.failed).ask(backend(Upstream(answer)))
    assert heard.lists == []
    assert why in heard.failures[0]


async def test_asking_begins_at_once_and_ends_when_it_is_closed() -> None:
    heard = Heard()
    upstream = Upstream((200, b'{"data": [{"id": "m"}]}'))
    discovery = Discovery([backend(upstream)], heard.listed, heard.failed)
    discovery.start()
    await asyncio.wait_for(heard.first.wait(), 10)
    await asyncio.wait_for(discovery.aclose(), 10)
    assert heard.lists == [("it", ("m",))]
    assert len(upstream.asked) == 1


async def test_only_who_is_to_be_asked_is_asked() -> None:
    heard = Heard()
    silent = Backend("it", BackendSettings(protocol="openai", base_url="http://127.0.0.1"), Upstream())
    discovery = Discovery([silent], heard.listed, heard.failed)
    discovery.start()
    await discovery.aclose()
    assert (heard.lists, heard.failures) == ([], [])
