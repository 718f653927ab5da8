"""The kinds of values that a configuration has beside plain ones: secrets, sizes and durations."""

import hmac
import re
from typing import Any, Final

_SIZE = re.compile(r"(\d+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_SIZE_UNITS: Final = {
    "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*(?=@)")
_PASSWORD_PARAMETER = re.compile(r"([?&][a-z_]*password=)[^&#]*", re.IGNORECASE)


class Secret:
    """A value that no log, message or dump shows; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class SecretUrl(Secret):
    """A URL that may hold a password; all but the password is shown."""

    __slots__ = ()

    def __str__(self) -> str:
        return _PASSWORD_PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***", self._value))


class Size(int):
    """A number of bytes, written as `1048576`, `10MB` (10,000,000) or `10MiB` (10,485,760)."""

    @classmethod
    def parse(cls, value: object) -> "Size":
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            return cls(int(match[1]) * _SIZE_UNITS[(match[2] or "B").lower()])
        raise ValueError("Expected a size such as 1048576, 10MB or 10MiB")


class Seconds(float):
    """A length of time, written as a number of seconds or as `500ms`, `10s`, `5m`, `1h`, `7d`."""

    @classmethod
    def parse(cls, value: object) -> "Seconds":
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
            return cls(float(match[1]) * _DURATION_UNITS[match[2] or "s"])
        raise ValueError("Expected a length of time such as 10, 500ms, 5m or 1h")


def decode(kind: type, value: Any) -> Any:
    """Make one of these values: the `dec_hook` of msgspec."""
    if isinstance(value, kind):
        return value
    if issubclass(kind, Secret):
        if not isinstance(value, str):
            raise ValueError("Expected `str`")
        return kind(value)
    if issubclass(kind, Size | Seconds):
        return kind.parse(value)
    raise NotImplementedError(kind)


def encode(value: Any) -> Any:
    """Show one of these values without its secret: the `enc_hook` of msgspec."""
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, Size):
        return int(value)
    if isinstance(value, Seconds):
        return float(value)
    raise NotImplementedError(type(value))
