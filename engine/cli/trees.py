"""Truth trees as text: a mark for what is true or false, the value of what is neither, one line a part."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from rich.text import Text

from engine.model.decision import Mode, OutcomeKind
from engine.proving.explain import NOTHING, Explained, Part
from engine.rendering import visible

_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: (" ", "")}
_OUTCOMES: Final = {
    OutcomeKind.MATCHED: "bold green",
    OutcomeKind.NO_MATCH: "dim",
    OutcomeKind.EXCEPTED: "yellow",
    OutcomeKind.LIMITED: "yellow",
    OutcomeKind.ERROR: "bold red",
}
_LONGEST: Final = 200


def rule_lines(explained: Explained, width: int) -> Iterator[Text]:
    """One rule: its name and outcome, what decided in words, and its parts below; `width` is in columns."""
    outcome = explained.outcome
    head = Text.assemble((explained.rule.name, "bold"), "  ", (outcome.outcome.value, _OUTCOMES[outcome.outcome]))
    if outcome.mode is not Mode.ENFORCE:
        head.append(f" ({outcome.mode.value})", "magenta")
    head.append(f"  {visible(explained.why)}", "dim")
    yield head
    for index, part in enumerate(explained.parts):
        yield from _part_lines(part, "  ", index == len(explained.parts) - 1, width)


def _part_lines(part: Part, indent: str, last: bool, width: int) -> Iterator[Text]:
    """One part and everything below it. Where the line is too long the expression is cut: the value is what is asked."""
    line = Text.assemble((indent + ("└─ " if last else "├─ "), "dim"))
    mark, style = _MARKS[part.holds]
    tail, tail_style = "", ""
    if part.error:
        mark, style = "!", "bold red"
        tail, tail_style = f"  {visible(part.error)}", "red"
    elif not part.reached:
        mark, style = "·", "dim"
        tail, tail_style = "  not reached", "dim"
    elif part.value is not NOTHING:
        tail, tail_style = f" = {shown(part.value)}", "cyan"
    room = width - len(indent) - 5
    tail = cut(tail, max(room // 2, room - len(part.text) - len(part.title) - 2))
    text = visible(part.text)
    if part.title:
        text = f"{part.title}: {text}" if text else part.title
    line.append(mark + " ", style)
    line.append(cut(text, room - len(tail)), "" if part.reached else "dim")
    line.append(tail, tail_style)
    yield line
    below = indent + ("   " if last else "│  ")
    for index, child in enumerate(part.children):
        yield from _part_lines(child, below, index == len(part.children) - 1, width)


def shown(value: Any) -> str:
    """A value as JSON on one line."""
    return cut(visible(msgspec.json.encode(value).decode()), _LONGEST)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"
