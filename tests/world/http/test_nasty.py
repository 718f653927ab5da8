"""The hot-path client against servers that break, stall, lie or vanish."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence

import pytest
import trustme

from engine.world.http.base import (
    BodyTooLarge,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    Fault,
    FirstByteTimeout,
    IdleTimeout,
    Origin,
    Phase,
    PoolExhausted,
    ProtocolBroken,
    Request,
    Timeouts,
    TLSFailed,
    TotalTimeout,
    TruncatedBody,
    WriteTimeout,
)
from engine.world.http.connection import Limits
from engine.world.http.dial import Address
from engine.world.http.pool import PoolSettings
from tests.world.http.conftest import Make, whole
from tests.world.http.servers import OK, Wire, always, serving

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(
    connect=1000, first_byte=1000, idle=1000, total=1000, write=1000
)  # a hang is a failure, not a time-out
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Clock:
    """A clock for the age of connections, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Keep-alive


async def test_a_connection_serves_one_exchange_after_the_other(make: Make) -> None:
    async with serving(always(OK)) as server:
        client = make()
        for _ in range(3):
            assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        assert server.connections == 1


async def test_a_request_that_crossed_the_servers_idle_close_is_sent_again_on_a_new_connection(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        await wire.request()
        if wire.number == 1:
            wire.close()
        else:
            await wire.send(OK)

    async with serving(script) as server:
        client = make()
        await whole(client.send(server.request(), PATIENT))
        assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        assert server.connections == 2


async def test_a_stale_connection_is_an_error_where_the_setting_says_so(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        await wire.request()
        wire.close()

    async with serving(script) as server:
        client = make(retry_stale=False)
        await whole(client.send(server.request(), PATIENT))
        with pytest.raises(ConnectionLost) as caught:
            await client.send(server.request(), PATIENT)
        assert caught.value.sent
        assert server.connections == 1


async def test_a_request_is_sent_again_once_only(make: Make) -> None:
    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.answer()
        await wire.request()
        wire.close()

    async with serving(script) as server:
        client = make()
        await whole(client.send(server.request(), PATIENT))
        with pytest.raises(ConnectionLost):
            await client.send(server.request(), PATIENT)
        assert server.connections == 2


async def test_what_is_sent_again_never_meets_another_used_connection(make: Make) -> None:
    """Where the cap is reached and another exchange hands its connection on, that one is closed for its slot."""
    both_busy, third_busy, again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.answer()
            await wire.request()
            await both_busy.wait()
            wire.reset()
        elif wire.number == 2:
            await wire.request()
            both_busy.set()
            await third_busy.wait()
            await wire.send(OK)
            await wire.gone()
        elif wire.number == 3:
            await wire.request()
            third_busy.set()
            await again.wait()
            await wire.send(OK)
        else:
            again.set()
            await wire.answer()

    async with serving(script) as server:
        client = make(max_connections=2)
        await whole(client.send(server.request(), PATIENT))
        answers = await asyncio.gather(*(whole(client.send(server.request(), PATIENT)) for _ in range(3)))
        assert answers == [(200, b"ok")] * 3
        assert server.connections == 4
        await server.finished()


async def test_a_new_connection_that_closes_without_an_answer_is_not_tried_again(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        wire.close()

    async with serving(script) as server:
        with pytest.raises(ConnectionLost) as caught:
            await make().send(server.request(), PATIENT)
        assert (caught.value.sent, caught.value.fault, server.connections) == (True, Fault.SERVER, 1)


async def test_one_byte_of_an_answer_forbids_sending_again(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        await wire.answer(b"H")
        wire.close()

    async with serving(script) as server:
        client = make()
        await whole(client.send(server.request(), PATIENT))
        with pytest.raises(ProtocolBroken):
            await client.send(server.request(), PATIENT)
        assert server.connections == 1


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=0\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_the_server_will_close_is_not_used_again(make: Make, last: bytes) -> None:
    async with serving(always(last)) as server:
        client = make()
        for _ in range(2):
            assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        assert server.connections == 2


async def test_http_1_0_with_keep_alive_is_used_again(make: Make) -> None:
    async with serving(always(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")) as server:
        client = make()
        for _ in range(2):
            assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        assert server.connections == 1


@pytest.mark.parametrize(("age", "connections"), [(4.4, 1), (4.6, 2)])
async def test_an_idle_connection_expires_before_common_servers_close_it(
    make: Make, age: float, connections: int
) -> None:
    clock = Clock()
    async with serving(always(OK)) as server:
        client = make(clock=clock, idle_expiry=PoolSettings().idle_expiry)
        await whole(client.send(server.request(), PATIENT))
        clock.now += age
        await whole(client.send(server.request(), PATIENT))
        assert server.connections == connections


async def test_idle_connections_are_closed_without_another_request(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        await wire.gone()

    async with serving(script) as server:
        client = make(idle_expiry=0.01)
        await whole(client.send(server.request(), PATIENT))
        await server.finished()


# Bytes that nobody asked for


async def test_bytes_on_an_idle_connection_kill_it_and_never_answer_the_next_request(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        if wire.number == 1:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
            await wire.gone()

    async with serving(script) as server:
        client = make()
        await whole(client.send(server.request(), PATIENT))
        await server.finished()
        assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        assert server.connections == 2


@pytest.mark.parametrize("rubbish", [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged", b"\0", b"0\r\n\r\n"])
@pytest.mark.parametrize("framed", [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n"])
async def test_bytes_behind_an_answer_end_the_connection_and_not_the_answer(
    make: Make, framed: bytes, rubbish: bytes
) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(framed + rubbish)
        await wire.gone()

    async with serving(script) as server:
        client = make()
        assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        await server.finished()


# Malformed answers

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"<html>400</html>", id="no head"),
        pytest.param(b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok", id="HTTP/2.0"),
        pytest.param(b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nok", id="HTTP/0.9"),
        pytest.param(b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok", id="status of four digits"),
        pytest.param(b"HTTP/1.1 999 OK\r\ncontent-length: 2\r\n\r\nok", id="status 999"),
        pytest.param(b"HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nok", id="status 000"),
        pytest.param(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", id="bare LF"),
        pytest.param(HEAD + b"a: b\rc\r\ncontent-length: 2\r\n\r\nok", id="bare CR"),
        pytest.param(HEAD + b"a: b\0c\r\ncontent-length: 2\r\n\r\nok", id="NUL"),
        pytest.param(HEAD + b"a: b\r\n c\r\ncontent-length: 2\r\n\r\nok", id="folded"),
        pytest.param(HEAD + b"content-length : 2\r\n\r\nok", id="space before the colon"),
        pytest.param(HEAD + b": b\r\ncontent-length: 2\r\n\r\nok", id="no name"),
        pytest.param(HEAD + b"a\r\ncontent-length: 2\r\n\r\nok", id="no colon"),
        pytest.param(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok", id="two lengths"),
        pytest.param(HEAD + b"content-length: 2, 2\r\n\r\nok", id="list of lengths"),
        pytest.param(HEAD + b"content-length: -2\r\n\r\nok", id="negative length"),
        pytest.param(HEAD + b"content-length: +2\r\n\r\nok", id="signed length"),
        pytest.param(HEAD + b"content-length: 0x2\r\n\r\nok", id="hexadecimal length"),
        pytest.param(HEAD + b"content-length: 99999999999999999999999\r\n\r\nok", id="length overflow"),
        pytest.param(
            HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="length and chunked"
        ),
        pytest.param(
            HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n", id="chunked and length"
        ),
        pytest.param(HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="coding below chunked"),
        pytest.param(HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked not last"),
        pytest.param(HEAD + b"transfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="unknown coding"),
        pytest.param(CHUNKED[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked twice"),
        pytest.param(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked in 1.0"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 104 X\r\ncontent-length: 2\r\n\r\nok" + OK, id="interim response with a body"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK, id="endless interim responses"),
        pytest.param(CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n", id="chunk size 0x2"),
        pytest.param(CHUNKED + b"-2\r\nok\r\n0\r\n\r\n", id="negative chunk size"),
        pytest.param(CHUNKED + b"\r\nok\r\n0\r\n\r\n", id="empty chunk size"),
        pytest.param(CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n", id="chunk size overflow"),
        pytest.param(CHUNKED + b"2\r\nokX\r\n0\r\n\r\n", id="chunk longer than said"),
        pytest.param(CHUNKED + b"2\nok\n0\n\n", id="chunks with bare LF"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\ncontent-length: 9\r\n\r\n", id="length in a trailer"),
    ],
)
async def test_what_is_not_http_is_broken_and_the_connection_is_dropped(make: Make, answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(answer)
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(ProtocolBroken) as caught:
            await whole(make().send(server.request(), PATIENT))
        assert (caught.value.sent, caught.value.fault) == (True, Fault.SERVER)
        await server.finished()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        pytest.param(HEAD + b"a: ", b"x" * 1000, id="endless header value"),
        pytest.param(HEAD, b"x" * 1000, id="endless header name"),
        pytest.param(HEAD, b"a: b\r\n" * 100, id="endless headers"),
        pytest.param(b"HTTP/1.1 200 ", b"x" * 1000, id="endless reason"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\na: ", b"x" * 1000, id="endless trailer"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\n", b"a: b\r\n" * 100, id="endless trailers"),
        pytest.param(CHUNKED + b"2;", b"x" * 1000, id="endless chunk extension"),
        pytest.param(CHUNKED, b"0" * 1000, id="endless chunk size"),
    ],
)
async def test_what_never_ends_is_cut_at_the_limit(make: Make, start: bytes, more: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(start)
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.send(more)

    async with serving(script) as server:
        with pytest.raises(ProtocolBroken):
            await whole(make(limits=Limits(head=16 * 1024)).send(server.request(), PATIENT))
        await server.finished()


async def test_a_huge_head_in_one_piece_is_cut_too(make: Make) -> None:
    huge = HEAD + b"a: " + b"x" * 5000 + b"\r\ncontent-length: 2\r\n\r\nok"
    async with serving(always(huge)) as server:
        with pytest.raises(ProtocolBroken, match="bytes of header"):
            await make(limits=Limits(head=4000)).send(server.request(), PATIENT)


async def test_many_small_headers_are_cut_by_number(make: Make) -> None:
    async with serving(always(HEAD + b"a: b\r\n" * 200 + b"content-length: 2\r\n\r\nok")) as server:
        with pytest.raises(ProtocolBroken, match="more than 200 header fields"):
            await make().send(server.request(), PATIENT)


# Bodies

BODIES = [
    pytest.param(HEAD + b"content-length: 5\r\n\r\nhello", b"hello", id="length"),
    pytest.param(HEAD + b"content-length: 0\r\n\r\n", b"", id="empty"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="chunked"),
    pytest.param(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", id="chunks"),
    pytest.param(CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;last\r\n\r\n', b"hello", id="chunk extensions"),
    pytest.param(CHUNKED + b"0005\r\nhello\r\n00\r\n\r\n", b"hello", id="chunk size with zeros"),
    pytest.param(CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", id="chunk size in capitals"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\nset-cookie: a=1\r\n\r\n", b"hello", id="trailers"),
    pytest.param(CHUNKED + b"0\r\n\r\n", b"", id="no chunk"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="204"),
    pytest.param(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b"", id="304 that describes a body"),
    pytest.param(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK,
        b"ok",
        id="interim responses",
    ),
    pytest.param(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", b"ok", id="no reason"),
]


@pytest.mark.parametrize(("answer", "body"), BODIES)
async def test_a_body_does_not_depend_on_where_the_network_cut_it(make: Make, answer: bytes, body: bytes) -> None:
    cuts = iter(range(1, len(answer)))

    async def script(wire: Wire) -> None:
        for cut in cuts:
            await wire.answer(answer[:cut])
            await wire.send(answer[cut:])

    async with serving(script) as server:
        client = make()
        for _ in range(1, len(answer)):
            response = await client.send(server.request(), PATIENT)
            assert await response.read(100) == body
            assert b"link" not in dict(response.headers)
            assert b"set-cookie" not in dict(response.headers)
        assert server.connections == 1


async def test_chunks_arrive_as_the_server_sends_them(make: Make) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await read.wait()
        await wire.send(b"5\r\nworld\r\n0\r\n\r\n")

    async with serving(script) as server:
        response = await make().send(server.request(), PATIENT)
        chunks = response.chunks()
        assert await anext(chunks) == b"hello"
        read.set()
        assert [chunk async for chunk in chunks] == [b"world"]


async def test_headers_are_raw_in_order_and_lower_case(make: Make) -> None:
    answer = HEAD + b"Set-Cookie: a=1\r\nX-Odd:\t \xff b \t\r\nSET-COOKIE: b=2\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(answer)) as server:
        response = await make().send(server.request(), PATIENT)
        assert response.headers == [
            (b"set-cookie", b"a=1"),
            (b"x-odd", b"\xff b"),
            (b"set-cookie", b"b=2"),
            (b"content-length", b"0"),
        ]


async def test_a_compressed_body_is_passed_untouched(make: Make) -> None:
    async with serving(always(HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\0")) as server:
        assert await whole(make().send(server.request(), PATIENT)) == (200, b"\x1f\x8b\x08\0")


async def test_the_answer_to_head_has_no_body_whatever_it_describes(make: Make) -> None:
    async with serving(always(HEAD + b"content-length: 500\r\n\r\n")) as server:
        client = make()
        for _ in range(2):
            assert await whole(client.send(server.request(b"", b"HEAD"), PATIENT), limit=10) == (200, b"")


async def test_a_body_without_length_ends_with_the_connection(make: Make) -> None:
    async with serving(always(HEAD + b"\r\nhello", then_close=True)) as server:
        assert await whole(make().send(server.request(), PATIENT)) == (200, b"hello")


@pytest.mark.parametrize(
    "answer", [HEAD + b"content-length: 9\r\n\r\nhello", CHUNKED + b"9\r\nhello", CHUNKED + b"5\r\nhello\r\n"]
)
@pytest.mark.parametrize("ending", ["close", "half_close", "reset"])
async def test_a_body_that_ends_early_is_never_whole(make: Make, answer: bytes, ending: str) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(answer)
        await read.wait()
        getattr(wire, ending)()

    async with serving(script) as server:
        response = await make().send(server.request(), PATIENT)
        chunks = response.chunks()
        assert await anext(chunks) == b"hello"
        read.set()
        with pytest.raises(TruncatedBody):
            await anext(chunks)
        with pytest.raises(TruncatedBody):
            await response.read(100)


async def test_a_reset_ends_a_body_without_length_early(make: Make) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(HEAD + b"\r\nhello")
        await read.wait()
        wire.reset()

    async with serving(script) as server:
        chunks = (await make().send(server.request(), PATIENT)).chunks()
        assert await anext(chunks) == b"hello"
        read.set()
        with pytest.raises(TruncatedBody):
            await anext(chunks)


@pytest.mark.parametrize("answer", [HEAD + b"content-length: 9999\r\n\r\n", CHUNKED + b"64\r\n" + b"x" * 100])
async def test_a_body_beyond_the_readers_limit_drops_the_connection(make: Make, answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(answer)
        await wire.gone()

    async with serving(script) as server:
        response = await make().send(server.request(), PATIENT)
        with pytest.raises(BodyTooLarge):
            await response.read(99)
        await server.finished()


async def test_a_slow_reader_stops_the_server_and_not_the_clock(make: Make) -> None:
    """Reading pauses at the limit, the idle time-out waits with it, and nothing of the body is lost."""
    body = b"x" * 4_000_000

    async def script(wire: Wire) -> None:
        await wire.answer(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        await wire.send(body)

    async with serving(script) as server:
        client = make(limits=Limits(buffer=10_000))
        response = await client.send(server.request(), Timeouts(idle=0.05))
        await asyncio.sleep(0.15)  # three times the idle time-out
        assert response.buffered > 10_000
        assert response.buffered < 1_000_000
        assert await response.read(len(body)) == body


# Early answers and half-closed peers

LARGE = b"x" * 20_000_000


async def test_an_answer_before_the_request_is_written_is_given_and_the_connection_dropped(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await wire.gone()

    async with serving(script) as server:
        client = make()
        assert await whole(client.send(server.request(LARGE), PATIENT)) == (413, b"big")
        await server.finished()
        assert client.in_flight == 0


async def test_a_large_request_arrives_whole(make: Make) -> None:
    received: list[bytes] = []

    async def script(wire: Wire) -> None:
        received.append(await wire.request())
        await wire.send(OK)

    async with serving(script) as server:
        assert await whole(make().send(server.request(LARGE), PATIENT)) == (200, b"ok")
        assert received[0].endswith(b"\r\n\r\n" + LARGE)


async def test_a_server_that_closed_its_half_before_answering_is_lost_at_once(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        wire.half_close()
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(ConnectionLost):
            await make().send(server.request(), PATIENT)
        await server.finished()


async def test_a_server_that_closed_its_half_after_answering_has_answered(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        wire.half_close()
        await wire.gone()

    async with serving(script) as server:
        client = make()
        for _ in range(2):
            assert await whole(client.send(server.request(), PATIENT)) == (200, b"ok")
        await server.finished()


# Time


async def _drip(wire: Wire, data: bytes) -> None:
    await wire.request()
    with contextlib.suppress(ConnectionError):
        for index in range(len(data)):
            await wire.send(data[index : index + 1])
            await asyncio.sleep(0.01)


async def test_a_server_that_says_nothing(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(FirstByteTimeout) as caught:
            await make().send(server.request(), Timeouts(first_byte=0.05))
        assert (caught.value.sent, caught.value.phase) == (True, Phase.HEAD)
        await server.finished()


async def test_a_head_that_drips_is_not_a_first_byte(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await _drip(wire, HEAD + b"a: b\r\n" * 1000)

    async with serving(script) as server:
        with pytest.raises(FirstByteTimeout):
            await make(limits=Limits(fields=10_000)).send(server.request(), Timeouts(first_byte=0.1))


async def test_interim_responses_are_not_a_first_byte(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(FirstByteTimeout):
            await make().send(server.request(), Timeouts(first_byte=0.05))


async def test_a_body_that_stands_still(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await wire.gone()

    async with serving(script) as server:
        response = await make().send(server.request(), Timeouts(idle=0.05))
        chunks = response.chunks()
        assert await anext(chunks) == b"hello"
        with pytest.raises(IdleTimeout) as caught:
            await anext(chunks)
        assert caught.value.phase is Phase.BODY
        await server.finished()


async def test_a_body_that_drips_ends_at_the_total(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await _drip(wire, HEAD + b"content-length: 99999\r\n\r\n")
        await _drip_on(wire)

    async def _drip_on(wire: Wire) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.send(b"x")
                await asyncio.sleep(0.01)

    async with serving(script) as server:
        with pytest.raises(TotalTimeout) as caught:
            await whole(make().send(server.request(), Timeouts(idle=5, total=0.9)))
        assert caught.value.sent


async def test_a_server_that_does_not_take_the_request(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await asyncio.Event().wait()

    async with serving(script) as server:
        with pytest.raises(WriteTimeout) as caught:
            await make().send(server.request(LARGE), Timeouts(write=0.1))
        assert (caught.value.sent, caught.value.phase) == (True, Phase.WRITE)


async def test_a_time_out_of_an_earlier_exchange_does_not_ring_in_a_later_one(make: Make) -> None:
    async with serving(always(OK)) as server:
        client = make()
        for _ in range(2):
            await whole(client.send(server.request(), Timeouts(first_byte=0.2, total=0.2)))
            await asyncio.sleep(0.3)
        for _ in range(2):
            await whole(client.send(server.request(), Timeouts(first_byte=0.2, total=0.2)))
            await whole(client.send(server.request(), PATIENT))
            await asyncio.sleep(0.3)
        assert server.connections == 1


# Cancelling


async def test_cancelling_while_the_server_thinks_drops_the_connection_at_once(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.gone()

    asked = asyncio.Event()
    async with serving(script) as server:
        client = make()
        task = asyncio.ensure_future(client.send(server.request(), PATIENT))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.finished()
        assert client.in_flight == 0


async def test_cancelling_inside_a_body_drops_the_connection_at_once(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await wire.gone()

    async with serving(script) as server:
        response = await make().send(server.request(), PATIENT)
        assert await anext(response.chunks()) == b"hello"
        task = asyncio.ensure_future(response.read(100))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.finished()


async def test_closing_an_unfinished_response_drops_the_connection(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await wire.gone()

    async with serving(script) as server:
        client = make()
        await (await client.send(server.request(), PATIENT)).aclose()
        await server.finished()


# The pool


async def test_the_cap_makes_requests_wait_and_a_freed_connection_serves_the_next(make: Make) -> None:
    async with serving(always(OK)) as server:
        client = make(max_connections=2)
        answers = await asyncio.gather(*(whole(client.send(server.request(), PATIENT)) for _ in range(20)))
        assert answers == [(200, b"ok")] * 20
        assert server.connections == 2


async def test_a_dropped_connection_gives_its_slot_to_who_waits(make: Make) -> None:
    async with serving(always(OK, then_close=True)) as server:
        client = make(max_connections=1)
        answers = await asyncio.gather(*(whole(client.send(server.request(), PATIENT)) for _ in range(5)))
        assert answers == [(200, b"ok")] * 5


async def test_waiting_for_a_connection_is_bounded_in_time_and_number(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.gone()

    asked = asyncio.Event()
    async with serving(script) as server:
        client = make(max_connections=1, max_waiting=1)
        first = asyncio.ensure_future(client.send(server.request(), PATIENT))
        await asked.wait()
        second = asyncio.ensure_future(client.send(server.request(), Timeouts(connect=0.1)))
        await asyncio.sleep(0)
        with pytest.raises(PoolExhausted, match="already wait"):
            await client.send(server.request(), PATIENT)
        with pytest.raises(PoolExhausted, match="busy") as caught:
            await second
        assert (caught.value.sent, caught.value.fault, caught.value.phase) == (False, Fault.LOCAL, Phase.POOL)
        first.cancel()


async def test_who_stops_waiting_takes_no_connection_along(make: Make) -> None:
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await release.wait()
        await wire.send(OK)
        await wire.answer()

    async with serving(script) as server:
        client = make(max_connections=1)
        first = asyncio.ensure_future(whole(client.send(server.request(), PATIENT)))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(client.send(server.request(), PATIENT))
        third = asyncio.ensure_future(whole(client.send(server.request(), PATIENT)))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        assert await first == (200, b"ok")
        assert await third == (200, b"ok")
        assert server.connections == 1


async def test_closing_the_client_lets_what_is_in_flight_finish(make: Make) -> None:
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(CHUNKED + b"5\r\nhello\r\n")
        await closed.wait()
        await wire.send(b"5\r\nworld\r\n0\r\n\r\n")
        await wire.gone()

    async with serving(script) as server:
        client = make()
        response = await client.send(server.request(), PATIENT)
        await client.aclose()
        closed.set()
        assert await response.read(100) == b"helloworld"
        await server.finished()
        with pytest.raises(ClientClosed):
            await client.send(server.request(), PATIENT)


async def test_closing_the_client_closes_idle_connections(make: Make) -> None:
    async def script(wire: Wire) -> None:
        await wire.answer()
        await wire.gone()

    async with serving(script) as server:
        client = make()
        await whole(client.send(server.request(), PATIENT))
        await client.aclose()
        await server.finished()


# Names and addresses


async def test_a_refused_connection_was_never_sent(make: Make) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    sock.close()
    with pytest.raises(ConnectFailed) as caught:
        await make().send(Request(Origin("http", "127.0.0.1", port), b"/"), PATIENT)
    assert (caught.value.sent, caught.value.fault) == (False, Fault.NETWORK)


async def test_a_name_that_does_not_resolve(make: Make) -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ConnectFailed, match="Name or service not known") as caught:
        await make(resolve=resolve).send(Request(Origin("http", "nowhere.test", 80), b"/"), PATIENT)
    assert not caught.value.sent


async def test_a_name_that_never_resolves_is_a_connect_time_out(make: Make) -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    client = make(resolve=resolve, max_connections=1)
    for _ in range(2):  # the slot is given back, too
        with pytest.raises(ConnectTimeout) as caught:
            await client.send(Request(Origin("http", "slow.test", 80), b"/"), Timeouts(connect=0.05))
        assert not caught.value.sent


async def test_a_changed_name_is_followed_once_connections_have_aged(make: Make) -> None:
    clock = Clock()
    async with serving(always(OK)) as old, serving(always(HEAD + b"content-length: 3\r\n\r\nnew")) as new:
        ports = [old.port]

        async def resolve(host: str, port: int) -> Sequence[Address]:
            return [(socket.AF_INET, ("127.0.0.1", ports[-1]))]

        client = make(resolve=resolve, clock=clock, idle_expiry=1000, max_lifetime=600)
        request = Request(Origin("http", "moving.test", 80), b"/")
        assert await whole(client.send(request, PATIENT)) == (200, b"ok")
        ports.append(new.port)
        clock.now += 599
        assert await whole(client.send(request, PATIENT)) == (200, b"ok")
        clock.now += 2
        assert await whole(client.send(request, PATIENT)) == (200, b"new")


# TLS


async def test_a_trusted_certificate_serves_many_exchanges(
    make: Make, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with serving(always(OK), server_tls) as server:
        client = make(tls=client_tls)
        for _ in range(3):
            assert await whole(client.send(server.request(b"x" * 100_000), PATIENT)) == (200, b"ok")
        assert server.connections == 1


async def test_an_untrusted_certificate(make: Make, server_tls: ssl.SSLContext) -> None:
    async with serving(always(OK), server_tls) as server:
        with pytest.raises(TLSFailed, match="certificate is not accepted") as caught:
            await make(tls=ssl.create_default_context()).send(server.request(), PATIENT)
        assert (caught.value.sent, caught.value.phase) == (False, Phase.CONNECT)


async def test_a_certificate_for_another_name(make: Make, authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.test").configure_cert(context)
    async with serving(always(OK), context) as server:
        with pytest.raises(TLSFailed, match="ostname mismatch"):
            await make(tls=client_tls).send(server.request(), PATIENT)


async def test_a_server_without_tls(make: Make, client_tls: ssl.SSLContext) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.gone()

    async with serving(script) as server:
        with pytest.raises(TLSFailed):
            await make(tls=client_tls).send(Request(Origin("https", "localhost", server.port), b"/"), PATIENT)


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_handshake_that_the_server_breaks_off(make: Make, client_tls: ssl.SSLContext, ending: str) -> None:
    async def script(wire: Wire) -> None:
        getattr(wire, ending)()

    async with serving(script) as server:
        client = make(tls=client_tls, max_connections=1)
        for _ in range(2):
            with pytest.raises((TLSFailed, ConnectFailed)) as caught:
                await client.send(Request(Origin("https", "localhost", server.port), b"/"), PATIENT)
            assert not caught.value.sent


async def test_a_handshake_that_never_ends(make: Make, client_tls: ssl.SSLContext) -> None:
    async def script(wire: Wire) -> None:
        await wire.gone()

    async with serving(script) as server:
        client = make(tls=client_tls, max_connections=1)
        for _ in range(2):
            with pytest.raises(ConnectTimeout):
                await client.send(Request(Origin("https", "localhost", server.port), b"/"), Timeouts(connect=0.1))
        await server.finished()


@pytest.mark.parametrize(("ending", "whole_body"), [("close", True), ("cut", False)])
async def test_over_tls_a_body_without_length_ends_at_close_notify_only(
    make: Make, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, ending: str, whole_body: bool
) -> None:
    read = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(HEAD + b"\r\nhello")
        await read.wait()
        getattr(wire, ending)()

    async with serving(script, server_tls) as server:
        chunks = (await make(tls=client_tls).send(server.request(), PATIENT)).chunks()
        assert await anext(chunks) == b"hello"
        read.set()
        if whole_body:
            assert [chunk async for chunk in chunks] == []
        else:
            with pytest.raises(TruncatedBody):
                await anext(chunks)
