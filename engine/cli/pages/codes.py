"""The page of the codes of diagnostics."""

from typing import Final

from engine.policy.codes import CODES, FAMILIES
from engine.policy.lint import CHECKS, STRICT, TOGETHER

from .markdown import page, table, unwrapped

_INTRODUCTION: Final = """\
Every finding has a code: a letter for its severity (`E` an error, which stops loading; `W` a warning and `N` a note, which
do not) and a number for its kind. The same kind may be an error in one place and a warning in another.

A comment silences a warning or a note on its line, or where it stands alone on the next one:
`# policy-lint: ignore=W417 reason="used by the next release"`."""


def codes_page() -> str:
    pages = lint_pages()
    sections = []
    for family, title in FAMILIES.items():
        rows = [[str(number), meaning] for number, meaning in CODES.items() if number // 100 == family]
        if rows:
            sections.append(f"## {family}xx: {title}\n\n" + table(["code", "meaning"], rows))
    details = [f"### {code}\n\n{text}" for code, text in pages.items()]
    return page("Codes", _INTRODUCTION, *sections, "## What is probably not meant", *details)


def lint_pages() -> dict[str, str]:
    """The docstring of each lint rule, by its code."""
    found = {}
    for check in (*CHECKS, *STRICT, *TOGETHER):
        code, _, text = (check.__doc__ or "").partition(": ")
        found[code] = unwrapped(text[:1].upper() + text[1:])
    return dict(sorted(found.items(), key=lambda each: each[0][1:]))
