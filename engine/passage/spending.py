"""What an attempt may spend: its worst case set aside before it is made, and what it really used charged after it.

Amounts are whole: tokens, or nano-dollars. What is set aside lives as long as an attempt can last; of one whose process
died a budget counts the worst case, because nobody knows what it used.
"""

import functools
import hashlib
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from engine.actions.budget import NANODOLLARS
from engine.model.decision import Spend
from engine.model.effects import Block, Budget, Meter, Patch, Take
from engine.model.exchange import Exchange, Usage
from engine.model.folding import folded
from engine.passage.bounds import input_bound, limited, output_bound
from engine.passage.calendar import LONGEST, begun
from engine.passage.view import Taken
from engine.world import World
from engine.world.store import base as store

MARGIN: Final = 60.0
"""Seconds that a reservation outlives the longest attempt."""
ATTEMPT: Final = 900.0
"""How long an attempt can take of which no configured backend says it."""
DEFAULT_OUTPUT: Final = 4096
"""Tokens of output that a rate limit expects where the client sets no limit; it sets none upstream."""
_LONGEST_KEY: Final = 256
_MILLION: Final = Decimal(1_000_000)


class Unpriced(msgspec.Struct, frozen=True):
    """A budget of money cannot tell what an attempt costs, and does not let it pass."""

    block: Block


class Held(msgspec.Struct, frozen=True):
    """What an attempt set aside for one meter. `rule` is its name as it counts: in shadow, one of its own."""

    rule: str
    meter: Meter
    change: store.Reserve


class Charge(msgspec.Struct, frozen=True):
    """What became of a reservation: `used` of `held`, in the meter's unit; `overrun` is what it used beyond."""

    held: Held
    used: int
    overrun: int
    standing: store.Standing


class Account:
    """One attempt: what it may cost, what is held for it, and in the end what it cost.

    `sent` is the request that goes to the backend, with all that steering hid; `taken` the leg that is asked.
    """

    def __init__(self, world: World, sent: Exchange, taken: Taken) -> None:
        self._world = world
        self._sent = sent
        self._taken = taken
        self.held: list[Held] = []
        self.output: int | None = None
        """The limit of output that the backend is given, where the client gives none."""
        self._unsaid = 0
        """Output that nobody said, and that budgets count."""

    @property
    def model(self) -> str:
        return self._taken.model or self._sent.model

    def prepare(self, spends: Sequence[Spend], effects: Sequence[object]) -> None:
        """The rules of the attempt are known: what they write of the request counts, and what its budgets assume."""
        if not spends:
            return
        ops = [op for effect in effects if isinstance(effect, Patch) for op in effect.ops]
        if ops:
            self._sent = folded(self._sent, ops)
            self.__dict__.pop("_input", None)
        assumed = [spend.take.assume_output for spend in spends if isinstance(spend.take, Budget)]
        self.output = min(assumed, default=None)

    def limited(self, exchange: Exchange) -> Exchange:
        """The request with the limit of output that was reserved, where it has none of its own."""
        return exchange if self.output is None else limited(exchange, self.output)

    def change(self, rule: str, meter: Meter) -> store.Change | Unpriced | None:
        """What a meter takes of the store; None where a budget lets pass what it cannot price."""
        match meter:
            case Take(of="requests"):
                return store.Take(_rate(rule, meter))
            case Take(of="concurrency"):
                slots = store.Slots(_key("rate", rule, meter.key), meter.limit)
                return store.Reserve(slots, self._id, 1, meter.window)
            case Take(of="tokens"):
                # A request that is larger than the whole limit passes where nothing else was used.
                most = min(self._tokens(DEFAULT_OUTPUT), meter.burst or meter.limit)
                return store.Reserve(_rate(rule, meter), self._id, most, max(meter.window, self._lease))
            case Budget(of="tokens"):
                return self._reserve(rule, meter, self._tokens(meter.assume_output))
            case Budget(of="money"):
                cost = self._worst_cost(meter)
                return cost if cost is None or isinstance(cost, Unpriced) else self._reserve(rule, meter, cost)
            case _:
                raise AssertionError(f"no meter counts {meter.of}")

    def hold(self, rule: str, meter: Meter, change: store.Reserve) -> None:
        """It is about to be held: from now on it must be settled or given back, whatever becomes of the commit."""
        self.held.append(Held(rule, meter, change))

    async def settle(self, usage: Usage | None) -> tuple[Charge, ...]:
        """Charge what was used in place of what was held; None: nothing was. Raises StoreDown.

        Slots are given back. A second settlement charges nothing.
        """
        held, self.held = self.held, []
        if not held:
            return ()
        amounts = [0 if usage is None else self._used(each, usage) for each in held]
        changes: list[store.Change] = [
            store.Release(each.change.meter, each.change.id)
            if usage is None or isinstance(each.change.meter, store.Slots)
            else store.Settle(each.change.meter, each.change.id, amount)
            for each, amount in zip(held, amounts, strict=True)
        ]
        done = await self._world.store.commit(changes)
        if not isinstance(done, store.Committed):
            raise AssertionError("what gives back is never refused")
        return tuple(
            Charge(each, amount, result.overrun, result.standing)
            for each, amount, result in zip(held, amounts, done.results, strict=True)
            if isinstance(result, store.Settled)
        )

    def unknown(self, input_tokens: int, exchange: Exchange) -> Usage:
        """What is counted of an attempt that ended without saying what it used: its input.

        Where the answer was to come in one piece, a budget counts all the output that it might have had too: nobody
        knows how far the provider went.
        """
        self._unsaid = 0 if exchange.stream else output_bound(exchange, self.output or DEFAULT_OUTPUT)
        return Usage(input=input_tokens)

    # -- amounts --

    @property
    def _id(self) -> str:
        return f"{self._sent.id}/{self._taken.number}"

    @functools.cached_property
    def _input(self) -> int:
        return input_bound(self._sent, self.model)

    def _output(self, assumed: int) -> int:
        return output_bound(self._sent, assumed if self.output is None else self.output)

    def _tokens(self, assumed: int) -> int:
        return self._input + self._output(assumed)

    @property
    def _lease(self) -> float:
        backend = self._world.settings.served_backends.get(self._taken.backend)
        return (ATTEMPT if backend is None else float(backend.timeouts.total)) + MARGIN

    def _reserve(self, rule: str, budget: Budget, amount: int) -> store.Reserve:
        meter = meter_of(rule, budget, self._world.clock())
        return store.Reserve(meter, self._id, amount, self._lease, lapse="spend")

    def _worst_cost(self, budget: Budget) -> int | Unpriced | None:
        input_tokens, output_tokens = self._input, self._output(budget.assume_output)
        cost = self._world.prices.worst_case(self.model, self._taken.backend, input_tokens, output_tokens)
        match budget.unknown_price:
            case _ if cost is not None:
                return _nanodollars(cost)
            case "refuse":
                message = (
                    f"No price is known for the model '{self.model}' at the backend '{self._taken.backend}', so that a "
                    "budget cannot admit it. The operator can set one under `prices`."
                )
                return Unpriced(Block(message, 400, "price_unknown", fails_over=budget.on_exceed == "failover"))
            case "allow":
                return None
            case float() | int() as price:
                return _nanodollars(Decimal(str(price)) * (input_tokens + output_tokens) / _MILLION)
            case _:
                assert_never(budget.unknown_price)

    def _used(self, held: Held, usage: Usage) -> int:
        match held.meter:
            case Take(of="concurrency" | "requests"):
                return 0
            case Take():
                return usage.input + usage.output
            case Budget(of="tokens"):
                return usage.input + usage.output + self._unsaid
            case Budget(unknown_price=unknown):
                usage = replace(usage, output=usage.output + self._unsaid)
                prices, backend = self._world.prices, self._taken.backend
                known = prices.tariff(self.model, backend) is not None
                cost = prices.cost(self.model, backend, usage) if known else None
                if cost is None and not isinstance(unknown, str):
                    cost = Decimal(str(unknown)) * (usage.input + usage.output) / _MILLION
                # What was priced when it was held, and is not any more, costs what was held.
                return held.change.amount if cost is None else _nanodollars(cost)
            case _:
                assert_never(held.meter)


def meter_of(rule: str, meter: Meter, now: float) -> store.Meter:
    """The store's meter of a rule's; `now` chooses the period where it is one of a time zone."""
    if isinstance(meter, Take):
        return (
            store.Slots(_key("rate", rule, meter.key), meter.limit) if meter.of == "concurrency" else _rate(rule, meter)
        )
    space = f"budget/{meter.of}"
    if isinstance(meter.window, int) or meter.zone == "UTC":
        return store.Allowance(_key(space, rule, meter.key), meter.limit, meter.window)
    # Each period of a zone has a meter of its own, in which nothing becomes free again as long as it is used.
    name = f"{begun(meter.window, meter.zone, now)} {meter.window} {meter.zone}"
    return store.Window(_key(f"{space}/{name}", rule, meter.key), meter.limit, LONGEST[meter.window])


def _rate(rule: str, take: Take) -> store.Window | store.Bucket:
    key = _key(f"rate/{take.of}", rule, take.key)
    if take.burst:
        return store.Bucket(key, take.burst, take.burst * take.window / take.limit)
    return store.Window(key, take.limit, take.window)


def _key(space: str, rule: str, key: str) -> store.Key:
    """A key that a client can make as long as it likes is cut, and kept apart from others by its fingerprint."""
    if len(key) > _LONGEST_KEY:
        key = f"{key[:_LONGEST_KEY]}#{fingerprint(key)}"
    return store.Key(space, rule, key)


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _nanodollars(dollars: Decimal) -> int:
    return int((dollars * NANODOLLARS).to_integral_value(ROUND_CEILING))
