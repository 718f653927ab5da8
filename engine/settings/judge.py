"""Check raw values against the model, collect everything that is wrong, and give the text of variables its type."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from engine import documents
from engine.diagnostics import Diagnostic, Where, error, suggestion
from engine.settings.shapes import Shape, shapes
from engine.settings.values import decode

UNKNOWN, WRONG_VALUE, MISSING, NO_VARIABLE, CONTRADICTION, NO_FILE = range(120, 126)

Steps = tuple[str | int, ...]

_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a mapping",
}
_TYPES = re.compile(r"`([a-z| ]+)`")


class Text(str):
    """A value that came as text (a variable, a flag, `${VAR}`) and takes the type of the setting that it is for."""

    __slots__ = ()


def dotted(path: Steps) -> str:
    return ".".join(map(str, path))


def closest(word: str, known: list[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or the known words."""
    return suggestion(word, known) or (f"known here: {', '.join(known)}" if known else "")


def typed(shape: Shape, text: str) -> Any:
    """Read text as a YAML value where the setting is not text itself; a list may be written as `a,b`."""
    stripped = text.strip()
    if shape.optional and stripped == "null":
        return None
    if shape.is_text or (shape.takes_text_too and not stripped.startswith("{")):
        return text
    if shape.list_of is not None and not stripped.startswith("["):
        # A secret may hold a comma; nothing else that is listed does.
        parts = [stripped] if shape.list_of.is_secret else stripped.split(",")
        return [typed(shape.list_of, each.strip()) for each in parts] if stripped else []
    document = documents.load(text, "value")
    return document.data if document.sound else text


class Judge:
    """Walks raw values along the model. `where` places a path, `base` is where `file:` paths start from.

    What stands at `known_bad` was reported before. `absent_secret` stands in for a secret whose file is not there.
    """

    def __init__(
        self,
        where: Callable[[Steps, bool], Where],
        base: Path,
        known_bad: Collection[Steps] = (),
        absent_secret: str | None = None,
    ) -> None:
        self.where = where
        self.base = base
        self.known_bad = known_bad
        self.absent_secret = absent_secret
        self.diagnostics: list[Diagnostic] = []
        self.secret_files: dict[Steps, str] = {}

    def judge(self, shape: Shape, value: Any, path: Steps) -> Any:
        """Return the value in its full form; what is wrong is collected, and the rest is judged all the same."""
        if path in self.known_bad:
            return None
        if isinstance(value, Text):
            value = typed(shape, value)
        if value is None and shape.optional:
            return None
        if shape.section is not None:
            return self._section(shape, value, path)
        if shape.map_of is not None:
            value = {} if value is None else value
            if not isinstance(value, dict):
                return self._wrong("expected a mapping of names", path)
            return {name: self.judge(shape.map_of, each, (*path, name)) for name, each in value.items()}
        if shape.list_of is not None:
            rows = value if isinstance(value, list) else [] if value is None else [value]
            return [self.judge(shape.list_of, each, (*path, at)) for at, each in enumerate(rows)]
        if shape.is_secret and isinstance(value, str) and value.startswith("file:"):
            value = self._secret_file(value, path)
            if value is None:
                return None
        try:
            return msgspec.convert(value, shape.annotation, dec_hook=decode)
        except msgspec.ValidationError as problem:
            words = choices(shape)
            if words:
                return self._wrong(f"expected one of {', '.join(words)}", path, closest(str(value), words))
            return self._wrong(in_words(str(problem)), path)

    def _section(self, shape: Shape, value: Any, path: Steps) -> Any:
        section = shape.section
        assert section is not None
        if value is None:
            value = {}
        if section.shorthand and isinstance(value, str):
            value = {section.shorthand: value}
        if not isinstance(value, dict):
            return self._wrong("expected a mapping of settings", path)
        known = shapes(section)
        made = {}
        for name, each in value.items():
            place = (*path, name)
            if name in known:
                made[name] = self.judge(known[name], each, place)
            else:
                message = f"there is no setting '{dotted(place)}'"
                self.diagnostics.append(error(UNKNOWN, message, self.where(place, True), closest(name, list(known))))
        for name, field in known.items():
            if field.default is msgspec.UNSET and name not in value:
                message = f"'{dotted(path)}' needs the setting '{name}'"
                self.diagnostics.append(error(MISSING, message, self.where(path, True), field.description))
        return made

    def _wrong(self, message: str, path: Steps, help: str = "") -> None:
        self.diagnostics.append(error(WRONG_VALUE, f"'{dotted(path)}': {message}", self.where(path, False), help))

    def _secret_file(self, value: str, path: Steps) -> str | None:
        file = self.base / Path(value.removeprefix("file:")).expanduser()
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            if self.absent_secret is not None:
                return self.absent_secret
            reason = getattr(problem, "strerror", None) or "it is not UTF-8"
            message = f"'{dotted(path)}': the file {file} cannot be read: {reason}"
            self.diagnostics.append(error(NO_FILE, message, self.where(path, False)))
            return None
        self.secret_files[path] = value
        return text.rstrip("\r\n")


def choices(shape: Shape) -> list[str]:
    """The words that a setting may be, where they are a closed set."""
    kind = shape.bare
    return [str(each) for each in get_args(kind)] if get_origin(kind) is Literal else []


def in_words(problem: str) -> str:
    """Say what msgspec says without its type names."""
    problem = _TYPES.sub(lambda found: " or ".join(_WORDS.get(each, each) for each in found[1].split(" | ")), problem)
    return problem[:1].lower() + problem[1:]
