"""One reading of a command line: what was found so far, across nested scripts and dialects, and its limits."""

from collections.abc import Callable, Mapping

import msgspec

from engine.language.shell.commands import Assignment, Command, Dialect, Function, Shell

TEXT_LIMIT = 64 * 1024
COMMAND_LIMIT = 500
STEP_LIMIT = 20_000
DEPTH_LIMIT = 48
NESTED_TEXT_LIMIT = 4 * TEXT_LIMIT


class TooMuch(Exception):
    """The text is larger or deeper than a reading goes; what was found until then stands, unresolved."""


class Feed(msgspec.Struct, frozen=True, gc=False):
    """What stands on a command's standard input: its text (None: not known) and the programs that wrote it."""

    text: str | None = ""
    by: tuple[str, ...] = ()
    present: bool = True


NO_FEED = Feed(present=False)


class Reading:
    """Collects commands while scripts are read; `script` reads a nested text in its own dialect."""

    def __init__(self, readers: Mapping[Dialect, Callable[["Reading", str, tuple[str, ...]], None]]) -> None:
        self.commands: list[Command] = []
        self.assignments: list[Assignment] = []
        self.functions: list[Function] = []
        self.files: dict[str, str] = {}
        self.resolved = True
        self._readers = readers
        self._steps = 0
        self._depth = 0
        self._text = 0

    def add(self, command: Command) -> None:
        """Record a command; beyond the limit the reading ends."""
        if len(self.commands) >= COMMAND_LIMIT:
            raise TooMuch
        self.commands.append(command)

    def step(self) -> None:
        """Count one unit of work."""
        self._steps += 1
        if self._steps > STEP_LIMIT:
            raise TooMuch

    def deeper(self) -> None:
        """Enter a nested construct; `shallower` leaves it."""
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise TooMuch

    def shallower(self) -> None:
        """Leave a nested construct."""
        self._depth -= 1

    def accept(self, text: str) -> None:
        """Count the text of a script; one that is too long ends the reading."""
        self._text += len(text)
        if len(text) > TEXT_LIMIT or self._text > NESTED_TEXT_LIMIT:
            raise TooMuch

    def script(self, text: str, dialect: Dialect, arguments: tuple[str, ...] = ()) -> None:
        """Read `text` as a script of `dialect` with positional `arguments` ($0 first), as another process would."""
        self.deeper()
        self.accept(text)
        self._readers[dialect](self, text, arguments)
        self.shallower()

    def programs_since(self, start: int) -> tuple[str, ...]:
        """The programs recorded since there were `start` commands, each once."""
        return tuple(dict.fromkeys(c.program for c in self.commands[start:] if c.program))

    def shell(self, dialect: Dialect) -> Shell:
        """What was found, as data."""
        return Shell(dialect, self.resolved, tuple(self.commands), tuple(self.assignments), tuple(self.functions))
