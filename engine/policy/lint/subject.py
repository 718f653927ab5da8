"""What a lint rule looks at: one policy file that has no error of shape, linked, with the place of everything in it."""

from collections.abc import Iterator, Mapping
from datetime import date

import msgspec

from engine.diagnostics import Diagnostic, Where, error, note, warning
from engine.documents import Document
from engine.language.nodes import Node
from engine.policy.context import Catalogue
from engine.policy.names import FileNames, Path
from engine.policy.spec import PolicySpec, RuleSpec, SetReference, Values


class Subject(msgspec.Struct, frozen=True):
    """One file under lint. `names` holds every use of a name in it; `today` is the day for which it is judged.

    `nodes` are the trees of its expressions by their paths; a text of several templates gives its last one.
    """

    spec: PolicySpec
    names: FileNames
    document: Document
    catalogue: Catalogue
    today: date
    nodes: Mapping[Path, Node] = {}

    def wrong(self, number: int, message: str, path: Path, help: str = "", where: Where | None = None) -> Diagnostic:
        return error(number, message, where or self.names.locate(path), help)

    def warn(self, number: int, message: str, path: Path, help: str = "") -> Diagnostic:
        return warning(number, message, self.names.locate(path), help)

    def note(self, number: int, message: str, path: Path, help: str = "") -> Diagnostic:
        return note(number, message, self.names.locate(path), help)

    def steps(self) -> Iterator[tuple[RuleSpec, str, object, Path]]:
        """Every step of the file: its rule, the action's name, what is written for it, and where."""
        for index, rule in enumerate(self.spec.rules):
            for number, step in enumerate(rule.actions):
                for name, written in step.items():
                    yield rule, name, written, ("rules", index, "actions", number, name)

    def listed(self, values: Values | None) -> tuple[str, ...]:
        """The names that a value of `match` stands for."""
        match values:
            case None:
                return ()
            case str():
                return (values,)
            case SetReference(set=name):
                return tuple(self.names.scope.sets.get(name, ()))
            case _:
                return tuple(values)
