"""Programs that are given a script in their words: which text, in which dialect, with which arguments."""

import base64
import binascii
from collections.abc import Sequence

import msgspec

from engine.language.shell.commands import Dialect
from engine.language.shell.programs import CMDS, POWERSHELLS, SHELL_OPTIONS_WITH_VALUE, SHELLS


class Hosted(msgspec.Struct, frozen=True, gc=False):
    """What a shell is asked to run: `text`, else the script file `file`, else its standard input (`stdin`).

    `arguments` are the positional ones, `$0` first. `text` is None where it cannot be decoded.
    """

    dialect: Dialect
    text: str | None = None
    file: str = ""
    stdin: bool = False
    arguments: tuple[str, ...] = ()


def hosted(program: str, argv: Sequence[str]) -> Hosted | None:
    """What `argv` (program first) asks a shell to run; None where `program` is no shell or runs nothing that is known."""
    if program in SHELLS:
        return _posix(argv)
    if program in POWERSHELLS:
        return _powershell(argv)
    if program in CMDS:
        return _cmd(argv)
    return None


def _posix(argv: Sequence[str]) -> Hosted | None:
    wants_text = False
    index = 1
    while index < len(argv):
        word = argv[index]
        if word == "--":
            index += 1
            break
        if len(word) < 2 or word[0] not in "-+":
            break
        if word in ("--version", "--help"):
            return None
        if not word.startswith("--"):
            wants_text = wants_text or (word[0] == "-" and "c" in word)
            index += word[-1] in "oO" and word not in SHELL_OPTIONS_WITH_VALUE
        elif word.startswith("--command"):  # fish
            wants_text = True
        index += 2 if word in SHELL_OPTIONS_WITH_VALUE else 1
    rest = tuple(argv[index:])
    if wants_text:
        return Hosted("posix", rest[0] if rest else None, arguments=rest[1:])
    if not rest or rest[0] in ("-", "/dev/stdin", "/proc/self/fd/0", "/dev/fd/0"):
        return Hosted("posix", stdin=True, arguments=("sh", *rest[1:]))
    if any(word.startswith("-") and not word.startswith("--") and "s" in word for word in argv[1:index]):
        return Hosted("posix", stdin=True, arguments=("sh", *rest))
    return Hosted("posix", file=rest[0], arguments=rest)


_VALUED = (
    "executionpolicy", "ep", "ex", "version", "outputformat", "inputformat", "windowstyle", "w", "psconsolefile",
    "configurationname", "workingdirectory", "wd", "settingsfile", "custompipename",
)  # fmt: skip


def _powershell(argv: Sequence[str]) -> Hosted | None:
    index = 1
    while index < len(argv):
        word = argv[index]
        index += 1
        if word[:1] not in ("-", "/", "\u2013") or len(word) < 2:
            return Hosted("powershell", " ".join(argv[index - 1 :]))
        name = word.lstrip("-/\u2013").lower()
        if "encodedcommand".startswith(name) or name == "ec":
            return Hosted("powershell", _utf16(argv[index]) if index < len(argv) else None)
        if "command".startswith(name) or name in ("commandwithargs", "cwa"):
            text = " ".join(argv[index:])
            return Hosted("powershell", stdin=True) if text == "-" else Hosted("powershell", text)
        if "file".startswith(name):
            rest = tuple(argv[index:])
            return Hosted("powershell", file=rest[0], arguments=rest) if rest and rest[0] != "-" else None
        if name in _VALUED or any(known.startswith(name) and len(name) > 1 for known in _VALUED):
            index += 1
    return Hosted("powershell", stdin=True)


def _utf16(text: str) -> str | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-16-le")
    except (binascii.Error, ValueError):
        return None


def _cmd(argv: Sequence[str]) -> Hosted | None:
    for index, word in enumerate(argv[1:], 1):
        switch = word.lstrip("/").lower() if word.startswith("/") else ""
        if switch[:1] in ("c", "k", "r"):
            attached = word[word.lower().index(switch[:1]) + 1 :]  # `cmd /cdel x`
            return Hosted("cmd", " ".join(part for part in (attached, *argv[index + 1 :]) if part))
        if not switch:
            break
    return Hosted("cmd", stdin=True)
