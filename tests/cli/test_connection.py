"""Connections of `policy serve`: what is too large or too slow is answered or closed, and nothing else is."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from engine.cli.connection import Bounds, Connection
from engine.cli.serve import _check_tls
from engine.diagnostics import ConfigurationError
from engine.settings.model import Server, Settings, Tls

PATIENCE = 10.0


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers; `/refuse` answers first, `/flood` answers without end."""
    if scope["path"] == "/flood":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(OSError):
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
        return
    while scope["path"] != "/refuse" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def serving(bounds: Bounds, **more: Any) -> Iterator[int]:
    kind = type("Bounded", (Connection,), {"bounds": bounds})
    config = uvicorn.Config(
        application, port=0, http=kind, lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=1, **more,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def everything(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65_536):
            heard += piece
    return heard


REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST % (b"a: " + b"x" * 2000 + b"\r\n"),
        REQUEST % (b"a: x\r\n" * 400),
        b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\na: " + b"x" * 3000,
        b"G" * 3000,
    ],
    ids=["one header", "many headers", "the first line", "a header without an end", "no request"],
)
def test_a_head_that_is_too_large_is_refused(sent: bytes) -> None:
    with serving(Bounds(head=1000)) as port, connected(port) as client:
        client.sendall(sent)
        status = everything(client).split(b" ")[1]
        assert status == (b"400" if sent.startswith(b"GG") else b"431")


def test_a_head_that_never_ends_is_refused_piece_by_piece() -> None:
    with serving(Bounds(head=1000)) as port, connected(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(50):
                client.sendall(b"a: " + b"x" * 97)
        assert everything(client).startswith((b"HTTP/1.1 431", b""))


def test_a_large_body_is_no_head() -> None:
    with serving(Bounds(head=1000)) as port, connected(port) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
        )
        assert everything(client).startswith(b"HTTP/1.1 200")


def test_every_request_of_a_connection_has_a_head_of_its_own() -> None:
    with serving(Bounds(head=1000)) as port, connected(port) as client:
        for _ in range(5):
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 800 + b"\r\n\r\n")
            heard = b""
            while not heard.endswith(b"ok"):
                heard += client.recv(65_536)
            assert heard.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "heard"), [(b"", b""), (b"GET / HT", b"HTTP/1.1 408"), (b"GET / HTTP/1.1\r\na: b\r\n", b"HTTP/1.1 408")]
)
def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, heard: bytes) -> None:
    with serving(Bounds(head_time=0.2)) as port, connected(port) as client:
        client.sendall(sent)
        assert everything(client)[: len(b"HTTP/1.1 408")] == heard


def test_an_answer_may_take_longer_than_a_head() -> None:
    with serving(Bounds(head_time=0.2)) as port, connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\n")
        client.settimeout(0.6)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        client.sendall(b"x")
        assert everything(client).startswith(b"HTTP/1.1 200")


def test_a_client_that_stops_reading_is_given_up() -> None:
    with serving(Bounds(write_time=0.3)) as port, connected(port) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        client.recv(10)
        threading.Event().wait(1.0)  # it does not read
        assert len(everything(client)) < 900_000_000


def test_connections_beyond_the_bound_are_closed() -> None:
    with serving(Bounds(connections=2)) as port, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connected(port)) for _ in range(2)]
        for client in kept:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        third = stack.enter_context(connected(port))
        assert everything(third) == b""
        kept[0].sendall(REQUEST % b"")
        assert everything(kept[0]).startswith(b"HTTP/1.1 200")


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2126, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Tls(cert="cert.pem", key="key.pem")


def test_https_is_spoken_with_a_certificate(tls: Tls, tmp_path: Path) -> None:
    files = {"ssl_certfile": tmp_path / tls.cert, "ssl_keyfile": tmp_path / tls.key}
    trust = ssl.create_default_context(cafile=tmp_path / tls.cert)
    with (
        serving(Bounds(), **files) as port,
        connected(port) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(REQUEST % b"")
        assert everything(client).startswith(b"HTTP/1.1 200")
        assert client.version() in ("TLSv1.2", "TLSv1.3")


def test_a_certificate_that_can_be_used_is(tls: Tls, tmp_path: Path) -> None:
    _check_tls(Settings(server=Server(tls=tls), base_dir=str(tmp_path)))


@pytest.mark.parametrize(("cert", "key"), [("none.pem", "key.pem"), ("key.pem", "key.pem"), ("cert.pem", "cert.pem")])
def test_a_certificate_that_cannot_be_used_is_said(tls: Tls, tmp_path: Path, cert: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match="the certificate cannot be used"):
        _check_tls(Settings(server=Server(tls=Tls(cert=cert, key=key)), base_dir=str(tmp_path)))
