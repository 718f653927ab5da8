"""The functions of the JMESPath specification, with its types and its errors."""

import math
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from engine.language.errors import Refusal
from engine.language.scope import Env, Evaluate
from engine.language.signatures import Group, Param
from engine.language.types import ANYTHING, BOOLEAN, EXPREF, NUMBER, STRING, Type
from engine.language.values import compact_json, kind_of

STANDARD: Final = Group(standard=True)

ARRAY: Final = Type.array(ANYTHING)
OBJECT: Final = Type.open_object(ANYTHING)
NUMBERS: Final = Type.array(NUMBER)
STRINGS: Final = Type.array(STRING)
ORDERED: Final = Type.array(Type.of("number", "string"))
SCALAR_OR_NULL: Final = Type.of("number", "string", "null")
SIZED: Final = msgspec.structs.replace(ANYTHING, kinds=frozenset({"string", "array", "object"}))
TEXT_OR_ARRAY: Final = msgspec.structs.replace(ANYTHING, kinds=frozenset({"string", "array"}))

# RFC 8259's number: what to_number() reads, which is less than what int() and float() would.
_JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER: Final = 400


def _same(types: tuple[Type, ...]) -> Type:
    return types[0]


def _items_or_null(types: tuple[Type, ...]) -> Type:
    return (types[0].items or ANYTHING).or_null()


def _ordered_kind(function: str, values: list[Any]) -> None:
    """Numbers, or strings, but never both: neither can be placed before the other."""
    kinds = {kind_of(value) for value in values}
    if len(kinds) > 1 or not kinds <= {"number", "string"}:
        found = " and ".join(sorted(kinds))
        raise Refusal("invalid-type", f"{function}() needs numbers alone or strings alone, got {found}")


@STANDARD.function(Param("value", NUMBER), returns=NUMBER)
def abs_(value: float) -> float:
    """The number without its sign.

    Example: ``abs(`-2`)`` is 2.
    """
    return abs(value)


@STANDARD.function(Param("numbers", NUMBERS), returns=NUMBER.or_null(), costs=True)
def avg(numbers: list[float]) -> float | None:
    """The mean of a list of numbers; null for an empty list.

    Example: ``avg(`[1, 2, 6]`)`` is 3.
    """
    return sum(numbers) / len(numbers) if numbers else None


@STANDARD.function(Param("value", NUMBER), returns=NUMBER)
def ceil(value: float) -> int:
    """The next whole number upwards.

    Example: ``ceil(`1.2`)`` is 2.
    """
    return math.ceil(value)


@STANDARD.function(
    Param("subject", TEXT_OR_ARRAY), Param("search", ANYTHING), returns=BOOLEAN, costs=True, sees_env=True
)
def contains(env: Env, subject: str | list[Any], search: Any) -> bool:
    """Whether a list has an element, or a text a part. A text never contains what is not a text.

    Example: `contains(caller.roles, 'admin')`.
    """
    if isinstance(subject, str):
        return isinstance(search, str) and search in subject
    if isinstance(search, str):  # no value of another type is equal to a string: Python's own search is right
        return search in subject
    return any(env.equal(element, search) for element in subject)


@STANDARD.function(Param("subject", STRING), Param("suffix", STRING), returns=BOOLEAN)
def ends_with(subject: str, suffix: str) -> bool:
    """Whether a text ends with another.

    Example: `ends_with(request.model, '-mini')`.
    """
    return subject.endswith(suffix)


@STANDARD.function(Param("value", NUMBER), returns=NUMBER)
def floor(value: float) -> int:
    """The next whole number downwards.

    Example: ``floor(`1.8`)`` is 1.
    """
    return math.floor(value)


@STANDARD.function(Param("glue", STRING), Param("texts", STRINGS), returns=STRING, costs=True, sees_env=True)
def join(env: Env, glue: str, texts: list[str]) -> str:
    """The texts of a list as one, with `glue` between them.

    Example: `join(', ', request.tool_names)`.
    """
    env.spend((sum(map(len, texts)) + len(glue) * len(texts)) >> 6)
    return glue.join(texts)


@STANDARD.function(Param("object", OBJECT), returns=STRINGS, costs=True)
def keys(value: dict[str, Any]) -> list[str]:
    """The names of an object's fields.

    Example: `contains(keys(tool.args), 'path')`.
    """
    return list(value)


@STANDARD.function(Param("subject", SIZED), returns=NUMBER)
def length(subject: str | list[Any] | dict[str, Any]) -> int:
    """How many characters a text has, elements a list, fields an object. Null is an error: see `count`.

    Example: ``length(request.messages) > `50` ``.
    """
    return len(subject)


@STANDARD.function(Param("each", EXPREF), Param("list", ARRAY), returns=ARRAY, costs=True, sees_env=True)
def map_(env: Env, each: Evaluate, elements: list[Any]) -> list[Any]:
    """An expression's value for every element, nulls included.

    Example: `map(&name, request.tools)`.
    """
    return [each(element, env) for element in elements]


@STANDARD.function(Param("list", ORDERED), returns=SCALAR_OR_NULL, costs=True, infer=_items_or_null)
def max_(elements: list[Any]) -> Any:
    """The greatest of a list of numbers, or of texts; null for an empty list.

    Example: ``max(`[1, 3, 2]`)`` is 3.
    """
    if not elements:
        return None
    _ordered_kind("max", elements)
    return max(elements)


@STANDARD.function(
    Param("list", ARRAY), Param("by", EXPREF), returns=ANYTHING, costs=True, sees_env=True, infer=_items_or_null
)
def max_by(env: Env, elements: list[Any], by: Evaluate) -> Any:
    """The element for which an expression gives the greatest number or text; null for an empty list.

    Example: `max_by(request.messages, &length(text)).role`.
    """
    return elements[_extreme("max_by", env, elements, by, max)] if elements else None


@STANDARD.function(Param("objects", OBJECT, variadic=True), returns=OBJECT, costs=True)
def merge(*objects: dict[str, Any]) -> dict[str, Any]:
    """One object with the fields of all; the later wins.

    Example: ``merge(request.params, `{"temperature": 0}`)``.
    """
    return {name: value for each in objects for name, value in each.items()}


@STANDARD.function(Param("list", ORDERED), returns=SCALAR_OR_NULL, costs=True, infer=_items_or_null)
def min_(elements: list[Any]) -> Any:
    """The least of a list of numbers, or of texts; null for an empty list.

    Example: ``min(`[3, 1, 2]`)`` is 1.
    """
    if not elements:
        return None
    _ordered_kind("min", elements)
    return min(elements)


@STANDARD.function(
    Param("list", ARRAY), Param("by", EXPREF), returns=ANYTHING, costs=True, sees_env=True, infer=_items_or_null
)
def min_by(env: Env, elements: list[Any], by: Evaluate) -> Any:
    """The element for which an expression gives the least number or text; null for an empty list.

    Example: `min_by(request.messages, &length(text)).role`.
    """
    return elements[_extreme("min_by", env, elements, by, min)] if elements else None


@STANDARD.function(Param("values", ANYTHING, variadic=True), returns=ANYTHING)
def not_null(*values: Any) -> Any:
    """The first argument that is not null; null when all are.

    Example: `not_null(tool.args.path, tool.args.file)`.
    """
    return next((value for value in values if value is not None), None)


@STANDARD.function(Param("subject", TEXT_OR_ARRAY), returns=TEXT_OR_ARRAY, costs=True, infer=_same)
def reverse(subject: str | list[Any]) -> str | list[Any]:
    """A list, or a text, from its end to its start.

    Example: `reverse(request.messages)[0].text`.
    """
    return subject[::-1]


@STANDARD.function(Param("list", ORDERED), returns=ORDERED, costs=True, infer=_same)
def sort(elements: list[Any]) -> list[Any]:
    """A list of numbers, or of texts, in ascending order.

    Example: `sort(caller.roles)`.
    """
    if elements:
        _ordered_kind("sort", elements)
    return sorted(elements)


@STANDARD.function(Param("list", ARRAY), Param("by", EXPREF), returns=ARRAY, costs=True, sees_env=True, infer=_same)
def sort_by(env: Env, elements: list[Any], by: Evaluate) -> list[Any]:
    """A list in ascending order of what an expression gives for its elements; equal ones stay as they stood.

    Example: `sort_by(request.tools, &name)[0]`.
    """
    ranks = _ranks("sort_by", env, elements, by)
    return [elements[index] for index in sorted(range(len(elements)), key=ranks.__getitem__)]


@STANDARD.function(Param("subject", STRING), Param("prefix", STRING), returns=BOOLEAN)
def starts_with(subject: str, prefix: str) -> bool:
    """Whether a text begins with another.

    Example: `starts_with(request.model, 'gpt-')`.
    """
    return subject.startswith(prefix)


@STANDARD.function(Param("numbers", NUMBERS), returns=NUMBER, costs=True)
def sum_(numbers: list[float]) -> float:
    """The sum of a list of numbers; 0 for an empty list.

    Example: ``sum(request.messages[*].length(text)) > `100000` ``.
    """
    return sum(numbers)


@STANDARD.function(Param("value", ANYTHING), returns=ARRAY)
def to_array(value: Any) -> list[Any]:
    """A list as it is; anything else as a list of itself alone.

    Example: `to_array(tool.args.paths)[*]`.
    """
    return value if isinstance(value, list) else [value]


@STANDARD.function(Param("value", ANYTHING), returns=NUMBER.or_null())
def to_number(value: Any) -> float | None:
    """A number as it is, a text that is a JSON number as that number, null for everything else.

    Example: ``default(to_number(tool.args.count), `0`) > `10` ``.
    """
    kind = kind_of(value)
    if kind == "number":
        return value  # type: ignore[no-any-return]
    match = _JSON_NUMBER.fullmatch(value) if kind == "string" and len(value) <= _LONGEST_NUMBER else None
    if match is None:
        return None
    if match[1] is None and match[2] is None:
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


@STANDARD.function(Param("value", ANYTHING), returns=STRING, sees_env=True)
def to_string(env: Env, value: Any) -> str:
    """A text as it is; anything else as compact JSON, with letters beyond ASCII as they are.

    Example: `contains(to_string(tool.args), 'DROP TABLE')`.
    """
    if isinstance(value, str):
        return value
    env.charge_deeply(value)
    return compact_json(value)


@STANDARD.function(Param("value", ANYTHING), returns=STRING)
def type_(value: Any) -> str:
    """The kind of a value: `null`, `boolean`, `number`, `string`, `array` or `object`.

    Example: `type(tool.args.command) == 'array'`.
    """
    return kind_of(value)


@STANDARD.function(Param("object", OBJECT), returns=ARRAY, costs=True)
def values(value: dict[str, Any]) -> list[Any]:
    """The values of an object's fields.

    Example: `contains(values(request.headers), 'beta')`.
    """
    return list(value.values())


def _ranks(function: str, env: Env, elements: list[Any], by: Evaluate) -> list[Any]:
    ranks = [by(element, env) for element in elements]
    if ranks:
        _ordered_kind(function, ranks)
    return ranks


def _extreme(function: str, env: Env, elements: list[Any], by: Evaluate, pick: Callable[..., int]) -> int:
    ranks = _ranks(function, env, elements, by)
    return pick(range(len(elements)), key=ranks.__getitem__)
