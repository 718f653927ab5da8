"""A command line in any dialect -> `Shell`: which dialect it is, the reading, and a bounded memory of readings."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from engine.language.shell import cmd, posix, powershell
from engine.language.shell.commands import Dialect, Shell, program_name
from engine.language.shell.hosts import hosted
from engine.language.shell.programs import SHELLS
from engine.language.shell.reading import NO_FEED, TEXT_LIMIT, Reading, TooMuch
from engine.language.shell.scope import Scope
from engine.language.shell.words import Word

_READERS: Mapping[Dialect, Callable[[Reading, str, tuple[str, ...]], None]] = {
    "posix": posix.read,
    "powershell": powershell.read,
    "cmd": cmd.read,
}
_REMEMBERED_LENGTH = 4096

_VERBS = (
    "add|clear|close|compress|convert|convertfrom|convertto|copy|disable|dismount|enable|enter|exit|expand|export|find"
    "|format|get|group|import|initialize|install|invoke|join|measure|mount|move|new|open|out|push|pop|read|receive"
    "|register|remove|rename|repair|reset|resize|resolve|restart|restore|save|select|send|set|show|sort|split|start"
    "|stop|suspend|tee|test|uninstall|unregister|update|wait|where|write"
)
_POWERSHELL = re.compile(
    rf"\s*(?:(?:{_VERBS})-[a-z]{{3,}}(?:\s|$|[;|])|\$(?:env:)?\w+\s*=\s|\$env:\w|\[[a-z][\w.]+\]::|(?:iex|iwr|irm)\s|&\s*['\"($])",
    re.I,
)
_CMD = re.compile(
    r"(?:\A|[&|(])\s*@?(?:(?:del|erase|rd|rmdir|copy|xcopy|move|dir|format|attrib|type|taskkill|reg|schtasks)\s(?:[^&|]{0,200}\s)?/[a-z]+(?::|\s|\Z)"
    r"|(?:set|if|for)\s+/[a-z]\s|format\s+[a-z]:|rem\s|@echo\s+off)",
    re.I,
)


def dialect_of(text: str) -> Dialect:
    """The dialect that a text looks like, judged by its first command; POSIX where nothing speaks against it."""
    if _POWERSHELL.match(text):
        return "powershell"
    return "cmd" if _CMD.search(text.replace("^", "")) and not text.lstrip().startswith("#") else "posix"


def parse_command(text: str, dialect: Dialect | None = None) -> Shell:
    """Read a command line. Never raises: what cannot be read, and what is too much, is not `resolved`.

    Without a `dialect` it is judged by the text.
    """
    if len(text) <= _REMEMBERED_LENGTH:
        return _remembered(text, dialect)
    return _parse(text, dialect)


def parse_argv(argv: Sequence[str], dialect: Dialect | None = None) -> Shell:
    """Read an argument vector, as `["bash", "-lc", "..."]`: a shell that is given a text is that text."""
    if not argv:
        return Shell(dialect or "posix", True)
    if len(argv) == 1 and any(mark in argv[0] for mark in " \t\n;|&"):
        return parse_command(argv[0], dialect)
    program = program_name(argv[0])
    what = hosted(program, argv)
    if what is not None and what.text is not None and len(what.arguments) < 2:
        return parse_command(what.text, what.dialect)
    reading = Reading(_READERS)
    try:
        words = [Word(word, word) for word in argv]
        posix.Script(reading, "", Scope(())).execute(words, " ".join(argv), NO_FEED)
    except TooMuch:
        reading.resolved = False
    return reading.shell(dialect or ("posix" if program in SHELLS or what is None else what.dialect))


@lru_cache(maxsize=512)
def _remembered(text: str, dialect: Dialect | None) -> Shell:
    return _parse(text, dialect)


def _parse(text: str, dialect: Dialect | None) -> Shell:
    if len(text) > TEXT_LIMIT:
        return Shell(dialect or "posix", False)
    chosen = dialect or dialect_of(text)
    reading = Reading(_READERS)
    try:
        reading.script(text, chosen)
    except TooMuch:
        reading.resolved = False
    return reading.shell(chosen)
