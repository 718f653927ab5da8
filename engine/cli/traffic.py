"""Recordings as a command line names them: their lines one by one, and a bar of how much of them is read."""

import contextlib
import gzip
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.diagnostics import UsageError

TRAFFIC = click.argument("traffic", nargs=-1, required=True, metavar="TRAFFIC…")


def recordings(named: Sequence[str]) -> list[Path]:
    """The files of recordings that are named: a folder stands for all in it, oldest first. Raises UsageError."""
    found: list[Path] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            inside = sorted(path.glob("*.jsonl")) + sorted(path.glob("*.jsonl.gz"))
            if not inside:
                raise UsageError(f"there are no recordings (*.jsonl) in {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"there is no recording {path}")
    return found


def lines_of(named: Sequence[str], title: str, *, quiet: bool) -> Iterator[bytes]:
    """The lines of all recordings, `-` for standard input. A bar on standard error, where that is a terminal.

    Raises UsageError.
    """
    if list(named) == ["-"]:
        yield from sys.stdin.buffer
        return
    files = recordings(named)
    shown = not quiet and sys.stderr.isatty()
    total = sum(each.stat().st_size for each in files)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("kB"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(title, total=total // 1024)
        for file in files:
            before = progress.tasks[task].completed
            try:
                with contextlib.ExitStack() as stack:
                    stream = stack.enter_context(file.open("rb"))
                    lines = stack.enter_context(gzip.open(stream)) if file.suffix == ".gz" else stream
                    for number, line in enumerate(lines):
                        yield line
                        if shown and number % 64 == 0:
                            progress.update(task, completed=before + stream.tell() // 1024)
            except (OSError, EOFError) as problem:
                raise UsageError(f"the recording {file} cannot be read: {problem}") from problem
