"""What the model says of each setting, read once from its types: the source of schema, variable names and checks."""

import functools
import operator
import types
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.settings.model import Section, Settings
from engine.settings.values import Secret

INTERNAL: Final = frozenset({"base_dir"})
_UNIONS: Final = (Union, types.UnionType)


class Shape(msgspec.Struct, frozen=True):
    """The type of one place: a section, a map of `item` by name, a list of `item`, or a leaf (none of the three)."""

    annotation: Any
    section: type[Section] | None = None
    map_of: "Shape | None" = None
    list_of: "Shape | None" = None
    optional: bool = False
    description: str = ""
    default: Any = msgspec.UNSET

    @property
    def bare(self) -> Any:
        """The type without its bounds."""
        return get_args(self.annotation)[0] if get_origin(self.annotation) is Annotated else self.annotation

    @property
    def is_text(self) -> bool:
        """Whether a string is taken as it stands."""
        kind = self.bare
        if get_origin(kind) is Literal:
            return all(isinstance(each, str) for each in get_args(kind))
        return kind is str or self.is_secret

    @property
    def takes_text_too(self) -> bool:
        """Whether a string may stand for the mapping that is expected."""
        either = get_args(self.bare) if get_origin(self.bare) in _UNIONS else ()
        return bool(self.section and self.section.shorthand) or str in either

    @property
    def is_secret(self) -> bool:
        return isinstance(self.annotation, type) and issubclass(self.annotation, Secret)


@cache
def shapes(section: type[Section]) -> dict[str, Shape]:
    """Return the shape of every field of a section, in order."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for each in msgspec.structs.fields(section):
        if each.name in INTERNAL:
            continue
        default = each.default
        if each.default_factory is not msgspec.NODEFAULT:
            default = each.default_factory()
        default = msgspec.UNSET if default is msgspec.NODEFAULT else default
        found[each.name] = msgspec.structs.replace(_shape(hints[each.name]), default=default)
    return found


def shape_at(path: tuple[str | int, ...]) -> Shape | None:
    """Return the shape of a place of the configuration, or None where the model has no such place."""
    shape: Shape | None = Shape(Settings, section=Settings)
    for step in path:
        if shape is None:
            return None
        inner = shape.list_of if isinstance(step, int) else shape.map_of
        shape = inner if shape.section is None else shapes(shape.section).get(str(step))
    return shape


def _shape(annotation: Any) -> Shape:
    kind, description, bounds = annotation, "", []
    if get_origin(annotation) is Annotated:
        kind, *metas = get_args(annotation)
        for meta in metas:
            description = getattr(meta, "description", None) or description
            bounds.append(meta)
    optional = False
    if get_origin(kind) in _UNIONS and type(None) in get_args(kind):
        optional = True
        rest = tuple(each for each in get_args(kind) if each is not type(None))
        kind = functools.reduce(operator.or_, rest)
    if isinstance(kind, type) and issubclass(kind, Section):
        return Shape(kind, section=kind, optional=optional, description=description)
    if get_origin(kind) is dict:
        item = get_args(kind)[1]
        if item is not Any:
            return Shape(kind, map_of=_shape(item), optional=optional, description=description)
    if get_origin(kind) is tuple:
        return Shape(kind, list_of=_shape(get_args(kind)[0]), optional=optional, description=description)
    if kind in (int, float, str) and bounds:
        return Shape(Annotated[kind, bounds[0]], optional=optional, description=description)
    return Shape(kind, optional=optional, description=description)
