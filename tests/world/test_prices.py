"""What an answer costs, with the package that the list is made of as the oracle."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers

from engine.model.exchange import Usage
from engine.settings.model import Backend, Price, Settings
from engine.world.price_list import PriceList
from engine.world.prices import Prices
from tests.support.price_list import FILE, price_list

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def prices(
    *,
    now: datetime = NOON,
    told: list[tuple[str, str]] | None = None,
    common: dict[str, Price] | None = None,
    **own: Any,
) -> Prices:
    backend: dict[str, Any] = {"protocol": "openai", "base_url": "http://127.0.0.1/v1"} | own
    settings = Settings(backends={"it": Backend(**backend)}, prices=common or {})
    heard = [] if told is None else told
    return Prices(settings, clock=now.timestamp, unpriced=lambda *what: heard.append(what))


def test_the_list_that_ships_is_that_of_the_package() -> None:
    assert FILE.read_bytes() == price_list(), "run `python -m tests.support.price_list`"


@pytest.mark.parametrize("provider", [each.id for each in providers])
@pytest.mark.parametrize("now", [NOON, NOON.replace(hour=2), NOON.replace(year=2024)])
@pytest.mark.parametrize("size", [1_000, 300_000])
def test_a_listed_price_is_what_the_package_says(provider: str, now: datetime, size: int) -> None:
    """Every model of every provider: by name, by date, by time of day and by tier."""
    page = next(each for each in providers if each.id == provider)
    ours = prices(now=now, provider=provider)
    usage = Usage(input=size, output=500, cached=200, reasoning=100)
    theirs = genai_prices.Usage(
        input_tokens=size, output_tokens=500, cache_read_tokens=200, output_reasoning_tokens=100
    )
    compared = 0
    for model in page.models:
        tariff = ours.tariff(model.id, "it")
        if tariff is None or tariff.input is None or tariff.output is None or page.find_model(model.id) is not model:
            continue
        priced = model.get_prices(now)
        if priced.requests_kcount is not None:
            continue  # billed by requests besides
        expected = genai_prices.calc_price(theirs, model.id, provider_id=provider, genai_request_timestamp=now)
        ours_is = ours.cost(model.id, "it", usage)
        assert ours_is == expected.total_price, model.id
        compared += 1
    if provider in {"openai", "anthropic", "google", "openrouter"}:
        assert compared > 5


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://generativelanguage.googleapis.com", "google"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("http://127.0.0.1:11434/v1", ""),
        ("https://evil.example/https://api.openai.com", ""),
    ],
)
def test_a_provider_is_known_by_its_url(url: str, provider: str) -> None:
    assert PriceList().provider_at(url) == provider


def test_a_reseller_without_a_price_has_its_suppliers() -> None:
    azure = prices(base_url="https://mine.openai.azure.com/openai/v1")
    direct = prices(provider="anthropic")
    usage = Usage(input=10, output=10)
    assert azure.cost("claude-sonnet-4-5", "it", usage) == direct.cost("claude-sonnet-4-5", "it", usage) is not None


@pytest.mark.parametrize("model", ["no-such-model", ""])
def test_an_unknown_price_is_none_and_said(model: str) -> None:
    told: list[tuple[str, str]] = []
    it = prices(provider="openai", told=told)
    assert it.cost(model, "it", Usage(input=1, output=1)) is None
    assert it.worst_case(model, "it", 1, 1) is None
    assert told == [("it", model)]


def test_a_server_of_ones_own_has_no_listed_price() -> None:
    """That a model is called gpt-5 does not say who runs it."""
    assert prices().cost("gpt-5", "it", Usage(input=1)) is None
    assert prices(provider="nobody").cost("gpt-5", "it", Usage(input=1)) is None


def test_the_sandbox_has_only_the_price_that_the_operator_gives_it() -> None:
    plain = Prices(Settings())
    assert plain.cost("sandbox", "sandbox", Usage(input=1)) is None
    priced = Prices(Settings(prices={"sandbox": Price(input=1, output=1)}))
    assert priced.cost("sandbox", "sandbox", Usage(input=1_000_000)) == 1


def test_operators_prices_count_before_the_list_and_the_backends_before_all() -> None:
    one, two, three, four = (Price(input=each, output=0) for each in (1, 2, 3, 4))
    it = prices(
        provider="openai", prices={"gpt-5": one, "gpt-5-*": two}, common={"gpt-5": three, "gpt-4*": four, "*": three}
    )
    million = Usage(input=1_000_000)
    assert [it.cost(model, "it", million) for model in ("gpt-5", "gpt-5-mini", "gpt-4o", "o3")] == [1, 2, 4, 3]


def test_each_kind_of_token_has_its_price() -> None:
    price = Price(input=1.0, output=10.0, cached=0.1, cache_write=1.25, reasoning=20.0)
    it = prices(prices={"m": price})
    usage = Usage(input=1_000_000, output=1_000_000, cached=500_000, cache_write=200_000, reasoning=100_000)
    assert it.cost("m", "it", usage) == Decimal("0.3") + Decimal("0.05") + Decimal("0.25") + Decimal(9) + Decimal(2)


def test_what_stays_cached_for_an_hour_costs_more() -> None:
    it = prices(provider="anthropic")
    short = Usage(input=1000, cache_write=1000)
    long = Usage(input=1000, cache_write=1000, wire={"cache_creation": {"ephemeral_1h_input_tokens": 1000}})
    assert it.cost("claude-sonnet-4-5", "it", short) == Decimal("0.00375")
    assert it.cost("claude-sonnet-4-5", "it", long) == Decimal("0.006")


def test_a_kind_of_token_without_a_price_makes_the_whole_unknown() -> None:
    """A list that prices only the input of a model says nothing of its answers."""
    it = prices(provider="openai")
    assert it.cost("text-embedding-3-small", "it", Usage(input=1000)) == Decimal("0.00002")
    tariff = it.tariff("text-embedding-3-small", "it")
    assert tariff is not None
    assert (tariff.output is None) == (it.cost("text-embedding-3-small", "it", Usage(input=1, output=1)) is None)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=1000, output=100),
        Usage(input=1000, output=100, cached=1000),
        Usage(input=1000, output=100, cache_write=1000, wire={"cache_creation": {"ephemeral_1h_input_tokens": 1000}}),
        Usage(input=300_000, output=100, reasoning=100),
    ],
)
@pytest.mark.parametrize(
    ("provider", "model"), [("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-pro"), ("openai", "gpt-5")]
)
def test_the_worst_case_is_never_less_than_the_cost(provider: str, model: str, usage: Usage) -> None:
    it = prices(provider=provider)
    worst, cost = it.worst_case(model, "it", usage.input, usage.output), it.cost(model, "it", usage)
    assert worst is not None
    assert cost is not None
    assert worst >= cost > 0
