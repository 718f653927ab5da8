"""What a command line says once it is read: its commands with programs, flags and operands, as frozen data."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from engine.language.shell.programs import LONG_WITH_ONE_DASH, SUBCOMMANDS, TAKES_NO_FLAGS

Dialect = Literal["posix", "powershell", "cmd"]


class Redirect(msgspec.Struct, frozen=True, gc=False):
    """One redirection: its operator (`>`, `>>`, `<`, `2>`, `&>`, ...) and its target, `dynamic` where not known."""

    op: str
    target: str
    dynamic: bool = False


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """One variable set by the text, also by a prefix (`A=1 cmd`), `export` or `env`; `dynamic` if not known."""

    name: str
    value: str
    dynamic: bool


class Function(msgspec.Struct, frozen=True, gc=False):
    """A function defined in the text; `forks_itself` where its body pipes or backgrounds a call of itself."""

    name: str
    forks_itself: bool


class Command(msgspec.Struct, frozen=True):
    """One simple command.

    `program` is the basename in lower case without `.exe` (in PowerShell the cmdlet behind an alias; `''` for a
    redirection that stands alone). `argv` is what the program would be given, quoting undone, the program's own word
    first; `words` are the same words as they stand in the source. `flags` hold long names without dashes and value,
    the characters of a short cluster, and the word as written. `operands` are the other words; the value of an option
    that no table knows stays among them, a subcommand does not. What a wrapper (`sudo`, `xargs`, `find -exec`) runs is
    a command of its own after it; of the wrapper's fields only `argv` and `words` hold it. `dynamic` is true where a
    word cannot be known from the text. `input` is the text that the command reads on standard input, where it is known;
    `fed_by` names the programs whose output reaches it, by pipe or by substitution.
    """

    program: str
    subcommand: str = ""
    argv: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    dynamic: bool = False
    raw: str = ""
    redirects: tuple[Redirect, ...] = ()
    input: str = ""
    fed_by: tuple[str, ...] = ()


class Shell(msgspec.Struct, frozen=True):
    """A whole command line. `resolved` is false where some command that would run cannot be named from the text."""

    dialect: Dialect
    resolved: bool
    commands: tuple[Command, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    functions: tuple[Function, ...] = ()

    def document(self) -> dict[str, Any]:
        """The same as plain JSON data: what conditions read as `tool.shell`."""
        return {
            "dialect": self.dialect,
            "resolved": self.resolved,
            "commands": [
                {
                    "program": c.program,
                    "subcommand": c.subcommand,
                    "argv": list(c.argv),
                    "words": list(c.words),
                    "flags": list(c.flags),
                    "operands": list(c.operands),
                    "dynamic": c.dynamic,
                    "raw": c.raw,
                    "redirects": [{"op": r.op, "target": r.target, "dynamic": r.dynamic} for r in c.redirects],
                    "input": c.input,
                    "fed_by": list(c.fed_by),
                }
                for c in self.commands
            ],
            "assignments": [{"name": a.name, "value": a.value, "dynamic": a.dynamic} for a in self.assignments],
            "functions": [{"name": f.name, "forks_itself": f.forks_itself} for f in self.functions],
        }


class Arguments(msgspec.Struct, frozen=True, gc=False):
    """An argument vector taken apart."""

    subcommand: str
    flags: tuple[str, ...]
    operands: tuple[str, ...]


def program_name(word: str) -> str:
    """`/usr/bin/Git.EXE` and `C:\\Windows\\git.exe` are both `git`."""
    name = word.rsplit("/", 1)[-1].rsplit("\\", 1)[-1].lower()
    return name[:-4] if name.endswith(".exe") else name


def posix_arguments(program: str, argv: Sequence[str]) -> Arguments:
    """Subcommand, flags and operands of `argv` (program first), as getopt-like programs read them.

    After `--` every word is an operand. Global options that take a value (`git -C dir`) do not hide the subcommand.
    """
    if program in TAKES_NO_FLAGS:
        return Arguments("", (), tuple(argv[1:]))
    takes_value = SUBCOMMANDS.get(program)
    wants_subcommand = takes_value is not None
    one_dash = program in LONG_WITH_ONE_DASH
    subcommand = ""
    flags: dict[str, None] = {}
    operands: list[str] = []
    index, count = 1, len(argv)
    while index < count:
        word = argv[index]
        index += 1
        if not word.startswith("-") or word == "-":
            if wants_subcommand:
                subcommand, wants_subcommand = word, False
            else:
                operands.append(word)
        elif word == "--":
            operands.extend(argv[index:])
            break
        else:
            for name in flag_names(word, one_dash):
                flags[name] = None
            if wants_subcommand and takes_value and word in takes_value:
                index += 1
    return Arguments(subcommand, tuple(flags), tuple(operands))


def flag_names(word: str, one_dash: bool = False) -> list[str]:
    """The names under which a rule may ask for the flag `word`: `-rf` is `r`, `f` and `-rf`; `--force=x` is `force`."""
    if word.startswith("--"):
        return [word[2:].partition("=")[0], word]
    body = word[1:].partition("=")[0]
    if one_dash or "-" in body:
        return [body, word]
    return [*[letter for letter in body if letter.isalnum()], word]
