"""The page of the `match` keys."""

from typing import Final

from engine.model.phases import Phase
from engine.policy.match import KEYS, TEXT_FIELDS, WITHOUT_CASE, allowed_keys
from engine.policy.schema import policy_schema

from .markdown import code, page, table

_INTRODUCTION: Final = """\
Every key of a `match` must hold; a list means any of. Values are exact, or globs with `*` and `?`; `{$set: name}` stands for
a named list of the file. Where the field is a list, any of its elements may match. `not:` takes the same keys, none of which
may hold. `scope` takes `caller`, `team`, `role`, `agent`, `key` and `ip`.

Keys are looked up in an index, so that a rule costs nothing where its `match` does not fit: prefer them to conditions."""

_TEXT_KEYS: Final = ("keyword", "pattern", "not")


def match_page() -> str:
    names = [*KEYS, *_TEXT_KEYS]
    rows = [[code(name), *("✓" if name in allowed_keys(phase) else "" for phase in Phase)] for name in names]
    matrix = table(["key", *(code(phase.value) for phase in Phase)], rows)
    return page("Match", _INTRODUCTION, matrix, "## What each key reads", table(["key", "reads", ""], _meanings()))


def _meanings() -> list[list[str]]:
    described = policy_schema()["$defs"]["MatchSpec"]["properties"]
    rows = []
    for name, key in KEYS.items():
        fields = dict.fromkeys(".".join(map(str, path)) for path in key.paths.values())
        notes = [str(described[name].get("description", ""))]
        notes += ["Compared without case."] if name in WITHOUT_CASE else []
        rows.append([code(name), ", ".join(map(code, fields)), " ".join(filter(None, notes))])
    texts = dict.fromkeys(".".join(map(str, path)) for paths in TEXT_FIELDS.values() for path in sorted(paths))
    for name in ("keyword", "pattern"):
        rows.append([code(name), ", ".join(map(code, texts)), str(described[name].get("description", ""))])
    rows.append([code("not"), "", str(described["not"].get("description", ""))])
    return rows
