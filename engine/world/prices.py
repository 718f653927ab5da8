"""What an answer costs: by the operator's prices, else by the public list. An unknown price is None, never zero."""

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final

from engine.model.exchange import Usage
from engine.settings.model import Price, Settings

from .price_list import PriceList, Rate, Tariff, Timed, tariff_at, utc

MILLION: Final = Decimal(1_000_000)
REMEMBERED: Final = 4096

Unpriced = Callable[[str, str], None]
"""Told of backend and model of an answer whose price is not known."""


def _unheard(_backend: str, _model: str) -> None:
    """Nobody wants to know."""


class Prices:
    """The prices of a configuration. Of several that fit a model an exact name counts before a glob, the backend's own
    before those of all, and the operator's before the list's."""

    def __init__(
        self,
        settings: Settings,
        listed: PriceList | None = None,
        *,
        clock: Callable[[], float] = time.time,
        unpriced: Unpriced = _unheard,
    ) -> None:
        self._settings = settings
        self._listed = listed or PriceList()
        self._clock = clock
        self._unpriced = unpriced
        self._known: dict[tuple[str, str], Sequence[Timed]] = {}

    def cost(self, model: str, backend: str, usage: Usage) -> Decimal | None:
        """US dollars of an attempt's usage; None where the price, or that of a kind of token it used, is not known."""
        tariff = self.tariff(model, backend)
        cost = None if tariff is None else _cost(tariff, usage)
        if cost is None:
            self._unpriced(backend, model)
        return cost

    def worst_case(self, model: str, backend: str, input_tokens: int, output_tokens: int) -> Decimal | None:
        """No attempt of this many tokens costs more, however they are counted; None where the price is not known.

        All input at the dearest of its kinds (writing to a cache is dearer than reading), all output at the dearest of
        its own, both at their highest tier that the input can reach.
        """
        tariff = self.tariff(model, backend)
        if tariff is None:
            return None
        read = _dearest((tariff.input, tariff.cached, tariff.cache_write, tariff.cache_write_1h), input_tokens)
        wrote = _dearest((tariff.output, tariff.reasoning), input_tokens)
        if (read is None and input_tokens) or (wrote is None and output_tokens):
            return None
        return ((read or 0) * input_tokens + (wrote or 0) * output_tokens) / MILLION

    def tariff(self, model: str, backend: str) -> Tariff | None:
        """What the model costs at this backend now; None where nobody knows."""
        known = self._known.get((backend, model))
        if known is None:
            known = self._looked_up(model, backend)
            if len(self._known) < REMEMBERED:
                self._known[backend, model] = known
        if len(known) == 1:
            return known[0].tariff
        return tariff_at(known, utc(self._clock())) if known else None

    def _looked_up(self, model: str, backend: str) -> Sequence[Timed]:
        settings = self._settings.served_backends.get(backend)
        own: Mapping[str, Price] = settings.prices if settings is not None else {}
        for prices in (own, self._settings.prices):
            price = prices.get(model) or next((each for glob, each in prices.items() if fnmatchcase(model, glob)), None)
            if price is not None:
                return (Timed(_tariff(price)),)
        if settings is None or settings.protocol == "sandbox":
            return ()
        provider = settings.provider or self._listed.provider_at(settings.base_url)
        return self._listed.prices(provider, model)


def _tariff(price: Price) -> Tariff:
    """The operator's price. A float is taken as it is written: 0.1 is a tenth."""

    def rate(value: float | None) -> Rate | None:
        return None if value is None else Rate(Decimal(str(value)))

    return Tariff(
        input=rate(price.input),
        output=rate(price.output),
        cached=rate(price.cached),
        cache_write=rate(price.cache_write),
        reasoning=rate(price.reasoning),
    )


def _cost(tariff: Tariff, usage: Usage) -> Decimal | None:
    long = min(_written_for_an_hour(usage.wire), usage.cache_write)
    kinds = (
        (max(0, usage.input - usage.cached - usage.cache_write), tariff.input),
        (usage.cached, tariff.cached or tariff.input),
        (usage.cache_write - long, tariff.cache_write or tariff.input),
        (long, tariff.cache_write_1h or tariff.cache_write or tariff.input),
        (max(0, usage.output - usage.reasoning), tariff.output),
        (usage.reasoning, tariff.reasoning or tariff.output),
    )
    total = Decimal(0)
    for tokens, rate in kinds:
        if not tokens:
            continue
        if rate is None:
            return None
        total += rate.at(usage.input) * tokens
    return total / MILLION


def _written_for_an_hour(wire: Any) -> int:
    """Tokens that Anthropic keeps cached for an hour; they cost more than those that it keeps for five minutes."""
    details = wire.get("cache_creation") if isinstance(wire, dict) else None
    tokens = details.get("ephemeral_1h_input_tokens") if isinstance(details, dict) else None
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def _dearest(rates: Sequence[Rate | None], input_tokens: int) -> Decimal | None:
    """The highest price that any tier which this much input can reach has; tiers may be cheaper than what is below."""
    prices = [
        price
        for rate in rates
        if rate is not None
        for price in (rate.base, *(price for start, price in rate.tiers if input_tokens > start))
    ]
    return max(prices, default=None)
