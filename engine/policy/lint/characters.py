"""Characters that make a file look as if it said something else."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from engine.diagnostics import Diagnostic, warning
from engine.policy.names import Path

from .subject import Subject

_UNSEEN: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\U000e0000-\U000e007f]"
)
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_SCRIPTS: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
"""Scripts with letters that look like those of another."""
_CUT: Final = re.compile(r"\S[ \t]+#[^\s#]")


def unseen_characters(subject: Subject) -> Iterator[Diagnostic]:
    """W112: a character that nobody sees, or that turns the direction of the text around it.

    A reader, and a reviewer, sees another text than the one that is compared: a name with a hidden character matches
    nothing, and a mark of direction can show a condition in another order. A pattern that looks for such characters
    writes them as `\\x{202E}`.

    Example:
        rules:
          - id: no-secrets
            phase: request
            match: {keyword: "top\u200b secret"}  # <--
            actions: [block: "Not here."]

    Use instead:
        rules:
          - id: no-secrets
            phase: request
            match: {keyword: "top secret"}
            actions: [block: "Not here."]
    """
    source = subject.document.source
    if source.isascii():
        return
    for found in _UNSEEN.finditer(source):
        code = ord(found.group())
        if code in (0x200C, 0x200D) and not source[max(0, found.start() - 1)].isascii():
            continue  # the joiners of Persian, Indic scripts and emoji
        message = f"the character U+{code:04X} is not seen, and changes what the text is"
        where = subject.document.span(*found.span())
        yield warning(112, message, where, f"remove it, or write it as \\x{{{code:04X}}} in a pattern")


def mixed_scripts(subject: Subject) -> Iterator[Diagnostic]:
    """W113: a word mixes letters of scripts that look alike.

    A Cyrillic `\u0430` looks like a Latin `a`, and is another letter: the name matches nothing that people write, or
    another name than it seems. It comes from copied text, or from somebody who wants it so.

    Example:
        rules:
          - id: no-admin
            phase: request
            match: {caller: "\u0430dmin"}  # <--
            actions: [block: "Not for admins."]

    Use instead:
        rules:
          - id: no-admin
            phase: request
            match: {caller: "admin"}
            actions: [block: "Not for admins."]
    """
    source = subject.document.source
    if source.isascii():
        return
    for found in _WORD.finditer(source):
        word = found.group()
        if word.isascii():
            continue
        scripts = {unicodedata.name(each, "?").partition(" ")[0] for each in word} & _SCRIPTS
        if len(scripts) > 1:
            names = " and ".join(sorted(each.capitalize() for each in scripts))
            where = subject.document.span(*found.span())
            yield warning(113, f"'{word}' mixes letters of {names}", where, "write all of it in one script")


def cut_by_comment(subject: Subject) -> Iterator[Diagnostic]:
    """W111: a text ends where YAML sees a comment.

    In a text without quotes ` #` begins a comment, and what follows is not part of the text: a message loses its end, a
    keyword its last word. Quote the whole text where the sign is meant; write a space after `#` where a comment is.

    Example:
        rules:
          - id: no-tickets
            phase: request
            match: {keyword: ticket}
            actions:
              - block:
                  message: Ask in ticket #42 first.  # <--

    Use instead:
        rules:
          - id: no-tickets
            phase: request
            match: {keyword: ticket}
            actions:
              - block:
                  message: "Ask in ticket #42 first."
    """
    if not _CUT.search(subject.document.source):
        return
    for path, text in _texts(subject.document.data, ()):
        where = subject.document.comment_after(path) if text else None
        if where is None:
            continue
        line = subject.document.source.splitlines()[where.line - 1]
        after = line[where.column : where.column + 1]
        if after and not after.isspace() and after not in "#!-=":
            yield warning(111, "here YAML sees a comment: this is no part of the text", where, "quote the whole text")


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from _texts(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, (*path, index))
