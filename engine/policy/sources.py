"""Finds policy files: below paths as a user names them, and as a configuration lists sources and packs."""

import errno
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import msgspec

from engine import resources
from engine.diagnostics import ConfigurationError, Diagnostic, Where, error, suggestion, warning
from engine.documents import NOT_TEXT
from engine.language.shell import DEFAULT_TOOLS, ShellTools
from engine.model.plan import PlanError, plan_text
from engine.settings import Loaded, Scope, Settings, load_settings
from engine.settings import PolicySource as Listed

from .compile import SPEAKING, PolicySource
from .context import UNKNOWN, UNLIMITED, Catalogue, Grant
from .names import listed
from .read import read_policy
from .spec import ScopeSpec

CONFIGURATION: Final = "lexgate.yaml"
SUFFIXES: Final = frozenset({".yaml", ".yml"})
NOT_POLICIES: Final = frozenset({"cases"})
"""Folders of events and recordings, which are no policies."""

_REQUIRED_VARIABLE: Final = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_STANDS_FOR_ANY: Final = "http://not-set.invalid"
_STANDS_FOR_STORE: Final = "postgresql://not-set.invalid/lexgate"
_STORE_VARIABLE: Final = re.compile(r"^\s*state:\s*[\"']?\$\{(\w+)\}", re.MULTILINE)
"""The variable that says which store there is: its stand-in must be the address of one."""
"""The value of a variable that is not set where a configuration is only judged: it passes for a key and for a URL."""


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are compiled together, and what surrounds them. `config` is the configuration's file, where it has one."""

    sources: tuple[PolicySource, ...] = ()
    catalogue: Catalogue = UNKNOWN
    require: tuple[str, ...] = ()
    required_at: Where = Where(CONFIGURATION)
    shell_tools: ShellTools = DEFAULT_TOOLS
    diagnostics: tuple[Diagnostic, ...] = ()
    config: Path | None = None


def is_policy_file(name: str) -> bool:
    """Whether a file's name is that of a policy: YAML, not hidden, not what editors leave beside a file, no configuration."""
    return Path(name).suffix in SUFFIXES and name[0] not in ".#~" and name != CONFIGURATION


def policy_files(path: Path) -> list[Path]:
    """The policy files of a folder, recursively, sorted by path; of a file, the file. Raises OSError."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return list(_walk(path))


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry.name not in NOT_POLICIES and not entry.name.startswith("."):
                yield from _walk(entry)
        elif is_policy_file(entry.name):
            yield entry


def configurations(path: Path) -> Iterator[Path]:
    """The configurations at and below a folder; what stands below one is its own."""
    if (path / CONFIGURATION).is_file():
        yield path / CONFIGURATION
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if entry.is_dir() and entry.name not in NOT_POLICIES and not entry.name.startswith("."):
                yield from configurations(entry)


def loose_files(path: Path) -> list[Path]:
    """The policy files of a path that belong to no configuration below it."""
    owned = [each.parent for each in configurations(path)] if path.is_dir() else []
    return [each for each in policy_files(path) if not any(each.is_relative_to(folder) for folder in owned)]


def find_sets(paths: Sequence[Path], environ: Mapping[str, str], config: Path | None = None) -> list[PolicySet]:
    """The sets of files that the paths name: the loose files together, and each configuration with its own.

    With `config` the loose files are judged by what it names and grants; without paths, all that it lists is the set.
    A wrong configuration is a set of diagnostics. Raises OSError where a path cannot be read.
    """
    sets: list[PolicySet] = []
    try:
        given = judged_settings(config, environ) if config is not None else None
    except ConfigurationError as wrong:
        return [PolicySet(diagnostics=tuple(wrong.diagnostics), config=config)]
    if given is not None and not paths:
        return [configured(given)]
    loose = list(dict.fromkeys(file for path in paths for file in loose_files(path)))
    if loose:
        sets.append(_loose_set(loose, given))
    for file in dict.fromkeys(file for path in paths for file in configurations(path)):
        try:
            sets.append(configured(judged_settings(file, environ)))
        except ConfigurationError as wrong:
            sets.append(PolicySet(diagnostics=tuple(wrong.diagnostics), config=file))
    return sets


def judged_settings(config: Path, environ: Mapping[str, str]) -> Loaded:
    """A configuration as its author wrote it, whether or not the machine that judges it has its keys.

    Raises ConfigurationError.
    """
    try:
        text = config.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    unset = {name: _STANDS_FOR_ANY for name in _REQUIRED_VARIABLE.findall(text) if not environ.get(name)}
    unset |= {name: _STANDS_FOR_STORE for name in _STORE_VARIABLE.findall(text) if name in unset}
    return load_settings(config, {**environ, **unset}, absent_secret=_STANDS_FOR_ANY)


def configured(loaded: Loaded) -> PolicySet:
    """All that a configuration puts into force: its sources with their grants, and its packs with their overrides."""
    settings = loaded.settings
    diagnostics: list[Diagnostic] = []
    sources: list[PolicySource] = []
    for index, each in enumerate(settings.policies):
        where = loaded.layer(("policies", index)).where
        found, said = _listed_source(each, settings, where)
        sources += found
        diagnostics += said
    for name, pack in settings.packs.items():
        source = pack_source(name)
        if source is None:
            help = suggestion(name, pack_names()) or f"known: {listed(pack_names())}"
            diagnostics.append(error(152, f"unknown pack '{name}'", loaded.layer(("packs", name)).where, help))
            continue
        overrides: dict[str, Any] = {}
        if pack.mode is not None:
            overrides["mode"] = pack.mode
        if pack.scope is not None:
            overrides["scope"] = {field: list(names) for field, names in _scope_items(pack.scope)}
        if pack.sets:
            overrides["sets"] = {key: list(names) for key, names in pack.sets.items()}
        if pack.messages:
            overrides["messages"] = pack.messages
        diagnostics += _unknown_overrides(name, source, overrides, loaded)
        sources.append(msgspec.structs.replace(source, overrides=overrides))
    return PolicySet(
        sources=tuple(sources),
        catalogue=catalogue_of(settings),
        require=settings.require,
        required_at=loaded.layer(("require",)).where,
        shell_tools=DEFAULT_TOOLS.extended(settings.shell_tools) if settings.shell_tools else DEFAULT_TOOLS,
        diagnostics=tuple(diagnostics),
        config=loaded.file,
    )


def catalogue_of(settings: Settings) -> Catalogue:
    """What a configuration names: backends and routes. Roles are given by keys, which are no part of it."""
    routes = {name: _compact(plan) for name, plan in settings.routes.items()}
    models = {name: tuple(each.models) for name, each in settings.served_backends.items()}
    return Catalogue(backends=tuple(settings.served_backends), routes=routes, models=models)


def grant_of(source: Listed) -> Grant:
    """What the configuration grants a source of policies."""
    scope = None
    if source.scope is not None:
        scope = ScopeSpec(**{field: list(names) for field, names in _scope_items(source.scope)})
    return Grant(scope, source.max_priority, source.actions)


def pack_names() -> list[str]:
    """The shipped packs, sorted."""
    return sorted(each.name.partition(".")[0] for each in resources.packs_dir().iterdir() if is_policy_file(each.name))


def pack_source(name: str) -> PolicySource | None:
    """One shipped pack; None where there is none of that name."""
    for suffix in sorted(SUFFIXES):
        file = resources.packs_dir() / f"{name}{suffix}"
        if file.is_file():
            return PolicySource(_displayed(file), file.read_text("utf-8"))
    return None


def read_source(file: Path, grant: Grant = UNLIMITED) -> PolicySource:
    """One file from disk. For bytes that are not UTF-8 stands a character that the YAML reader refuses at its place.

    Raises OSError, also for what is no regular file: a pipe would keep the reader waiting for ever.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    text = file.read_bytes().decode("utf-8", "surrogateescape")
    return PolicySource(str(file), text if text.isascii() else _NOT_UTF8.sub(NOT_TEXT, text), grant)


def said_of(problem: OSError, path: Path) -> str:
    """What kept the policies at `path` from being read, and in which file, where that is another one."""
    said = problem.strerror or str(problem)
    return said if problem.filename in (None, str(path)) else f"{problem.filename}: {said}"


def _listed_source(
    listed: Listed, settings: Settings, where: Where
) -> tuple[Iterable[PolicySource], Iterable[Diagnostic]]:
    path = settings.resolve(listed.path)
    try:
        files = policy_files(path)
        sources = [read_source(file, grant_of(listed)) for file in files]
    except OSError as problem:
        return (), [error(150, f"the policies in {path} cannot be read: {said_of(problem, path)}", where)]
    if not path.exists():
        return (), [error(150, f"there is no file or folder {path}", where, "it stands under `policies:`")]
    if not files:
        return (), [warning(151, f"there are no policies in {path}", where, "files that end in .yaml or .yml")]
    return sources, ()


def _unknown_overrides(
    name: str, source: PolicySource, overrides: Mapping[str, Any], loaded: Loaded
) -> Iterator[Diagnostic]:
    """Sets and messages that are overridden and that the pack does not have."""
    if not overrides.keys() & {"sets", "messages"}:
        return
    spec = read_policy(source.text, source.file).spec
    if spec is None:
        return
    speaking = [rule.id for rule in spec.rules if any(step.keys() & SPEAKING for step in rule.actions)]
    for field, what, known in (("sets", "set", list(spec.sets)), ("messages", "rule with a message", speaking)):
        for each in overrides.get(field, {}):
            if each not in known:
                help = suggestion(each, known) or f"known: {listed(known)}"
                where = loaded.layer(("packs", name, field, each)).where
                yield error(154, f"pack '{name}' has no {what} '{each}'", where, help)


def _loose_set(files: Sequence[Path], given: Loaded | None) -> PolicySet:
    """Files named on the command line; each has the grant of the source that it belongs to."""
    if given is None:
        return PolicySet(sources=tuple(read_source(file) for file in files))
    around = configured(given)
    grants = [(given.settings.resolve(each.path).resolve(), grant_of(each)) for each in given.settings.policies]

    def grant(file: Path) -> Grant:
        return next((each for root, each in grants if file.resolve().is_relative_to(root)), UNLIMITED)

    sources = tuple(read_source(file, grant(file)) for file in files)
    return msgspec.structs.replace(around, sources=sources, require=(), diagnostics=())


def _scope_items(scope: Scope) -> Iterator[tuple[str, tuple[str, ...]]]:
    for field in scope.__struct_fields__:
        names: tuple[str, ...] = getattr(scope, field)
        if names:
            yield field, names


def _displayed(file: Traversable) -> str:
    """A shipped file's name as a reader finds it: below the current folder where it is there."""
    if isinstance(file, Path) and file.is_relative_to(Path.cwd()):
        return str(file.relative_to(Path.cwd()))
    return str(file)


def _compact(route: str | Mapping[str, Any]) -> str:
    """A route as compact text; "" for one that the settings' own checks refuse."""
    try:
        return plan_text(route)
    except PlanError:
        return ""
