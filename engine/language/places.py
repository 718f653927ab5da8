"""Where a path or an address lies: text alone is judged, no disk and no network is asked."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DRIVE: Final = re.compile(r"[A-Za-z]:")
# Windows opens `\\?\`, `\\.\` and UNC names apart from any drive; where they lead, text cannot tell.
_DEVICE: Final = re.compile(r"[\\/]{2}")
_UNCLEAR: Final = re.compile(r"[\x00-\x1f\x7f$`%{~]")


class _Place(NamedTuple):
    """A path with `.` and `..` resolved: what it hangs on (`/`, `c:`, `~`, or nothing), and the names below it."""

    base: str
    names: tuple[str, ...]


def within(path: str, root: str) -> bool:
    """Whether a path is `root` or lies below it, going by its text. False whenever the text alone cannot tell.

    Relative paths are taken from `root`. `\\` separates as `/` does. Paths with a drive are compared without case.
    """
    place = _place(root)
    if place is None or not place.base:
        return False
    other = _place(path, place)
    return other is not None and other.base == place.base and other.names[: len(place.names)] == place.names


def within_any(path: str, roots: Iterable[str]) -> bool:
    """Whether a path that is not relative lies in one of several folders."""
    return _place(path) is not None and any(within(path, each) for each in roots)


def _place(path: str, start: _Place | None = None) -> _Place | None:
    """None for a path that cannot be placed: empty, a device, a variable, another user's home, above its base."""
    base, rest = "", path
    names: tuple[str, ...] = ()
    if _DEVICE.match(path):
        return None
    if drive := _DRIVE.match(path):
        base, rest = drive[0].lower(), path[2:]
        if not rest.startswith(("/", "\\")):  # `C:name` is relative to that drive's own current folder
            return None
    elif path.startswith(("/", "\\")):
        base = "/"
        if start is not None and start.base.endswith(":"):  # the root of whichever drive is current
            return None
    elif path == "~" or path.startswith(("~/", "~\\")):
        base, rest = "~", path[1:]
    elif start is not None:
        base, names = start
    if not path or not base or _UNCLEAR.search(rest):
        return None
    return _walked(base, names, rest)


def _walked(base: str, names: tuple[str, ...], rest: str) -> _Place | None:
    stack = list(names)
    windows = base.endswith(":")
    # On POSIX a backslash is a letter: `a\\b/../..` leaves the folder that it would stay in if it separated.
    if not windows and "\\" in rest and ".." in rest:
        return None
    for name in re.split(r"[\\/]+", rest):
        if name in ("", "."):
            continue
        if name == "..":
            if not stack:
                return None
            stack.pop()
            continue
        if windows:
            # Windows drops trailing dots and blanks, and a colon opens another stream of the file.
            if ":" in name or name != name.rstrip(". "):
                return None
            name = name.casefold()
        stack.append(name)
    return _Place(base, tuple(stack))


def network(text: str) -> Network:
    """An address block, or a single address. Raises ValueError with the reason, as for host bits that are set."""
    return ipaddress.ip_network(text.strip())


def in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in any of the blocks. False for what is no address. `::ffff:1.2.3.4` is `1.2.3.4`."""
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    found = mapped or parsed
    return any(found.version == each.version and found in each for each in networks)
