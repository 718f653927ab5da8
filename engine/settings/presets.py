"""What is known of providers: the settings that a backend has where its operator says nothing else."""

import functools
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec

Path = tuple[str, ...]

FILE: Final = "presets.json"


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider. `key` is the variable that its key is usually kept in, "" where none is needed.

    `place` is what its URL looks like, where it is every customer's own; `docs` is the page that the facts are from.
    """

    title: str
    docs: str
    settings: Mapping[str, Any]
    key: str = ""
    place: str = ""

    def values(self) -> Iterator[tuple[Path, Any]]:
        """Every setting of a backend that it gives, by its path below the backend."""
        return _leaves((), self.settings)


@functools.cache
def presets() -> Mapping[str, Preset]:
    """All of them by name, read once."""
    text = files("engine.settings").joinpath(FILE).read_bytes()
    return msgspec.json.decode(text, type=dict[str, Preset])


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves((*path, name), each)
    else:
        yield path, value
