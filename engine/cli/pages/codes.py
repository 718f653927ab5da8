"""The page of the codes of diagnostics."""

from typing import Final

from engine.policy.codes import CODES, FAMILIES
from engine.policy.lint.pages import markdown, pages

from .markdown import NOTICE, page, table

_INTRODUCTION: Final = """\
Every finding has a code: a letter for its severity (`E` an error, which stops loading; `W` a warning and `N` a note, which
do not) and a number for its kind. The same kind may be an error in one place and a warning in another.

A comment silences a warning or a note on its line, or where it stands alone on the next one:
`# policy-lint: ignore=W417 reason="used by the next release"`. `policy lint --explain W417` prints the page of a code."""


def codes_page() -> str:
    sections = []
    for family, title in FAMILIES.items():
        rows = [
            [f"[{number}](../lint/{pages()[number].code}.md)" if number in pages() else str(number), meaning]
            for number, meaning in CODES.items()
            if number // 100 == family
        ]
        if rows:
            sections.append(f"## {family}xx: {title}\n\n" + table(["code", "meaning"], rows))
    return page("Codes", _INTRODUCTION, *sections)


def lint_pages() -> dict[str, str]:
    """The page of each code, by its path below the root of the repository."""
    return {f"docs/lint/{each.code}.md": f"{NOTICE}\n\n{markdown(each)}" for each in pages().values()}
