"""Virtual keys as text."""

import hashlib
from collections.abc import Callable

import pytest

from engine.access import keys


def counting(start: int = 1) -> Callable[[int], bytes]:
    """Random bytes that are not."""
    turn = iter(range(start, 10_000))
    return lambda count: hashlib.sha512(str(next(turn)).encode()).digest()[:count]


def test_a_key_says_its_public_id_and_checks_itself() -> None:
    minted = keys.mint(counting())
    assert minted.text.startswith("lxg_")
    assert keys.id_of(minted.text) == minted.id
    assert len(minted.text) == 4 + 12 + 1 + 43 + 6
    assert minted.text.replace("_", "").isalnum()


def test_what_is_kept_does_not_hold_the_key() -> None:
    minted = keys.mint(counting())
    secret = minted.text.rpartition("_")[2]
    assert secret not in minted.hash
    assert keys.is_same(minted.hash, keys.digest(minted.text))
    assert not keys.is_same(minted.hash, keys.digest(minted.text[:-1]))


def test_no_single_typing_error_passes_the_checksum() -> None:
    text = keys.mint(counting()).text
    for place in range(4, len(text)):
        wrong = "x" if text[place] != "x" else "y"
        assert keys.id_of(text[:place] + wrong + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "lxg_", "sk-abc", "lxg_7Kq2mZ0aXw3T_short", "lxg_" + "é" * 62, "lxg_" + "0" * 62, "x" * 10_000]
)
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert keys.id_of(text) is None


def test_a_key_with_a_line_end_is_none() -> None:
    assert keys.id_of(keys.mint(counting()).text + "\n") is None


def test_a_new_secret_keeps_the_id() -> None:
    random = counting()
    first = keys.mint(random)
    second = keys.mint(random, first.id)
    assert second.id == first.id
    assert second.text != first.text


def test_zero_bytes_are_a_key_too() -> None:
    """The digits are padded: no secret is shorter than another."""
    minted = keys.mint(lambda count: bytes(count))
    assert keys.id_of(minted.text) == "lxg_000000000000"


def test_all_256_bits_fit() -> None:
    low, high = keys.mint(lambda count: b"\xff" * count), keys.mint(lambda count: b"\xff" * (count - 1) + b"\xfe")
    assert low.text != high.text
    assert keys.id_of(low.text) == low.id
