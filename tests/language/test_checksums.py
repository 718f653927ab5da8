"""Checksums: real shapes pass, and a digit that is wrong does not."""

import pytest

from engine.language.checksums import CHECKS
from engine.language.patterns import PatternSet, compile_pattern

RIGHT = [
    ("luhn", "4111 1111 1111 1111"),
    ("luhn", "5555-5555-5555-4444"),
    ("luhn", "378282246310005"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB29NWBK60161331926819"),
    ("iban", "NO9386011117947"),
    ("iban", "FR1420041010050500013M02606"),
    ("bsn", "111222333"),
    ("dni", "12345678Z"),
    ("dni", "X1234567-L"),
    ("steuer_id", "86095742719"),
]
WRONG = [
    ("luhn", "4111 1111 1111 1112"),
    ("luhn", "0000 0000 0000 0000"),
    ("luhn", "7"),
    ("iban", "DE89 3704 0044 0532 0130 01"),
    ("iban", "DE89 3704 0044 0532 0130"),
    ("bsn", "111222334"),
    ("bsn", "000000000"),
    ("dni", "12345678A"),
    ("dni", "nothing"),
    ("steuer_id", "86095742718"),
    ("steuer_id", "12345678901"),
]


@pytest.mark.parametrize(("name", "text"), RIGHT)
def test_a_number_that_proves_itself_passes(name: str, text: str) -> None:
    assert CHECKS[name](text)


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_one_that_does_not_fails(name: str, text: str) -> None:
    assert not CHECKS[name](text)


def test_a_pattern_with_a_check_finds_what_passes_it_alone() -> None:
    cards = PatternSet("cards", [compile_pattern("card", r"\b[0-9]{4}(?: ?[0-9]{4}){3}\b", check="luhn")])
    text = "order 4111 1111 1111 1112, card 4111 1111 1111 1111."
    assert [text[each.start : each.end] for each in cards.find(text)] == ["4111 1111 1111 1111"]
    assert cards.matches(text)
    assert not cards.matches("order 4111 1111 1111 1112")


def test_in_a_stream_a_row_of_digits_that_fails_its_check_is_not_kept() -> None:
    cards = PatternSet("cards", [compile_pattern("card", r"\b[0-9]{16}\b", check="luhn")])
    assert cards.settled("number 4111111111111112 and more") == ((), 32)
    matches, held = cards.settled("number 4111111111111111 and more")
    assert [(each.start, each.end) for each in matches] == [(7, 23)]
    assert held == 32
