"""Findings that were there before: a file that lets a team begin with lint today and mend the past later."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from engine.diagnostics import Diagnostic, UsageError


class Known(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """So many findings of one kind in one file. Lines are left out: they move with every edit."""

    file: str
    code: str
    message: str
    count: int = 1


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    findings: tuple[Known, ...]
    version: int = 1


def baseline_of(found: Iterable[Diagnostic]) -> bytes:
    """The baseline of what was found, as text to keep. Errors are left out: with one a file does not load."""
    counts = Counter((each.where.file, each.code, each.message) for each in found if not each.stops_loading)
    known = tuple(sorted(Known(*key, count) for key, count in counts.items()))
    return msgspec.json.format(msgspec.json.encode(Baseline(known)), indent=2) + b"\n"


def read_baseline(text: bytes) -> Baseline:
    """Raises UsageError where the text is no baseline."""
    try:
        return msgspec.json.decode(text, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise UsageError(f"this is no baseline: {wrong}") from wrong


def beyond(found: Iterable[Diagnostic], baseline: Baseline) -> Iterator[Diagnostic]:
    """What the baseline does not know, or of which there is more than it knows."""
    left = Counter({(each.file, each.code, each.message): each.count for each in baseline.findings})
    for each in found:
        key = (each.where.file, each.code, each.message)
        if not each.stops_loading and left[key] > 0:
            left[key] -= 1
        else:
            yield each
