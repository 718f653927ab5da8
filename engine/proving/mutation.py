"""Mutation: the rules of a file broken in one place at a time, to see whether a test notices. Pure."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from engine.diagnostics import Where
from engine.language import ConditionError, parse
from engine.language.nodes import Node
from engine.language.shell import DEFAULT_TOOLS, ShellTools
from engine.model.decision import Mode
from engine.policy.compile import CheckedPolicy, PolicySource, check_file
from engine.policy.context import UNKNOWN, Catalogue
from engine.policy.read import read_policy
from engine.policy.spec import MatchSpec, PolicySpec, RuleSpec, SetReference
from engine.policy.trial import run_tests

Path = tuple[str | int, ...]
Locate = Callable[[Path, int, int], Where]

FLIPPED: Final = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_OPERATORS: Final = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_NOWHERE: Final = "lexgate-mutant"


class Mutant(msgspec.Struct, frozen=True):
    """One change of a file's rules, said in words, where it is made, and the spec that it makes."""

    rule: str
    change: str
    where: Where
    spec: PolicySpec


class Survivor(msgspec.Struct, frozen=True):
    """A change that no test noticed."""

    rule: str
    change: str
    where: Where


def mutants_of(
    source: PolicySource, catalogue: Catalogue = UNKNOWN, shell_tools: ShellTools = DEFAULT_TOOLS
) -> Iterator[Survivor | None]:
    """Each mutant of a file: None where a test of the file noticed it, else what survived.

    A mutant that would not load is none: lint notices it. A file that is off, or has no tests, has none.
    """
    plain = PolicySource(source.file, source.text)
    checked, _, _ = check_file(plain, catalogue)
    if checked is None or checked.spec.mode is Mode.OFF or not any(not case.turns for case in checked.spec.tests):
        return
    document = read_policy(source.text, source.file).document

    def locate(path: Path, start: int, end: int) -> Where:
        return document.inside(path, start, end) if end else document.key(path)

    for mutant in mutants(checked.spec, locate):
        results = _tried(checked, mutant.spec, catalogue, shell_tools)
        if results is not None:
            yield None if results else Survivor(mutant.rule, mutant.change, mutant.where)


def _tried(checked: CheckedPolicy, spec: PolicySpec, catalogue: Catalogue, shell_tools: ShellTools) -> bool | None:
    """Whether a test fails under the mutant; None where it cannot be linked."""
    try:
        results = run_tests(msgspec.structs.replace(checked, spec=spec), catalogue, shell_tools)
    except (ConditionError, LookupError, AssertionError):
        return None
    return any(not each.passed for each in results)


def mutants(spec: PolicySpec, locate: Locate) -> Iterator[Mutant]:
    """Every rule broken in one place: an operator flipped, a conjunct left out, a literal changed, a key of match removed."""
    for index, rule in enumerate(spec.rules):
        if rule.mode is Mode.OFF:
            continue
        name = f"{spec.policy}/{rule.id}"
        for change, where, other in _of_rule(rule, ("rules", index), locate):
            rules = [*spec.rules[:index], other, *spec.rules[index + 1 :]]
            yield Mutant(name, change, where, msgspec.structs.replace(spec, rules=rules))


def _of_rule(rule: RuleSpec, path: Path, locate: Locate) -> Iterator[tuple[str, Where, RuleSpec]]:
    replace = msgspec.structs.replace
    if rule.match is not None:
        for change, at, match in _of_match(rule.match, (*path, "match")):
            empty = match == MatchSpec()
            yield change, locate(at, 0, 0), replace(rule, match=None if empty else match)
    if rule.unless is not None:
        yield "leave out `unless`", locate((*path, "unless"), 0, 0), replace(rule, unless=None)
    for key in ("when", "unless"):
        written = getattr(rule, key)
        for change, at, start, end, other in _of_tree(written, (*path, key)):
            yield change, locate(at, start, end), replace(rule, **{key: other})
    if rule.limit is not None:
        yield "leave out `limit`", locate((*path, "limit"), 0, 0), replace(rule, limit=None)


def _of_match(match: MatchSpec, path: Path) -> Iterator[tuple[str, Path, MatchSpec]]:
    for field, name in zip(match.__struct_fields__, match.__struct_encode_fields__, strict=True):
        value = getattr(match, field)
        if value is None:
            continue
        at = (*path, name)
        yield f"leave out `{name}` of match", at, msgspec.structs.replace(match, **{field: None})
        if isinstance(value, list) and len(value) > 1:
            for number, each in enumerate(value):
                rest = [*value[:number], *value[number + 1 :]]
                yield f"leave out {each!r} of {name}", (*at, number), msgspec.structs.replace(match, **{field: rest})
        elif isinstance(value, MatchSpec):
            for change, inner, other in _of_match(value, at):
                yield change, inner, msgspec.structs.replace(match, **{field: None if other == MatchSpec() else other})
        elif isinstance(value, str) and not isinstance(value, SetReference):
            continue  # another value than the one is as good as none: leaving the key out is what tests must notice


def _of_tree(written: Any, path: Path) -> Iterator[tuple[str, Path, int, int, Any]]:
    """The changes of a condition: what is done, where, and the condition that comes of it."""
    match written:
        case bool():
            yield f"{str(written).lower()} becomes {str(not written).lower()}", path, 0, 0, not written
        case str():
            for change, start, end, text in _of_text(written):
                yield change, path, start, end, text
        case {"not": child}:
            yield "leave out `not`", (*path, "not"), 0, 0, child
            for change, at, start, end, other in _of_tree(child, (*path, "not")):
                yield change, at, start, end, {"not": other}
        case {"any": list(children)} | {"all": list(children)}:
            kind = next(iter(written))
            yield (
                f"`{kind}` becomes `{'all' if kind == 'any' else 'any'}`",
                (*path, kind),
                0,
                0,
                {"all" if kind == "any" else "any": children},
            )
            for number, child in enumerate(children):
                at = (*path, kind, number)
                rest = [*children[:number], *children[number + 1 :]]
                if rest:
                    yield f"leave out {_short(child)}", at, 0, 0, {kind: rest}
                for change, inner, start, end, other in _of_tree(child, at):
                    yield change, inner, start, end, {kind: [*children[:number], other, *children[number + 1 :]]}
        case _:
            return


def _of_text(text: str) -> Iterator[tuple[str, int, int, str]]:
    """The changes of one expression, each as a text that is put in place of a part of it."""
    try:
        root = parse(text)
    except ConditionError:
        return
    for node in root.walk():
        part = text[node.start : node.end]
        for change, instead in _of_node(node, text):
            yield (
                change.replace("{}", _short(part)),
                node.start,
                node.end,
                text[: node.start] + instead + text[node.end :],
            )


def _of_node(node: Node, text: str) -> Iterator[tuple[str, str]]:
    parts = [text[child.start : child.end] for child in node.children]
    match node.kind:
        case "comparator":
            operator = _OPERATORS[node.value]
            gap = text[node.children[0].end : node.children[1].start]
            yield (
                f"{operator} becomes {FLIPPED[operator]} in {{}}",
                parts[0] + gap.replace(operator, FLIPPED[operator], 1) + parts[1],
            )
        case "and_expression":
            yield f"leave out `{_short(parts[1])}` of {{}}", f"({parts[0]})"
            yield f"leave out `{_short(parts[0])}` of {{}}", f"({parts[1]})"
            yield "&& becomes || in {}", f"({parts[0]} || {parts[1]})"
        case "or_expression":
            yield f"leave out `{_short(parts[1])}` of {{}}", f"({parts[0]})"
            yield f"leave out `{_short(parts[0])}` of {{}}", f"({parts[1]})"
            yield "|| becomes && in {}", f"({parts[0]} && {parts[1]})"
        case "not_expression":
            yield "leave out `!` of {}", f"({parts[0]})"
        case "literal":
            yield from _of_literal(node.value)
        case _:
            return


def _of_literal(value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case bool():
            yield f"{{}} becomes {str(not value).lower()}", f"`{str(not value).lower()}`"
        case int() | float():
            yield f"{{}} becomes {value + 1}", f"`{value + 1}`"
            yield f"{{}} becomes {value - 1}", f"`{value - 1}`"
        case str():
            yield "{} becomes another text", f"'{_NOWHERE}'"
        case _:
            return


def _short(written: Any) -> str:
    text = " ".join((written if isinstance(written, str) else msgspec.json.encode(written).decode()).split())
    return text if len(text) <= 60 else text[:59] + "…"
