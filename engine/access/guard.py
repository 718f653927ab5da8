"""Guards against whoever tries keys: each address has a few wrong ones free, then waits twice as long for each more. Pure.

Only failures count, so that an office behind one address is not punished for its traffic; and a key that was verified
before passes whatever its neighbours do (`engine.access.door` asks the guard only of what it does not know yet).
"""

import ipaddress
from collections import OrderedDict
from typing import Final

import msgspec

FORGOTTEN: Final = 900.0
"""Seconds without a failure after which an address begins anew."""

ADDRESSES: Final = 10_000
"""Addresses that are remembered; beyond it the one whose last failure is the longest ago is forgotten."""

_NETWORK: Final = 64
"""Bits of an IPv6 address that stand for one subscriber, who may choose the others."""


class _Record(msgspec.Struct):
    failures: int
    until: float
    last: float


class Guard:
    """`now` is seconds of a clock that never goes back."""

    def __init__(self, free: int, longest: float, addresses: int = ADDRESSES) -> None:
        self._free = free
        self._longest = longest
        self._addresses = addresses
        self._known: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def wait(self, address: str, now: float) -> float:
        """Seconds for which nothing unknown of this address is looked at; 0: now."""
        if not self._known:
            return 0.0
        record = self._known.get(_place(address))
        return max(0.0, record.until - now) if record is not None else 0.0

    def failed(self, address: str, now: float) -> None:
        """A wrong key came from there."""
        place = _place(address)
        record = self._known.pop(place, None)
        if record is None or now - record.last > FORGOTTEN + max(0.0, record.until - record.last):
            record = _Record(0, 0.0, now)
        record.failures += 1
        record.last = now
        if (beyond := record.failures - self._free) > 0:
            record.until = now + min(self._longest, 2.0 ** min(beyond - 1, 30))
        self._known[place] = record
        if len(self._known) > self._addresses:
            self._known.popitem(last=False)


def _place(address: str) -> str:
    """Whom an address belongs to: an IPv4 address (also one written as IPv6), or a network of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK), strict=False).network_address)
