"""Shorten what a tool said, line by line: the noise of builds and test runs costs tokens and hides what matters."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

from msgspec import Meta

from engine.model.effects import Effect, Op, Patch
from engine.model.phases import Phase

from .params import Params, Patterns
from .places import texts
from .registry import Kind, Moment, action

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class PipeParams(Params, frozen=True, kw_only=True):
    strip_ansi: Annotated[bool, Meta(description="Take out colours and other terminal sequences.")] = False
    drop: Annotated[Patterns | None, Meta(description="Leave out the lines in which one of these stands.")] = None
    keep: Annotated[Patterns | None, Meta(description="Leave out the lines in which none of these stands.")] = None
    context: Annotated[_Count, Meta(description="With `keep`: lines around each that stay too.")] = 0
    squeeze: Annotated[bool, Meta(description="Of blank lines in a row one stays.")] = False
    dedupe: Annotated[bool, Meta(description="Of equal lines in a row one stays, with their number.")] = False
    above: Annotated[_Count, Meta(description="Shorter texts are left alone; in characters.")] = 0
    head: Annotated[_Count | None, Meta(description="Lines that stay at the beginning.")] = None
    tail: Annotated[_Count | None, Meta(description="Lines that stay at the end.")] = None
    max_line: Annotated[_Count | None, Meta(description="Characters that stay of a line.")] = None
    max_chars: Annotated[_Count | None, Meta(description="Characters that stay of the text, half of them its end.")] = (
        None
    )


@action(Phase.TOOL_RESULT, kind=Kind.TRANSFORM, reads={Phase.TOOL_RESULT: frozenset({("result", "parts")})})
def pipe(params: PipeParams, moment: Moment) -> Iterator[Effect]:
    """Send the text of a tool result through a line pipeline: what the model need not read is left out, and said so.

    The stages run in the order of the parameters; several steps in a rule make another order. The same text gives the
    same bytes on every turn. Example: `pipe: {strip_ansi: true, dedupe: true, head: 40, tail: 120, above: 4000}`.
    """
    for path, text in texts(moment.phase, moment.event):
        if len(text) < params.above:
            continue
        shortened = piped(text, params)
        if shortened != text:
            yield Patch((Op("replace", path, shortened),))


def piped(text: str, params: PipeParams) -> str:
    """The text behind all stages."""
    if params.strip_ansi:
        text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines: Sequence[str] = text.split("\n")
    if params.drop is not None:
        gone = params.drop.set
        lines = [line for line in lines if not gone.matches(line)]
    if params.keep is not None:
        lines = _kept(lines, params)
    if params.squeeze:
        lines = [line for before, line in itertools.pairwise(["x", *lines]) if line.strip() or before.strip()]
    if params.dedupe:
        lines = list(_deduped(lines))
    if params.head is not None or params.tail is not None:
        lines = _ends(lines, params.head or 0, params.tail or 0)
    if params.max_line is not None:
        lines = [_cut(line, params.max_line) for line in lines]
    text = "\n".join(lines)
    return text if params.max_chars is None else _capped(text, params.max_chars)


def _kept(lines: Sequence[str], params: PipeParams) -> list[str]:
    """The lines that are looked for, with those around them; what was between them is counted."""
    assert params.keep is not None
    wanted = params.keep.set
    hits = [number for number, line in enumerate(lines) if wanted.matches(line)]
    around = params.context
    chosen = sorted({near for hit in hits for near in range(max(0, hit - around), min(len(lines), hit + around + 1))})
    found: list[str] = []
    last = -1
    for number in chosen:
        found += _left_out(number - last - 1)
        found.append(lines[number])
        last = number
    return [*found, *_left_out(len(lines) - last - 1)]


def _deduped(lines: Iterable[str]) -> Iterator[str]:
    for line, same in itertools.groupby(lines):
        times = sum(1 for _ in same)
        yield line if times == 1 else f"{line} [{times} times]" if line.strip() else line


def _ends(lines: Sequence[str], head: int, tail: int) -> list[str]:
    between = len(lines) - head - tail
    if between <= 1:
        return list(lines)
    return [*lines[:head], *_left_out(between), *lines[len(lines) - tail :]]


def _left_out(count: int) -> list[str]:
    return [] if count == 0 else ["[1 line left out]"] if count == 1 else [f"[{count} lines left out]"]


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[:most]} [{len(line) - most} characters left out]"


def _capped(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end]}\n[{len(text) - most} characters left out]\n{text[len(text) - end :] if end else ''}"
