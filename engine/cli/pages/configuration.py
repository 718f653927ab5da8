"""The page of every setting."""

import itertools
from collections.abc import Iterator
from typing import Final

import msgspec

from engine.settings import Option, options
from engine.settings.reference import shown
from engine.settings.shapes import shape_at, shapes

from .markdown import code, page, table

_INTRODUCTION: Final = """\
`lexgate.yaml` is overridden by the environment, which is overridden by flags. Every setting can be given as a flag,
`--set server.port=9000`, and as the variable that stands with it. Mappings merge, lists replace. `NAME` stands for a name
that you choose; in a variable it is written in upper case, with `_` for `-`.

A value may refer to the environment, `${VAR}` or `${VAR:-default}`; a secret may also refer to a file, `file:path`.
`policy config` shows every value with the place that it came from."""


def configuration_page() -> str:
    sections = [
        _section(name, list(found)) for name, found in itertools.groupby(options(), lambda each: _section_of(each.path))
    ]
    return page("Configuration", _INTRODUCTION, *sections)


def _section_of(path: str) -> str:
    return path.partition(".")[0]


def _section(name: str, found: list[Option]) -> str:
    rows = [
        [
            f"{code(each.path)}<br>{code(each.variable)}",
            "required" if each.required else code(each.default) if each.default else "",
            each.description,
        ]
        for each in found
    ]
    items = [row for each in found for row in _item_rows(each.path)]
    return f"## {name}\n\n" + table(["setting and variable", "default", "meaning"], [*rows, *items])


def _item_rows(path: str) -> Iterator[list[str]]:
    """The settings of each item of a list of mappings; they have no variables of their own."""
    shape = shape_at(tuple(path.split(".")))
    item = shape.list_of if shape is not None else None
    if item is None or item.section is None:
        return
    for name, each in shapes(item.section).items():
        default = "required" if each.default is msgspec.UNSET else code(shown(each.default))
        yield [code(f"{path}[].{name}"), default, each.description]
