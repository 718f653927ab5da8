"""Takes the blocks of a Markdown page apart, so that what it shows can be done."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A line of a `console` block that begins with `$`, and what is shown below it."""

    line: str
    shown: str


class Program(NamedTuple):
    """A `python` block, and the `text` block that follows it."""

    source: str
    shown: str


class Edit(NamedTuple):
    """A pair of lines of a `diff` block."""

    file: str
    old: str
    new: str


Step = Command | Program | Edit


def steps(page: str) -> Iterator[Step]:
    """Everything that the page asks the reader to do, in order."""
    blocks = [(match[1], match[2]) for match in _BLOCK.finditer(page)]
    for (kind, text), (_, after) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        match kind:
            case "console":
                for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    line, _, shown = part.partition("\n")
                    yield Command(line, shown)
            case "python":
                yield Program(text, after)
            case "diff":
                head, *lines = text.splitlines()
                old = [line[1:] for line in lines if line.startswith("-")]
                new = [line[1:] for line in lines if line.startswith("+")]
                for before, changed in zip(old, new, strict=True):
                    yield Edit(head.removeprefix("--- "), before, changed)
