"""Globs against the standard library's, and within the time that a name deserves."""

import fnmatch
import itertools

import pytest

from engine.language.globs import any_glob_matcher, glob_matcher


@pytest.mark.parametrize(
    "pattern", ["".join(each) for size in range(5) for each in itertools.product("ab*?", repeat=size)]
)
def test_star_and_question_mark_are_those_of_fnmatch(pattern: str) -> None:
    test = glob_matcher(pattern, ignore_case=False)
    for size in range(5):
        for letters in itertools.product("ab", repeat=size):
            name = "".join(letters)
            assert test(name) is fnmatch.fnmatchcase(name, pattern), name


def test_nothing_else_is_special() -> None:
    assert glob_matcher("a[b].{c,d}+")("a[b].{c,d}+")
    assert not glob_matcher("a[b]*")("abc")


def test_case_is_ignored_unless_it_is_asked_for() -> None:
    assert glob_matcher("GPT-*o")("gpt-4O")
    assert not glob_matcher("GPT-*o", ignore_case=False)("gpt-4o")
    assert any_glob_matcher(["Bash", "x*"])("BASH")
    assert not any_glob_matcher(["Bash"], ignore_case=False)("bash")


def test_a_star_matches_line_breaks() -> None:
    assert glob_matcher("a*b?c")("a\nb\nc")


def test_many_stars_take_no_exponential_time() -> None:
    assert not glob_matcher("*a" * 30 + "b")("a" * 2000)
    assert not glob_matcher("*a?" * 30 + "b")("a" * 2000)


def test_a_list_matches_when_any_of_it_does() -> None:
    test = any_glob_matcher(["bash", "*shell*"])
    assert [test(name) for name in ("bash", "PowerShell", "bas", "")] == [True, True, False, False]
    assert not any_glob_matcher([])("a")
