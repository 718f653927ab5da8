"""cmd.exe text read by a small tokenizer: separators, carets, `%VARIABLES%`, switches and nested shells."""

import re
from collections.abc import Sequence

from engine.language.shell.commands import Arguments, Assignment, Command, Redirect, flag_names, program_name
from engine.language.shell.hosts import hosted
from engine.language.shell.posix import Script, clean
from engine.language.shell.programs import CMD_WRAPPERS, EXECUTING_OPTIONS, SHELLS, SUBCOMMANDS, WRAPPERS
from engine.language.shell.reading import Feed, Reading
from engine.language.shell.scope import Scope
from engine.language.shell.words import Word

_SWITCH = re.compile(r"/([A-Za-z?][A-Za-z0-9_?]*|-[A-Za-z])(:.*)?\Z", re.DOTALL)
_ATTACHED = re.compile(
    r"(del|erase|rd|rmdir|dir|format|copy|xcopy|move|attrib|type|cd|md|mkdir|shutdown|taskkill|cmd|echo|start|call)([/.].*)\Z",
    re.I | re.S,
)
_VARIABLE = re.compile(r"%([^%\s:=]+)(?::[^%]*)?%|!([^!\s:=]+)(?::[^!]*)?!|%%?~?[A-Za-z*]\b")
_REDIRECT = re.compile(r"[0-9]?>>?(?:&[0-9])?|<")
_WORD_ENDS = " \t\r\n&|()<>,;="
_PLAIN = re.compile(r"[^\s&|()<>,;=^%!\"]+")
_QUOTED_PLAIN = re.compile(r"[^%!\"]+")
_WINDOWS = frozenset({"net", "reg", "sc", "netsh", "time"})
_SWITCHLESS = frozenset({"echo", "rem", "set", "title", "prompt"})
_SET = re.compile(r"\s*(?:\"?)([^=\"]+)=([^\"]*)\"?\Z")
_IF = re.compile(
    r"(?:/i\s+)?(?:not\s+)?(?:exist\s+(?:\"[^\"]*\"|\S+)|defined\s+\S+|errorlevel\s+\S+|(?:\"[^\"]*\"|\S+?)\s*==\s*(?:\"[^\"]*\"|\S+)"
    r"|\S+\s+(?:equ|neq|lss|leq|gtr|geq)\s+\S+)\s+",
    re.I,
)
_FOR = re.compile(r"for\s+(?:/[a-z]\s+(?:\"[^\"]*\"\s+)?)*%%?\S+\s+in\s*\((.*?)\)\s*do\s+", re.I | re.S)


def read(reading: Reading, text: str, arguments: tuple[str, ...] = ()) -> None:
    """Record the commands of `text`; positional `arguments` are not known to it."""
    del arguments
    Batch(reading, clean(reading, text), {}).run()


class Batch:
    """One command line or batch text: a cursor, and the variables that it has set."""

    def __init__(self, reading: Reading, text: str, values: dict[str, str]) -> None:
        self.reading = reading
        self.text = text
        self.values = values
        self.at = 0

    def run(self) -> None:
        """Read to the end of the text."""
        self.reading.deeper()
        start, piped = len(self.reading.commands), False
        printed: str | None = None
        while self.at < len(self.text):
            self.reading.step()
            feed = Feed(printed, self.reading.programs_since(start)) if piped else Feed(present=False)
            printed = self._command(feed)
            separator = self.text[self.at : self.at + 2]
            piped = separator[:1] == "|" and separator != "||"
            if not piped:
                start = len(self.reading.commands)
            self.at += 1
        self.reading.shallower()

    def _command(self, feed: Feed) -> str | None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n@(,;=":
            self.at += 1
        if match := _FOR.match(self.text, self.at):
            if "'" in match[1]:
                Batch(self.reading, match[1].strip("'` "), self.values).run()
            self.at = match.end()
        elif self.text[self.at : self.at + 3].lower() == "if ":
            condition = _IF.match(self.text, self.at + 3)
            self.at = condition.end() if condition else self.at + 3
        elif self.text[self.at : self.at + 5].lower() == "else ":
            self.at += 5
        while self.at < len(self.text) and self.text[self.at] in " \t@(":
            self.at += 1
        begin = self.at
        words: list[Word] = []
        redirects: list[Redirect] = []
        while self.at < len(self.text):
            here = self.text[self.at]
            if here in "\n&|" or (here == ")" and not (words and words[0].text.lower() == "echo")):
                break
            if here in " \t\r,;=()":
                self.at += 1
            elif redirect := _REDIRECT.match(self.text, self.at):
                self.at = redirect.end()
                if "&" not in redirect[0]:
                    while self.text[self.at : self.at + 1] in (" ", "\t") and self.at < len(self.text):
                        self.at += 1
                    target = self._word()
                    redirects.append(Redirect(redirect[0], target.text, not target.known))
            else:
                words.append(self._word())
        raw = self.text[begin : self.at].strip()
        if not words:
            if redirects:
                self.reading.add(Command("", raw=raw, redirects=tuple(redirects)))
            return None
        return self._record(words, raw, feed, tuple(redirects))

    def _word(self) -> Word:
        text, begin = self.text, self.at
        parts: list[str] = []
        known, quoted = True, False
        while self.at < len(text):
            self.reading.step()
            here = text[self.at]
            if here == '"':
                quoted = not quoted
                self.at += 1
            elif here in "%!" and (match := _VARIABLE.match(text, self.at)):
                value = self.values.get((match[1] or match[2] or "").lower())
                simple = ":" not in match[0] and "~" not in match[0]
                parts.append(value if value is not None and simple else match[0])
                known = known and value is not None and simple
                self.at = match.end()
            elif quoted or here not in "^" + _WORD_ENDS:
                plain = (_QUOTED_PLAIN if quoted else _PLAIN).match(text, self.at)
                end = plain.end() if plain else self.at + 1
                parts.append(text[self.at : end])
                self.at = end
            elif here == "^":
                following = text[self.at + 1 : self.at + 2]
                parts.append("" if following in ("\n", "\r") else following)
                self.at += 2
            else:
                break
        if quoted:
            self.reading.resolved = False
        if self.at == begin:
            self.at += 1
        return Word("".join(parts), text[begin : self.at], known)

    def _record(self, words: list[Word], raw: str, feed: Feed, redirects: tuple[Redirect, ...]) -> str | None:
        reading = self.reading
        if match := _ATTACHED.match(words[0].text):
            raw_word = words[0].raw
            words[:1] = [Word(match[1], raw_word, words[0].known), Word(match[2], raw_word, words[0].known)]
        first = words[0]
        if " " in first.text and first.known:  # a variable held a whole command
            words[:1] = [Word(part, first.raw) for part in first.text.split()] or [first]
            first = words[0]
        if not first.known:
            reading.resolved = False
        program = program_name(first.text)
        argv = tuple(word.text for word in words)
        posix = program in SUBCOMMANDS or program in SHELLS or program in WRAPPERS
        if (posix and program not in _WINDOWS) or (
            program in EXECUTING_OPTIONS and len(argv) > 2 and argv[2][:1] == "-"
        ):
            return Script(reading, "", Scope(())).execute(words, raw, feed, redirects)
        arguments = _switches(program, argv)
        if program == "set":  # its `=` is no separator
            arguments = Arguments("", (), (raw[len(first.raw) :].strip(),))
        known = all(word.known for word in words)
        reading.add(
            Command(
                program, arguments.subcommand, argv, tuple(word.raw for word in words), arguments.flags,
                arguments.operands, not known, raw, redirects, feed.text or "", feed.by,
            )
        )  # fmt: skip
        return self._followed(program, words, argv, raw, feed)

    def _followed(self, program: str, words: Sequence[Word], argv: tuple[str, ...], raw: str, feed: Feed) -> str | None:
        reading = self.reading
        if program == "set":
            if match := _SET.match(raw[3:]):
                name = match[1].strip()
                self.values[name.lower()] = match[2]
                reading.assignments.append(Assignment(name, match[2], "%" in match[2]))
        elif program == "echo":
            return " ".join(argv[1:]) if all(word.known for word in words) else None
        elif program in CMD_WRAPPERS:
            inner = [word for word in words[1:] if not _SWITCH.match(word.text)]
            if program == "start" and inner and inner[0].raw.startswith('"') and len(inner) > 1:
                inner = inner[1:]  # the window's title
            if inner:
                reading.deeper()
                self._record(list(inner), " ".join(word.raw for word in inner), feed, ())
                reading.shallower()
        elif program == "forfiles":
            for index, word in enumerate(argv[:-1]):
                if word.lower() == "/c":
                    reading.script(argv[index + 1], "cmd")
        else:
            what = hosted(program, argv)
            if what is not None and what.text is not None:
                reading.script(what.text, what.dialect)
            elif what is not None and what.stdin and feed.present:
                if feed.text is None:
                    reading.resolved = False
                else:
                    reading.script(feed.text, what.dialect)
        return None


def _switches(program: str, argv: Sequence[str]) -> Arguments:
    """`/s`, `/f:x` and `/s/q` as flags, lower case and as written; words with dashes as elsewhere."""
    if program in _SWITCHLESS:
        return Arguments("", (), tuple(argv[1:]))
    wants_subcommand = program in SUBCOMMANDS
    subcommand = ""
    flags: dict[str, None] = {}
    operands: list[str] = []
    for word in argv[1:]:
        pieces = ["/" + piece for piece in word.split("/")[1:]] if word.startswith("/") else []
        if pieces and all(_SWITCH.match(piece) for piece in pieces):
            flags.update(dict.fromkeys(piece[1:].partition(":")[0].lower() for piece in pieces))
            flags[word] = None
        elif len(word) > 1 and word[0] == "-":
            flags.update(dict.fromkeys(flag_names(word)))
        elif wants_subcommand:
            subcommand, wants_subcommand = word, False
        else:
            operands.append(word)
    return Arguments(subcommand, tuple(flags), tuple(operands))
