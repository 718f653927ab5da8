"""Where clients put a key, and what is refused because it is not clear which of several counts."""

import pytest

from engine.access.credentials import NOTHING, Presented, presented, stripped, stripped_query
from engine.access.denial import AMBIGUOUS
from engine.world.http.base import Headers

KEY = "lxg_000000000000_secret"


def headers(*pairs: tuple[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in pairs]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer {KEY}"),
        ("authorization", f"BEARER   {KEY} "),
        ("x-api-key", KEY),
        ("x-goog-api-key", KEY),
        ("api-key", KEY),
    ],
)
def test_a_key_is_read_from_where_each_client_puts_it(name: str, value: str) -> None:
    assert presented(headers((name, value)), b"") == Presented(KEY)


@pytest.mark.parametrize(
    "query", [f"key={KEY}", f"alt=sse&key={KEY}", f"KEY={KEY}", f"%6bey={KEY}", f"access_token={KEY}", f"a=b;key={KEY}"]
)
def test_a_key_is_read_from_the_query_however_it_is_written(query: str) -> None:
    assert presented([], query.encode()) == Presented(KEY)
    assert KEY not in stripped_query(query)


def test_a_query_without_a_key_shows_nothing() -> None:
    assert presented([], b"alt=sse&monkey=1&keys=2") == NOTHING
    assert stripped_query("alt=sse&monkey=1&keys=2") == "alt=sse&monkey=1&keys=2"


def test_the_same_key_in_two_places_counts_once() -> None:
    given = headers(("x-api-key", KEY), ("authorization", f"Bearer {KEY}"))
    assert presented(given, f"key={KEY}".encode()) == Presented(KEY)


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ([("x-api-key", KEY), ("authorization", "Bearer other")], ""),
        ([("x-api-key", KEY)], "key=other"),
        ([("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")], ""),
        ([("x-api-key", KEY), ("x-api-key", "other")], ""),
        ([], f"key={KEY}&key=other"),
        ([], f"key={KEY}&key={KEY}"),
        ([], f"key={KEY}&%6Bey=other"),
        ([], f"key={KEY}&access_token=other"),
        ([("x-lexgate-key", KEY), ("authorization", "Bearer lxg_111111111111_other")], ""),
        ([("authorization", f"Basic {KEY}"), ("x-api-key", KEY)], ""),
    ],
)
def test_several_credentials_are_refused(given: list[tuple[str, str]], query: str) -> None:
    assert presented(headers(*given), query.encode()) == AMBIGUOUS


def test_another_scheme_is_not_taken_for_a_key() -> None:
    found = presented(headers(("authorization", f"Basic {KEY}")), b"")
    assert found == Presented(f"Basic {KEY}")


def test_an_empty_credential_is_none() -> None:
    assert presented(headers(("authorization", "Bearer "), ("x-api-key", "")), b"key=") == NOTHING


def test_nothing_of_a_credential_is_left() -> None:
    given = headers(("x-api-key", KEY), ("authorization", f"Bearer {KEY}"), ("accept", "*/*"))
    assert stripped(given, Presented(KEY)) == headers(("accept", "*/*"))


def test_behind_the_header_of_its_own_the_clients_login_stays() -> None:
    given = headers(("x-lexgate-key", KEY), ("authorization", "Bearer theirs"), ("x-api-key", KEY))
    assert presented(headers(("x-lexgate-key", KEY), ("authorization", "Bearer theirs")), b"") == Presented(
        KEY, own=True
    )
    assert stripped(given, Presented(KEY, own=True)) == headers(
        ("x-lexgate-key", ""), ("authorization", "Bearer theirs")
    )
