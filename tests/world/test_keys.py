"""Keys are used in turn, and rest where the provider refused them."""

import pytest

from engine.world.keys import CROWDED_AT_MOST, CROWDED_FOR, TURNED_AWAY_FOR, Keys, retry_after


class Ring:
    """Keys with a clock that is turned by hand, and a list of what was told of them."""

    def __init__(self, *values: str) -> None:
        self.now = 1000.0
        self.told: list[tuple[int, int, float]] = []
        self.keys = Keys(values, lambda: self.now, lambda *what: self.told.append(what))

    def take(self) -> str:
        key = self.keys.take()
        assert key is not None
        return key.value.decode()

    def answer(self, status: int, *headers: tuple[bytes, bytes]) -> str:
        key = self.keys.take()
        assert key is not None
        self.keys.answered(key, status, list(headers))
        return key.value.decode()


def test_keys_are_used_in_turn() -> None:
    ring = Ring("a", "b", "c")
    assert [ring.take() for _ in range(5)] == ["a", "b", "c", "a", "b"]


def test_without_keys_there_is_none() -> None:
    assert Keys((), lambda: 0.0, lambda *_: None).take() is None


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, (), CROWDED_FOR),
        (429, ((b"retry-after", b"2"),), 2.0),
        (429, ((b"retry-after", b"2"), (b"retry-after-ms", b"500")), 0.5),
        (429, ((b"retry-after", b"86400"),), CROWDED_AT_MOST),
        (429, ((b"retry-after", b"soon"),), CROWDED_FOR),
        (401, (), TURNED_AWAY_FOR),
        (402, ((b"retry-after", b"1"),), TURNED_AWAY_FOR),
        (403, (), TURNED_AWAY_FOR),
    ],
)
def test_a_refused_key_rests_as_long_as_it_was_refused_for(
    status: int, headers: tuple[tuple[bytes, bytes], ...], seconds: float
) -> None:
    ring = Ring("a", "b")
    assert ring.answer(status, *headers) == "a"
    assert ring.told == [(1, status, seconds)]
    assert [ring.take(), ring.take()] == ["b", "b"]
    ring.now += seconds
    assert {ring.take(), ring.take()} == {"a", "b"}


@pytest.mark.parametrize("status", [200, 400, 404, 500, 503])
def test_what_is_not_about_the_key_gives_it_no_rest(status: int) -> None:
    ring = Ring("a", "b")
    ring.answer(status)
    assert (ring.told, [ring.take(), ring.take()]) == ([], ["b", "a"])


def test_where_all_rest_the_one_is_used_whose_rest_ends_first() -> None:
    ring = Ring("a", "b")
    ring.answer(401)
    ring.answer(429)
    assert [ring.take(), ring.take()] == ["b", "b"]


def test_an_answer_ends_the_rest() -> None:
    ring = Ring("a", "b")
    ring.answer(429)
    ring.answer(401)
    assert ring.answer(200) == "a"
    assert [ring.take(), ring.take()] == ["a", "a"]


def test_a_single_key_is_always_used() -> None:
    ring = Ring("a")
    ring.answer(401)
    assert ring.take() == "a"


def test_a_date_says_when_too() -> None:
    assert retry_after([(b"retry-after", b"Thu, 01 Jan 1970 00:01:00 GMT")], now=20.0) == 40.0
    assert retry_after([(b"retry-after", b"Thu, 01 Jan 1970 00:01:00 GMT")], now=90.0) == 0.0
    assert retry_after([(b"retry-after", b"nan")], now=0.0) is None
    assert retry_after([], now=0.0) is None
