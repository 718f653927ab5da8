"""Usage, where each server puts it."""

import json
from typing import Any

import pytest

from engine.codecs import CODECS
from engine.codecs.openai_chat.usage import decode_usage, encode_usage, reported
from engine.model.exchange import Protocol, Usage

CODEC = CODECS[Protocol.OPENAI_CHAT]
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(
    "data",
    [
        {"usage": COUNTS},
        {"usage": None, "x_groq": {"usage": COUNTS}},
        {"choices": [{"index": 0, "usage": COUNTS}]},
    ],
)
def test_usage_is_found_where_servers_put_it(data: dict[str, Any]) -> None:
    usage = decode_usage(reported(data))
    assert usage is not None
    assert (usage.input, usage.output) == (3, 2)


@pytest.mark.parametrize(
    "cache", [{"prompt_tokens_details": {"cached_tokens": 1}}, {"prompt_cache_hit_tokens": 1}, {"cached_tokens": 1}]
)
def test_cached_tokens_are_found_where_servers_put_them(cache: dict[str, Any]) -> None:
    usage = decode_usage(COUNTS | cache)
    assert usage is not None
    assert usage.cached == 1


@pytest.mark.parametrize("data", [{}, {"usage": None}, {"usage": 3}, {"choices": [1]}])
def test_no_usage_is_none_and_not_zero(data: dict[str, Any]) -> None:
    assert decode_usage(reported(data)) is None


def test_counts_that_are_none_are_zero() -> None:
    assert decode_usage({"prompt_tokens": None, "completion_tokens": "x"}) == Usage(
        wire={"prompt_tokens": None, "completion_tokens": "x"}
    )


def test_fresh_usage_reads_back_equal() -> None:
    usage = Usage(input=9, output=8, cached=3, cache_write=2, reasoning=1)
    wire = encode_usage(usage)
    back = decode_usage(wire)
    assert back is not None
    assert (back.input, back.output, back.cached, back.cache_write, back.reasoning) == (9, 8, 3, 2, 1)
    assert wire["total_tokens"] == 17


def test_usage_is_found_in_the_tail_of_a_stream_that_nobody_read() -> None:
    last = json.dumps({"choices": [], "usage": COUNTS}).encode()
    noise = b'alf":"usage"}\n\ndata: {"choices":[{"delta":{"content":"\\"usage\\""}}],"usage":null}\n\n'
    for end in (b"\n\ndata: [DONE]\n\n", b"\r\n\r\ndata: [DONE]\r\n\r\n", b""):
        usage = CODEC.usage_in_tail(noise + b"data: " + last + end)
        assert usage is not None
        assert (usage.input, usage.output) == (3, 2)
    assert CODEC.usage_in_tail(noise) is None
    assert CODEC.usage_in_tail(last) is None
