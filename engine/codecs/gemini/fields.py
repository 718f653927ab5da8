"""Fields of Google's API: written in camelCase, and taken in snake_case as well (protobuf's JSON mapping)."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_UPPER: Final = re.compile(r"[A-Z]")
_LOWER: Final = re.compile(r"_([a-z0-9])")


@functools.lru_cache(maxsize=1024)
def snake(name: str) -> str:
    return _UPPER.sub(lambda found: "_" + found[0].lower(), name)


@functools.lru_cache(maxsize=1024)
def camel(name: str) -> str:
    return _LOWER.sub(lambda found: found[1].upper(), name)


def get(wire: Mapping[str, Any], name: str) -> Any:
    """The value of a field by its camelCase name, in whichever way it is written; None where it is not there."""
    value = wire.get(name)
    return wire.get(snake(name)) if value is None else value


def spelled(wire: Mapping[str, Any], name: str) -> str:
    """How a field is written here; in camelCase where it is not there."""
    other = snake(name)
    return other if other != name and other in wire else name


def written_twice(wire: Mapping[str, Any]) -> str:
    """A field that is there in both spellings, "" for none: which of them counts is anybody's guess."""
    return next((name for name in wire if "_" in name and camel(name) != name and camel(name) in wire), "")


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def inner(wire: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in a field; empty where there is none."""
    value = get(wire, name)
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """The items of a repeated field. Google takes one object for a list of one."""
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def objects(value: Any) -> Iterable[dict[str, Any]]:
    """The objects among the items of a repeated field."""
    return (item for item in listed(value) if isinstance(item, dict))
