"""`when` and `unless`: a condition, or a tree of them, as one closure with the span of every leaf."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from engine.diagnostics import Where
from engine.language import Condition, ConditionError, Env

Event = Mapping[str, Any]
Path = tuple[str | int, ...]
Compile = Callable[[str, Path], Condition]
Locate = Callable[[Path], Where]
MAX_DEPTH: Final = 20


class Leaf(msgspec.Struct, frozen=True):
    """One condition of a tree and where it stands."""

    condition: Condition
    path: Path
    where: Where

    def holds(self, event: Event, env: Env) -> bool:
        """True matches, false and null do not; anything else is an error (raises ConditionError)."""
        value = self.condition(event, env)
        if value is True:
            return True
        if value is False or value is None:
            return False
        shown = type(value).__name__
        raise ConditionError(
            "invalid-type", f"the condition gives {shown}, not true or false", 0, len(self.condition.text)
        )

    def leaves(self) -> Iterator["Leaf"]:
        yield self


class Branch(msgspec.Struct, frozen=True):
    """`any:`, `all:` or `not:` of conditions."""

    kind: Literal["any", "all", "not"]
    children: tuple["Tree", ...]

    def holds(self, event: Event, env: Env) -> bool:
        match self.kind:
            case "any":
                return any(child.holds(event, env) for child in self.children)
            case "all":
                return all(child.holds(event, env) for child in self.children)
            case "not":
                return not self.children[0].holds(event, env)

    def leaves(self) -> Iterator[Leaf]:
        for child in self.children:
            yield from child.leaves()


class Constant(msgspec.Struct, frozen=True):
    """`when: true`, `when: false`."""

    value: bool

    def holds(self, _event: Event, _env: Env) -> bool:
        return self.value

    def leaves(self) -> Iterator[Leaf]:
        return iter(())


Tree = Leaf | Branch | Constant


def compile_tree(written: Any, path: Path, compile: Compile, locate: Locate) -> Tree:
    """The tree of what stands under `when` or `unless`; its shape was judged by the file's schema."""
    match written:
        case bool():
            return Constant(written)
        case str():
            return Leaf(compile(written, path), path, locate(path))
        case {"not": child}:
            return Branch("not", (compile_tree(child, (*path, "not"), compile, locate),))
        case {"any": list(children)}:
            at, kind = (*path, "any"), "any"
        case {"all": list(children)}:
            at, kind = (*path, "all"), "all"
        case _:
            raise AssertionError(f"not a condition: {written!r}")
    built = tuple(compile_tree(child, (*at, index), compile, locate) for index, child in enumerate(children))
    return Branch("any" if kind == "any" else "all", built)
