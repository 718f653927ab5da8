"""What a few harmless programs print, so that `echo cm0= | base64 -d | sh` is read as the script it runs."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence

from engine.language.shell.words import echoed

OUTPUT_LIMIT = 64 * 1024
_DIRECTIVE = re.compile(r"%(%|[-+ #0]*\d*(?:\.\d+)?[sbqdiuoxXc])")
_RANGE = re.compile(r"(.)-(.)", re.DOTALL)
_CLASSES = {
    "[:lower:]": "abcdefghijklmnopqrstuvwxyz",
    "[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "[:digit:]": "0123456789",
    "[:space:]": " \t\n\r\v\f",
}
_SED = re.compile(r"s([/|,#:@_])((?:(?!\1)[^\\\n])*)\1((?:(?!\1)[^\\\n])*)\1(g?)")
_PATTERN = re.compile(r"[.*\[\]^$+?(){}|&\\]")


def output_of(program: str, arguments: Sequence[str], stdin: str | None) -> str | None:
    """What `program` prints for known `arguments` and standard input, or None where that is not known."""
    printer = _PRINTERS.get(program)
    if printer is None:
        return None
    text = printer(arguments, stdin)
    return text if text is None or len(text) <= OUTPUT_LIMIT else None


def _nothing(arguments: Sequence[str], stdin: str | None) -> str | None:
    del arguments, stdin
    return ""


def _echo(arguments: Sequence[str], stdin: str | None) -> str | None:
    del stdin
    words, newline, escapes = list(arguments), "\n", False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        options = words.pop(0)
        newline = "" if "n" in options else newline
        escapes = options.rfind("e") > options.rfind("E") if "e" in options or "E" in options else escapes
    text = " ".join(words)
    return (echoed(text) if escapes else text) + newline


def _printf(arguments: Sequence[str], stdin: str | None) -> str | None:
    del stdin
    words = list(arguments)
    if words[:1] == ["--"]:
        words.pop(0)
    if not words or words[0] == "-v":
        return ""
    layout, values = words[0], words[1:]
    taken = 0

    def directive(match: re.Match[str]) -> str:
        nonlocal taken
        if match[1] == "%":
            return "%"
        value = values[taken] if taken < len(values) else ""
        taken += 1
        return _formatted(match[1], value)

    written = echoed(_DIRECTIVE.sub("\ufdd8", layout))  # escapes belong to the layout, never to a value
    directives = list(_DIRECTIVE.finditer(layout))
    out: list[str] = []
    for _ in range(256):
        before = taken
        pieces = written.split("\ufdd8")
        out.append(pieces[0])
        for match, piece in zip(directives, pieces[1:], strict=False):
            out += (directive(match), piece)
        if taken >= len(values) or taken == before:
            return "".join(out)
    return None


def _formatted(directive: str, value: str) -> str:
    kind = directive[-1]
    if kind == "b":
        return echoed(value)
    if kind == "c":
        return value[:1]
    if kind in "sq":
        return value
    try:
        number = ord(value[1]) if value[:1] in ("'", '"') and len(value) > 1 else int(value or "0", 0)
    except ValueError:
        return value
    return format(number, {"x": "x", "X": "X", "o": "o"}.get(kind, "d"))


def _copy(arguments: Sequence[str], stdin: str | None) -> str | None:
    return stdin if all(word == "-" or word.startswith("-u") for word in arguments) else None


def _tee(arguments: Sequence[str], stdin: str | None) -> str | None:
    del arguments
    return stdin


def _base64(arguments: Sequence[str], stdin: str | None) -> str | None:
    decode = any(word in ("-d", "-D", "--decode", "-di", "-id") for word in arguments)
    if stdin is None or any(not word.startswith("-") for word in arguments):
        return None
    if not decode:
        return base64.b64encode(stdin.encode("utf-8", "replace")).decode() + "\n"
    return _from_base64(stdin)


def _from_base64(text: str) -> str | None:
    letters = re.sub(r"[^A-Za-z0-9+/]", "", text.partition("=")[0])
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


def _base32(arguments: Sequence[str], stdin: str | None) -> str | None:
    if stdin is None or not any(word in ("-d", "-D", "--decode") for word in arguments):
        return None
    try:
        return base64.b32decode("".join(stdin.split())).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


def _openssl(arguments: Sequence[str], stdin: str | None) -> str | None:
    words = set(arguments)
    if stdin is None or "-in" in words or "-d" not in words or not words & {"base64", "-base64", "-a"}:
        return None
    return _from_base64(stdin)


def _xxd(arguments: Sequence[str], stdin: str | None) -> str | None:
    letters = {letter for word in arguments if word.startswith("-") for letter in word}
    if stdin is None or not {"r", "p"} <= letters:
        return None
    try:
        return bytes.fromhex("".join(stdin.split())).decode("utf-8", "replace")
    except ValueError:
        return None


def _rev(arguments: Sequence[str], stdin: str | None) -> str | None:
    return None if stdin is None or arguments else "".join(_turned(line) for line in stdin.splitlines(keepends=True))


def _turned(line: str) -> str:
    return line[-2::-1] + "\n" if line.endswith("\n") else line[::-1]


def _tr(arguments: Sequence[str], stdin: str | None) -> str | None:
    if stdin is None:
        return None
    sets = [_characters(word) for word in arguments if not word.startswith("-") or word == "-"]
    options = "".join(word for word in arguments if word.startswith("-") and word != "-")
    if not options and len(sets) == 2 and all(sets):
        padded = sets[1] + sets[1][-1] * max(0, len(sets[0]) - len(sets[1]))
        return stdin.translate({ord(a): b for a, b in zip(sets[0], padded, strict=False)})
    if options in ("-d", "--delete") and len(sets) == 1:
        return stdin.translate({ord(a): None for a in sets[0]})
    return None


def _characters(text: str) -> str:
    for name, letters in _CLASSES.items():
        text = text.replace(name, letters)
    return _RANGE.sub(lambda m: "".join(map(chr, range(ord(m[1]), min(ord(m[2]), ord(m[1]) + 256) + 1))), echoed(text))


def _sed(arguments: Sequence[str], stdin: str | None) -> str | None:
    words = [word for word in arguments if word not in ("-e", "-E", "-r")]
    match = _SED.fullmatch(words[0]) if stdin is not None and len(words) == 1 else None
    if match is None or stdin is None or _PATTERN.search(match[2]) or "&" in match[3]:
        return None
    count = -1 if match[4] else 1
    return "".join(line.replace(match[2], match[3], count) for line in stdin.splitlines(keepends=True))


_PRINTERS: Mapping[str, Callable[[Sequence[str], str | None], str | None]] = {
    **dict.fromkeys((":", "true", "false", "cd", "sleep", "mkdir", "touch", "chmod", "set", "export"), _nothing),
    "echo": _echo,
    "printf": _printf,
    "cat": _copy,
    "tee": _tee,
    "base64": _base64,
    "gbase64": _base64,
    "base32": _base32,
    "openssl": _openssl,
    "xxd": _xxd,
    "rev": _rev,
    "tr": _tr,
    "sed": _sed,
}
