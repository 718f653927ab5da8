"""A request's bytes: what is written, what is dropped, what is refused."""

import pytest

from engine.world.http.base import Headers, InvalidRequest, Origin, Request
from engine.world.http.wire import end_to_end, host_line, request_head

ORIGIN = Origin("https", "api.example", 8443)


def head(target: bytes = b"/v1", method: bytes = b"POST", headers: Headers | None = None, body: bytes = b"") -> bytes:
    return request_head(Request(ORIGIN, target, method, headers or [], body), host_line(ORIGIN))


def test_a_request_is_written_with_its_host_headers_and_length() -> None:
    assert head(headers=[(b"X-A", b"1"), (b"x-a", b"\xff 2")], body=b"hello") == (
        b"POST /v1 HTTP/1.1\r\nhost: api.example:8443\r\nX-A: 1\r\nx-a: \xff 2\r\ncontent-length: 5\r\n\r\n"
    )


def test_only_methods_without_a_body_leave_its_length_out() -> None:
    assert b"content-length" not in head(method=b"GET")
    assert b"content-length: 0\r\n" in head(method=b"POST")
    assert b"content-length: 2\r\n" in head(method=b"GET", body=b"{}")


@pytest.mark.parametrize(
    "name",
    [b"Host", b"content-length", b"Transfer-Encoding", b"connection", b"Keep-Alive", b"TE", b"trailer", b"upgrade",
     b"Expect", b"proxy-connection"],
)  # fmt: skip
def test_what_belongs_to_the_connection_is_not_taken_from_the_caller(name: bytes) -> None:
    assert head(headers=[(name, b"evil")]) == head()
    assert end_to_end(Request(ORIGIN, b"/", headers=[(name, b"evil"), (b"a", b"b")])) == [(b"a", b"b")]


@pytest.mark.parametrize("bad", [b"\r", b"\n", b"\0", b"\r\n", b"a\r\nx-evil: 1", b"a\n\nGET / HTTP/1.1"])
def test_a_header_value_cannot_start_another_line(bad: bytes) -> None:
    for value in (bad, b"ok" + bad, bad + b"ok"):
        with pytest.raises(InvalidRequest) as caught:
            head(headers=[(b"x-value", value)])
        assert not caught.value.sent


@pytest.mark.parametrize("bad", [b"", b"a b", b"a:b", b"a\r\nb", b"a\0", b"\xc3\xa9", b" a", b"a\t"])
def test_a_header_name_is_a_token(bad: bytes) -> None:
    with pytest.raises(InvalidRequest):
        head(headers=[(bad, b"1")])


@pytest.mark.parametrize(
    "bad", [b"", b"v1", b"/a b", b"/a\r\nx: y", b"/a\0", b"/\xc3\xa9", b"http://evil/", b"/\x7f", b"/a\n"]
)
def test_a_target_is_an_absolute_path_in_visible_ascii(bad: bytes) -> None:
    with pytest.raises(InvalidRequest):
        head(target=bad)


@pytest.mark.parametrize("bad", [b"", b"GET /x", b"GET\r\n", b"CONNECT", b"P\xc3\x96ST"])
def test_a_method_is_a_token_and_no_tunnel(bad: bytes) -> None:
    with pytest.raises(InvalidRequest):
        head(method=bad)


def test_names_from_outside_do_not_grow_the_memory_without_bound() -> None:
    for number in range(3000):
        assert b"x-%d: 1" % number in head(headers=[(b"x-%d" % number, b"1")])
    with pytest.raises(InvalidRequest):
        head(headers=[(b"bad name", b"1")])
    assert head(headers=[(b"Connection", b"x"), (b"CoNNection", b"x")]) == head()
