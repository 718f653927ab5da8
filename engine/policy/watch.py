"""Notices that files or folders have changed, whatever an editor, a copy, or a mounted volume does to them."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from .sources import is_policy_file, policy_files

GROUPED_MS: Final = 50
STEP_MS: Final = 10
LOOK_EVERY: Final = 1.0
"""Seconds between looks at the files' times and sizes: they notice what the system does not tell of (network file
systems, links that point elsewhere, a folder that was made again), and that the watch must be put on another folder."""
LOOK_UNTOLD: Final = 0.25
"""The same, where the system tells nothing at all."""

Signature = tuple[tuple[str, int, int, int, int], ...]


class Watch:
    """Calls `changed` after changes below `paths`; too often rather than too seldom."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None], *, told: bool = True) -> None:
        self.told = told
        """Whether the system tells of changes, as far as is known; otherwise the files are looked at more often."""
        self._paths = tuple(paths)
        self._changed = changed
        self._seen = signature(self._paths)

    async def run(self) -> None:
        """Watch until cancelled."""
        stop, task, roots = asyncio.Event(), None, None
        wait = STEP_MS / 1000
        try:
            while True:
                now = _roots(self._paths)
                if self.told and (now != roots or task is None or task.done()):
                    stop.set()
                    if task is not None:
                        await task
                    stop, roots = asyncio.Event(), now
                    task = asyncio.create_task(self._listen(stop))
                await asyncio.sleep(wait)
                wait = LOOK_EVERY if self.told else LOOK_UNTOLD
                await self._look()
        finally:
            stop.set()
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(task)

    async def _look(self) -> None:
        seen = await asyncio.to_thread(signature, self._paths)
        if seen != self._seen:
            self._seen = seen
            self._changed()

    async def _listen(self, stop: asyncio.Event) -> None:
        """Be told of changes until `stop`; a file is watched in its folder, since saving often replaces it."""
        folders = [path for path in self._paths if path.is_dir()]
        beside = [path.parent for path in self._paths if path.is_file()]
        async with asyncio.TaskGroup() as group:
            if folders:
                group.create_task(self._hear(folders, True, stop))
            if beside:
                group.create_task(self._hear(beside, False, stop))
            await stop.wait()

    async def _hear(self, paths: Sequence[Path], recursive: bool, stop: asyncio.Event) -> None:
        try:
            async for _ in _changes(paths, recursive, stop):
                self._changed()
        except FileNotFoundError:
            await stop.wait()  # gone since it was looked at; the next look sees that
        except (OSError, RuntimeError):  # no inotify, or no more watches of it to be had
            self.told = False


def _changes(paths: Sequence[Path], recursive: bool, stop: asyncio.Event) -> AsyncIterator[object]:
    return awatch(
        *paths,
        watch_filter=_is_of_interest,
        debounce=GROUPED_MS,
        step=STEP_MS,
        stop_event=stop,
        recursive=recursive,
        ignore_permission_denied=True,
    )


def _is_of_interest(change: Change, path: str) -> bool:
    """What is written into other files beside the policies says nothing; that they come and go may (links, folders)."""
    return change is not Change.modified or is_policy_file(os.path.basename(path))


def _roots(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Which folders and files the paths lead to now: a watch stays with the folder, not with its name."""
    return [(os.path.realpath(path), *_identity(path)) for path in paths]


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat() if path.is_dir() else path.parent.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def signature(paths: Sequence[Path]) -> Signature:
    """Identity, time and size of every policy file at and below the paths."""
    return tuple(_entry(each) for path in paths for each in (path, *_files(path)))


def _files(path: Path) -> Sequence[Path]:
    try:
        return policy_files(path)
    except OSError:
        return ()


def _entry(path: Path) -> tuple[str, int, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0, 0
    if stat.S_ISDIR(found.st_mode):
        return str(path), found.st_dev, found.st_ino, 0, 0
    return str(path), found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
