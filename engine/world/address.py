"""Where an outbound call may lead: what an address reaches, how a URL must be written, what the operator lists. Pure."""

import re
from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import msgspec

from engine.world.http.base import DEFAULT_PORTS, Origin

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL: Final = 8192


class Reach(Enum):
    """What an address leads to, and so who must have listed it."""

    PUBLIC = "a public address"  # needs no listing
    INTERNAL = "a loopback or private address"  # its name, address or network
    GUARDED = "a link-local or cloud metadata address"  # its address or network: machines get credentials from there
    NEVER = "an address that no call can be made to"  # unspecified, multicast, reserved


_RESERVED: Final = tuple(
    (ip_network(text), reach)
    # The IANA special-purpose registries (RFC 6890 and its successors); the first network that holds an address counts.
    for text, reach in (
        ("0.0.0.0/8", Reach.NEVER),  # "this network"; Linux connects 0.0.0.0 to itself
        ("10.0.0.0/8", Reach.INTERNAL),
        ("100.100.100.200/32", Reach.GUARDED),  # metadata of Alibaba Cloud
        ("100.64.0.0/10", Reach.INTERNAL),  # carrier-grade NAT
        ("127.0.0.0/8", Reach.INTERNAL),
        ("169.254.0.0/16", Reach.GUARDED),
        ("172.16.0.0/12", Reach.INTERNAL),
        ("192.0.0.0/24", Reach.GUARDED),  # protocol assignments; metadata of Oracle Cloud
        ("192.0.2.0/24", Reach.NEVER),
        ("192.88.99.0/24", Reach.NEVER),  # 6to4 relays, withdrawn
        ("192.168.0.0/16", Reach.INTERNAL),
        ("198.18.0.0/15", Reach.INTERNAL),
        ("198.51.100.0/24", Reach.NEVER),
        ("203.0.113.0/24", Reach.NEVER),
        ("224.0.0.0/4", Reach.NEVER),
        ("240.0.0.0/4", Reach.NEVER),
        ("::1/128", Reach.INTERNAL),
        ("fd00:ec2::/32", Reach.GUARDED),  # metadata of AWS
        ("fd20:ce::/32", Reach.GUARDED),  # metadata of Google Cloud
        ("fc00::/7", Reach.INTERNAL),  # unique local
        ("fe80::/10", Reach.GUARDED),
        ("2001::/23", Reach.NEVER),  # Teredo, ORCHID, benchmarking: nothing that a webhook stands on
        ("2001:db8::/32", Reach.NEVER),
        ("3fff::/20", Reach.NEVER),
    )
)
_GLOBAL_UNICAST: Final = ip_network("2000::/3")  # all else of IPv6 is special or not assigned
_NAT64: Final = ip_network("64:ff9b::/96")
_6TO4: Final = ip_network("2002::/16")

_URL: Final = re.compile(r"[!-~]+")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LAST_IS_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")


def plain(address: Address) -> Address:
    """An IPv4-mapped IPv6 address as the IPv4 address that the system connects to; every other one as it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def reach_of(address: Address) -> Reach:
    """What the address leads to; one that carries an IPv4 address (mapped, NAT64, 6to4) leads to what that leads to."""
    address = plain(address)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return Reach.GUARDED
        if address in _NAT64:
            return reach_of(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address in _6TO4:
            return reach_of(IPv4Address(int(address) >> 80 & 0xFFFF_FFFF))
    for network, reach in _RESERVED:
        if address.version == network.version and address in network:
            return reach
    return Reach.NEVER if address.version == 6 and address not in _GLOBAL_UNICAST else Reach.PUBLIC


class Target(msgspec.Struct, frozen=True):
    """A checked URL. `literal` is the address that stands as its host; None for a name."""

    origin: Origin
    path: bytes
    literal: Address | None


def parse_target(url: str) -> Target:
    """An absolute http(s) URL in its one plain spelling. ValueError says what is wrong, without repeating the URL.

    What different parsers read differently is refused and not repaired: blanks and control characters, backslashes, a
    user part, hosts with percent signs, numbers in place of a dotted address (`2130706433`, `0x7f.1`, `017700000001`).
    """
    if len(url) > LONGEST_URL:
        raise ValueError(f"the URL has more than {LONGEST_URL} characters")
    if _URL.fullmatch(url) is None or "\\" in url:
        raise ValueError("the URL holds a blank, control, backslash or non-ASCII character; write it percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not url[len(parts.scheme) :].startswith("://"):
        raise ValueError("the URL must begin with https:// (or http:// for a host that outbound.allow lists)")
    if "@" in parts.netloc:
        raise ValueError("the URL carries a user part; send credentials in a header or the body")
    if "#" in url:
        raise ValueError("the URL has a fragment, which no server would see")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the URL's port is not a number up to 65535") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("the URL's port is not a number from 1 to 65535")
    host, literal = _host(parts.hostname or "", bracketed=parts.netloc.startswith("["))
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    return Target(Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]), target.encode(), literal)


def _host(host: str, *, bracketed: bool) -> tuple[str, Address | None]:
    if bracketed:
        if "%" in host:
            raise ValueError("the URL's host has a zone, which means something on one machine only")
        try:
            address = plain(IPv6Address(host))
        except ValueError:
            raise ValueError("the URL's host is not an IPv6 address") from None
        return str(address), address
    if _LAST_IS_NUMBER.fullmatch(host):
        try:
            return host, IPv4Address(host)  # only four decimal parts without leading zeros
        except ValueError:
            raise ValueError("the URL's host is a number that is not a plain dotted IPv4 address") from None
    if len(host) > 253 or _NAME.fullmatch(host) is None:
        raise ValueError("the URL's host is not a host name")
    return host.lower(), None


class Allowance(msgspec.Struct, frozen=True):
    """One entry of `outbound.allow`: a name, an address or a network; `port` 0 is every port."""

    name: str
    network: Network | None
    port: int


class AllowList(msgspec.Struct, frozen=True):
    """What the operator lets outbound calls reach beyond https to public addresses."""

    entries: tuple[Allowance, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "AllowList":
        """`hooks.corp`, `hooks.corp:8443`, `127.0.0.1:9000`, `[::1]:9000`, `10.0.0.0/8`. ValueError names the entry."""
        return cls(tuple(map(_allowance, entries)))

    def admits_plain(self, target: Target) -> bool:
        """Whether http may be spoken: the host must be listed as it stands in the URL."""
        return self._lists_name(target.origin.host, target.origin.port) or (
            target.literal is not None and self._lists_address(target.literal, target.origin.port)
        )

    def admits(self, host: str, port: int, address: Address) -> bool:
        """Whether a call to `host` may connect to `address`, to which the name was resolved."""
        match reach_of(address):
            case Reach.PUBLIC:
                return True
            case Reach.INTERNAL:
                return self._lists_name(host, port) or self._lists_address(address, port)
            case Reach.GUARDED:  # a listed name is not enough: whoever answers for it could name any address
                return self._lists_address(address, port)
            case Reach.NEVER:
                return False

    def _lists_name(self, host: str, port: int) -> bool:
        return any(each.name == host and each.port in (0, port) for each in self.entries)

    def _lists_address(self, address: Address, port: int) -> bool:
        address = plain(address)
        return any(
            each.network is not None
            and each.network.version == address.version
            and address in each.network
            and each.port in (0, port)
            for each in self.entries
        )


def _allowance(entry: str) -> Allowance:
    if "/" in entry:
        try:
            return Allowance("", ip_network(entry), 0)
        except ValueError as error:
            raise ValueError(f"'{entry}' is not a network: {error}") from None
    try:
        return Allowance("", ip_network(plain(ip_address(entry.strip("[]")))), 0)
    except ValueError:
        pass
    try:
        target = parse_target(f"http://{entry}")
    except ValueError as error:
        raise ValueError(f"'{entry}' is not a host, host:port or network ({error})") from None
    if target.path != b"/" or entry.endswith(":"):
        raise ValueError(f"'{entry}' is not a host, host:port or network: give no path")
    given = entry.rpartition("]")[2].rpartition(":")[2] if ":" in entry.rpartition("]")[2] else ""
    port = int(given) if given else 0
    if target.literal is not None:
        return Allowance("", ip_network(target.literal), port)
    return Allowance(target.origin.host, None, port)
