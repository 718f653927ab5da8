"""What goes wrong on the way, as the official SDK's exception classes see it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.lexgate import PATIENCE, Lexgate
from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .conftest import Serve
from .talk import asking

BLOCK = """
version: 1
policy: words
rules:
  - id: no-bananas
    phase: request
    when: contains(request.last_user, 'banana')
    actions: [{block: {message: No bananas.}}]
"""


def client(lexgate: Lexgate) -> openai.OpenAI:
    return openai.OpenAI(base_url=lexgate.base_url, api_key="the-clients-own-key", max_retries=0, timeout=20)


def ask(lexgate: Lexgate, text: str = "Hi", *, stream: bool = False, model: str = "gpt-4o") -> Any:
    said: Any = [{"role": "user", "content": text}]
    return client(lexgate).chat.completions.create(model=model, messages=said, stream=stream)


def backend(url: str, **more: Any) -> dict[str, Any]:
    return {"protocol": "openai", "base_url": url, "models": ["*"], **more}


@pytest.fixture
def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# --- the client's own mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b'{"model": "m"}', b'{"model": 3, "messages": []}', b"\xff", b"[" * 100_000],
    ids=["cut", "empty", "array", "no-messages", "wrong-type", "not-utf8", "deep"],
)
def test_what_is_no_request_is_400_and_goes_nowhere(serve: Serve, provider: OpenAIMock, body: bytes) -> None:
    raw = serve().post(body)
    assert raw.status == 400
    assert raw.json["error"]["type"] == "invalid_request_error"
    assert provider.requests == []


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_request_that_is_too_large_is_413(serve: Serve, chunked: bool) -> None:
    lexgate = serve(settings={"server": {"max_body": 1000}})
    body = json.dumps(asking("x" * 3000)).encode()
    connection = http.client.HTTPConnection("127.0.0.1", lexgate.port, timeout=PATIENCE)
    headers = {"content-type": "application/json"}
    if chunked:
        connection.request(
            "POST", "/v1/chat/completions", iter([body[:1500], body[1500:]]), headers, encode_chunked=True
        )
    else:
        connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "request_too_large"
    connection.close()


def test_the_sdk_sees_413_though_it_is_still_sending(serve: Serve) -> None:
    """A connection that is closed on a sending client is reset, and the SDK would report a connection error."""
    lexgate = serve(settings={"server": {"max_body": 1_000_000}})
    with pytest.raises(openai.APIStatusError) as caught:
        ask(lexgate, "x" * 3_500_000)
    assert caught.value.status_code == 413


def test_a_body_of_exactly_the_limit_is_taken(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Fits."))
    body = json.dumps(asking("x" * 500)).encode()
    lexgate = serve(settings={"server": {"max_body": len(body)}})
    assert lexgate.post(body).status == 200
    assert lexgate.post(body + b" ").status == 413


def test_a_body_that_never_comes_is_408(serve: Serve) -> None:
    lexgate = serve(settings={"server": {"body_timeout": 0.2}})
    with socket.create_connection(("127.0.0.1", lexgate.port), timeout=PATIENCE) as slow:
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_an_unknown_model_is_404_and_names_what_is_served(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={"backends": {"openai": {**backend(provider.base_url), "models": ["gpt-4o", "o?-*"]}}})
    with pytest.raises(openai.NotFoundError) as caught:
        ask(lexgate, model="gpt-9")
    assert caught.value.code == "model_not_found"
    assert "gpt-9" in caught.value.message
    assert "gpt-4o, o?-*" in caught.value.message
    assert provider.requests == []


def test_an_unknown_backend_in_front_of_a_model_is_404(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={"backends": {"openai": {**backend(provider.base_url), "models": ["gpt-4o"]}}})
    with pytest.raises(openai.NotFoundError):
        ask(lexgate, model="nowhere:gpt-4o")


def test_a_request_without_a_model_says_so(serve: Serve, provider: OpenAIMock) -> None:
    lexgate = serve(settings={"backends": {"openai": {**backend(provider.base_url), "models": ["gpt-4o"]}}})
    raw = lexgate.post({"messages": [{"role": "user", "content": "Hi"}]})
    assert raw.status == 404
    assert "names no model" in raw.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions/", "/docs", "/schema", "/v1/files", "/"])
def test_a_path_that_is_not_ours_is_404_in_the_clients_shape(serve: Serve, path: str) -> None:
    raw = serve().post({}, path)
    assert (raw.status, raw.json["error"]["type"]) == (404, "invalid_request_error")


def test_a_wrong_method_is_405_and_says_which_is_right(serve: Serve) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", serve().port, timeout=PATIENCE)
    connection.request("GET", "/v1/chat/completions")
    response = connection.getresponse()
    assert (response.status, response.headers["allow"]) == (405, "POST")
    connection.close()


def test_a_compressed_body_is_refused_in_words(serve: Serve) -> None:
    raw = serve().post(b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert (raw.status, raw.json["error"]["code"]) == (415, "unsupported_media_type")


# --- the policy's word -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_is_400_policy_blocked_and_never_sent(
    serve: Serve, provider: OpenAIMock, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(serve(BLOCK), "a banana", stream=stream)
    assert caught.value.code == "policy_blocked"
    assert "No bananas." in caught.value.message
    assert provider.requests == []


def test_a_condition_that_fails_in_a_protecting_rule_is_500_policy_error(serve: Serve, provider: OpenAIMock) -> None:
    rule = BLOCK.replace("contains(request.last_user, 'banana')", "contains(request.params.x, 'banana')")
    with pytest.raises(openai.InternalServerError) as caught:
        ask(serve(rule))
    assert (caught.value.status_code, caught.value.code) == (500, "policy_error")
    assert provider.requests == []


# --- the upstream's ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_refuses_the_connection_is_502(serve: Serve, free_port: int, stream: bool) -> None:
    lexgate = serve(settings={"backends": {"gone": backend(f"http://127.0.0.1:{free_port}/v1")}})
    with pytest.raises(openai.InternalServerError) as caught:
        ask(lexgate, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_failed")
    assert "'gone'" in caught.value.message


def test_an_answer_that_breaks_off_is_502(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Never whole.", cut_after=1))
    with pytest.raises(openai.InternalServerError) as caught:
        ask(serve())
    assert caught.value.status_code == 502


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", ["first_byte", "total"])
def test_an_upstream_that_says_nothing_is_504(serve: Serve, silent: int, limit: str, stream: bool) -> None:
    silence = backend(f"http://127.0.0.1:{silent}/v1", timeouts={limit: 0.2})
    with pytest.raises(openai.InternalServerError) as caught:
        ask(serve(settings={"backends": {"slow": silence}}), stream=stream)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")


def test_an_upstream_that_falls_silent_inside_an_answer_is_504(serve: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    with answering(head) as port:
        slow = backend(f"http://127.0.0.1:{port}/v1", timeouts={"idle": 0.2})
        with pytest.raises(openai.InternalServerError) as caught:
            ask(serve(settings={"backends": {"slow": slow}}))
    assert caught.value.status_code == 504


def test_a_stream_that_falls_silent_ends_with_an_error_event(serve: Serve, provider: OpenAIMock) -> None:
    gate = Gate()
    provider.script(Reply(text="One two three", gate=gate, gate_before=2))
    idle = backend(provider.base_url, timeouts={"idle": 0.2})
    with pytest.raises(openai.APIError) as caught:
        list(ask(serve(settings={"backends": {"slow": idle}}), stream=True))
    assert caught.value.code == "upstream_timeout"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_an_upstreams_error_is_passed_on_byte_for_byte(
    serve: Serve, provider: OpenAIMock, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    said = b'{ "error": {"message": "Said so.", "type":"x", "param": null, "code":"y", "more": 1e2} }'
    headers = {"retry-after": "7", "x-ratelimit-remaining-requests": "0", "set-cookie": "a=b"}
    provider.script(*[Reply(status=status, body=said, headers=headers)] * 2)
    lexgate = serve()
    with pytest.raises(kind):
        ask(lexgate, stream=stream)
    raw = lexgate.post(asking(stream=stream))
    assert (raw.status, raw.body) == (status, said)
    assert raw.headers["retry-after"] == "7"
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-request-id"] == "req_2"
    assert "set-cookie" not in raw.headers


def test_an_html_page_of_a_load_balancer_becomes_an_error_that_clients_can_read(
    serve: Serve, provider: OpenAIMock
) -> None:
    page = b"<html><head><style>b{}</style></head><body><h1>503 Service <b>Unavailable</b></h1></body></html>"
    provider.script(Reply(status=503, body=page, headers={"content-type": "text/html", "retry-after": "9"}))
    with pytest.raises(openai.InternalServerError) as caught:
        ask(serve())
    assert caught.value.status_code == 503
    assert "503 Service Unavailable" in caught.value.message
    assert caught.value.response.headers["retry-after"] == "9"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
    ids=["redirect", "page", "nothing", "gzip", "not-http"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_of_a_model_is_502(serve: Serve, head: bytes, stream: bool) -> None:
    with answering(head) as port, pytest.raises(openai.InternalServerError) as caught:
        ask(serve(settings={"backends": {"odd": backend(f"http://127.0.0.1:{port}/v1")}}), stream=stream)
    assert caught.value.status_code == 502


# --- what every answer carries ---------------------------------------------------------------------------------------


def test_every_answer_names_the_revision_and_the_decision(serve: Serve, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."), Reply(text="Yes."), Reply(status=429), Reply(status=500, body=b"oh"))
    lexgate = serve(BLOCK, settings={"server": {"max_body": 1000}})
    answers = [
        *(lexgate.post(asking(stream=stream)) for stream in (False, True)),
        *(lexgate.post(asking()) for _ in range(2)),
        lexgate.post(asking("banana", tools=None)),
        lexgate.post(b"{"),
        lexgate.post(b"x" * 2000),
        lexgate.post(asking(), headers={"host": "evil.example"}),
        lexgate.post(asking(), headers={"content-type": "text/plain"}),
    ]
    assert [each.status for each in answers] == [200, 200, 429, 500, 400, 400, 413, 403, 415]
    assert {each.headers["x-lexgate-revision"] for each in answers} == {lexgate.live.current.revision}
    assert len({each.headers["x-lexgate-decision"] for each in answers}) == len(answers)


def test_a_busy_server_refuses_and_says_when_to_come_again(serve: Serve, provider: OpenAIMock) -> None:
    gate = Gate()
    provider.script(Reply(text="Slow.", gate=gate))
    lexgate = serve(settings={"limits": {"in_flight": 1}})
    with ThreadOf(lambda: lexgate.post(asking())) as first:
        gate.wait_until_reached()
        busy = lexgate.post(asking())
        assert (busy.status, busy.json["error"]["code"]) == (503, "overloaded")
        assert int(busy.headers["retry-after"]) >= 1
        gate.open()
    assert first.result.status == 200


def test_a_server_that_stops_refuses_what_is_new(serve: Serve) -> None:
    lexgate = serve()
    lexgate._edge.draining = True
    raw = lexgate.post(asking())
    assert (raw.status, raw.json["error"]["code"]) == (503, "stopping")


def test_a_mistake_of_ours_is_500_and_its_reason_stays_in_the_log(serve: Serve, tmp_path: Path) -> None:
    lexgate = serve()

    def broken() -> float:
        raise ZeroDivisionError("the secret reason")

    lexgate.house.world.clock = broken
    raw = lexgate.post(asking())
    assert (raw.status, raw.json["error"]["code"]) == (500, "internal_error")
    assert b"secret reason" not in raw.body
    assert [each["event"] for each in lexgate.logs if each["log_level"] == "error"] == ["exchange failed"]


class ThreadOf:
    """Runs something beside the test."""

    def __init__(self, what: Any) -> None:
        self.result: Any = None
        self._thread = threading.Thread(target=lambda: setattr(self, "result", what()))

    def __enter__(self) -> "ThreadOf":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)


class answering:
    """A server that says the same bytes on every connection, and keeps it open."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._open: list[socket.socket] = []

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._listener.getsockname()[1]
        return port

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                connection.recv(65_536)
                connection.sendall(self._said)
        except OSError:
            return

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
