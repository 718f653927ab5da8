"""How verbs print: people get colour where there is a terminal, programs get one JSON document and nothing else."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from rich.console import Console
from rich.highlighter import NullHighlighter

from engine.diagnostics import Diagnostic, UsageError
from engine.policy.sources import CONFIGURATION, PolicySet, find_sets
from engine.rendering import render_text

F = TypeVar("F", bound=Callable[..., Any])

WIDTH: Final = 120
"""Columns where there is no terminal that could say how many it has."""

PATHS: Final = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="PATH…")
CONFIG: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LEXGATE_CONFIG",
    metavar="FILE",
    help="Judge by what this configuration names and grants; without PATH, all that it puts into force.",
)


def output_format(*names: str) -> Callable[[F], F]:
    """The option `--format`; the first name is the default."""
    return click.option(
        "--format", "output", type=click.Choice(names), default=names[0], show_default=True, help="How to print."
    )


def columns() -> int:
    return shutil.get_terminal_size((WIDTH, 24)).columns


def colored() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def console() -> Console:
    """What people read, on standard output."""
    return Console(
        width=columns(), highlighter=NullHighlighter(), soft_wrap=False, emoji=False, markup=False,
        no_color=not colored(), force_terminal=colored(),
    )  # fmt: skip


def print_json(data: Any) -> None:
    """One JSON document, indented, on standard output."""
    text = data if isinstance(data, bytes) else msgspec.json.encode(data)
    click.echo(msgspec.json.format(text, indent=2).decode())


def print_findings(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> None:
    click.echo(render_text(diagnostics, sources, color=colored(), width=columns()), nl=False)


def named_sets(paths: Sequence[Path], config: Path | None) -> list[PolicySet]:
    """The sets of policy files that a command line names; without paths and configuration the one in this folder.

    Raises UsageError where a path is not there or holds nothing.
    """
    if not paths and config is None:
        if not Path(CONFIGURATION).is_file():
            raise UsageError(f"say which files: there is no PATH, and no {CONFIGURATION} in this folder")
        config = Path(CONFIGURATION)
    if config is not None and not config.is_file():
        raise UsageError(f"there is no configuration file {config}")
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
    try:
        sets = find_sets(paths, os.environ, config)
    except OSError as problem:
        raise UsageError(f"{problem.filename} cannot be read: {problem.strerror}") from problem
    if not sets:
        raise UsageError(f"there are no policy files in {', '.join(map(str, paths))}")
    return sets


def texts_of(sets: Iterable[PolicySet]) -> dict[str, str]:
    """The text of every file of the sets, their configurations included, for the lines below findings."""
    texts: dict[str, str] = {}
    for policies in sets:
        texts |= {source.file: source.text for source in policies.sources}
        if policies.config is not None and policies.config.is_file():
            texts[str(policies.config)] = policies.config.read_text("utf-8", "replace")
    return texts


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
