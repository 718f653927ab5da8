"""Which backends can be asked now: a breaker for each model of each, and checks that take a backend out and bring it back.

A breaker opens after so many failures in a row, lets one attempt through when its time is over, and closes if that one is
answered. A client that goes away says nothing about a backend.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from engine.settings.model import Resilience

from .backends import Backend
from .http.base import Timeouts, TransportError

REMEMBERED: Final = 4096
"""Breakers at most: models are named by clients."""

LARGEST: Final = 65_536

Told = Callable[[str, str, str], None]
"""Told of every change: backend, model ("" for all of them), and what it is now: `open`, `closed`, `down` or `up`."""


def _unheard(_backend: str, _model: str, _state: str) -> None:
    """Nobody wants to know."""


class Circuit:
    """The breaker of one model of one backend."""

    __slots__ = ("failures", "probing", "until")

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.until = 0.0
        """When an open one may be tried again, 0: it is closed."""
        self.probing = False


class Health:
    """All of it for one process. `clock` is seconds since 1970; `told` hears of changes."""

    def __init__(self, settings: Resilience, clock: Callable[[], float], told: Told = _unheard) -> None:
        self._settings = settings
        self._clock = clock
        self._told = told
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._down: dict[str, str] = {}
        """Backends that their checks took out, and why."""
        self._tasks: list[asyncio.Task[None]] = []
        self.drained: frozenset[str] = frozenset()
        """Backends that an operator took out."""

    def why_not(self, backend: str, model: str) -> str:
        """Why it should not be asked now; "" where it may be."""
        if self.drained and backend in self.drained:
            return "an operator took it out"
        if self._down and (why := self._down.get(backend)) is not None:
            return f"its health check fails: {why}"
        circuit = self._circuits.get((backend, model)) if self._circuits else None
        if circuit is None or not circuit.until:
            return ""
        left = circuit.until - self._clock()
        if left > 0:
            return f"its breaker is open for another {left:.0f} s, after {circuit.failures} failures in a row"
        return "its breaker waits for the attempt that tries it" if circuit.probing else ""

    def rests_until(self, backend: str, model: str) -> float:
        """When its breaker lets an attempt through; 0 where it does now."""
        circuit = self._circuits.get((backend, model))
        return circuit.until if circuit is not None else 0.0

    # -- what attempts say --

    def asked(self, backend: str, model: str) -> None:
        """An attempt begins; one of `answered`, `failed` and `left` follows."""
        circuit = self._circuits.get((backend, model)) if self._circuits else None
        if circuit is not None and circuit.until and circuit.until <= self._clock():
            circuit.probing = True

    def answered(self, backend: str, model: str) -> None:
        """It began to answer: an open breaker closes."""
        circuit = self._circuits.get((backend, model)) if self._circuits else None
        if circuit is not None and circuit.until:
            del self._circuits[backend, model]
            self._told(backend, model, "closed")

    def ended(self, backend: str, model: str) -> None:
        """It answered to the end: failures before count no more."""
        if self._circuits:
            self._circuits.pop((backend, model), None)

    def failed(self, backend: str, model: str) -> None:
        """It was at fault."""
        if not self._settings.breaker_failures:
            return
        circuit = self._circuits.get((backend, model))
        if circuit is None:
            if len(self._circuits) >= REMEMBERED:
                self._circuits.pop(next(iter(self._circuits)))
            circuit = self._circuits[backend, model] = Circuit()
        circuit.failures += 1
        circuit.probing = False
        if circuit.failures >= self._settings.breaker_failures:
            if not circuit.until:
                self._told(backend, model, "open")
            circuit.until = self._clock() + self._settings.breaker_open

    def left(self, backend: str, model: str) -> None:
        """The attempt ended without saying anything about the backend: a client went away, a request was at fault."""
        circuit = self._circuits.get((backend, model)) if self._circuits else None
        if circuit is not None:
            circuit.probing = False

    # -- what checks say --

    def watch(self, backends: Iterable[Backend]) -> None:
        """Check those that are to be checked, beside everything else; must run in the event loop that serves."""
        self._tasks = [asyncio.create_task(self._check_forever(each)) for each in backends if each.settings.health]

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _check_forever(self, backend: Backend) -> None:
        settings = backend.settings.health
        assert settings is not None
        failures = 0
        while True:
            why = await check(backend)
            failures = failures + 1 if why else 0
            self.checked(backend.name, why if failures >= settings.failures else "")
            await asyncio.sleep(max(0.05, float(settings.every)))

    def checked(self, backend: str, why: str) -> None:
        """Take a backend out, for a reason, or bring it back."""
        was_down = backend in self._down
        if why:
            self._down[backend] = why
        else:
            self._down.pop(backend, None)
        if was_down is not bool(why):
            self._told(backend, "", "down" if why else "up")


async def check(backend: Backend) -> str:
    """Ask a backend whether it is well: "" where it answers 2xx in time, else why not."""
    settings = backend.settings.health
    assert settings is not None
    seconds = float(settings.timeout)
    bounds = Timeouts(connect=seconds, first_byte=seconds, idle=seconds, total=seconds, write=seconds)
    try:
        response = await backend.probe(settings.path, bounds)
        try:
            await response.read(LARGEST)
        finally:
            await response.aclose()
    except TransportError as problem:
        return f"{type(problem).__name__}: {problem}"
    return "" if 200 <= response.status < 300 else f"it answered {response.status}"
