"""Surrogate pairs that a server cut in two: joined again, and what stays alone replaced, for no client can hold it."""

from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def joined(text: str) -> str:
    """The text with its surrogate pairs made characters, and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def waits(text: str) -> bool:
    """The text ends in the first half of a pair."""
    return text[-1:] >= "\ud800" and text[-1:] <= "\udbff"


def paired(value: Any) -> Any:
    """A JSON value, every text in it joined."""
    match value:
        case str():
            return joined(value)
        case list():
            return [paired(item) for item in value]
        case dict():
            return {joined(key): paired(item) for key, item in value.items()}
        case _:
            return value
