"""Findings in text with carets, and in JSON."""

import json

import pytest

from engine.diagnostics import Diagnostic, Where, error, note, warning
from engine.rendering import render_json, render_text, summary, visible


def carets(source: str, column: int, end_column: int, *, width: int = 120, message: str = "wrong") -> list[str]:
    """Return the source line and the caret line of one finding on line 1, behind the gutter."""
    found = error(202, message, Where("p.yaml", 1, column, 1, end_column))
    rows = render_text([found], {"p.yaml": source}, width=width).splitlines()
    return [row[8:] for row in rows[1:3]]


def test_a_finding_shows_its_line_with_carets_and_what_to_do() -> None:
    source = "\n" * 13 + "    when: request.modle == 'gpt-4o'\n"
    where = Where("policies/shell.yaml", 14, 19, 14, 24)
    found = error(202, "unknown field 'modle' of request", where, "did you mean 'model'?")
    assert render_text([found], {"policies/shell.yaml": source}) == (
        "policies/shell.yaml:14:19 E202 unknown field 'modle' of request\n"
        "   14 |     when: request.modle == 'gpt-4o'\n"
        "      |                   ^^^^^ did you mean 'model'?\n"
        "1 error in 1 file\n"
    )


def test_findings_come_in_the_order_of_the_files() -> None:
    found = [error(n, "m", Where(file, line)) for n, file, line in [(9, "b", 1), (8, "a", 2), (7, "a", 2), (6, "a", 1)]]
    heads = [row.split()[1] for row in render_text(found, {}).splitlines()[:-1]]
    assert heads == ["E6", "E7", "E8", "E9"]


def test_without_a_source_the_help_follows_the_message() -> None:
    assert render_text([error(101, "gone", Where("p.yaml"), "restore it")], {}) == (
        "p.yaml E101 gone\n   = restore it\n1 error in 1 file\n"
    )


def test_the_caret_stands_right_behind_tabs_and_wide_characters() -> None:
    assert carets("a:\tbad", 4, 7) == ["a:  bad", "    ^^^"]
    assert carets("k: 漢字 bad", 7, 10) == ["k: 漢字 bad", "        ^^^"]
    assert carets("k: 漢字 bad", 4, 6) == ["k: 漢字 bad", "   ^^^^"]
    assert carets("e\u0301 bad", 4, 7) == ["e\u0301 bad", "  ^^^"]


def test_a_span_of_several_lines_is_marked_to_the_end_of_its_first() -> None:
    found = error(1, "m", Where("p", 1, 4, 3, 2))
    assert render_text([found], {"p": "a: bcd  \nx\ny\n"}).splitlines()[2] == "      |    ^^^"


def test_a_place_without_extent_has_one_caret() -> None:
    assert carets("a:", 3, 3) == ["a:", "  ^"]


@pytest.mark.parametrize("column", [1, 50, 150, 297])
def test_a_long_line_is_cropped_around_the_span(column: int) -> None:
    line = "".join(chr(97 + at % 26) for at in range(299))
    text, below = carets(line, column, column + 3, width=60)
    assert len(text) <= 52
    at = below.index("^")
    assert text[at : at + 3] == line[column - 1 : column + 2]
    assert below.count("^") == 3
    assert text.startswith("…") == (column > 49)


def test_a_span_wider_than_the_terminal_shows_its_beginning() -> None:
    text, below = carets("k: " + "x" * 300, 4, 304, width=60)
    assert len(below) <= len(text) <= 52
    assert below.strip("^ ") == ""
    assert below.count("^") > 40


def test_control_and_bidirectional_characters_are_shown_escaped() -> None:
    assert visible("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"
    assert carets("\x1b\u202e bad", 4, 7, message="\x1b]0;x\x07") == ["\\x1b\\u202e bad", "           ^^^"]
    assert "\x1b" not in render_text([error(1, "\x1b[31m", Where("\x1b", 1, 1), "\x07")], {"\x1b": "\x1b"})


def test_color_changes_nothing_but_color() -> None:
    found = [warning(301, "m", Where("p", 1, 1, 1, 2), "h")]
    colored = render_text(found, {"p": "ab"}, color=True)
    assert "\x1b[1;33mW301\x1b[0m" in colored
    for code in ("\x1b[1;33m", "\x1b[33m", "\x1b[1m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == render_text(found, {"p": "ab"})


def test_the_summary_counts_by_severity_and_file() -> None:
    found: list[Diagnostic] = [error(1, "", Where("a")), error(2, "", Where("b")), warning(3, "", Where("c"))]
    assert summary(found) == "2 errors, 1 warning in 3 files"
    assert summary([note(4, "", Where("a"))]) == "1 note in 1 file"
    assert render_text([], {}) == ""


def test_json_has_every_field_of_every_finding() -> None:
    found = [error(202, "wrong", Where("p.yaml", 1, 2, 1, 4), "do it")]
    assert json.loads(render_json(found, files=2, rules=5)) == {
        "diagnostics": [
            {
                "code": "E202", "severity": "error", "message": "wrong", "file": "p.yaml",
                "line": 1, "column": 2, "end_line": 1, "end_column": 4, "help": "do it",
            }
        ],
        "files": 2,
        "rules": 5,
    }  # fmt: skip
