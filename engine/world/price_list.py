"""The list of public prices that ships: providers, how their models are called, and what each costs when.

The file is made of the data of `genai-prices`. A provider is decoded when its first model is asked for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from typing import Any, Final

import msgspec

FILE: Final = "prices.json"

Clause = Sequence[Any]
_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "is": str.__eq__,
    "starts": str.startswith,
    "ends": str.endswith,
    "has": str.__contains__,
    "re": lambda name, pattern: re.search(pattern, name) is not None,
}
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Rate(msgspec.Struct, frozen=True):
    """US dollars per million tokens. A tier holds for all tokens of a request with more input than its first number."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        return next((price for start, price in reversed(self.tiers) if input_tokens > start), self.base)


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs. A kind of token without a rate of its own costs what `input` or `output` do."""

    input: Rate | None = None
    output: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None


class Timed(msgspec.Struct, frozen=True):
    """A tariff, and when it holds: from a day on (UTC), or between two minutes of the day; neither: always."""

    tariff: Tariff
    since: date | None = None
    between: tuple[int, int] | None = None

    def holds(self, moment: datetime) -> bool:
        if self.since is not None:
            return moment.date() >= self.since
        if self.between is not None:
            start, end = self.between
            minute = moment.hour * 60 + moment.minute
            return start <= minute < end if start <= end else minute >= start or minute < end
        return True


class _Place(msgspec.Struct, frozen=True):
    """As much of a provider as says which URLs are its."""

    url: str


class _Provider(msgspec.Struct, frozen=True):
    """Models in the order in which their names are tried, and providers whose models are sold here too."""

    models: Sequence[Mapping[str, Any]]
    also: Sequence[str]


class _File(msgspec.Struct, frozen=True):
    source: str
    providers: dict[str, msgspec.Raw]


class PriceList:
    """The shipped list. Nothing is fetched: prices of models that are newer are the operator's to set."""

    def __init__(self) -> None:
        self._providers: dict[str, _Provider] = {}

    @cached_property
    def _file(self) -> _File:
        return msgspec.json.decode(files("engine.world").joinpath(FILE).read_bytes(), type=_File)

    @cached_property
    def _urls(self) -> Sequence[tuple[re.Pattern[str], str]]:
        places = ((name, msgspec.json.decode(raw, type=_Place)) for name, raw in self._file.providers.items())
        return [(re.compile(place.url), name) for name, place in places]

    @property
    def source(self) -> str:
        """Where the prices are from: package and version."""
        return self._file.source

    def has(self, provider: str) -> bool:
        """Whether the list knows a provider by this name."""
        return provider in self._file.providers

    def provider_at(self, base_url: str) -> str:
        """The provider that a URL belongs to; "" for one that the list does not know."""
        return next((name for pattern, name in self._urls if pattern.match(base_url)), "")

    def prices(self, provider: str, model: str) -> Sequence[Timed]:
        """The tariffs of a model, of which the last that holds counts, else the first; none where it is not listed."""
        if not self.has(provider):
            return ()
        name = model.lower()
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        for each in (name, dashed) if dashed != name else (name,):
            for holder in (provider, *self._of(provider).also):
                if holder in self._file.providers and (found := self._named(holder, each)):
                    return [_timed(price) for price in found["prices"]]
        return ()

    def _named(self, provider: str, model: str) -> Mapping[str, Any] | None:
        return next((each for each in self._of(provider).models if _fits(each["match"], model)), None)

    def _of(self, provider: str) -> _Provider:
        known = self._providers.get(provider)
        if known is None:
            page = msgspec.json.decode(self._file.providers[provider])
            known = self._providers[provider] = _Provider(page["models"], page.get("also", ()))
        return known


def tariff_at(prices: Sequence[Timed], moment: datetime) -> Tariff | None:
    """The tariff that holds at a moment."""
    if not prices:
        return None
    return next((each for each in reversed(prices) if each.holds(moment)), prices[0]).tariff


def utc(seconds: float) -> datetime:
    """A time since 1970 as the list's days and hours count."""
    return datetime.fromtimestamp(seconds, UTC)


def _fits(clause: Clause, name: str) -> bool:
    kind = clause[0]
    if kind == "any":
        return any(_fits(each, name) for each in clause[1:])
    if kind == "all":
        return all(_fits(each, name) for each in clause[1:])
    return _TESTS[kind](name, clause[1])


def _timed(price: Mapping[str, Any]) -> Timed:
    rates = {kind: _rate(price[kind]) for kind in Tariff.__struct_fields__ if kind in price}
    since = date.fromisoformat(price["since"]) if "since" in price else None
    between = (price["between"][0], price["between"][1]) if "between" in price else None
    return Timed(Tariff(**rates), since, between)


def _rate(written: Sequence[Any]) -> Rate:
    return Rate(Decimal(written[0]), tuple((start, Decimal(price)) for start, price in written[1:]))
