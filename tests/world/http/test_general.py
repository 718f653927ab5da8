"""The general transport keeps the same contract: bodies, errors with blame, time-outs, cancelling, proxies."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from engine.world.http.base import (
    BodyTooLarge,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    FirstByteTimeout,
    IdleTimeout,
    InvalidRequest,
    Origin,
    ProtocolBroken,
    Request,
    Timeouts,
    TLSFailed,
    TotalTimeout,
    TruncatedBody,
)
from engine.world.http.general import GeneralClient
from tests.world.http.conftest import whole
from tests.world.http.servers import OK, Wire, always, serving
from tests.world.http.test_dial import closed_port

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=10, first_byte=10, idle=10, total=20, write=10)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def client(client_tls: ssl.SSLContext) -> AsyncIterator[GeneralClient]:
    client = GeneralClient(tls=client_tls)
    yield client
    await client.aclose()


async def test_exchanges_share_a_connection(client: GeneralClient) -> None:
    async with serving(always(OK)) as server:
        for _ in range(3):
            response = await client.send(server.request(), PATIENT)
            assert response.headers == [(b"content-length", b"2")]
            assert await response.read(100) == b"ok"
        assert server.connections == 1


async def test_tls_is_verified(client: GeneralClient, server_tls: ssl.SSLContext) -> None:
    async with serving(always(OK), server_tls) as server:
        assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        stranger = GeneralClient(tls=ssl.create_default_context())
        with pytest.raises(TLSFailed) as caught:
            await stranger.send(server.request(), PATIENT)
        assert not caught.value.sent
        await stranger.aclose()


async def test_a_refused_connection_was_never_sent(client: GeneralClient) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await client.send(Request(Origin("http", "127.0.0.1", closed_port()), b"/"), PATIENT)
    assert not caught.value.sent


async def test_a_header_cannot_start_another_line(client: GeneralClient) -> None:
    with pytest.raises(InvalidRequest):
        await client.send(Request(Origin("http", "127.0.0.1", 1), b"/", headers=[(b"a", b"b\r\nc: d")]), PATIENT)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nbad\r\n\r\n", ProtocolBroken),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", ProtocolBroken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", TruncatedBody),
        (CHUNKED + b"5\r\nhello\r\n", TruncatedBody),
    ],
)
async def test_what_is_broken_or_cut_short_is_an_error(
    client: GeneralClient, answer: bytes, error: type[Exception]
) -> None:
    async with serving(always(answer, then_close=True)) as server:
        with pytest.raises(error) as caught:
            await whole(client.send(server.request(), PATIENT))
        assert getattr(caught.value, "sent", False)


@pytest.mark.parametrize(
    ("answer", "timeouts", "error"),
    [
        (b"", Timeouts(first_byte=0.05), FirstByteTimeout),
        (b"", Timeouts(total=0.05), TotalTimeout),
        (CHUNKED + b"5\r\nhello\r\n", Timeouts(idle=0.05, first_byte=5), IdleTimeout),
        (CHUNKED + b"5\r\nhello\r\n", Timeouts(total=0.2), TotalTimeout),
    ],
)
async def test_silence_ends_at_the_time_out_of_its_phase(
    client: GeneralClient, answer: bytes, timeouts: Timeouts, error: type[Exception]
) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(answer)
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(error):
            await whole(client.send(server.request(), timeouts))
        await server.finished()


async def test_a_silence_shorter_than_idle_may_be_longer_than_first_byte(client: GeneralClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await asyncio.sleep(0.3)
        await wire.send(b"0\r\n\r\n")

    async with serving(script) as server:
        assert await whole(client.send(server.request(), Timeouts(first_byte=0.15, idle=10))) == (200, b"hello")


async def test_cancelling_drops_the_connection(client: GeneralClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.gone()

    asked = asyncio.Event()
    async with serving(script) as server:
        task = asyncio.ensure_future(client.send(server.request(), PATIENT))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.finished()


async def test_a_reader_has_a_limit(client: GeneralClient) -> None:
    async with serving(always(OK)) as server:
        response = await client.send(server.request(), PATIENT)
        with pytest.raises(BodyTooLarge):
            await response.read(1)


async def test_closing_lets_what_is_in_flight_finish(client: GeneralClient) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await closed.wait()
        await wire.send(b"0\r\n\r\n")
        await wire.gone()

    closed = asyncio.Event()
    async with serving(script) as server:
        response = await client.send(server.request(), PATIENT)
        await client.aclose()
        closed.set()
        assert await response.read(100) == b"hello"
        await server.finished()
        with pytest.raises(ClientClosed):
            await client.send(server.request(), PATIENT)


async def test_an_http_proxy_is_asked_for_plain_targets_and_tunnels_tls(client_tls: ssl.SSLContext) -> None:
    asked: list[bytes] = []

    async def forward(wire: Wire) -> None:
        head = await wire.head()
        asked.append(head.split(b"\r\n")[0])
        if head.startswith(b"CONNECT"):
            await wire.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        else:
            await wire.send(OK)

    async with serving(forward) as proxy:
        client = GeneralClient(proxy=f"http://user:pass@127.0.0.1:{proxy.port}", tls=client_tls)
        assert await whole(client.send(Request(Origin("http", "api.test", 80), b"/v1"), PATIENT)) == (200, b"ok")
        with pytest.raises(ConnectFailed) as caught:
            await client.send(Request(Origin("https", "api.test", 443), b"/v1"), PATIENT)
        assert not caught.value.sent
        await client.aclose()
    assert asked == [b"POST http://api.test/v1 HTTP/1.1", b"CONNECT api.test:443 HTTP/1.1"]


async def test_http_2_is_offered_and_spoken(authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    """A server that agrees to h2 gets the HTTP/2 preface."""
    pytest.importorskip("h2")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    server_tls.set_alpn_protocols(["h2"])
    heard: list[bytes] = []

    async def script(wire: Wire) -> None:
        heard.append(await wire.head())

    async with serving(script, server_tls) as server:
        client = GeneralClient(http2=True, tls=client_tls)
        with pytest.raises(FirstByteTimeout):
            await client.send(server.request(), Timeouts(first_byte=0.2))
        await client.aclose()
    assert heard == [b"PRI * HTTP/2.0\r\n\r\n"]


async def test_a_socks_proxy_is_told_the_name_and_tunnels(client_tls: ssl.SSLContext) -> None:
    pytest.importorskip("socksio")
    asked: list[bytes] = []

    async def script(wire: Wire) -> None:
        await wire.exactly(3)  # version 5, one method, no authentication
        await wire.send(b"\x05\x00")
        asked.append(await wire.exactly(4 + 1 + len(b"api.test") + 2))
        await wire.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
        await wire.answer()

    async with serving(script) as proxy:
        client = GeneralClient(proxy=f"socks5://127.0.0.1:{proxy.port}", tls=client_tls)
        assert await whole(client.send(Request(Origin("http", "api.test", 80), b"/v1"), PATIENT)) == (200, b"ok")
        await client.aclose()
    assert asked == [b"\x05\x01\x00\x03\x08api.test\x00\x50"]


@pytest.mark.parametrize(
    ("package", "options"), [("h2", {"http2": True}), ("socksio", {"proxy": "socks5://localhost:1"})]
)
async def test_a_missing_package_is_said_at_start(
    monkeypatch: pytest.MonkeyPatch, client_tls: ssl.SSLContext, package: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f"needs the package {package}"):
        GeneralClient(tls=client_tls, **options)
