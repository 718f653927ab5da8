"""How the files of an audit log are called: one chain for each process, and of each chain the files that were rotated.

Of `audit.jsonl` a single process writes `audit.jsonl`, worker 2 of several `audit.w2.jsonl`. A file that is full becomes
`audit.000001.jsonl` or `audit.w2.000001.jsonl`, and the next one begins under the old name.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_ROTATED: Final = re.compile(r"(.+)\.([0-9]{6,})")
_WORKER: Final = re.compile(r"(.+)\.w[1-9][0-9]*")


def worker_path(path: Path, worker: int) -> Path:
    """The file of one of several workers: `audit.jsonl` becomes `audit.w2.jsonl`. One file is one process's chain."""
    return path.with_name(f"{path.stem}.w{worker}{path.suffix}")


def rotated_path(path: Path, number: int) -> Path:
    """What a full file of the chain at `path` is called: the first `audit.000001.jsonl`."""
    return path.with_name(f"{path.stem}.{number:06d}{path.suffix}")


def rotated(path: Path) -> Sequence[tuple[int, Path]]:
    """The rotated files of the chain at `path`, with their numbers, the oldest first."""
    return _found(path).get(path, ())


def chains(path: Path) -> Sequence[Path]:
    """The chains of a log of which any file exists, by the files that they write now: the one process's, the workers'."""
    found = {each: number for each in _found(path) if (number := _worker(path, each)) is not None}
    return sorted(found, key=found.__getitem__)


def worker_paths(path: Path) -> Sequence[Path]:
    """All files of a log that exist, chain by chain, the oldest first."""
    found = _found(path)
    return tuple(each for chain in chains(path) for each in (*(old for _, old in found[chain]), chain) if each.exists())


def chain_of(path: Path) -> Path:
    """The chain that a file is of: `audit.w2.jsonl` for `audit.w2.000001.jsonl`."""
    match = _ROTATED.fullmatch(path.stem)
    return path.with_name(match[1] + path.suffix) if match else path


def log_of(path: Path) -> Path:
    """The log that a file is of, by the name that `audit.path` has: `audit.jsonl` for `audit.w2.000001.jsonl`."""
    chain = chain_of(path)
    match = _WORKER.fullmatch(chain.stem)
    return chain.with_name(match[1] + chain.suffix) if match else chain


def heads_path(chain: Path) -> Path:
    """Where the signed heads of a chain stand beside it."""
    return chain.with_name(chain.name + ".heads")


def when(record: Mapping[str, Any]) -> float:
    """The time of a record, in seconds since 1970; 0 where it says none."""
    at = record.get("at", 0.0)
    if isinstance(at, str):
        try:
            found = datetime.fromisoformat(at)
        except ValueError:
            return 0.0
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    return float(at) if isinstance(at, int | float) else 0.0


def _found(path: Path) -> dict[Path, list[tuple[int, Path]]]:
    """Each chain whose files are in the folder, with its rotated files, the oldest first."""
    found: dict[Path, list[tuple[int, Path]]] = {}
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return found
    for name in names:
        file = path.with_name(name)
        chain = chain_of(file)
        if file.suffix != path.suffix or not (chain == path or log_of(chain) == path):
            continue
        olds = found.setdefault(chain, [])
        if chain != file:
            olds.append((int(file.stem.rpartition(".")[2]), file))
    for olds in found.values():
        olds.sort()
    return found


def _worker(path: Path, chain: Path) -> int | None:
    if chain == path:
        return 0
    return int(chain.stem.rpartition(".w")[2]) if log_of(chain) == path else None
