"""A simple command of a POSIX script: recorded, unwrapped, and followed into the scripts that it runs."""

import re
from collections.abc import Sequence

from engine.language.shell.commands import Assignment, Command, Redirect, posix_arguments, program_name
from engine.language.shell.expansion import Expansion
from engine.language.shell.hosts import hosted
from engine.language.shell.outputs import output_of
from engine.language.shell.programs import (
    CMDS,
    EXECUTING_OPTIONS,
    POWERSHELLS,
    SCRIPT_READERS,
    SHELLS,
    WRAPPERS,
    Wrapper,
)
from engine.language.shell.reading import NO_FEED, Feed
from engine.language.shell.words import Word

_ASSIGNED = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_PLACEHOLDER = "{}"
_DECLARING = frozenset({"export", "declare", "typeset", "local", "readonly"})
_READING_VARIABLES = frozenset({"read", "mapfile", "readarray", "getopts", "let"})
_HOSTS = SHELLS | POWERSHELLS | CMDS
# Without a command of their own these give their standard input to a shell.
_LOGINS = frozenset({"sudo", "su", "doas", "ssh", "run0", "chroot", "nsenter", "unshare"})
_DECLARATIVE = frozenset({"alias", "unalias", "trap", "eval", "unset", "source", ".", "cat"})
_POD_BEFORE_DASHES = frozenset({"kubectl", "oc"})
_UNKNOWN_SCRIPTS = ("$(", "`", _PLACEHOLDER)  # a script that another program writes
_ITEM_LIMIT = 32


class Running(Expansion):
    """Executes a command's words as far as text can: which other commands and scripts follow from it."""

    active: tuple[str, ...] = ()

    def execute(
        self,
        words: Sequence[Word],
        raw: str,
        feed: Feed = NO_FEED,
        redirects: tuple[Redirect, ...] = (),
        incomplete: bool = False,
    ) -> str | None:
        """Record the command `words` and whatever it runs; what it prints, or None where that is not known.

        `incomplete` says that further words are appended when it runs (`xargs`).
        """
        reading = self.reading
        reading.deeper()
        first = words[0]
        program = program_name(first.text)
        argv = tuple(word.text for word in words)
        if not first.known or (first.glob and argv[0] not in ("[", "[[")) or _PLACEHOLDER in argv[0]:
            reading.resolved = False
        wrapper = WRAPPERS.get(program)
        inner = inner_start(program, wrapper, argv) if wrapper is not None and len(argv) > 1 else len(argv)
        arguments = posix_arguments(program, _own(program, argv, inner))
        reading.add(
            Command(
                program,
                arguments.subcommand,
                argv,
                tuple(word.raw for word in words),
                arguments.flags,
                arguments.operands,
                incomplete or not all(word.known for word in words),
                raw,
                redirects,
                feed.text or "",
                tuple(dict.fromkeys((*feed.by, *self.fed))),
            )
        )
        printed = self._followed(program, words, argv, feed, incomplete, inner)
        reading.shallower()
        return printed

    def _followed(
        self, program: str, words: Sequence[Word], argv: tuple[str, ...], feed: Feed, incomplete: bool, inner: int
    ) -> str | None:
        scope = self.scope
        first = words[0]
        if argv[0] in scope.functions and argv[0] not in self.active:
            return self._call(argv[0], words, feed)
        if first.raw in scope.aliases and first.raw not in self.active:
            return self._as_active(first.raw, " ".join((scope.aliases[first.raw], *(w.raw for w in words[1:]))), feed)
        if program in _HOSTS or program in SCRIPT_READERS:
            return self._host(program, argv, feed, incomplete)
        if program in _DECLARATIVE or program in _DECLARING or program in _READING_VARIABLES:
            done, printed = self._builtin(program, words, feed)
            if done:
                return printed
        wrapper = WRAPPERS.get(program)
        if wrapper is not None:
            return self._unwrap(program, wrapper, words, feed, incomplete, inner)
        if program == "git":
            self._git(argv)
        if program in EXECUTING_OPTIONS:
            self._executing_options(EXECUTING_OPTIONS[program], words)
            return None
        if argv[0] in self.reading.files and len(argv[0]) > 1:
            self.reading.script(self.reading.files[argv[0]], "posix", argv)
            return None
        if program == "printf" and len(words) > 2 and argv[1] == "-v":
            scope.set(argv[2], output_of(program, argv[3:], None) if all(word.known for word in words) else None)
            return ""
        if incomplete or not all(word.known for word in words):
            return None
        return output_of(program, argv[1:], feed.text if feed.present else None)

    def _call(self, name: str, words: Sequence[Word], feed: Feed) -> str | None:
        scope = self.scope
        owner, body = scope.functions[name]  # a function keeps the text that it was written in
        scope.called.add(name)
        outer, active = scope.positional, owner.active
        known = all(word.known for word in words[1:])
        scope.positional = tuple(word.text for word in words) if known else None
        owner.active = (*active, *self.active, name)
        printed: str | None = owner.run_all([body], feed)
        scope.positional, owner.active = outer, active
        return printed

    def _as_active(self, name: str, text: str, feed: Feed) -> str | None:
        active = self.active
        self.active = (*active, name)
        printed = self.run_text(text, feed)
        self.active = active
        return printed

    def _builtin(self, program: str, words: Sequence[Word], feed: Feed) -> tuple[bool, str | None]:
        scope, reading = self.scope, self.reading
        rest = words[1:]
        match program:
            case "eval":
                text = " ".join(word.text for word in rest if word.text != "--")
                if text.startswith(_UNKNOWN_SCRIPTS):
                    reading.resolved = False
                    scope.forget()
                    return True, None
                return True, self.run_text(text) if text else ""
            case "trap":
                if len(rest) > 1 and not rest[0].text.startswith("-"):
                    self.run_text(rest[0].text)
                return True, ""
            case "source" | ".":
                if rest:
                    self._file(rest[0].text, tuple(word.text for word in words), feed, same_scope=True)
                return True, None
            case "alias":
                for word in rest:
                    if match := re.fullmatch(r"([^\s=]+)=(.*)", word.text, re.DOTALL):
                        scope.aliases[match[1]] = match[2]
                return True, ""
            case "unalias":
                return True, ""
            case "unset":
                for word in rest:
                    if not word.text.startswith("-"):
                        scope.set(word.text, "")
                return True, ""
            case "cat":
                names = [word.text for word in rest]
                if names and all(name in reading.files for name in names):
                    return True, "".join(reading.files[name] for name in names)
                return False, None
            case _ if program in _READING_VARIABLES:
                self._read([word.text for word in rest if not word.text.startswith("-")], feed)
                return True, ""
            case _:
                for word in rest:
                    self.assign_word(word, exported=program == "export")
                return True, ""

    def _read(self, names: list[str], feed: Feed) -> None:
        known = feed.text is not None and feed.present and not feed.by
        parts = (feed.text or "").split("\n", 1)[0].split(None, max(len(names) - 1, 0)) if known else []
        for index, name in enumerate(names or ["REPLY"]):
            self.scope.set(name, (parts[index] if index < len(parts) else "") if known else None)

    def assign_word(self, word: Word, exported: bool) -> bool:
        """Do the assignment that a word such as `A=1` is; whether it is one."""
        match = _ASSIGNED.fullmatch(word.text)
        if match is None:
            if exported and word.text.isidentifier():
                self.scope.exported.add(word.text)
            return False
        self.assign(match[1], match[2] if word.known else None, match[2], exported)
        return True

    def assign(self, name: str, value: str | None, text: str, exported: bool = False) -> None:
        """Set a variable and record it; `text` is what stands there where the value is not known."""
        self.reading.assignments.append(Assignment(name, text if value is None else value, value is None))
        self.scope.set(name, value)
        if exported:
            self.scope.exported.add(name)

    def _host(self, program: str, argv: tuple[str, ...], feed: Feed, incomplete: bool) -> str | None:
        reading = self.reading
        if program not in _HOSTS:  # at, batch
            return self._fed_script(feed)
        what = hosted(program, argv)
        if what is None:
            return None
        if what.stdin:
            if incomplete:
                reading.resolved = False
            if what.dialect == "posix":
                return self._fed_script(feed, what.arguments)
            if feed.present and feed.text is not None:
                reading.script(feed.text, what.dialect)
            elif feed.present:
                reading.resolved = False
            return None
        if what.file:
            if what.dialect == "posix":
                self._file(what.file, what.arguments, feed, same_scope=False)
            return None
        if what.text is None or what.text.startswith(_UNKNOWN_SCRIPTS):
            reading.resolved = False
            return None
        if what.dialect == "posix":
            return self._child(what.text, what.arguments, feed)
        reading.script(what.text, what.dialect)
        return None

    def _fed_script(self, feed: Feed, arguments: tuple[str, ...] = ()) -> str | None:
        if not feed.present:
            return None
        if feed.text is None:
            self.reading.resolved = False
            return None
        return self._child(feed.text, arguments, NO_FEED)

    def _file(self, name: str, arguments: tuple[str, ...], feed: Feed, same_scope: bool) -> None:
        reading = self.reading
        if name in ("/dev/stdin", "-"):
            self._fed_script(feed)
            return
        text: str | None = None
        if name in self.streams:
            text = self.streams[name][0]
            if text is None:
                reading.resolved = False
        elif name in reading.files:
            text = reading.files[name]
        if text is None:
            if same_scope:
                self.scope.forget()
        elif same_scope:
            self.run_text(text)
        else:
            self._child(text, arguments, NO_FEED)

    def _child(self, text: str, arguments: tuple[str, ...], feed: Feed) -> str | None:
        """Run `text` as another shell process would; what it prints."""
        reading = self.reading
        reading.deeper()
        reading.accept(text)
        child = type(self)(reading, text, self.scope.inherited(arguments))
        printed = child.run(feed)
        reading.shallower()
        return printed

    def run(self, feed: Feed = NO_FEED) -> str | None:
        """Run the whole script; what it prints, or None."""
        raise NotImplementedError

    def _executing_options(self, options: frozenset[str], words: Sequence[Word]) -> None:
        index = 1
        while index < len(words):
            if words[index].text not in options:
                index += 1
                continue
            inner: list[Word] = []
            index += 1
            while index < len(words) and words[index].text not in (";", "+"):
                inner.append(words[index])
                index += 1
            if inner:
                inner = [_unknown(word) if _PLACEHOLDER in word.text else word for word in inner]
                self._inner(inner, NO_FEED)

    def _git(self, argv: tuple[str, ...]) -> None:
        """The shell texts that git runs: `!` aliases, `rebase --exec`, `bisect run`, `submodule foreach`."""
        for index, word in enumerate(argv[1:], 1):
            before = argv[index - 1]
            if word.startswith("alias.") and "=!" in word:
                self._child(word.partition("=!")[2], (), NO_FEED)
            elif word.startswith("!") and before.startswith("alias."):
                self._child(word[1:], (), NO_FEED)
            elif before in ("-x", "--exec") and "rebase" in argv:
                self._child(word, (), NO_FEED)
            elif (word, before) in (("run", "bisect"), ("foreach", "submodule")) and index + 1 < len(argv):
                self._child(" ".join(argv[index + 1 :]), (), NO_FEED)
                return

    def _inner(self, words: Sequence[Word], feed: Feed, incomplete: bool = False) -> str | None:
        return self.execute(words, " ".join(word.raw for word in words), feed, (), incomplete)

    def _unwrap(
        self, program: str, wrapper: Wrapper, words: Sequence[Word], feed: Feed, incomplete: bool, start: int
    ) -> str | None:
        if start < 0:
            return None
        before = self.scope.snapshot() if wrapper.assigns else None
        for index in range(1, min(start, len(words))):
            name, given, value = words[index].text.partition("=")
            if name in wrapper.script:
                self._script_option(words, index, value if given else "")
                return None
            if before is not None:
                self.assign_word(words[index], exported=True)
        inner = words[start:]
        if wrapper.stdin_words:
            printed = self._with_items(program, words[1:start], inner, feed)
        elif not inner:
            printed = self._fed_script(feed) if program in _LOGINS else None
            if incomplete:
                self.reading.resolved = False
        elif wrapper.text:
            printed = self._child(" ".join(word.text for word in inner), (), feed)
        else:
            printed = self._inner(inner, feed, incomplete)
        if before is not None:
            self.scope.restore(before)
        return printed

    def _script_option(self, words: Sequence[Word], index: int, value: str) -> None:
        following = words[index + 1 :]
        if value:
            text = " ".join((value, *(word.text for word in following)))
        elif words[index].text in ("-S", "--split-string"):
            text = " ".join(word.text for word in following)
        else:
            text = following[0].text if following else ""
        if text:
            self._child(text, (), NO_FEED)

    def _with_items(self, program: str, options: Sequence[Word], inner: Sequence[Word], feed: Feed) -> str | None:
        """`xargs` and `parallel`: the command with the words that come from standard input or after `:::`."""
        texts = [word.text for word in options]
        placeholder = _placeholder(texts) or (_PLACEHOLDER if program == "parallel" else "")
        text = feed.text if feed.present else None
        marks = [i for i, word in enumerate(inner) if word.text in (":::", "::::")]
        if marks:
            text = "\n".join(word.text for word in inner[marks[0] + 1 :]) if inner[marks[0]].text == ":::" else None
            inner = inner[: marks[0]]
        if program == "parallel" and len(inner) == 1 and " " in inner[0].text:
            self._child(inner[0].text, (), NO_FEED)
            return None
        uses = bool(placeholder) and any(placeholder in word.text for word in inner)
        if not inner:
            if program == "parallel":
                return self._fed_script(Feed(text))
            return None
        if text is None:
            if uses:
                return self._inner([_filled(word, placeholder, None) for word in inner], NO_FEED)
            return self._inner(inner, NO_FEED, incomplete=True)
        items = text.split("\n") if uses else text.replace("\0", " ").split()
        items = [item.strip("'\"") for item in items if item]
        if not uses:
            return self._inner([*inner, *(Word(item, item) for item in items)], NO_FEED)
        for item in items[:_ITEM_LIMIT]:
            self._inner([_filled(word, placeholder, item) for word in inner], NO_FEED)
        return None


def inner_start(program: str, wrapper: Wrapper, argv: Sequence[str]) -> int:
    """Where in `argv` the command begins that a wrapper runs: the length where it runs none, -1 where it only asks."""
    skips, only, index = wrapper.skips, wrapper.only, 1
    while index < len(argv):
        text = argv[index]
        if text in wrapper.query:
            return -1
        if text == "--":
            return index + 1 + (skips if program not in _POD_BEFORE_DASHES else 0)
        if len(text) > 1 and text[0] == "-":
            index += 2 if "=" not in text and _takes_value(text, wrapper.values | wrapper.script) else 1
        elif only:
            if text not in only:
                return -1
            only = frozenset()
            index += 1
        elif skips:
            skips -= 1
            index += 1
        elif wrapper.assigns and _ASSIGNED.fullmatch(text):
            index += 1
        else:
            break
    return min(index, len(argv))


def _own(program: str, argv: Sequence[str], inner: int) -> Sequence[str]:
    """The words that are the program's own, without those of the command that it runs."""
    options = EXECUTING_OPTIONS.get(program)
    if options is None:
        return argv[:inner] if inner > 0 else argv
    own: list[str] = []
    inside = False
    for word in argv:
        if not inside:
            own.append(word)
        inside = word not in (";", "+") if inside else word in options
    return own


def _takes_value(text: str, values: frozenset[str]) -> bool:
    """Whether the next word is this option's value: `-u`, `--user`, or the last letter of a cluster as `-nu`."""
    if text in values:
        return True
    return len(text) > 2 and text[1:].isalpha() and "-" + text[1] not in values and "-" + text[-1] in values


def _placeholder(options: list[str]) -> str:
    for index, option in enumerate(options):
        if option in ("-I", "--replace-str"):
            return options[index + 1] if index + 1 < len(options) else _PLACEHOLDER
        if option.startswith("-I"):
            return option[2:]
        if option.startswith("--replace="):
            return option.partition("=")[2]
        if option in ("-i", "--replace"):
            return _PLACEHOLDER
    return ""


def _filled(word: Word, placeholder: str, item: str | None) -> Word:
    if placeholder not in word.text:
        return word
    if item is None:
        return Word(word.text.replace(placeholder, _PLACEHOLDER), word.raw, known=False)
    return Word(word.text.replace(placeholder, item), word.raw, word.known)


def _unknown(word: Word) -> Word:
    return Word(word.text, word.raw, known=False)
