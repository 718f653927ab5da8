"""What is known of a value before it exists: JSON kinds, and for lists and objects what they hold."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import msgspec

Kind = Literal["null", "boolean", "number", "string", "array", "object", "expref"]

JSON_KINDS: Final[frozenset[Kind]] = frozenset({"null", "boolean", "number", "string", "array", "object"})


class Type(msgspec.Struct, frozen=True):
    """A set of possible values.

    `kinds` are the JSON kinds that the value may have. For an array `items` is the type of its elements; for an object
    `properties` are the known fields and `values` the type of every other field (None: there are no others, so that a
    name outside `properties` is a mistake). `enum` lists the only values possible, where they are known.
    """

    kinds: frozenset[Kind]
    items: "Type | None" = None
    properties: Mapping[str, "Type"] = {}
    values: "Type | None" = None
    enum: tuple[Any, ...] | None = None

    @property
    def nullable(self) -> bool:
        return "null" in self.kinds

    def without_null(self) -> "Type":
        return msgspec.structs.replace(self, kinds=self.kinds - {"null"})

    def or_null(self) -> "Type":
        return msgspec.structs.replace(self, kinds=self.kinds | {"null"})

    @classmethod
    def of(cls, *kinds: Kind) -> Self:
        return cls(frozenset(kinds))

    @classmethod
    def array(cls, items: "Type") -> Self:
        return cls(frozenset({"array"}), items=items)

    @classmethod
    def open_object(cls, values: "Type") -> Self:
        return cls(frozenset({"object"}), values=values)

    @classmethod
    def closed_object(cls, properties: Mapping[str, "Type"]) -> Self:
        return cls(frozenset({"object"}), properties=properties)


NULL: Final = Type.of("null")
BOOLEAN: Final = Type.of("boolean")
NUMBER: Final = Type.of("number")
STRING: Final = Type.of("string")
EXPREF: Final = Type.of("expref")
ANYTHING: Final = Type(JSON_KINDS)
