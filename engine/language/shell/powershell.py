"""PowerShell text read by a small tokenizer: pipelines, script blocks, quoting, aliases and nested shells."""

import re
from collections.abc import Sequence

from engine.language.shell.commands import Arguments, Assignment, Command, Redirect, posix_arguments, program_name
from engine.language.shell.hosts import hosted
from engine.language.shell.posix import Script, clean
from engine.language.shell.programs import CMDLET_ALIASES, CMDLET_PARAMETERS
from engine.language.shell.reading import Feed, Reading
from engine.language.shell.scope import Scope
from engine.language.shell.words import Word

_CMDLET = re.compile(r"[a-z]+-[a-z]\w*\Z")
_SPACE = re.compile(r"(?:[ \t\r]|`\r?\n|#[^\n]*|<#.*?(?:#>|\Z))+", re.DOTALL)
_BARE = re.compile(r"[^\s`'\"$(){}|;&<>,#@\u2018-\u201f]+")
_PLAIN = re.compile(r"[^`$\"\u201c-\u201e]+")
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}|(?:[A-Za-z_]\w*:)?\w+|[?^$])")
_REDIRECT = re.compile(r"[*1-6]?>>?(?:&[12])?|<")
_LITERALS = re.compile(r"\s*(?:'[^']*'|\"[^\"$`]*\")(?:\s*\+\s*(?:'[^']*'|\"[^\"$`]*\"))*\s*\Z")
_LITERAL = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_CONSTANTS = frozenset({"$true", "$false", "$null", "$_", "$?"})
_KEYWORDS = frozenset({
    "if", "else", "elseif", "foreach", "for", "while", "do", "until", "switch", "try", "catch", "finally", "function",
    "filter", "return", "param", "begin", "process", "end", "in", "throw", "trap", "class", "exit",
})  # fmt: skip
_NAMING = frozenset({"function", "filter", "class"})  # the word after them is a name
_EXPRESSIONS = frozenset({"invoke-expression", "[scriptblock]::create"})
_DOUBLE, _SINGLE = '"\u201c\u201d\u201e', "'\u2018\u2019\u201a\u201b"


def read(reading: Reading, text: str, arguments: tuple[str, ...] = ()) -> None:
    """Record the commands of `text`; positional `arguments` have no name in PowerShell text."""
    del arguments
    PowerShell(reading, clean(reading, text), {}).run()


class PowerShell:
    """One script: a cursor over its text, and the variables that it has set to literal text."""

    def __init__(self, reading: Reading, text: str, values: dict[str, str | None]) -> None:
        self.reading = reading
        self.text = text
        self.values = values
        self.at = 0

    def run(self) -> None:
        """Read to the end of the text."""
        while self.at < len(self.text):
            self._statements("")
            if self.at < len(self.text):  # a closing bracket that nothing opened
                self.reading.resolved = False
                self.at += 1

    def _statements(self, end: str) -> None:
        """Read statements up to the closing bracket `end`, or to the end of the text."""
        reading = self.reading
        reading.deeper()
        while self.at < len(self.text) and self.text[self.at] not in ")}":
            reading.step()
            if not self._skip_separators():
                self._pipeline()
        if end:
            if self.text[self.at : self.at + 1] == end:
                self.at += 1
            else:
                reading.resolved = False
        reading.shallower()

    def _skip_separators(self) -> bool:
        start = self.at
        match = _SPACE.match(self.text, self.at)
        if match:
            self.at = match.end()
        while self.text[self.at : self.at + 1] in ("\n", ";", ",", "|") and self.at < len(self.text):
            self.at += 1
        return self.at > start

    def _pipeline(self) -> None:
        start = len(self.reading.commands)
        feed = Feed(present=False)
        while True:
            printed = self._command(feed)
            if self.text[self.at : self.at + 1] == "|" and self.text[self.at : self.at + 2] != "||":
                self.at += 1
                while self.text[self.at : self.at + 1] in ("\n", "\r", " ", "\t") and self.at < len(self.text):
                    self.at += 1
                feed = Feed(printed, self.reading.programs_since(start))
                continue
            while self.text[self.at : self.at + 1] in ("|", "&") and self.at < len(self.text):
                self.at += 1
            return

    def _command(self, feed: Feed) -> str | None:
        begin, recorded = self.at, len(self.reading.commands)
        words: list[Word] = []
        redirects: list[Redirect] = []
        quoted = called = False
        while True:
            match = _SPACE.match(self.text, self.at)
            if match:
                self.at = match.end()
            here = self.text[self.at : self.at + 1]
            if not here or here in "\n;|)}":
                break
            if here == "&":
                if words:
                    break
                called = True
                self.at += 1
                continue
            if here == ",":
                self.at += 1
                continue
            redirect = _REDIRECT.match(self.text, self.at)
            if redirect:
                self.at = redirect.end()
                if not redirect[0].endswith(("&1", "&2")):
                    self._spaces()
                    target = self._word()
                    redirects.append(Redirect(redirect[0], target.text, not target.known))
                continue
            quoted = quoted or (not words and here in _DOUBLE + _SINGLE + "@")
            words.append(self._word())
            if len(words) == 1 and words[0].text == "." and words[0].known:
                words, called = [], True
            elif len(words) == 2 and words[1].text == "=" and words[0].raw.startswith("$"):
                return self._assignment(words[0].raw)
            elif words[0].text.lower() in _KEYWORDS and not called:
                words = [] if words[0].text.lower() not in _NAMING or len(words) > 1 else words
        if not words:
            return None
        raw = self.text[begin : self.at].strip()
        if quoted and not called:  # an expression, whose value goes down the pipeline
            return words[0].text if len(words) == 1 and words[0].known else None
        if words[0].raw[:1] == "{" or (words[0].raw[:1] in ("(", "$") and not called):
            return None  # a value, and what stands in it is recorded already
        return self._record(words, raw, feed, redirects, recorded)

    def _assignment(self, variable: str) -> str | None:
        begin = len(self.reading.commands)
        self._spaces()
        here = self.text[self.at : self.at + 1]
        name = variable[1:].strip("{}").lower()
        value: str | None = None
        written = ""
        if here and here in _DOUBLE + _SINGLE + "@$([0123456789-":
            word = self._word()
            written, value = word.text, word.text if word.known else None
            self._spaces()
            if self.text[self.at : self.at + 1] not in ("", "\n", ";", "|", "}", ")"):
                value = None
        if len(self.reading.commands) > begin:
            value = None
        self.values[name] = value
        self.reading.assignments.append(Assignment(variable[1:], written, value is None))
        return None

    def _spaces(self) -> None:
        match = _SPACE.match(self.text, self.at)
        if match:
            self.at = match.end()

    def _word(self) -> Word:
        """The word at the cursor; always moves on."""
        text, begin = self.text, self.at
        parts: list[str] = []
        known = True
        while self.at < len(text):
            self.reading.step()
            here = text[self.at]
            if here in _SINGLE:
                parts.append(self._single())
            elif here in _DOUBLE:
                part, sure = self._double()
                parts.append(part)
                known = known and sure
            elif here == "`":
                parts.append(text[self.at + 1 : self.at + 2])
                self.at += 2
            elif here == "@" and text[self.at + 1 : self.at + 2] in ("'", '"'):
                part, sure = self._here_string()
                parts.append(part)
                known = known and sure
            elif here == "$" and text[self.at + 1 : self.at + 2] == "(":
                self.at += 2
                start = self.at - 2
                self._statements(")")
                parts.append(text[start : self.at])
                known = False
            elif here == "$":
                part, sure = self._variable()
                parts.append(part)
                known = known and sure
            elif here == "@" and text[self.at + 1 : self.at + 2] in ("(", "{"):
                self.at += 1
            elif here == "(":
                part, sure = self._parenthesis(attached=bool(parts))
                parts.append(part)
                known = known and sure
            elif here == "{":
                start = self.at
                self.at += 1
                self._statements("}")
                parts.append(text[start : self.at])
            elif match := _BARE.match(text, self.at):
                parts.append(match[0])
                self.at = match.end()
            elif here in "#@" or (here in ">" and not parts):
                parts.append(here)
                self.at += 1
            else:
                break
        if self.at == begin:
            self.at += 1
        return Word("".join(parts), text[begin : self.at], known)

    def _parenthesis(self, attached: bool) -> tuple[str, bool]:
        start = self.at
        self.at += 1
        close = self.text.find(")", self.at)
        inside = self.text[self.at : close] if close > 0 else ""
        if inside and not attached and _LITERALS.match(inside):
            self.at = close + 1
            return "".join(a or b for a, b in _LITERAL.findall(inside)), True
        self._statements(")")
        return self.text[start : self.at], False

    def _single(self) -> str:
        parts: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            here = self.text[self.at]
            self.at += 1
            if here in _SINGLE:
                if self.text[self.at : self.at + 1] not in tuple(_SINGLE):
                    return "".join(parts)
                self.at += 1
            parts.append(here)
        self.reading.resolved = False
        return "".join(parts)

    def _double(self) -> tuple[str, bool]:
        parts: list[str] = []
        known = True
        text = self.text
        self.at += 1
        while self.at < len(text):
            here = text[self.at]
            if here in _DOUBLE:
                self.at += 1
                if text[self.at : self.at + 1] not in tuple(_DOUBLE):
                    return "".join(parts), known
                parts.append(here)
                self.at += 1
            elif here == "`":
                escaped = text[self.at + 1 : self.at + 2]
                parts.append(_ESCAPES.get(escaped, escaped))
                self.at += 2
            elif here == "$" and text[self.at + 1 : self.at + 2] == "(":
                start = self.at
                self.at += 2
                self._statements(")")
                parts.append(text[start : self.at])
                known = False
            elif here == "$":
                part, sure = self._variable()
                parts.append(part)
                known = known and sure
            else:
                match = _PLAIN.match(text, self.at)
                end = match.end() if match else self.at + 1
                parts.append(text[self.at : end])
                self.at = end
        self.reading.resolved = False
        return "".join(parts), known

    def _here_string(self) -> tuple[str, bool]:
        mark = self.text[self.at + 1]
        start = self.text.find("\n", self.at)
        end = self.text.find("\n" + mark + "@", max(start, self.at))
        if start < 0 or end < 0:
            self.reading.resolved = False
            rest = self.text[self.at :]
            self.at = len(self.text)
            return rest, False
        body = self.text[start + 1 : end] if end > start else ""
        self.at = end + 3
        return body, mark == "'" or "$" not in body

    def _variable(self) -> tuple[str, bool]:
        match = _VARIABLE.match(self.text, self.at)
        if match is None:
            self.at += 1
            return "$", True
        self.at = match.end()
        raw = match[0]
        if raw.lower() in _CONSTANTS:
            return raw, raw != "$_"
        value = self.values.get(raw[1:].strip("{}").lower())
        return (raw, False) if value is None else (value, True)

    def _record(
        self, words: Sequence[Word], raw: str, feed: Feed, redirects: Sequence[Redirect], recorded: int
    ) -> str | None:
        reading, first = self.reading, words[0]
        method = first.raw.startswith("[")  # `[IO.File]::Delete(...)`
        name = first.text.lower().partition("(")[0] if method else program_name(first.text)
        program = CMDLET_ALIASES.get(name, name)
        by = tuple(dict.fromkeys((*feed.by, *reading.programs_since(recorded))))
        if not first.known and not method:
            reading.resolved = False
        argv = tuple(word.text for word in words)
        cmdlet = program != name or bool(_CMDLET.match(program)) or method
        if not cmdlet:
            script = Script(reading, "", Scope(()))
            script.fed = list(by)
            return script.execute(words, raw, feed, tuple(redirects))
        arguments = _cmdlet_arguments(program, argv) if first.known else posix_arguments(program, argv)
        known = all(word.known for word in words)
        reading.add(
            Command(
                program, arguments.subcommand, argv, tuple(word.raw for word in words), arguments.flags,
                arguments.operands, not known, raw, tuple(redirects), feed.text or "", by,
            )
        )  # fmt: skip
        if program in _EXPRESSIONS:
            self._expression([word for word in words[1:] if not word.text.startswith("-")], feed)
        elif program == "start-process":
            self._started(arguments.operands)
        elif program == "write-output" and known:
            return "\n".join(arguments.operands)
        return None

    def _expression(self, words: Sequence[Word], feed: Feed) -> None:
        """`iex`: its text is read in this same scope."""
        if words and all(word.known for word in words):
            text: str | None = " ".join(word.text for word in words)
        else:
            text = feed.text if feed.present and not words else None
        if text is None:
            self.reading.resolved = False
            return
        self.reading.deeper()
        self.reading.accept(text)
        PowerShell(self.reading, text, self.values).run()
        self.reading.shallower()

    def _started(self, operands: Sequence[str]) -> None:
        if not operands:
            return
        argv = (operands[0], *(word for operand in operands[1:] for word in operand.split(" ", 2)))
        what = hosted(program_name(argv[0]), argv)
        if what is not None and what.text:
            self.reading.script(what.text, what.dialect)


def _cmdlet_arguments(program: str, argv: Sequence[str]) -> Arguments:
    """Parameters as flags: their full name in lower case, where a prefix is known to mean it, and as written."""
    known = CMDLET_PARAMETERS.get(program, ())
    flags: dict[str, None] = {}
    operands: list[str] = []
    for word in argv[1:]:
        if len(word) < 2 or word[0] not in "-\u2013\u2014" or word[1].isdigit():
            operands.append(word)
            continue
        name, _, value = word[1:].partition(":")
        name = name.lower()
        if value.lower() == "$false":
            continue
        full = [parameter for parameter in known if parameter.startswith(name)]
        if len(full) == 1 or name in full:
            flags[name if name in full else full[0]] = None
        elif len(name) <= 3:  # `rm -rf`, which PowerShell would refuse and a POSIX `rm` obey
            flags.update(dict.fromkeys(name))
        flags[name] = None
        flags[word] = None
    return Arguments("", tuple(flags), tuple(operands))
