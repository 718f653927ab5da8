"""Every code has a page, and what it shows is true: the mistake has the code at its line, the better text has none."""

from datetime import date
from pathlib import Path

import pytest

from engine.diagnostics import UsageError
from engine.policy.codes import CODES
from engine.policy.compile import PolicySource
from engine.policy.context import Catalogue
from engine.policy.lint import findings
from engine.policy.lint.pages import MARK, Page, explain, pages
from engine.policy.sources import PolicySet, find_sets

TODAY = date(2026, 11, 22)
KNOWN = Catalogue(backends=("openai", "local"), routes={"coding": ""}, roles=("admin",))
STRICT_ONLY = {427, 428, 429, 462}
TOLD_IN_WORDS = {
    109,
    110,
    123,
    124,
    125,
    133,
    151,
    153,
    401,
    404,
    416,
    420,
    430,
    431,
    432,
    433,
    434,
    435,
    436,
    437,
    438,
    450,
    601,
}
"""Codes that need more than one file, a running server, or something that a page cannot show."""

POLICIES = [each for each in pages().values() if each.example and not each.configuration]
CONFIGURATIONS = [each for each in pages().values() if each.configuration]


def number(page: Page) -> int:
    return int(page.code[1:])


def found(text: str, *, strict: bool) -> list[tuple[str, int]]:
    source = PolicySource("p.yaml", MARK.sub("", text))
    said = findings(PolicySet(sources=(source,), catalogue=KNOWN), TODAY, strict=strict).diagnostics
    return [(each.code, each.where.line) for each in said]


def marked(text: str) -> int:
    (line,) = [number for number, line in enumerate(text.splitlines(), 1) if MARK.search(line)]
    return line


def test_every_code_has_a_page_and_an_example_or_words() -> None:
    assert set(CODES) <= set(pages())
    assert {number(each) for each in pages().values() if not each.example} == TOLD_IN_WORDS & set(CODES)
    assert all(each.what and each.why for each in pages().values())


@pytest.mark.parametrize("page", POLICIES, ids=lambda page: page.code)
def test_the_mistake_of_a_page_has_its_code_at_the_marked_line(page: Page) -> None:
    assert (page.code, marked(page.example)) in found(page.example, strict=number(page) in STRICT_ONLY)


@pytest.mark.parametrize("page", POLICIES, ids=lambda page: page.code)
def test_what_a_page_advises_has_no_finding(page: Page) -> None:
    said = found(page.instead, strict=number(page) in STRICT_ONLY)
    assert [each for each in said if number(page) not in STRICT_ONLY or each[0] == page.code] == []


@pytest.mark.parametrize("page", CONFIGURATIONS, ids=lambda page: page.code)
def test_the_configurations_of_a_page(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "lexgate.yaml"
    for text, expected in ((page.example, [(page.code, marked(page.example))]), (page.instead, [])):
        file.write_text(MARK.sub("", text), encoding="utf-8")
        (policies,) = find_sets([tmp_path], {})
        said = findings(policies, TODAY).diagnostics
        assert [(each.code, each.where.line) for each in said] == expected


def test_a_page_is_found_by_its_code_and_by_its_number() -> None:
    assert explain("E202") == explain("202") == explain("w202")
    assert explain("W417").startswith("# W417: a set, pattern set or definition is never used\n")
    with pytest.raises(UsageError, match="there is no code E999"):
        explain("E999")
