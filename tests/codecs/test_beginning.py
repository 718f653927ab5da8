"""An error that a stream begins with is found, in every protocol; one that follows an answer's words is the client's."""

import pytest

from engine.codecs import CODECS
from engine.codecs.beginning import failure_at_once
from engine.model.exchange import Protocol

CHAT = b'data: {"error": {"message": "Overloaded.", "type": "server_error", "code": 503}}\n\n'
MESSAGES = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded."}}\n\n'


@pytest.mark.parametrize(
    ("protocol", "data", "status"), [(Protocol.OPENAI_CHAT, CHAT, 503), (Protocol.ANTHROPIC, MESSAGES, 529)]
)
@pytest.mark.parametrize("before", [b"", b": keep-alive\n\n"])
def test_an_error_that_comes_first_is_found(protocol: Protocol, data: bytes, status: int, before: bytes) -> None:
    found = failure_at_once(CODECS[protocol], before + data)
    assert found is not None
    failed, frame = found
    assert (failed.status, failed.message) == (status, "Overloaded.")
    assert isinstance(frame.data, dict)
    assert frame.data["error"]["message"] == "Overloaded."


@pytest.mark.parametrize(
    "first",
    [
        b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "An error: "}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "error": null}\n\n',
        b"data: no JSON, but an error\n\n",
    ],
)
def test_what_begins_otherwise_goes_on(first: bytes) -> None:
    assert failure_at_once(CODECS[Protocol.OPENAI_CHAT], first) is None


def test_an_error_after_the_first_words_is_left_to_the_client() -> None:
    words = b'data: {"choices": [{"index": 0, "delta": {"content": "Yes"}}]}\n\n'
    assert failure_at_once(CODECS[Protocol.OPENAI_CHAT], words + CHAT) is None
