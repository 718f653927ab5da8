"""Origins, and what an error says of itself."""

import pytest

from engine.world.http.base import ConnectFailed, Fault, Origin, Phase, TotalTimeout, TransportError


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1", "api.openai.com"),
        ("https://API.openai.com/v1/", Origin("https", "api.openai.com", 443), "/v1", "api.openai.com"),
        ("http://127.0.0.1:11434", Origin("http", "127.0.0.1", 11434), "", "127.0.0.1:11434"),
        ("http://[::1]:8080/x", Origin("http", "::1", 8080), "/x", "[::1]:8080"),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443), "", "xn--bcher-kva.example"),
        ("http://host:443", Origin("http", "host", 443), "", "host:443"),
    ],
)
def test_a_base_url_becomes_an_origin_and_a_path(url: str, origin: Origin, path: str, authority: str) -> None:
    assert Origin.parse(url) == (origin, path)
    assert origin.authority == authority


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ftp://host/", "must be http or https"),
        ("api.openai.com/v1", "must be http or https"),
        ("https:///v1", "names no host"),
        ("https://user:secret@host/", "must not carry a user"),
        ("https://host/?a=b", "neither a query nor a fragment"),
        ("https://host:99999/", "out of range"),
    ],
)
def test_a_base_url_that_cannot_be_used_says_why(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Origin.parse(url)
    assert "secret" not in str(caught.value)


def test_an_error_says_whose_fault_it_was_in_which_phase_and_whether_the_request_was_sent() -> None:
    failed: TransportError = ConnectFailed("refused", sent=False)
    assert (failed.fault, failed.phase, failed.sent) == (Fault.NETWORK, Phase.CONNECT, False)
    late: TransportError = TotalTimeout("late", sent=True, phase=Phase.BODY)
    assert (late.fault, late.phase, late.sent) == (Fault.SERVER, Phase.BODY, True)
