"""A count asks for what an answer would ask for, and for nothing that only an answer needs."""

import json

import pytest
from msgspec.structs import replace

from engine.codecs.anthropic import Anthropic
from engine.codecs.anthropic.count import count_path, decode_count, encode_count, encode_count_request
from engine.codecs.base import BadAnswer
from engine.model.exchange import Part
from tests.support.anthropic_refusals import refusal_of

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "x"}], "thinking": {"type": "adaptive"}}
BODY = json.dumps(REQUEST, indent=1).encode()
EXCHANGE = Anthropic().decode_request(BODY, id="x1", headers={}, query="beta=true")


def test_an_untouched_count_is_the_bytes_that_came() -> None:
    assert encode_count_request(EXCHANGE) is BODY
    assert count_path(EXCHANGE) == "/v1/messages/count_tokens?beta=true"


def test_what_rules_redact_is_not_counted_and_what_they_set_for_an_answer_is_not_sent() -> None:
    message = replace(EXCHANGE.messages[0], parts=(Part(kind="text", text="[x]"),))
    params = {**EXCHANGE.params, "max_tokens": 9, "temperature": 0.5, "stop": ["X"]}
    sent = json.loads(encode_count_request(replace(EXCHANGE, messages=(message,), params=params, body=None)))
    assert sent == {**REQUEST, "messages": [{"role": "user", "content": "[x]"}]}
    assert refusal_of(sent, counting=True) is None


def test_a_count_is_one_number() -> None:
    assert decode_count(encode_count(12)) == 12
    for body in (b"{", b"{}", b'{"input_tokens":"x"}'):
        with pytest.raises(BadAnswer):
            decode_count(body)
