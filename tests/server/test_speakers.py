"""In whose shape an error is said that belongs to no exchange."""

import pytest

from engine.model.exchange import Protocol
from engine.server.speakers import codec_of, protocol_of


@pytest.mark.parametrize(
    ("path", "headers", "protocol"),
    [
        ("/v1/models", [], Protocol.OPENAI_CHAT),
        ("/v1/models", [(b"anthropic-version", b"2023-06-01")], Protocol.ANTHROPIC),
        ("/v1/models", [(b"x-goog-api-key", b"k")], Protocol.GEMINI),
        ("/v1/messages/batches", [], Protocol.ANTHROPIC),
        ("/v1/messagesque", [], Protocol.OPENAI_CHAT),
        ("/v1beta/files", [], Protocol.GEMINI),
        ("/v1beta/files", [(b"anthropic-version", b"2023-06-01")], Protocol.GEMINI),
        ("/metrics", [(b"host", b"localhost")], Protocol.OPENAI_CHAT),
    ],
)
def test_path_and_headers_tell_who_asks(path: str, headers: list[tuple[bytes, bytes]], protocol: Protocol) -> None:
    assert protocol_of(path, headers) is protocol
    assert codec_of(path, headers).protocol is protocol
