"""What a rule set is made from, as plain data that another process can follow: origins, catalogue, requirements."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine import resources
from engine.diagnostics import ConfigurationError, Diagnostic, Where, warning
from engine.diagnostics import error as diagnose
from engine.settings import DEFAULT, Layer, Loaded

from .compile import PolicySource
from .context import UNKNOWN, UNLIMITED, Catalogue, Grant
from .sources import (
    CONFIGURATION,
    catalogue_of,
    configured,
    grant_of,
    pack_source,
    policy_files,
    read_source,
    said_of,
)

STEADY_WITHIN: Final = 10.0
"""Seconds after which files that keep changing are given up until they are quiet."""


class Origin(msgspec.Struct, frozen=True):
    """A file or folder of policies with what it is granted, or a shipped pack with what is overridden in it."""

    path: str
    grant: Grant = UNLIMITED
    overrides: Mapping[str, Any] = msgspec.field(default_factory=dict)
    pack: bool = False
    where: Where = Where(CONFIGURATION)

    @property
    def name(self) -> str:
        """What status and messages call it, and the last good set keeps it under."""
        return f"pack:{self.path}" if self.pack else self.path

    def source(self, file: str, text: str) -> PolicySource:
        return PolicySource(file, text, self.grant, self.overrides)


class Recipe(msgspec.Struct, frozen=True):
    """All that decides which rules are in force: where the files are, what they may name, which policies must be there."""

    origins: tuple[Origin, ...] = ()
    catalogue: Catalogue = UNKNOWN
    require: tuple[str, ...] = ()
    shell_tools: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def where(self) -> Where:
        """The place for what concerns no single file: the configuration."""
        return Where(self.origins[0].where.file if self.origins else CONFIGURATION)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders to watch."""
        found = [Path(each.path) for each in self.origins if not each.pack]
        packs = resources.packs_dir() if any(each.pack for each in self.origins) else None
        return (*found, packs) if isinstance(packs, Path) else tuple(found)


def recipe_of(loaded: Loaded) -> Recipe:
    """The recipe that a configuration gives. Raises ConfigurationError for a pack that does not exist."""
    settings = loaded.settings

    def origin(path: str, layer: Layer, grant: Grant, overrides: Mapping[str, Any], pack: bool) -> Origin:
        where = layer.where if layer is not DEFAULT else Where(str(loaded.file or CONFIGURATION))
        return Origin(path, grant, overrides, pack, where)

    folders = tuple(
        origin(str(settings.resolve(each.path)), loaded.layer(("policies", index)), grant_of(each), {}, False)
        for index, each in enumerate(settings.policies)
    )
    packs = configured(msgspec.structs.replace(loaded, settings=msgspec.structs.replace(settings, policies=())))
    if packs.diagnostics:
        raise ConfigurationError(list(packs.diagnostics))
    named = tuple(
        origin(name, loaded.layer(("packs", name)), UNLIMITED, source.overrides, True)
        for name, source in zip(settings.packs, packs.sources, strict=True)
    )
    return Recipe(folders + named, catalogue_of(settings), settings.require, settings.shell_tools)


class Found(msgspec.Struct, frozen=True):
    """The files of one origin. `missing`: there is no such path; `problem` says why it cannot be read."""

    origin: Origin
    sources: tuple[PolicySource, ...] = ()
    missing: bool = False
    problem: str = ""

    @property
    def digest(self) -> str:
        """Names the content of the files; 12 hexadecimal digits."""
        said = [self.origin.name, self.missing, self.problem, *(each.digest for each in self.sources)]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:12]


def gather(origins: Sequence[Origin]) -> tuple[Found, ...]:
    """Read every file of every origin, once."""
    return tuple(_found(each) for each in origins)


def gather_steady(origins: Sequence[Origin], quiet: float, sleep: Callable[[float], None]) -> tuple[Found, ...] | None:
    """Read the files until two readings, `quiet` seconds apart, are the same: files that land one by one are one set.

    None where they keep changing for `STEADY_WITHIN` seconds.
    """
    before = gather(origins)
    for _ in range(max(1, int(STEADY_WITHIN / max(quiet, 0.01)))):
        sleep(quiet)
        now = gather(origins)
        if [each.digest for each in now] == [each.digest for each in before]:
            return now
        before = now
    return None


def digest_of(found: Sequence[Found]) -> str:
    """Names what was found, problems included."""
    return hashlib.sha256("".join(each.digest for each in found).encode()).hexdigest()[:12]


def availability(found: Sequence[Found], had: Mapping[str, int]) -> Iterator[Diagnostic]:
    """What is wrong with the origins themselves. `had` says how many rules each had in the last good set.

    An origin that vanished, or that is empty and had rules, is more often a mistake than a wish: whoever means it takes
    the origin out of the configuration.
    """
    for each in found:
        name, where = each.origin.name, each.origin.where
        rules = had.get(name, 0)
        if each.problem:
            yield diagnose(430, f"the policies in {name} cannot be read: {each.problem}", where)
        elif each.missing and name in had:
            help = "put it back, or take it out of the configuration"
            yield diagnose(431, f"{name} has vanished; it had {rules} rules", where, help)
        elif each.missing:
            yield diagnose(150, f"there is no file or folder {name}", where, "it stands under `policies:`")
        elif not each.sources and rules:
            help = "put its files back, or take it out of the configuration"
            yield diagnose(432, f"there are no policies in {name}, which had {rules} rules", where, help)
        elif not each.sources:
            yield warning(151, f"there are no policies in {name}", where, "files that end in .yaml or .yml")


def _found(origin: Origin) -> Found:
    try:
        if origin.pack:
            source = pack_source(origin.path)
            return Found(origin, (origin.source(source.file, source.text),)) if source else Found(origin, missing=True)
        path = Path(origin.path)
        sources = tuple(_read(file, origin) for file in policy_files(path))
        return Found(origin, sources, missing=not os.path.lexists(path) or not path.exists())
    except OSError as problem:
        said = said_of(problem, Path(origin.path))
        return Found(origin, problem=said.encode("utf-8", "replace").decode())


def _read(file: Path, origin: Origin) -> PolicySource:
    source = read_source(file, origin.grant)
    name = source.file.encode("utf-8", "replace").decode()  # a name that is not UTF-8 cannot stand in a message
    return origin.source(name, source.text)
