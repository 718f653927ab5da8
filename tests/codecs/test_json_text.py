"""What is written is safe in readers that split lines the Unicode way; what is not JSON is said to be none."""

import pytest

from engine.codecs.json_text import MalformedJson, decode_json, decode_json_leniently, encode_json


@pytest.mark.parametrize("text", ["a\u2028b’", "a\u2029b", "a\x85bé", "’é"])
def test_the_line_ends_of_unicode_are_escaped(text: str) -> None:
    encoded = encode_json({text: text})
    assert len(encoded.decode().splitlines()) == 1
    assert decode_json(encoded) == {text: text}


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":NaN}', b'"\xff"', b'"\\ud83d"', b"[" * 100_000, b"1e999"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode_json(text)


def test_of_a_repeated_key_the_last_counts() -> None:
    assert decode_json(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(("text", "value"), [(b'"\\ud83d"', "\ud83d"), (b'"a\xff"', "a\ufffd")])
def test_half_a_character_is_read_and_said_to_be_one(text: bytes, value: str) -> None:
    assert decode_json_leniently(text) == (value, False)


def test_even_leniently_nonsense_is_refused() -> None:
    for text in (b"<html>", b"[" * 100_000):
        with pytest.raises(MalformedJson):
            decode_json_leniently(text)
