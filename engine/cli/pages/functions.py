"""The page of the functions that conditions can call."""

from typing import Final

from engine.language.functions import FUNCTIONS
from engine.language.types import JSON_KINDS, Type

from .markdown import code, page, table, unwrapped

_INTRODUCTION: Final = """\
Conditions are [JMESPath](https://jmespath.org/specification.html). Besides the functions of its specification there are
those of Lexgate. All are pure: the same event gives the same answer, in traffic, in tests and in a replay. A parameter
with `?` may be left out, one with `…` takes any number of arguments."""


def functions_page() -> str:
    rows = [
        [
            f"[{code(each.signature)}](#{each.name})",
            "JMESPath" if each.standard else "Lexgate",
            each.page.split("\n\n")[0].replace("\n", " "),
        ]
        for each in FUNCTIONS.values()
    ]
    return page(
        "Functions",
        _INTRODUCTION,
        table(["function", "of", "in short"], rows),
        *(function_section(name) for name in FUNCTIONS),
    )


def function_section(name: str) -> str:
    """The part of the page that is about one function."""
    function = FUNCTIONS[name]
    takes = [
        [code(each.name), kind_words(each.type), _notes(each.literal, each.optional, each.variadic)]
        for each in function.params
    ]
    blocks = [f"## {name}", code(function.signature), unwrapped(function.page)]
    if takes:
        blocks.append(table(["parameter", "type", ""], takes))
    return "\n\n".join([*blocks, f"Gives: {kind_words(function.returns)}."])


def kind_words(type: Type) -> str:
    """`text or null`, `list of number`, `any value`."""
    if type.kinds >= JSON_KINDS:
        return "any value"
    if type.kinds == {"expref"}:
        return "expression (`&…`)"
    words = []
    for kind in sorted(type.kinds, key=lambda each: (each == "null", each)):
        word = {"string": "text", "array": "list"}.get(kind, kind)
        if kind == "array" and type.items is not None and type.items.kinds < JSON_KINDS:
            word = f"list of {kind_words(type.items)}"
        words.append(word)
    return " or ".join(words)


def _notes(literal: bool, optional: bool, variadic: bool) -> str:
    said = [("a literal", literal), ("may be left out", optional), ("one or more", variadic)]
    return ", ".join(text for text, holds in said if holds)
