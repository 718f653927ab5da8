"""The parameters of a step as they stand in a file: judged at once, before any name in them is looked up."""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta

from .params import (
    LENGTH,
    SCHEMAS,
    Expression,
    FieldPath,
    Globs,
    Params,
    Patterns,
    Plan,
    Seconds,
    Text,
    Url,
    Value,
    bare_type,
)


class WrittenPattern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern with a stated width or a checksum."""

    re2: str
    max_width: Annotated[int, Meta(ge=1, le=65_536)] | msgspec.UnsetType = msgspec.UNSET
    check: Literal["luhn", "iban", "bsn", "dni", "steuer_id"] | msgspec.UnsetType = msgspec.UNSET


class WrittenSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{$set: name}`."""

    set: str = msgspec.field(name="$set")


_Names = Annotated[list[str], Meta(min_length=1)]
_Path = Annotated[str, Meta(pattern=SCHEMAS[FieldPath]["pattern"])]
_Length = Annotated[str, Meta(pattern=f"^{LENGTH.pattern}$")]

WRITTEN: Final[Mapping[Any, Any]] = {
    Text: str,
    Url: str,
    Value: Any,
    Expression: str,
    Patterns: str | _Names | Annotated[dict[str, str | WrittenPattern], Meta(min_length=1)],
    Globs: str | _Names | WrittenSet,
    Plan: str | dict[str, Any],
    Seconds: Annotated[float, Meta(gt=0)] | _Length,
    FieldPath: _Path,
}
"""How each linked type is written."""


def is_written_right(params: type[Params], value: Any) -> bool:
    """Whether a step's value has the shape of the action's parameters; what it names may still not exist."""
    whole, kinds = _written(params)
    if isinstance(value, dict) and _fits(value, whole):
        return all(written is not None or kinds[name] is Any for name, written in value.items())
    return params.lone is not None and _fits(value, kinds[_name_in_file(params, params.lone)])


@functools.cache
def _written(params: type[Params]) -> tuple[type[msgspec.Struct], Mapping[str, Any]]:
    """The parameters as one type, and the type of each by its name in a file."""
    hints = get_type_hints(params, include_extras=True)
    kinds = {name: WRITTEN.get(bare_type(hints[name]), hints[name]) for name in params.__struct_fields__}
    fields: list[Any] = [
        (each.name, kinds[each.name]) if each.required else (each.name, kinds[each.name], None)
        for each in msgspec.structs.fields(params)
    ]
    names = {name: _name_in_file(params, name) for name in kinds}
    whole = msgspec.defstruct(params.__name__, fields, kw_only=True, forbid_unknown_fields=True, rename=names)
    return whole, {names[name]: kind for name, kind in kinds.items()}


def _name_in_file(params: type[Params], field: str) -> str:
    return dict(zip(params.__struct_fields__, params.__struct_encode_fields__, strict=True))[field]


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
