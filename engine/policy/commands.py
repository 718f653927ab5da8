"""In-chat commands: which ones the policies declare, where one stands in a text, and what its arguments are."""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, assert_never

import msgspec

from engine.diagnostics import Where
from engine.language.patterns import PatternSet

from .spec import ArgumentType

Known = Callable[[ArgumentType, str], str]
"""Why a value names no model, backend or route that there is; "" where it does."""

_NAME: Final = r"[A-Za-z][A-Za-z0-9_-]*"
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_PAIR: Final = re.compile(rf"({_NAME})\s*=\s*(.*)", re.DOTALL)
_WANTED: Final = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "leg": "a leg of a route (`backend:model`)",
    "new-route": "the name of a route of this session",
}
_LONGEST: Final = 2000
"""Characters that a command line may have; a longer one is text."""


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of a command. With `many` it takes all values that are left, as a list."""

    name: str
    type: ArgumentType = "text"
    description: str = ""
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    default: Any = None
    many: bool = False

    @property
    def wanted(self) -> str:
        """What it takes, in words: `a number from 0 to 2`."""
        if self.one_of:
            return f"one of {', '.join(self.one_of)}"
        what = _WANTED.get(self.type)
        if what is None:
            return f"a {self.type}"
        if self.type in ("leg", "new-route"):
            return what
        match self.minimum, self.maximum:
            case None, None:
                return what
            case least, None:
                return f"{what} of at least {least:g}"
            case None, most:
                return f"{what} of at most {most:g}"
            case least, most:
                return f"{what} from {least:g} to {most:g}"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A declared command. In team mode only callers with one of `roles` may use it; empty means everybody.

    With `pairs` it takes any further `key=value`, as texts that look like numbers, booleans or nothing else.
    """

    name: str
    policy: str
    description: str
    aliases: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    roles: tuple[str, ...] = ()
    pairs: bool = False
    where: Where = Where("")

    def usage(self, prefix: str) -> str:
        """`!/temperature(value)`; what may be left out stands in brackets."""
        parts = [
            (f"{each.name}, ..." if each.many else each.name) if each.required else f"[{each.name}]"
            for each in self.arguments
        ]
        if self.pairs:
            parts.append("key=value, ...")
        return f"{prefix}{self.name}({', '.join(parts)})" if parts else f"{prefix}{self.name}"

    def allows(self, roles: Collection[str]) -> bool:
        return not self.roles or not set(self.roles).isdisjoint(roles)


class Spoken(msgspec.Struct, frozen=True):
    """A command as it stands in a text."""

    name: str
    values: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()


class WrongArguments(Exception):
    """The arguments are not those of the command; the message is for the person who typed them."""


class CommandTable:
    """The commands of a rule set, by name and alias; text inside a match of `ignores` is never a command."""

    def __init__(self, commands: Iterable[Command] = (), ignores: Sequence[PatternSet] = ()) -> None:
        self.commands = tuple(sorted(commands, key=lambda each: each.name))
        self._ignores = tuple(ignores)
        self._by_name: Mapping[str, Command] = {
            name: each for each in self.commands for name in (*each.aliases, each.name)
        }

    def __bool__(self) -> bool:
        return bool(self.commands)

    def get(self, name: str) -> Command | None:
        return self._by_name.get(name.lower())

    def near(self, name: str) -> str:
        """The name that was probably meant; "" where none is near."""
        return next(iter(difflib.get_close_matches(name.lower(), self._by_name, n=1)), "")

    def split(self, text: str, prefix: str) -> tuple[str, tuple[Spoken, ...]]:
        """The text without the lines that are commands, and those commands in order."""
        if prefix not in text:
            return text, ()
        ignored = [(found.start, found.end) for each in self._ignores for found in each.find(text)]
        kept: list[str] = []
        spoken: list[Spoken] = []
        at = 0
        for line in text.splitlines(keepends=True):
            command = self._read(line, prefix)
            if command is None or any(start < at + len(line) and at < end for start, end in ignored):
                kept.append(line)
            else:
                spoken.append(command)
            at += len(line)
        return ("".join(kept) if spoken else text), tuple(spoken)

    def _read(self, line: str, prefix: str) -> Spoken | None:
        """The command that a whole line is. Without brackets only known commands take what follows as their arguments."""
        said = line.strip()
        if not said.startswith(prefix) or len(said) > _LONGEST:
            return None
        found = re.fullmatch(rf"({_NAME})(?:\((.*)\)|\s+(.+))?", said[len(prefix) :], re.DOTALL)
        if found is None or (found[3] is not None and self.get(found[1]) is None):
            return None
        values: list[str] = []
        named: list[tuple[str, str]] = []
        for piece in _pieces(found[2] if found[2] is not None else found[3] or ""):
            pair = _PAIR.fullmatch(piece)
            if pair is not None and self._takes_pair(found[1], pair[1]):
                named.append((pair[1], _unquoted(pair[2])))
            else:
                values.append(_unquoted(piece))
        return Spoken(found[1], tuple(values), tuple(named))

    def _takes_pair(self, name: str, key: str) -> bool:
        command = self.get(name)
        return command is None or command.pairs or any(each.name == key for each in command.arguments)

    def help(self, prefix: str, roles: Collection[str] | None, name: str = "") -> str:
        """What the commands are, or one of them; with `roles`, those alone that such a caller may use."""
        usable = [each for each in self.commands if roles is None or each.allows(roles)]
        if not name:
            return "\n".join(f"- `{each.usage(prefix)}`: {each.description}" for each in usable)
        command = self.get(name)
        if command is None or command not in usable:
            near = self.near(name)
            return f"There is no command `{prefix}{name}`." + (f" Did you mean `{prefix}{near}`?" if near else "")
        lines = [f"`{command.usage(prefix)}`: {command.description}"]
        lines += [f"- `{each.name}`: {_told(each)}" for each in command.arguments]
        if command.aliases:
            lines.append(f"Also: {', '.join(f'`{prefix}{alias}`' for alias in command.aliases)}")
        return "\n".join(lines)


NO_COMMANDS: Final = CommandTable()


def arguments_of(command: Command, spoken: Spoken, known: Known) -> dict[str, Any]:
    """The typed arguments, with defaults; null for one that was left out. Raises WrongArguments."""
    given: dict[str, Any] = {each.name: each.default for each in command.arguments}
    written = dict(spoken.named)
    if len(written) < len(spoken.named):
        raise WrongArguments("an argument is given twice")
    left = list(spoken.values)
    for each in command.arguments:
        if each.name in written:
            given[each.name] = _typed(each, written.pop(each.name), known)
        elif each.many and left:
            given[each.name] = [_typed(each, value, known) for value in left]
            left = []
        elif left:
            given[each.name] = _typed(each, left.pop(0), known)
        elif each.required:
            raise WrongArguments(f"`{each.name}` is missing: {each.wanted}")
    if left:
        raise WrongArguments(f"'{left[0]}' is one value too many")
    return given | {name: _guessed(value) for name, value in written.items()}


def _typed(argument: Argument, text: str, known: Known) -> Any:
    value: Any = text
    match argument.type:
        case "text":
            right = bool(text) or not argument.required
        case "integer":
            right = re.fullmatch(r"[+-]?\d{1,15}", text) is not None
            value = int(text) if right else text
        case "number":
            value = _number(text)
            right = value is not None
        case "boolean":
            right = text.lower() in _TRUE | _FALSE
            value = text.lower() in _TRUE
        case "model" | "backend" | "route" | "leg" | "new-route":
            if why := known(argument.type, text):
                raise WrongArguments(why)
            right = bool(text)
            value = text.removeprefix("@") if argument.type == "route" else text
        case _:
            assert_never(argument.type)
    if right and argument.type in ("integer", "number"):
        right = (argument.minimum is None or value >= argument.minimum) and (
            argument.maximum is None or value <= argument.maximum
        )
    if not right or (argument.one_of and text not in argument.one_of):
        raise WrongArguments(f"`{argument.name}` takes {argument.wanted}, and not '{text}'")
    return value


def _number(text: str) -> int | float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if re.fullmatch(r"[+-]?\d{1,15}", text) else value


def _guessed(text: str) -> Any:
    """A value without a declared type."""
    number = _number(text)
    if number is not None:
        return number
    return {"true": True, "false": False}.get(text.lower(), text)


def _pieces(text: str) -> Iterator[str]:
    """What stands between commas that are not in quotes."""
    piece, quote = "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and (not piece.strip() or piece.rstrip().endswith("=")):
            quote = character
        elif character == ",":
            yield piece.strip()
            piece = ""
            continue
        piece += character
    if piece.strip():
        yield piece.strip()


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _told(argument: Argument) -> str:
    told = argument.wanted
    if argument.default is not None:
        told += f", {argument.default} where it is left out"
    elif not argument.required:
        told += ", may be left out"
    return f"{told}. {argument.description}".rstrip()
