"""Writes the price list that ships, from the data of `genai-prices`: `python -m tests.support.price_list`.

The package itself is not imported by the server: with its models for validation it costs 30 MB and a quarter of a second.
What is kept of it is prices of tokens, by which a conversation is billed.
"""

import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from genai_prices import __version__, types
from genai_prices.data import providers

FILE: Final = Path(__file__).parents[2] / "engine/world/prices.json"

KEPT: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}


def price_list() -> bytes:
    """The list as the file holds it: a provider a line, so that a diff of two versions can be read."""
    made = {provider.id: _provider(provider) for provider in providers}
    lines = [f"{_text(name)}: {_text(each)}" for name, each in made.items()]
    head = f'{{"source": "genai-prices {__version__}", "providers": {{\n'
    return (head + ",\n".join(lines) + "\n}}\n").encode()


def _provider(provider: types.Provider) -> dict[str, Any]:
    made: dict[str, Any] = {"url": provider.api_pattern, "models": [_model(model) for model in provider.models]}
    if provider.fallback_model_providers:
        made["also"] = provider.fallback_model_providers
    return made


def _model(model: types.ModelInfo) -> dict[str, Any]:
    prices = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    return {"match": _clause(model.match), "prices": [_price(price) for price in prices]}


def _price(price: types.ConditionalPrice) -> dict[str, Any]:
    """Also one without a price of tokens: what is billed by minutes must not get the price of another model."""
    made: dict[str, Any] = {}
    for theirs, ours in KEPT.items():
        value = getattr(price.prices, theirs)
        if isinstance(value, types.TieredPrices):
            made[ours] = [str(value.base), *([tier.start, str(tier.price)] for tier in value.tiers)]
        elif value is not None:
            made[ours] = [str(value)]
    match price.constraint:
        case types.StartDateConstraint(start_date=date):
            made["since"] = date.isoformat()
        case types.TimeOfDateConstraint(start_time=start, end_time=end):
            made["between"] = [_minute(start), _minute(end)]
    return made


def _minute(time: datetime.time) -> int:
    """Minutes since midnight, UTC."""
    moment = datetime.datetime.combine(datetime.date(2000, 1, 1), time)
    if time.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC)
    return moment.hour * 60 + moment.minute


def _clause(clause: Any) -> list[Any]:
    match clause:
        case types.ClauseEquals(equals=text):
            return ["is", text.lower()]
        case types.ClauseStartsWith(starts_with=text):
            return ["starts", text.lower()]
        case types.ClauseEndsWith(ends_with=text):
            return ["ends", text.lower()]
        case types.ClauseContains(contains=text):
            return ["has", text.lower()]
        case types.ClauseRegex(regex=text):
            return ["re", text]
        case types.ClauseOr(or_=clauses):
            return ["any", *map(_clause, clauses)]
        case types.ClauseAnd(and_=clauses):
            return ["all", *map(_clause, clauses)]
        case _:
            raise TypeError(f"an unknown way to match a model: {clause!r}")


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    FILE.write_bytes(price_list())
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")
