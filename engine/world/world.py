"""Everything outside the process that an exchange may touch, behind one name: store, backends, audit, clock, metrics."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from engine.settings.model import Settings

from .audit import AuditLog
from .backends import Backends, Cooled
from .discovery import Discovery
from .estimates import Estimates
from .health import Health
from .keys import CROWDED
from .metrics import Metrics
from .outbound import Outbound
from .prices import Prices
from .recorder import Keeps
from .store.base import Store
from .usage import Usage

_STOCK: Final = 1536
_SAID: Final = 1000
_PLANS: Final = 1000


class World:
    """What the pipeline awaits. Tests give it clocks and random numbers of their own."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        backends: Backends,
        metrics: Metrics,
        outbound: Outbound,
        audit: AuditLog | None = None,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
        estimates: Estimates | None = None,
        recorder: Keeps | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.backends = backends
        self.metrics = metrics
        self.outbound = outbound
        self.audit = audit
        self.recorder = recorder
        self.clock = clock
        self.random_bytes = random_bytes
        self.estimates = estimates or Estimates()
        self.timer = time.perf_counter_ns
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.health = Health(settings.resilience, lambda: self.clock(), self._say_health)
        self.usage = Usage(store, lambda: self.clock())
        metrics.compared = self.usage.compared
        self.prices = Prices(settings, clock=lambda: self.clock(), unpriced=self._say_unpriced)
        self._said_unpriced: set[tuple[str, str]] = set()
        self._said_budgets: set[tuple[str, str]] = set()
        self._discovery: Discovery | None = None
        self._drawn = b""
        self._turns: dict[str, int] = {}
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger("lexgate")
        self.has_hidden_turns = False
        """Whether steering has hidden a turn from a client; those of an earlier process are found by sets that steer."""

    def new_id(self) -> str:
        """The id of an exchange: 24 hexadecimal digits, not to be guessed."""
        return self._draw(12).hex()

    def _draw(self, count: int) -> bytes:
        """Random bytes of a stock: a call of the system for each exchange would wait for other threads each time."""
        if len(self._drawn) < count:
            self._drawn = self.random_bytes(_STOCK)
        taken, self._drawn = self._drawn[:count], self._drawn[count:]
        return taken

    def random(self) -> float:
        """A number from 0 to below 1."""
        return int.from_bytes(self._draw(6)) / (1 << 48)

    def records(self, exchange: str) -> bool:
        """Whether an exchange is of the sample that is recorded for replay."""
        return self.recorder is not None and self.recorder.takes(exchange)

    def turn_of(self, plan: str) -> int:
        """How often a plan that takes turns was used before, by this process."""
        turn = self._turns.pop(plan, 0)
        if len(self._turns) >= _PLANS:
            self._turns.pop(next(iter(self._turns)))
        self._turns[plan] = turn + 1
        return turn

    def record(self, record: Mapping[str, Any]) -> None:
        """Hand a decision record to the audit log; `audit_has_room` says beforehand whether it can be taken."""
        if self.audit is not None and not self.audit.offer(record):
            self.log.warning("audit record dropped", id=record.get("id"))

    @property
    def audit_has_room(self) -> bool:
        """Whether a record could be taken now; always, where there is no log."""
        return self.audit is None or self.audit.has_room

    def _say_unpriced(self, backend: str, model: str) -> None:
        """Count an answer whose cost nobody knows, and say it once of each model."""
        self.metrics.unpriced(backend, model)
        if (backend, model) not in self._said_unpriced and len(self._said_unpriced) < _SAID:
            self._said_unpriced.add((backend, model))
            help = "its cost is null; `prices` sets one"
            self.log.info("no price is known", backend=backend, model=model, help=help)

    def warn_of_budget(self, rule: str, key: str, share: float, renews: float) -> None:
        """A budget has passed its soft limit: counted each time, and said once in each of its periods."""
        self.metrics.budget_warned(rule)
        if (rule, f"{key} {renews:.0f}") not in self._said_budgets:
            self._said_budgets.add((rule, f"{key} {renews:.0f}"))
            if len(self._said_budgets) > _SAID:
                self._said_budgets.pop()
            self.log.warning("budget nearly spent", rule=rule, key=key, used=round(share, 4), renews=round(renews))

    def say_overrun(self, rule: str, request: str, amount: str) -> None:
        """An attempt used more than was set aside for it."""
        self.metrics.budget_overrun(rule)
        self.log.warning("budget overrun", rule=rule, request=request, by=amount)

    def discover(self, listed: Callable[[str, Sequence[str]], None]) -> None:
        """Ask the backends that are to be asked for their models, beside everything else, as long as this world is open."""

        def heard(backend: str, models: Sequence[str]) -> None:
            self.metrics.models_listed(backend, "success")
            self.log.info("models listed", backend=backend, count=len(models))
            listed(backend, models)

        def failed(backend: str, why: str) -> None:
            self.metrics.models_listed(backend, "failure")
            self.log.warning("models not listed", backend=backend, reason=why, help="the last list stays in force")

        self._discovery = Discovery(self.backends.by_name.values(), heard, failed)
        self._discovery.start()

    def watch_health(self) -> None:
        """Check the backends that are to be checked, beside everything else, as long as this world is open."""
        self.health.watch(self.backends.by_name.values())

    def _say_health(self, backend: str, model: str, state: str) -> None:
        """Count and say that a backend can be asked no more, or again."""
        self.metrics.health_changed(backend, state)
        say = self.log.warning if state in ("open", "down") else self.log.info
        what = "breaker" if state in ("open", "closed") else "health check"
        say(f"{what} changed", backend=backend, model=model, state=state)

    def log_rule(self, level: str, message: str, *, rule: str, request: str) -> None:
        """A line that a rule's `log` action writes."""
        getattr(self.log, level)(message, rule=rule, request=request)

    def notify(self, rule: str, url: str, body: Mapping[str, Any]) -> None:
        """Send a webhook beside the exchange."""
        self.outbound.notify(rule, url, body)

    def store_status(self) -> Mapping[str, Any]:
        """Which store this process uses, without its password, and whether it answered when it was asked last."""
        return {"url": str(self.settings.state), "up": getattr(self.store, "is_up", True)}

    async def aclose(self) -> None:
        """Finish what was begun: webhooks, records, connections, state."""
        await self.outbound.close()
        await self.health.aclose()
        if self._discovery is not None:
            await self._discovery.aclose()
        await self.backends.aclose()
        await self.usage.close()
        if self.audit is not None:
            await self.audit.close()
        if self.recorder is not None:
            await self.recorder.close()
        await self.store.close()


def key_refusals(metrics: Metrics) -> Cooled:
    """What is done when a backend refuses a key: it is counted and said, by its number."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger("lexgate")

    def refused(backend: str, key: int, status: int, seconds: float) -> None:
        metrics.key_refused(backend, key, status)
        say = log.info if status == CROWDED else log.warning
        say("key refused", backend=backend, key=key, status=status, rests=round(seconds, 1))

    return refused
