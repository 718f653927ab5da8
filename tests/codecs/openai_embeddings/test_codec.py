"""Requests and answers of Embeddings, to an exchange and back."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.codecs.base import BadAnswer, BadRequest
from engine.codecs.openai_embeddings import OpenAIEmbeddings
from engine.model.exchange import Answer, Choice, Exchange, Message, Part, Usage

CODEC = OpenAIEmbeddings()


def decoded(request: Any) -> Exchange:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return CODEC.decode_request(body, id="e", headers={})


def asking(given: Any, **more: Any) -> dict[str, Any]:
    return {"model": "text-embedding-3-small", "input": given, **more}


def rewritten(request: dict[str, Any], **more: Any) -> Any:
    return json.loads(CODEC.encode_request(replace(decoded(request), body=None, **more)))


@pytest.mark.parametrize(
    ("given", "texts"),
    [("one", ["one"]), (["one", "two"], ["one", "two"]), ([1, 2, 3], [""]), ([[1, 2], [3]], ["", ""]), ("", [""])],
)
def test_each_input_is_a_message_of_the_users(given: Any, texts: list[str]) -> None:
    exchange = decoded(asking(given))
    assert [(message.role, message.text) for message in exchange.messages] == [("user", text) for text in texts]


def test_token_numbers_cannot_be_read() -> None:
    assert [part.kind for message in decoded(asking([[1], [2]])).messages for part in message.parts] == ["opaque"] * 2


def test_other_fields_are_parameters() -> None:
    exchange = decoded(asking("a", dimensions=8, encoding_format="base64", user="u", input_type="query"))
    assert exchange.params == {"dimensions": 8, "encoding_format": "base64", "user": "u", "input_type": "query"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"input":[]}',
        b'{"input":{}}',
        b'{"input":3}',
        b'{"input":"a","model":3}',
        b'{"input":null}',
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        decoded(body)
    assert refused.value.problem.status == 400


def test_an_untouched_body_goes_on_byte_for_byte() -> None:
    body = b'{ "input" : "a",  "model":"m" }'
    assert CODEC.encode_request(decoded(body)) is body


items = st.one_of(
    st.text(min_size=1), st.lists(st.text(), min_size=1), st.lists(st.integers(0, 9), min_size=1),
    st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1),
)  # fmt: skip


@given(items, st.dictionaries(st.sampled_from(["dimensions", "user", "other"]), st.integers() | st.text()))
def test_a_request_that_is_written_anew_says_the_same(given: Any, params: dict[str, Any]) -> None:
    request = asking(given, **params)
    assert rewritten(request) == request


def test_a_rule_changes_the_text_that_it_changed_and_nothing_else() -> None:
    request = asking(["secret", [1, 2], "open"], user="u")
    messages = list(decoded(request).messages)
    messages[0] = replace(messages[0], parts=(Part(kind="text", text="***"),))
    assert rewritten(request, messages=tuple(messages)) == asking(["***", [1, 2], "open"], user="u")


def test_a_message_that_a_rule_put_in_is_no_input() -> None:
    request = asking("a")
    more = Message(role="system", parts=(Part(kind="text", text="Be kind."),))
    assert rewritten(request, messages=(more, *decoded(request).messages)) == request


def test_parameters_and_model_are_written_and_removed() -> None:
    request = asking("a", dimensions=8, user="u")
    assert rewritten(request, params={"dimensions": 4}, model="m") == {"model": "m", "input": "a", "dimensions": 4}


def test_an_answer_goes_on_byte_for_byte_and_its_usage_counts() -> None:
    vector = b'{"object":"embedding","index":0,"embedding":"AAA="}'
    usage = b'{"prompt_tokens":7,"total_tokens":7}'
    body = b'{"object":"list","data":[%b],"model":"m","usage":%b}' % (vector, usage)
    answer = CODEC.decode_answer(body)
    assert CODEC.encode_answer(answer, decoded(asking("a"))) is body
    assert answer.usage == CODEC.usage_of(body)
    assert answer.usage is not None
    assert (answer.usage.input, answer.usage.output) == (7, 0)
    assert json.loads(CODEC.encode_answer(replace(answer, body=None), decoded(asking("a")))) == json.loads(body)


@pytest.mark.parametrize("body", [b'{"data"', b"{}", b'{"data":[{}]}', b"[]"])
def test_what_is_no_answer_is_said(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CODEC.decode_answer(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"usage":null}', b'{"usage":{"prompt_tokens":"7"}}'])
def test_usage_that_is_not_there_is_none(body: bytes) -> None:
    assert CODEC.usage_of(body) is None


def test_an_answer_of_our_own_has_the_format_that_was_asked_for() -> None:
    choice = Choice(index=0, wire={"embedding": [0.5, -1.0]})
    answer = Answer(model="m", choices=(choice,), usage=Usage(input=3))
    plain = json.loads(CODEC.encode_answer(answer, decoded(asking("a"))))
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = json.loads(CODEC.encode_answer(answer, decoded(asking("a", encoding_format="base64"))))
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == (0.5, -1.0)
