"""The variables, functions and aliases that a POSIX script has set so far, as far as its text tells."""

from typing import Any

VALUE_LIMIT = 4096


class Scope:
    """Variables by name; a value of None is one that the text does not tell.

    `positional` are `$0`, `$1`, ...; None where they are not known.
    """

    def __init__(self, positional: tuple[str, ...] | None = ()) -> None:
        self.values: dict[str, str | None] = {}
        self.arrays: dict[str, tuple[str, ...] | None] = {}
        self.exported: set[str] = set()
        self.positional = positional
        self.functions: dict[str, Any] = {}
        self.called: set[str] = set()
        self.aliases: dict[str, str] = {}

    def set(self, name: str, value: str | None) -> None:
        """Give a variable its value; one that is too long is treated as unknown."""
        self.arrays.pop(name, None)
        self.values[name] = value if value is None or len(value) <= VALUE_LIMIT else None

    def forget(self) -> None:
        """Every variable may have changed."""
        self.values = dict.fromkeys(self.values)
        self.arrays = dict.fromkeys(self.arrays)

    def snapshot(self) -> tuple[dict[str, str | None], dict[str, tuple[str, ...] | None]]:
        """The variables as they are, for `restore` and `merge`."""
        return dict(self.values), dict(self.arrays)

    def restore(self, before: tuple[dict[str, str | None], dict[str, tuple[str, ...] | None]]) -> None:
        """Leave a subshell: what it set is gone."""
        self.values, self.arrays = before

    def merge(self, before: tuple[dict[str, str | None], dict[str, tuple[str, ...] | None]]) -> None:
        """Leave code that may not have run: a variable that it changed is not known any more."""
        values, arrays = before
        for name, value in self.values.items():
            if name not in values or values[name] != value:
                self.values[name] = None
        for name, items in self.arrays.items():
            if arrays.get(name) != items:
                self.arrays[name] = None

    def inherited(self, positional: tuple[str, ...]) -> "Scope":
        """The scope of a child process."""
        child = Scope(positional)
        child.values = {name: value for name, value in self.values.items() if name in self.exported}
        child.exported = set(self.exported)
        return child
