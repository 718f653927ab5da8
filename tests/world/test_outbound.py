"""Calls that a policy names: where they may lead, how long and large they may be, how a webhook is delivered."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import structlog
import trustme

from engine.diagnostics import ConfigurationError
from engine.settings import Outbound as OutboundSettings
from engine.settings import Seconds, Size
from engine.world.http.base import Fault
from engine.world.http.dial import Address
from engine.world.outbound import Delivered, Outbound, OutboundBusy, OutboundFailed, OutboundRefused
from tests.world.http.servers import Server, Wire, always, serving

pytestmark = pytest.mark.anyio

JSON = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"ok": true}'
DOWN = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"
WRONG = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
LOCAL = ("127.0.0.1",)

Make = Callable[..., Outbound]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def make(anyio_backend: str) -> AsyncIterator[Make]:
    """`make(allow, **settings)`; no test waits between tries, and every `Outbound` is closed at the end."""
    made: list[Outbound] = []

    def build(allow: Sequence[str] = (), *, timeout: float = 5, max_bytes: int = 1000, **rest: Any) -> Outbound:
        concurrency = rest.pop("concurrency", 8)
        settings = OutboundSettings(
            allow=tuple(allow), timeout=Seconds(timeout), max_bytes=Size(max_bytes), concurrency=concurrency
        )
        made.append(Outbound(settings, **{"backoff": (0, 0), **rest}))
        return made[-1]

    yield build
    for each in made:
        await each.close(0)


class Results:
    """What became of each notification, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Delivered]] = []
        self._changed = asyncio.Event()

    def __call__(self, rule: str, result: Delivered) -> None:
        self.seen.append((rule, result))
        self._changed.set()

    async def after(self, count: int) -> list[tuple[str, Delivered]]:
        while len(self.seen) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.seen


def url(server: Server, path: str = "/hook?token=t0p") -> str:
    return f"{server.origin}{path}"


def resolving(*answers: Sequence[str], port: int = 0) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    """A resolver that gives one answer after the other, the last one for ever; `port` stands in for the asked one."""
    left = list(answers)

    async def resolve(host: str, asked: int) -> Sequence[Address]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, (each, port or asked, 0, 0)) if ":" in each else (socket.AF_INET, (each, port or asked))
            for each in addresses
        ]

    return resolve


async def test_a_call_posts_json_and_returns_the_answer(make: Make) -> None:
    heard: list[bytes] = []

    async def script(wire: Wire) -> None:
        heard.append(await wire.request())
        await wire.send(JSON)

    async with serving(script) as server:
        answer = await make(LOCAL).post(url(server, "/guard?x=1"), {"text": "hä"})
    assert answer.ok
    assert answer.json() == {"ok": True}
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /guard?x=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % server.port)
    assert b"content-type: application/json" in head
    assert body == '{"text":"hä"}'.encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_loopback_that_is_not_listed_is_never_connected_to(make: Make, scheme: str, host: str) -> None:
    async with serving(always(JSON)) as server:
        with pytest.raises(OutboundRefused) as refusal:
            await make(["hooks.corp", "10.0.0.0/8"]).post(f"{scheme}://{host}:{server.port}/?token=t0p", {})
        assert server.connections == 0
    assert refusal.value.fault is Fault.CALLER
    assert "outbound.allow" in str(refusal.value)
    assert "t0p" not in str(refusal.value)


@pytest.mark.parametrize(
    "answer",
    [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:7f00:1"], ["169.254.169.254"], ["64:ff9b::7f00:1"], ["::"]],
)
async def test_a_public_name_with_one_inner_address_is_refused_as_a_whole(make: Make, answer: list[str]) -> None:
    async with serving(always(JSON)) as server:
        outbound = make(resolve=resolving(answer, port=server.port))
        with pytest.raises(OutboundRefused, match="resolves to"):
            await outbound.post("https://hooks.example.com/", {})
        assert server.connections == 0


async def test_a_name_that_changes_its_answer_after_the_check_is_not_asked_again(
    make: Make, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """DNS rebinding: what was checked is what is connected to, and TLS still proves the name."""
    asked: list[str] = []

    async with serving(always(JSON), server_tls) as server:
        honest = resolving(["127.0.0.1"], ["169.254.169.254"], port=server.port)

        async def resolve(host: str, port: int) -> Sequence[Address]:
            asked.append(host)
            return await honest(host, port)

        outbound = make(["127.0.0.1"], resolve=resolve, tls=client_tls)
        assert (await outbound.post("https://hooks.example.com/", {})).ok
        assert asked == ["hooks.example.com"]
        assert server.connections == 1
        other = make(["127.0.0.1"], resolve=resolve, tls=client_tls)
        with pytest.raises(OutboundRefused, match=r"169\.254\.169\.254"):
            await other.post("https://hooks.example.com/", {})
        assert server.connections == 1


async def test_a_pinned_address_must_still_prove_the_name(
    make: Make, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with serving(always(JSON), server_tls) as server:
        outbound = make(["127.0.0.1"], resolve=resolving(["127.0.0.1"], port=server.port), tls=client_tls)
        with pytest.raises(OutboundFailed, match="certificate is not accepted"):
            await outbound.post("https://other.example.com/", {})


async def test_a_redirection_is_an_answer_and_not_followed(make: Make) -> None:
    async with serving(always(JSON)) as inner:
        moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % inner.port
        async with serving(always(moved)) as server:
            answer = await make(LOCAL).post(url(server), {})
        assert inner.connections == 0
    assert answer.status == 307
    assert not answer.ok


async def test_a_server_that_never_answers_is_given_up_in_time(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(OutboundFailed) as failure:
            await make(LOCAL, timeout=0.05).post(url(server), {})
        await server.finished()
    assert failure.value.fault is Fault.SERVER


async def test_a_body_that_trickles_is_given_up_in_time(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(OutboundFailed) as failure:
            await make(LOCAL, timeout=0.05).post(url(server), {})
        await server.finished()
    assert failure.value.fault is Fault.SERVER


async def test_an_answer_beyond_the_limit_is_not_read(make: Make) -> None:
    large = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"100\r\n%b\r\n" % (b"x" * 256) * 8 + b"0\r\n\r\n"
    )
    async with serving(always(large)) as server:
        with pytest.raises(OutboundFailed, match="more than 1000 bytes") as failure:
            await make(LOCAL).post(url(server), {})
    assert failure.value.fault is Fault.SERVER
    assert "t0p" not in str(failure.value)


async def test_a_closed_port_is_the_networks_fault(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(OutboundFailed) as failure:
        await make(LOCAL).post(f"http://127.0.0.1:{port}/", {})
    assert failure.value.fault is Fault.NETWORK


async def test_an_answer_that_is_not_json_is_the_servers_fault(make: Make) -> None:
    async with serving(always(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")) as server:
        answer = await make(LOCAL).post(url(server), {})
    with pytest.raises(OutboundFailed, match="not JSON"):
        answer.json()


async def test_a_full_house_says_that_it_is_our_own_bound(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    async with serving(script) as server:
        outbound = make(LOCAL, concurrency=1, timeout=0.6)
        results = await asyncio.gather(*(outbound.post(url(server), {}) for _ in range(2)), return_exceptions=True)
    assert {type(each) for each in results} == {OutboundFailed, OutboundBusy}
    assert OutboundBusy.fault is Fault.LOCAL


async def test_a_body_that_is_no_json_is_refused(make: Make) -> None:
    with pytest.raises(OutboundRefused, match="not JSON"):
        await make(LOCAL).post("http://127.0.0.1/", {"a": object()})


async def test_a_wrong_entry_of_the_list_is_a_configuration_error(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"outbound\.allow: '\*\.corp'"):
        make(["*.corp"])


async def test_a_notification_is_delivered_beside_the_caller(make: Make) -> None:
    results = Results()
    async with serving(always(JSON)) as server:
        outbound = make(LOCAL, count=results)
        assert outbound.notify("p/tell", url(server), {"a": 1})
        assert results.seen == []
        assert await results.after(1) == [("p/tell", Delivered.OK)]


async def test_a_notification_that_comes_as_the_worker_goes_is_delivered_too(make: Make) -> None:
    results = Results()
    async with serving(always(JSON)) as server:
        outbound = make(LOCAL, count=results, concurrency=1)
        for count in range(1, 4):
            outbound.notify("p/tell", url(server), {})
            async with asyncio.timeout(5):
                await results.after(count)


def key_of(request: bytes) -> bytes:
    return next(line for line in request.split(b"\r\n") if line.startswith(b"idempotency-key: "))


async def test_a_delivery_is_tried_three_times_under_one_key(make: Make) -> None:
    heard: list[bytes] = []
    results, waits = Results(), []

    async def script(wire: Wire) -> None:
        while len(heard) < 3:
            heard.append(await wire.request())
            await wire.send(JSON if len(heard) == 3 else DOWN)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with serving(script) as server:
        make(LOCAL, count=results, sleep=sleep, backoff=(0.5, 2.0)).notify("p/tell", url(server), {})
        assert await results.after(1) == [("p/tell", Delivered.OK)]
    assert waits == [0.5, 2.0]
    assert len({key_of(request) for request in heard}) == 1


@pytest.mark.parametrize(("answer", "tries"), [(DOWN, 3), (WRONG, 1), (MOVED, 1)])
async def test_a_failure_is_counted_and_logged_once(make: Make, answer: bytes, tries: int) -> None:
    requests = 0
    results = Results()

    async def script(wire: Wire) -> None:
        nonlocal requests
        while requests < tries:
            await wire.answer(answer)
            requests += 1

    async with serving(script) as server:
        with structlog.testing.capture_logs() as logs:
            make(LOCAL, count=results).notify("p/tell", url(server), {})
            assert await results.after(1) == [("p/tell", Delivered.FAILED)]
        await server.finished()
    assert requests == tries
    assert [(line["event"], line["rule"], line["result"]) for line in logs] == [("notify_failed", "p/tell", "failed")]
    assert "t0p" not in str(logs)


async def test_a_delivery_that_cannot_connect_is_tried_again(make: Make) -> None:
    results, asked = Results(), []

    async def resolve(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    make(count=results, resolve=resolve).notify("p/tell", "https://hooks.example.com/", {})
    assert await results.after(1) == [("p/tell", Delivered.FAILED)]
    assert len(asked) == 3


async def test_a_refused_url_is_counted_and_not_queued(make: Make) -> None:
    results = Results()
    outbound = make(count=results)
    assert not outbound.notify("p/tell", "http://127.0.0.1:1/", {})
    assert not outbound.notify("p/tell", "https://hooks.example.com/\n", {})
    assert results.seen == [("p/tell", Delivered.REFUSED)] * 2
    assert outbound.waiting == 0


async def test_a_name_that_resolves_inward_is_refused_without_another_try(make: Make) -> None:
    results = Results()
    make(count=results, resolve=resolving(["10.0.0.1"])).notify("p/tell", "https://hooks.example.com/", {})
    assert await results.after(1) == [("p/tell", Delivered.REFUSED)]


async def test_a_full_queue_drops_and_counts(make: Make) -> None:
    results = Results()
    outbound = make(LOCAL, count=results, queued=2)
    with structlog.testing.capture_logs() as logs:
        taken = [outbound.notify("p/tell", "http://127.0.0.1:1/", {}) for _ in range(5)]
    assert taken == [True, True, False, False, False]
    assert results.seen == [("p/tell", Delivered.DROPPED)] * 3
    assert [line["event"] for line in logs] == ["notify_queue_full"]


async def test_closing_delivers_what_is_queued(make: Make) -> None:
    results = Results()
    async with serving(always(JSON)) as server:
        outbound = make(LOCAL, count=results)
        for _ in range(20):
            outbound.notify("p/tell", url(server), {})
        await outbound.close()
    assert results.seen == [("p/tell", Delivered.OK)] * 20
    assert not outbound.notify("p/tell", url(server), {})


async def test_closing_waits_no_longer_than_its_grace_and_counts_the_rest(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    results = Results()
    async with serving(script) as server:
        outbound = make(LOCAL, count=results, concurrency=1)
        for _ in range(3):
            outbound.notify("p/tell", url(server), {})
        await outbound.close(0.05)
    assert results.seen == [("p/tell", Delivered.DROPPED)] * 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.com").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
