"""The names of one policy file, looked up and compiled: sets, patterns, definitions, and what expressions make of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.actions.params import LinkError
from engine.diagnostics import Diagnostic, Fix, Where, nearest, suggestion
from engine.diagnostics import error as diagnose
from engine.language import (
    Condition,
    ConditionError,
    ConditionSyntaxError,
    Names,
    Template,
    compile_expression,
    compile_template,
)
from engine.language.definitions import compile_definitions
from engine.language.nodes import Node
from engine.language.patterns import Pattern, PatternError, PatternSet, compile_pattern
from engine.model.phases import Phase
from engine.model.plan import PlanError, named, parse_plan, plan_text

from .context import UNKNOWN, Catalogue
from .spec import PatternSpec, PolicySpec, SetReference, Values

Path = tuple[str | int, ...]
Locate = Callable[[Path], Where]
Inside = Callable[[Path, int, int], Where]

_SHOWN: Final = 12
_REFINED: Final[Mapping[str, int]] = {"must be a literal": 212, "bad network": 218, "bad pattern": 501}
"""What a literal argument can be wrong in, by the words of whoever compiles it."""


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "") if names else "none"


class Use(msgspec.Struct, frozen=True):
    """An expression of the file: the text at `path`, from `offset` on, in a rule of `phase` (None: a definition)."""

    path: Path
    node: Node
    offset: int
    phase: Phase | None


Prepare = Callable[[str, str, int | None, str | None], Pattern]
"""Makes a pattern of its name, text, stated width and check."""


def pattern_parts(written: Any) -> tuple[str, int | None, str | None]:
    """A pattern's text, its stated width and its check, however it was written: a text, a mapping, or its Struct."""
    match written:
        case PatternSpec(re2=text, max_width=width, check=check):
            return text, width, check
        case {"re2": text}:
            return text, written.get("max_width"), written.get("check")
        case _:
            return written, None, None


class FileNames:
    """The names of one policy file, as its expressions and parameters may use them.

    What is wrong is collected in `diagnostics`, so that the author sees all of it at once.
    """

    def __init__(
        self,
        spec: PolicySpec,
        locate: Locate,
        inside: Inside,
        catalogue: Catalogue = UNKNOWN,
        prepare: Prepare = compile_pattern,
    ) -> None:
        self.spec = spec
        self.locate = locate
        self.inside = inside
        self.catalogue = catalogue
        self._prepare = prepare
        self.diagnostics: list[Diagnostic] = []
        self.uses: list[Use] = []
        self.phase: Phase | None = None
        self.used: set[tuple[str, str]] = set()
        self.origin = spec.policy
        self._sets = {name: tuple(items) for name, items in spec.sets.items()}
        self.pattern_places: dict[Pattern, Path] = {}
        """Where each pattern stands in the file."""
        self._patterns = self._pattern_sets()
        self.scope = Names(self._sets, self._patterns, {})
        self.scope = Names(self._sets, self._patterns, self._definitions())

    # -- what is wrong --

    def wrong(self, number: int, message: str, path: Path, help: str = "", instead: str = "") -> None:
        where = self.locate(path)
        self.diagnostics.append(diagnose(number, message, where, help, Fix(where, instead) if instead else None))

    def _wrong_condition(self, wrong: ConditionError, path: Path) -> None:
        number = {"syntax": 201, "unknown-function": 209, "invalid-arity": 210, "unknown-name": 213, "cycle": 408}.get(
            wrong.kind, next((number for said, number in _REFINED.items() if said in wrong.message), 211)
        )
        message, _, help = wrong.message.partition("; ")
        where = self.inside(path, wrong.start, max(wrong.end, wrong.start + 1))
        fix = Fix(where, wrong.instead) if isinstance(wrong, ConditionSyntaxError) and wrong.instead else None
        self.diagnostics.append(diagnose(number, message, where, help, fix))

    # -- names --

    def _pattern_sets(self) -> dict[str, PatternSet]:
        return {
            name: self._pattern_set(name, written, ("patterns", name)) for name, written in self.spec.patterns.items()
        }

    def _pattern_set(self, name: str, written: Mapping[str, Any], path: Path) -> PatternSet:
        found = []
        for key, pattern in written.items():
            at: Path = (*path, key)
            text, width, check = pattern_parts(pattern)
            if not isinstance(pattern, str):
                at = (*at, "re2")
            try:
                prepared = self._prepare(key, text, width, check)
                self.pattern_places[prepared] = at
                found.append(prepared)
            except PatternError as wrong:
                where = self.inside(at, wrong.start, wrong.end)
                self.diagnostics.append(diagnose(501, wrong.message, where, wrong.help))
        return PatternSet(name, found)

    def _definitions(self) -> dict[str, Condition]:
        found, wrong = compile_definitions(self.spec.definitions, self.scope)
        for name, error in wrong.items():
            self._wrong_condition(error, ("definitions", name))
            found[name] = compile_expression("`null`")
        self.uses += [Use(("definitions", name), each.node, 0, None) for name, each in found.items()]
        return found

    # -- the Linker of parameters --

    def template(self, text: str, path: Path) -> Template | str:
        try:
            template = compile_template(text, self.scope, self.origin)
            if isinstance(template, Template):
                self.uses += [Use(path, piece.condition.node, piece.start, self.phase) for piece in template.pieces]
            return template
        except ConditionError as wrong:
            self._wrong_condition(wrong, path)
            return ""

    def expression(self, text: str, path: Path) -> Condition:
        try:
            condition = compile_expression(text, self.scope, self.origin)
            self.uses.append(Use(path, condition.node, 0, self.phase))
            return condition
        except ConditionError as wrong:
            self._wrong_condition(wrong, path)
            return compile_expression("`null`")

    def patterns(self, value: Any, path: Path) -> PatternSet:
        match value:
            case str():
                self.used.add(("patterns", value))
                if value in self._patterns:
                    return self._patterns[value]
                self.unknown(407, "pattern set", value, self._patterns, path)
                return PatternSet(value, ())
            case list():
                sets = [self.patterns(name, (*path, index)) for index, name in enumerate(value)]
                return PatternSet("+".join(each.name for each in sets), [one for each in sets for one in each.patterns])
            case dict():
                return self._pattern_set(self.origin, value, path)
            case _:
                raise LinkError(f"expected a pattern set, found {value!r}", path)

    def values(self, value: Values, path: Path) -> tuple[str, ...]:
        """A string, a list, or `{$set: name}`, as names."""
        match value:
            case str():
                return (value,)
            case SetReference(set=name):
                self.used.add(("sets", name))
                if name not in self._sets:
                    self.unknown(406, "set", name, self._sets, (*path, "$set"))
                return self._sets.get(name, ())
            case _:
                return tuple(value)

    def names(self, value: Any, path: Path) -> tuple[str, ...]:
        match value:
            case str():
                return (value,)
            case {"$set": str(name)}:
                return self.values(SetReference(name), path)
            case list() if all(isinstance(item, str) for item in value):
                return tuple(value)
            case _:
                raise LinkError(f"expected names, found {value!r}", path, "a name, a list of names, or {$set: name}")

    def route(self, value: Any, path: Path) -> str:
        try:
            text = plan_text(value)
            name = named(text)
            if name is not None:
                routes = self.catalogue.routes
                if routes is not None and name not in routes:
                    self.unknown(413, "route", name, routes, path)
                return text
            plan = parse_plan(text)
        except PlanError as wrong:
            where = self.inside(path, wrong.start, wrong.end) if isinstance(value, str) else self.locate(path)
            self.diagnostics.append(diagnose(414, wrong.message, where, wrong.help))
            return ""
        backends = self.catalogue.backends
        start = 0
        for leg in plan.legs:
            start = text.index(f"{leg.target}", start)
            end = start + (len(leg.target) if leg.route else len(leg.backend))
            where = self.inside(path, start, end) if isinstance(value, str) else self.locate(path)
            routes = self.catalogue.routes
            if leg.route and routes is not None and leg.route not in routes:
                help = suggestion(leg.route, routes) or f"known: {listed(list(routes))}"
                self.diagnostics.append(diagnose(413, f"unknown route '{leg.route}'", where, help))
            if not leg.route and backends is not None and leg.backend not in backends:
                help = suggestion(leg.backend, backends) or f"known: {listed(backends)}"
                near = nearest(leg.backend, backends) if isinstance(value, str) else ""
                fix = Fix(where, near) if near else None
                self.diagnostics.append(diagnose(412, f"unknown backend '{leg.backend}'", where, help, fix))
            start += len(leg.target)
        return text

    def unknown(self, number: int, what: str, name: str, known: Iterable[str], path: Path) -> None:
        known = list(known)
        help = suggestion(name, known) or f"known: {listed(known)}"
        self.wrong(number, f"unknown {what} '{name}'", path, help, nearest(name, known))
