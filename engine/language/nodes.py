"""The syntax tree of a condition: JMESPath's own node kinds, each with the span of the text that it came from."""

from collections.abc import Iterator
from typing import Any

import msgspec


class Node(msgspec.Struct, frozen=True):
    """One node. `kind` is the name the JMESPath package gives it (`field`, `subexpression`, `comparator`, ...).

    `start` and `end` are code-point offsets into the expression's text, `end` exclusive; `value` is what the kind needs
    (a field's name, a literal's value, a comparator's operator, a function's name, a slice's or index's numbers).
    """

    kind: str
    start: int
    end: int
    value: Any = None
    children: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()
