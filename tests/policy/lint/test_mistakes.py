"""A corpus of single mistakes in a policy that is otherwise right: each is found, with its code, at its line."""

import re
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

from engine.policy.compile import PolicySource
from engine.policy.context import Catalogue
from engine.policy.lint import findings
from engine.policy.sources import PolicySet

FOLDER: Final = Path(__file__).parents[2] / "data" / "mistakes"
BASE: Final = (FOLDER / "base.yaml").read_text("utf-8")
KNOWN: Final = Catalogue(
    backends=("openai", "anthropic"),
    routes={"small": "openai:gpt-5-mini"},
    roles=("release-manager", "admin"),
    models={"openai": ("gpt-*",), "anthropic": ("claude-*",)},
)
TODAY: Final = date(2026, 11, 22)
FOUND_AT_LEAST: Final = 0.95
_ENTRY: Final = re.compile(r"(?:(?P<code>[EWN]\d{3})(?P<below>[+-]\d+)? \| )?(?P<old>.*?) \| (?P<new>.*)")


class Edit(NamedTuple):
    """A change of the base; `code` is due at `line`, or nothing where there is none."""

    code: str
    line: int
    text: str
    written: str


def edits(name: str) -> list[Edit]:
    found = []
    for row in (FOLDER / name).read_text("utf-8").splitlines():
        if not row or row.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(row)
        assert entry, row
        old, new = (_decoded(entry[part]) for part in ("old", "new"))
        assert BASE.count(old) >= 1, row
        text = BASE.replace(old, new, 1)
        pairs = zip(BASE.splitlines(), text.splitlines(), strict=False)
        first = next(number for number, (one, other) in enumerate(pairs, 1) if one != other)
        found.append(Edit(entry["code"] or "", first + int(entry["below"] or 0), text, row))
    return found


def _decoded(text: str) -> str:
    text = text.replace("\\n", "\n").replace("\\s", " ").replace("\\t", "\t")
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)


def said(text: str) -> list[tuple[str, int]]:
    policies = PolicySet(sources=(PolicySource("p.yaml", text),), catalogue=KNOWN)
    return [(each.code, each.where.line) for each in findings(policies, TODAY).diagnostics]


def test_the_base_has_no_finding() -> None:
    assert said(BASE) == []


def test_nearly_every_mistake_is_found_with_its_code_at_its_line() -> None:
    mistakes = edits("mistakes.txt")
    missed = [
        f"{each.written}  ->  {said(each.text)}" for each in mistakes if (each.code, each.line) not in said(each.text)
    ]
    assert len(mistakes) >= 150
    assert 1 - len(missed) / len(mistakes) >= FOUND_AT_LEAST, "\n".join(missed)


def test_no_mistake_goes_without_a_finding() -> None:
    assert [each.written for each in edits("mistakes.txt") if not said(each.text)] == []


def test_a_hundred_right_variants_have_no_finding() -> None:
    variants = edits("right.txt")
    assert len(variants) >= 100
    assert [f"{each.written}  ->  {said(each.text)}" for each in variants if said(each.text)] == []
