"""The layers of configuration become one: defaults, presets, the file, variables, flags; each value knows its layer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from engine import documents
from engine.diagnostics import ConfigurationError, Diagnostic, Where, error
from engine.documents import Document
from engine.settings.checks import contradictions
from engine.settings.judge import (
    MISSING,
    NO_FILE,
    NO_VARIABLE,
    UNKNOWN,
    WRONG_VALUE,
    Judge,
    Steps,
    Text,
    closest,
    dotted,
    typed,
)
from engine.settings.model import Settings
from engine.settings.presets import Preset, presets
from engine.settings.shapes import Shape, shape_at, shapes
from engine.settings.values import decode

FILE_NAME: Final = "lexgate.yaml"
PREFIX: Final = "LEXGATE_"
NAME: Final = "NAME"
RESERVED: Final = frozenset({"LEXGATE_CONFIG", "LEXGATE_DEBUG", "LEXGATE_KEY"})
"""Variables of the command line: not settings."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)")


class LayerKind(StrEnum):
    DEFAULT = "default"
    PRESET = "preset"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Layer(msgspec.Struct, frozen=True):
    """Where a value came from; `via` names the variables or the file that its text refers to."""

    kind: LayerKind
    where: Where = Where("default")
    via: str = ""

    def __str__(self) -> str:
        return f"{self.where} ({self.via})" if self.via else str(self.where)


DEFAULT: Final = Layer(LayerKind.DEFAULT)


class Loaded(msgspec.Struct, frozen=True):
    """The settings, and for every value that is no default the layer that gave it."""

    settings: Settings
    provenance: Mapping[Steps, Layer]
    diagnostics: tuple[Diagnostic, ...] = ()
    file: Path | None = None

    def layer(self, path: Steps) -> Layer:
        """Return the layer of a value; of a section or a part of a list, the nearest one above or below that is known."""
        for length in range(len(path), 0, -1):
            if known := self.provenance.get(path[:length]):
                return known
        below = (layer for steps, layer in self.provenance.items() if steps[: len(path)] == path)
        return next(below, DEFAULT)


def load_settings(
    config_path: Path | None,
    environ: Mapping[str, str],
    overrides: Sequence[tuple[str, str]] = (),
    *,
    folder: Path = Path(),
    absent_secret: str | None = None,
) -> Loaded:
    """Merge the layers and check the whole; without a path `lexgate.yaml` in `folder` is read if it is there.

    `overrides` are dotted paths with their text, the later wins. Mappings merge, lists replace. `absent_secret` stands
    in for what a `file:` reference names and this machine does not have. Raises ConfigurationError with everything that
    is wrong.
    """
    path = config_path or folder / FILE_NAME
    layers = _Layers(path.parent, environ, absent_secret)
    if path.is_file():
        try:
            document = documents.read(path)
        except OSError as problem:
            message = f"the configuration file {path} cannot be read: {problem.strerror}"
            raise ConfigurationError([error(NO_FILE, message, Where(str(path)))]) from problem
        layers.add_file(document)
    elif config_path is not None:
        message = f"the configuration file {path} is not there"
        raise ConfigurationError([error(NO_FILE, message, Where(str(path)), "create it, or leave --config away")])
    layers.add_environment()
    for name, text in overrides:
        layers.add_text(tuple(name.split(".")), text, Layer(LayerKind.FLAG, Where(f"--set {name}")))
    layers.add_presets()
    return layers.load(path if path.is_file() else None)


class _Layers:
    """The merged raw values so far."""

    def __init__(self, base: Path, environ: Mapping[str, str], absent_secret: str | None = None) -> None:
        self.base = base
        self.environ = environ
        self.absent_secret = absent_secret
        self.document: Document | None = None
        self.raw: dict[str, Any] = {}
        self.provenance: dict[Steps, Layer] = {}
        self.diagnostics: list[Diagnostic] = []
        self.referenced: set[str] = set()
        self.broken: set[Steps] = set()

    def add_file(self, document: Document) -> None:
        self.document = document
        self.diagnostics += document.diagnostics
        if isinstance(document.data, dict):
            self._merge((), document.data)
        elif document.data is not None:
            message = "a configuration is a mapping of settings"
            self.diagnostics.append(error(WRONG_VALUE, message, document.value(())))

    def _merge(self, path: Steps, value: Any) -> None:
        assert self.document is not None
        if isinstance(value, dict) and value:
            for name, each in value.items():
                self._merge((*path, name), each)
            return
        used: list[str] = []
        expanded = self._expand(path, value, used)
        self._put(path, expanded, Layer(LayerKind.FILE, self.document.value(path), ", ".join(used)))

    def _expand(self, path: Steps, value: Any, used: list[str]) -> Any:
        """Replace `${VAR}` in every string at and below `path`; `$${` stands for `${`."""
        if isinstance(value, list):
            return [self._expand((*path, at), each, used) for at, each in enumerate(value)]
        if isinstance(value, dict):
            return {name: self._expand((*path, name), each, used) for name, each in value.items()}
        if not isinstance(value, str) or "${" not in value:
            return value

        def replaced(match: re.Match[str]) -> str:
            if match.group() == "$${":
                return "${"
            name = match["name"]
            if name is None:
                self._reference(path, match, "`${` is never closed or holds no name", "write $${ for a plain ${")
                return ""
            used.append(f"${{{name}}}")
            self.referenced.add(name)
            found = self.environ.get(name) or match["default"]
            if found is None:
                help = f"set it, or give a default: ${{{name}:-…}}"
                self._reference(path, match, f"the environment variable {name} is not set", help)
            return found or ""

        return Text(_REFERENCE.sub(replaced, value))

    def _reference(self, path: Steps, match: re.Match[str], message: str, help: str) -> None:
        assert self.document is not None
        self.broken.add(path)
        where = self.document.inside(path, *match.span())
        self.diagnostics.append(error(NO_VARIABLE, f"'{dotted(path)}': {message}", where, help))

    def add_environment(self) -> None:
        for variable in sorted(self.environ):
            if not variable.startswith(PREFIX) or variable in RESERVED or variable in self.referenced:
                continue
            layer = Layer(LayerKind.ENVIRONMENT, Where(variable))
            self.add_text(self._path(variable.removeprefix(PREFIX).split("__")), self.environ[variable], layer)

    def _path(self, words: list[str]) -> Steps:
        """A name of a map is the configured one that reads the same, else in lower case with `-`, as packs are named."""
        path: Steps = ()
        raw: Any = self.raw
        for word in words:
            shape = shape_at(path)
            step = word.lower()
            if shape is not None and shape.map_of is not None:
                known = raw if isinstance(raw, dict) else {}
                step = next((name for name in known if variable_part(name) == word.upper()), step.replace("_", "-"))
            path = (*path, step)
            raw = raw.get(step) if isinstance(raw, dict) else None
        return path

    def add_text(self, path: Steps, text: str, layer: Layer) -> None:
        shape = shape_at(path)
        if shape is None or not path[-1]:
            known = [_spelled(each, layer.kind) for each in all_paths()]
            name = _spelled(path, layer.kind)
            help = closest(name, known) if name else ""
            help = help if help.startswith("did") else "`policy config` lists every setting"
            self.diagnostics.append(error(UNKNOWN, f"there is no setting '{dotted(path)}'", layer.where, help))
            return
        self._put_tree(path, typed(shape, text), layer)

    def _put_tree(self, path: Steps, value: Any, layer: Layer) -> None:
        if isinstance(value, dict) and value:
            for name, each in value.items():
                self._put_tree((*path, name), each, layer)
        else:
            self._put(path, value, layer)

    def _put(self, path: Steps, value: Any, layer: Layer) -> None:
        """Set one value; what it replaces loses its layer, and an empty mapping replaces nothing."""
        if not path:
            return
        raw: dict[Any, Any] = self.raw
        for step in path[:-1]:
            inner = raw.get(step)
            if not isinstance(inner, dict):
                inner = raw[step] = {}
            raw = inner
        if value in ({}, None) and isinstance(raw.get(path[-1]), dict):
            return
        raw[path[-1]] = value
        for known in [each for each in self.provenance if each[: len(path)] == path or path[: len(each)] == each]:
            del self.provenance[known]
        self.provenance[path] = layer

    def add_presets(self) -> None:
        """Give every backend what its preset knows and nothing said. Lists and values replace, mappings are filled up."""
        backends = self.raw.get("backends")
        for name, raw in backends.items() if isinstance(backends, dict) else ():
            said = {} if raw is None else raw
            path = ("backends", name)
            if not isinstance(said, dict) or path in self.broken:
                continue
            asked = said.get("preset")
            wanted = name if asked is None and "protocol" not in said else asked
            if not isinstance(wanted, str) or not wanted:
                continue
            preset = presets().get(wanted)
            if preset is not None:
                self._fill(path, wanted, preset)
            else:
                self._no_preset(path, wanted, asked is not None)

    def _fill(self, path: Steps, name: str, preset: Preset) -> None:
        layer = Layer(LayerKind.PRESET, Where(f"preset {name}"))
        for below, value in ((("preset",), str(name)), *preset.values()):
            if not self._is_said((*path, *below)):
                self._put((*path, *below), value, layer)

    def _is_said(self, path: Steps) -> bool:
        """Whether a value stands at a place, or something that is no mapping above it."""
        raw: Any = self.raw
        for step in path:
            if not isinstance(raw, dict):
                return raw is not None
            if step not in raw:
                return False
            raw = raw[step]
        return True

    def _no_preset(self, path: Steps, name: str, asked: bool) -> None:
        """A preset that was asked for by a wrong name; of a backend's own name, only one that is nearly a preset's."""
        near = closest(name, list(presets()))
        if asked:
            message = f"'{dotted((*path, 'preset'))}': there is no preset '{name}'"
            self.diagnostics.append(error(WRONG_VALUE, message, self._where((*path, "preset"), False), near))
        elif near.startswith("did"):
            message = f"the backend '{name}' has no protocol, and there is no preset of its name"
            self.diagnostics.append(error(MISSING, message, self._where(path, True), near))
        else:
            return
        self.broken.add(path)

    def _where(self, path: Steps, key: bool) -> Where:
        for length in range(len(path), 0, -1):
            if known := self.provenance.get(path[:length]):
                if known.kind is LayerKind.PRESET:
                    continue  # nothing is wrong with it: what is, is missing where the backend is configured
                return self._in_file(path, key) if known.kind is LayerKind.FILE else known.where
        return self._in_file(path, key)

    def _in_file(self, path: Steps, key: bool) -> Where:
        if self.document is None:
            inner = [layer.where for known, layer in self.provenance.items() if known[: len(path)] == path]
            return inner[0] if inner else Where("the configuration")
        return self.document.key(path) if key else self.document.value(path)

    def load(self, file: Path | None) -> Loaded:
        judge = Judge(self._where, self.base, self.broken, self.absent_secret)
        full = judge.judge(Shape(Settings, section=Settings), self.raw, ())
        self.diagnostics += judge.diagnostics
        for path, name in judge.secret_files.items():
            known = next(path[:n] for n in range(len(path), 0, -1) if path[:n] in self.provenance)
            self.provenance[known] = msgspec.structs.replace(self.provenance[known], via=name)
        if self.diagnostics:
            raise ConfigurationError(self.diagnostics)
        settings = msgspec.convert(full | {"base_dir": str(self.base)}, Settings, dec_hook=decode)
        found = contradictions(settings, lambda path: self._where(path, False))
        if found:
            raise ConfigurationError(found)
        return Loaded(settings, self.provenance, (), file)


def variable_part(name: str) -> str:
    """How a name is spelled inside a variable: upper case, `_` for what a variable cannot hold."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def variable(path: Steps) -> str:
    """Return the environment variable of a setting: `server.port` is `LEXGATE_SERVER__PORT`."""
    return PREFIX + "__".join(variable_part(str(each)) for each in path)


def _spelled(path: Steps, kind: LayerKind) -> str:
    return variable(path) if kind is LayerKind.ENVIRONMENT else dotted(path)


def all_paths() -> Iterator[Steps]:
    """Yield the path of every setting; a name that the operator chooses stands as `NAME`."""

    def below(path: Steps, shape: Shape) -> Iterator[Steps]:
        if shape.section is not None:
            for name, each in shapes(shape.section).items():
                yield from below((*path, name), each)
        elif shape.map_of is not None:
            yield from below((*path, NAME), shape.map_of)
        else:
            yield path

    yield from below((), Shape(Settings, section=Settings))
