"""Whether a value fits a JSON Schema that a client sent: a small judge of our own, because nothing here may be trusted.

What a client sends must neither fetch an address (`$ref`), nor run a backtracking pattern, nor take exponential time. So
references stay inside the schema, patterns are RE2, and each judgement has a number of steps; keywords that are not known
here, or cannot be judged, ask for nothing. Keywords: JSON Schema 2020-12, those that structured outputs use.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from engine.language.patterns import PatternError, compile_pattern
from engine.language.values import kind_of

STEPS: Final = 20_000
DEPTH: Final = 100


class _TooMuch(Exception):
    """The schema asks for more work than an answer is worth."""


def fits(value: Any, schema: Any) -> bool:
    """Whether the value is what the schema describes; true as well where that cannot be found out in `STEPS`."""
    try:
        return _Judge(schema).fits(value, schema, 0)
    except _TooMuch:
        return True


class _Judge:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def fits(self, value: Any, schema: Any, depth: int) -> bool:
        """Raises _TooMuch."""
        self._steps += 1
        if self._steps > STEPS or depth > DEPTH:
            raise _TooMuch
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            return True
        if value is None and schema.get("nullable") is True:
            return True
        return (
            _has_type(value, schema.get("type"))
            and ("const" not in schema or _same(value, schema["const"]))
            and (not isinstance(schema.get("enum"), list) or any(_same(value, each) for each in schema["enum"]))
            and self._combined(value, schema, depth)
            and self._inside(value, schema, depth)
        )

    def _combined(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        reference = schema.get("$ref")
        if isinstance(reference, str) and not self.fits(value, self._found(reference), depth + 1):
            return False
        every, some, one = (_list(schema.get(name)) for name in ("allOf", "anyOf", "oneOf"))
        return (
            all(self.fits(value, each, depth + 1) for each in every)
            and (not some or any(self.fits(value, each, depth + 1) for each in some))
            and (not one or sum(self.fits(value, each, depth + 1) for each in one) == 1)
        )

    def _found(self, reference: str) -> Any:
        """What a reference into the schema itself leads to; one that leads elsewhere asks for nothing."""
        if not reference.startswith("#"):
            return True
        found = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return True
            found = found[name]
        return found

    def _inside(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        match value:
            case dict():
                return self._object(value, schema, depth)
            case list():
                return self._array(value, schema, depth)
            case str():
                return _between(len(value), schema, "minLength", "maxLength") and _matches(value, schema.get("pattern"))
            case bool() | None:
                return True
            case _:
                return (
                    _between(value, schema, "minimum", "maximum")
                    and not (_number(low := schema.get("exclusiveMinimum")) and value <= low)
                    and not (_number(high := schema.get("exclusiveMaximum")) and value >= high)
                )

    def _object(self, value: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> bool:
        known = schema.get("properties")
        known = known if isinstance(known, dict) else {}
        if any(name not in value for name in _list(schema.get("required")) if isinstance(name, str)):
            return False
        others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        return all(self.fits(each, known.get(name, others), depth + 1) for name, each in value.items())

    def _array(self, value: list[Any], schema: Mapping[str, Any], depth: int) -> bool:
        first = _list(schema.get("prefixItems"))
        rest = schema.get("items", True)
        return _between(len(value), schema, "minItems", "maxItems") and all(
            self.fits(each, first[place] if place < len(first) else rest, depth + 1) for place, each in enumerate(value)
        )


def _has_type(value: Any, wanted: Any) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    kind = kind_of(value)
    return not all(isinstance(name, str) for name in names) or any(
        # Gemini writes types in capitals.
        name.lower() == kind or (name.lower() == "integer" and kind == "number" and value == int(value))
        for name in names
    )


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, where true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _between(number: float, schema: Mapping[str, Any], least: str, most: str) -> bool:
    low, high = schema.get(least), schema.get(most)
    return not (_number(low) and number < low) and not (_number(high) and number > high)


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _matches(text: str, pattern: Any) -> bool:
    if not isinstance(pattern, str):
        return True
    try:
        return compile_pattern("pattern", pattern).matches(text)
    except PatternError:
        return True
