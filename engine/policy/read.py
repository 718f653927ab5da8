"""A policy file's text as a spec with positions: YAML read, shape judged, every mistake said where it stands."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jsonschema
import msgspec

from engine import documents
from engine.actions import ACTIONS
from engine.actions.params import SCHEMAS, FieldPath, Seconds
from engine.actions.written import is_written_right
from engine.diagnostics import Diagnostic, Fix, nearest, suggestion
from engine.diagnostics import error as diagnose
from engine.documents import Document

from .schema import policy_schema
from .spec import PolicySpec

Path = tuple[str | int, ...]


class ReadFile(msgspec.Struct, frozen=True):
    """One policy file. `spec` is None where its shape is wrong, which `diagnostics` then say.

    `rest` is then what is right of it, to be judged further, so that its author sees all mistakes at once: a stand-in is
    where a wrong rule stood. It is None where too little is left.
    """

    document: Document
    spec: PolicySpec | None
    diagnostics: tuple[Diagnostic, ...]
    rest: PolicySpec | None = None


def read_policy(source: str, file: str) -> ReadFile:
    """Read one file. `msgspec` judges a right file fast; for a wrong one `jsonschema` finds every mistake."""
    document = documents.load(source, file)
    found = list(document.diagnostics)
    if not document.sound:
        return ReadFile(document, None, tuple(found))
    if document.data is None:
        found.append(diagnose(133, "the file is empty", document.value(()), "a policy begins with `version: 1`"))
        return ReadFile(document, None, tuple(found))
    try:
        spec = msgspec.convert(document.data, PolicySpec)
    except msgspec.ValidationError as wrong:
        mistakes = _mistakes(document)
        said = _said(mistakes, document) or [diagnose(134, str(wrong), document.value(()))]
        return ReadFile(document, None, (*found, *said), _rest(document.data, mistakes))
    mistakes = [] if _steps_look_right(document.data) else _mistakes(document)
    if mistakes:
        said = _said(mistakes, document)
        return ReadFile(document, None, (*found, *said), _rest(document.data, mistakes))
    return ReadFile(document, spec, tuple(found))


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    """Made when the first mistake is met: a right file never needs it."""
    return jsonschema.Draft202012Validator(policy_schema())


def _mistakes(document: Document) -> list[jsonschema.ValidationError]:
    """What the schema finds wrong."""
    return list(_validator().iter_errors(document.data))


def _said(mistakes: Sequence[jsonschema.ValidationError], document: Document) -> list[Diagnostic]:
    return [each for wrong in mistakes for each in _explained(wrong, document)]


def misfits(
    data: Any, validator: jsonschema.Draft202012Validator, document: Document, at: Path
) -> Iterator[Diagnostic]:
    """What a schema finds wrong in the part of a document that stands `at` this path; that keys are missing is not wrong."""
    for mistake in validator.iter_errors(data):
        if mistake.validator != "required":
            mistake.relative_path.extendleft(reversed(at))
            yield from _explained(mistake, document)


def _rest(data: Any, mistakes: Sequence[jsonschema.ValidationError]) -> PolicySpec | None:
    """The file without its wrong parts, where they are rules, tests and unknown keys; None where it is more than that."""
    if not isinstance(data, dict):
        return None
    rest = {key: value for key, value in data.items() if key in PolicySpec.__struct_encode_fields__}
    for wrong in mistakes:
        match tuple(wrong.absolute_path):
            case () if wrong.validator == "additionalProperties":
                pass
            case ("rules", int(index), *_):
                written = rest["rules"][index]
                name = written.get("id") if isinstance(written, dict) else None
                rest["rules"] = [*rest["rules"][:index], _stand_in(name, index), *rest["rules"][index + 1 :]]
            case ("tests", *_):
                rest["tests"] = []
            case _:
                return None
    try:
        return msgspec.convert(rest, PolicySpec)
    except msgspec.ValidationError:
        return None


def _stand_in(name: Any, index: int) -> dict[str, Any]:
    """A rule that does nothing, of which nothing can be said, so that the rules after it keep their places."""
    known = isinstance(name, str) and re.fullmatch("[a-z][a-z0-9]*([-_][a-z0-9]+)*", name)
    return {
        "id": name if known else f"rule-{index}",
        "phase": "request",
        "mode": "off",
        "actions": [{"log": "nothing"}],
        "description": "A rule that cannot be read.",
    }


def _steps_look_right(data: Any) -> bool:
    """Steps and conditions are open in the spec's types; the schema judges them only where this quick look finds fault."""
    return _is_filled(data) and all(
        _looks_right(rule) for rule in [*data.get("rules", []), *data.get("exceptions", [])]
    )


def _looks_right(rule: Mapping[str, Any]) -> bool:
    steps = rule.get("actions", [])
    if not _is_filled(rule) or not all(isinstance(step, dict) and len(step) == 1 for step in steps):
        return False
    for step in steps:
        name, value = next(iter(step.items()))
        action = ACTIONS.get(name)
        if action is None or not is_written_right(action.params, value):
            return False
    return all(_is_condition(rule[key]) for key in ("when", "unless") if key in rule)


def _is_filled(mapping: Mapping[str, Any]) -> bool:
    """Whether every key has a value: one without is nearly always a line that was meant to go on."""
    for key, value in mapping.items():
        if value is None:
            return False
        if key in _NESTED and isinstance(value, dict) and not _is_filled(value):
            return False
    return True


_NESTED: Final = frozenset({"scope", "match", "not", "limit"})


def _is_condition(written: Any) -> bool:
    match written:
        case str():
            return bool(written)
        case bool():
            return True
        case {"not": child} if len(written) == 1:
            return _is_condition(child)
        case {"any": list(children)} | {"all": list(children)} if len(written) == 1 and children:
            return all(_is_condition(child) for child in children)
        case _:
            return False


def _explained(wrong: jsonschema.ValidationError, document: Document) -> Iterator[Diagnostic]:
    """One finding of the schema in the reader's words, at its place."""
    path: Path = tuple(wrong.absolute_path)
    schema: Any = wrong.schema
    wanted: Any = wrong.validator_value
    instance: Any = wrong.instance
    match wrong.validator:
        case "anyOf" | "oneOf" if wrong.context:
            for each in _likeliest(wrong):
                yield from _explained(each, document)
        case "additionalProperties" if isinstance(wrong.instance, dict):
            known = list(schema.get("properties", {}))
            for key in wrong.instance:
                if key not in known:
                    near, where = nearest(str(key), known), document.key((*path, key))
                    help = suggestion(str(key), known) or f"known here: {', '.join(known)}"
                    number, what = (411, "action") if path[-2:-1] == ("actions",) else (131, "key")
                    yield diagnose(number, f"unknown {what} '{key}'", where, help, Fix(where, near) if near else None)
        case "required":
            for key in wanted:
                if key not in instance:
                    yield diagnose(
                        132,
                        f"the key '{key}' is missing",
                        document.key(path),
                        str(schema.get("properties", {}).get(key, {}).get("description", "")),
                    )
        case "minProperties" | "maxProperties" if "any" in schema.get("properties", {}):
            help = "a condition is a text, or a mapping with one of the keys"
            yield diagnose(134, "a tree of conditions has one of any, all and not", document.value(path), help)
        case "minProperties" | "maxProperties" if path[-2:-1] == ("actions",):
            message = "a step names one action" if wrong.instance else "a step names an action"
            yield diagnose(137, message, document.value(path), _STEPS)
        case "enum" | "const":
            allowed = [str(each) for each in ([wanted] if wrong.validator == "const" else wanted)]
            near = nearest(str(wrong.instance), allowed)
            help = f"did you mean '{near}'?" if near else f"one of {', '.join(allowed)}"
            if near and near == wrong.instance:  # what differs is the kind of the value: `version: "1"`
                help = f"write it without quotes: {wrong.instance}"
            elif len(allowed) == 1:
                help, near = f"write {allowed[0]}", near or allowed[0]
            where = document.value(path)
            fix = Fix(where, near) if near else None
            yield diagnose(135, f"{_shown(wrong.instance)} is not possible here", where, help, fix)
        case "type":
            wanted_types = {wanted} if isinstance(wanted, str) else set(wanted)
            message = f"expected {_listed_types(wanted_types)}, found {_shown(wrong.instance)}"
            help = _STEPS if path[-1:] == ("actions",) or path[-2:-1] == ("actions",) else ""
            yield diagnose(134, message, document.value(path), help)
        case "pattern" if "propertyNames" in wrong.absolute_schema_path:
            yield diagnose(136, f"{_shown(instance)} is not a name", document.key((*path, instance)), _NAME_HELP)
        case "pattern" if path and path[-1] in ("policy", "id"):
            yield diagnose(136, f"{_shown(instance)} is not a name", document.value(path), _NAME_HELP)
        case "pattern" | "exclusiveMinimum" if wrong.schema in _LENGTHS:
            help = "write seconds, or a number with a unit: 500ms, 90s, 5m, 2h, 30d"
            yield diagnose(134, f"{_shown(instance)} is not a length of time", document.value(path), help)
        case "pattern" if wanted == SCHEMAS[FieldPath]["pattern"]:
            help = "write its path with dots: request.params.temperature"
            yield diagnose(134, f"{_shown(instance)} is not a field", document.value(path), help)
        case _:
            yield diagnose(134, _sentence(wrong), document.value(path))


_STEPS: Final = "each step is one list item: `- block: {message: ...}`"
_NAME_HELP: Final = "lower-case words with hyphens: no-force-push"
_LENGTHS: Final = SCHEMAS[Seconds]["anyOf"]


def _listed_types(wanted: set[str]) -> str:
    """`a text, a list or a mapping`; that a key may be left out is not said as if it could be nothing."""
    names = [name for kind, name in _TYPES.items() if kind in wanted and (kind != "null" or len(wanted) == 1)]
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


_TYPES: Final[Mapping[str, str]] = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def _likeliest(wrong: jsonschema.ValidationError) -> list[jsonschema.ValidationError]:
    """Of the alternatives that all failed, the mistakes in the one that was meant: whose type is that of the value."""
    fitting = [
        each for each in wrong.context or () if not (each.validator == "type" and each.instance is wrong.instance)
    ]
    if fitting:
        # A key that does not exist explains one that is missing.
        best = max(fitting, key=lambda each: (len(each.absolute_path), each.validator == "additionalProperties"))
        meant = [each for each in fitting if each.relative_schema_path[0] == best.relative_schema_path[0]]
        unknown = any(each.validator == "additionalProperties" for each in meant)
        return [each for each in meant if each.validator != "required" or not unknown]
    types = [each for each in wrong.context or () if each.validator == "type"]
    first = types[0] if types else (wrong.context or [wrong])[0]
    if types:
        several: list[Any] = [each.validator_value for each in types]
        first.validator_value = [kind for each in several for kind in ([each] if isinstance(each, str) else each)]
    return [first]


def _shown(value: Any) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case _:
            text = msgspec.json.encode(value).decode()
            return text if len(text) <= 40 else text[:37] + "..."


def _sentence(wrong: jsonschema.ValidationError) -> str:
    value = _shown(wrong.instance)
    match wrong.validator:
        case "minimum":
            return f"{value} is too small: the least is {wrong.validator_value}"
        case "exclusiveMinimum":
            return f"{value} is too small: it must be above {wrong.validator_value}"
        case "maximum" | "exclusiveMaximum":
            return f"{value} is too large: the most is {wrong.validator_value}"
        case "minLength" | "minItems" | "minProperties":
            return "it must not be empty"
        case "pattern":
            return f"{value} is not written as it should be: {wrong.validator_value}"
        case _:
            return str(wrong.message)
