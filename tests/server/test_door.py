"""The door of personal mode: the developer's own programs come in, web pages do not."""

import pytest

from engine.server.door import client_address, personal_problem
from engine.world.http.base import Headers

JSON = (b"content-type", b"application/json")


def problem(method: str = "POST", **headers: str) -> str | None:
    """The code of the refusal; names with underscores for hyphens."""
    given: Headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    found = personal_problem(method, given)
    return found.code if found is not None else None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
    ],
)
def test_a_loopback_host_comes_in(host: str) -> None:
    assert problem(host=host, content_type="application/json") is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:8000",
        "localhost.evil.example",
        "evil.example:127.0.0.1",
        "192.168.1.5:8000",
        "0.0.0.0:8000",
        "[::]:8000",
        "[::ffff:192.168.1.5]:8000",
        "localhost:8000@evil.example",
        "xn--localhost-.example",
        "localhost:",
        "2130706433",
        "0x7f.1",
    ],
)
def test_a_name_that_merely_resolves_here_does_not(host: str) -> None:
    assert problem(host=host, content_type="application/json") == "host_refused"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},  # another program's page
        {"origin": "http://localhost:8000.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "anything-new"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_does_not_come_in(method: str, headers: dict[str, str]) -> None:
    assert problem(method, host="localhost:8000", content_type="application/json", **headers) == "origin_refused"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_browsers_own_address_bar_comes_in(site: str) -> None:
    assert problem("GET", host="localhost:8000", sec_fetch_site=site) is None
    assert problem("GET", host="localhost:8000", origin="http://localhost:8000", sec_fetch_site=site) is None


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
)
def test_a_post_must_say_that_it_is_json(kind: str) -> None:
    assert problem(host="localhost", content_type=kind) == "unsupported_media_type"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_may_have_parameters(kind: str) -> None:
    assert problem(host="localhost", content_type=kind) is None


def test_two_hosts_are_no_way_in() -> None:
    hosts: Headers = [(b"host", b"localhost"), (b"host", b"evil.example"), JSON]
    found = personal_problem("POST", hosts)
    assert found is not None
    assert found.code == "host_refused"


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("10.0.0.1", "1.2.3.4", [], "10.0.0.1"),
        ("9.9.9.9", "1.2.3.4", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ["10.0.0.0/8"], "1.2.3.4"),
        ("10.0.0.1", "not-an-address", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ["10.0.0.0/8"], "10.0.0.3"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_of_trusted_proxies_alone(
    peer: str, forwarded: str, trusted: list[str], address: str
) -> None:
    headers: Headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert client_address(peer, headers, trusted) == address
