"""The keys of one backend: used in turn, and given a rest where the provider refused one."""

import math
from collections.abc import Callable, Collection, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from .http.base import Headers

CROWDED: Final = 429
TURNED_AWAY: Final = frozenset({401, 402, 403})
"""The key is unknown, its account is empty, or it may not do this: no matter of seconds."""

TRIED_AGAIN: Final = frozenset({401, 402, 429})
"""Refusals of the key alone: the same request may pass with another one. A 403 may be about what was asked."""

CROWDED_FOR: Final = 15.0
CROWDED_AT_MOST: Final = 600.0
TURNED_AWAY_FOR: Final = 300.0

Cooled = Callable[[int, int, float], None]
"""Told of every rest: number of the key (from 1), status that it was refused with, seconds."""


class Key:
    """One key. `number` is how logs and metrics call it; its value is in neither."""

    __slots__ = ("number", "until", "value")

    def __init__(self, number: int, value: bytes) -> None:
        self.number = number
        self.value = value
        self.until = 0.0
        """When it may be used again, by the ring's clock."""


class Keys:
    """The ring. `clock` is seconds since 1970, as in a `retry-after` that names a date."""

    def __init__(self, values: Sequence[str], clock: Callable[[], float], cooled: Cooled) -> None:
        self._keys = [Key(number, value.encode()) for number, value in enumerate(values, 1)]
        self._clock = clock
        self._cooled = cooled
        self._next = 0

    def take(self) -> Key | None:
        """The next key that is not at rest. None where there are no keys at all.

        Where all are at rest it is the one whose rest ends first: what the provider says then is better than what we
        could say, and a rest that was too long hurts nobody.
        """
        if len(self._keys) < 2:
            return self._keys[0] if self._keys else None
        return self.another(()) or min(self._keys, key=lambda key: key.until)

    @property
    def rests_until(self) -> float:
        """When a key may be used again, where all of them are at rest; else 0."""
        until = min((key.until for key in self._keys), default=0.0)
        return until if until > self._clock() else 0.0

    def another(self, tried: Collection[Key]) -> Key | None:
        """The next key that is neither at rest nor among those that were tried; None where there is none."""
        now, count = self._clock(), len(self._keys)
        for step in range(count):
            place = (self._next + step) % count
            key = self._keys[place]
            if key.until <= now and key not in tried:
                self._next = place + 1
                return key
        return None

    def answered(self, key: Key, status: int, headers: Headers) -> None:
        """What the provider said to a key: a refusal gives it a rest, an answer ends one."""
        if status < 400:
            key.until = 0.0
            return
        if status != CROWDED and status not in TURNED_AWAY:
            return
        now = self._clock()
        asked = retry_after(headers, now)
        seconds = CROWDED_FOR if asked is None else min(asked, CROWDED_AT_MOST)
        if status in TURNED_AWAY:
            seconds = TURNED_AWAY_FOR
        key.until = now + seconds
        self._cooled(key.number, status, seconds)


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds that a provider wants to be left alone: `retry-after-ms`, or `retry-after` as seconds or as a date."""
    fields = dict(headers)
    for name, unit in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        text = fields.get(name, b"").decode("latin-1").strip()
        if not text:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - now
            except ValueError:
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
