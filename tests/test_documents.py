"""YAML files: the core schema, positions of every character, and what is said about what cannot be read."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.diagnostics import Where
from engine.documents import MAX_CHARACTERS, MAX_DEPTH, Document, Suppression, load, read, suppressions


def found(source: str, *, pure: bool = False) -> list[str]:
    document = load(source, "p.yaml", pure=pure)
    return [f"{each.code} {each.where.line}:{each.where.column} {each.message}" for each in document.diagnostics]


def text(source: str, where: Where) -> str:
    """Cut what a place spans out of the source."""
    lines = source.split("\n")
    if where.line == where.end_line:
        return lines[where.line - 1][where.column - 1 : where.end_column - 1]
    first, last = lines[where.line - 1][where.column - 1 :], lines[where.end_line - 1][: where.end_column - 1]
    return "\n".join([first, *lines[where.line : where.end_line - 1], last])


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("no", "no"), ("off", "off"), ("y", "y"), ("12:30", "12:30"), ("1_000", "1_000"),
        ("2027-01-31", "2027-01-31"), ("017", 17), ("0o17", 15), ("0x1F", 31), ("+1", 1), ("-3", -3), ("0b1", "0b1"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-1.5E-1", -0.15), ("1.2.3", "1.2.3"), (".", "."),
        ("null", None), ("~", None), ("Null", None), ("", None), ("nUll", "nUll"), ("true", True), ("FALSE", False),
        ("tRue", "tRue"), ("'12'", "12"), ('"true"', "true"), ('""', ""), ("!!str 12", "12"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: object, pure: bool) -> None:
    data = load(f"a: {written}\n", "p.yaml", pure=pure).data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_keys_that_yaml_1_1_would_turn_into_booleans_are_strings() -> None:
    assert load("on: 1\nno: 2\ny: 3\n", "p.yaml").data == {"on": 1, "no": 2, "y": 3}


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a: 1\na: 2\nb: {x: 1, x: 2}\n",
         ["E102 2:1 the key 'a' stands twice in one mapping", "E102 3:11 the key 'x' stands twice in one mapping"]),
        ("1: a\n", ["E103 1:1 the key 1 is not a string"]),
        ("true: a\n", ["E103 1:1 the key true is not a string"]),
        ("? [a]\n: b\n", ["E103 1:3 a list, a mapping or an alias cannot be a key"]),
        ("with: {{ x }}\n", ["E103 1:8 a list, a mapping or an alias cannot be a key"]),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", ["E105 3:3 merge keys (`<<`) are not part of YAML 1.2"]),
        ("a: *x\n", ["E106 1:4 nothing is named &x"]),
        ("a: &x [*x]\n", ["E106 1:8 `*x` stands inside what it repeats"]),
        ("a: .inf\nb: .NaN\nc: 1e999\n",
         ["E107 1:4 .inf is not a number that can be used here", "E107 2:4 .NaN is not a number that can be used here",
          "E107 3:4 1e999 is not a number that can be used here"]),
        ("a: 1\n---\nb: 2\n", ["E108 2:1 a second document begins here; one file holds one"]),
        ("a: b\x01c\n", ["E110 1:5 the character U+0001 may not stand in a YAML file"]),
        ("a: b\u2028c\n", ["E110 1:5 the character U+2028 may not stand in a YAML file"]),
        ("when: !unsafe x\n", ["E104 1:7 `!unsafe` is a YAML tag here, and tags are not used"]),
        ("when: 'a' == model\n", ["E101 1:11 the value ends at its closing quote, and more text follows"]),
        ("- when: \"a\" == model\n", ["E101 1:13 the value ends at its closing quote, and more text follows"]),
        ("when: @ == `1`\n", ["E101 1:7 a value cannot begin with `@`"]),
        ("when: `1` == x\n", ["E101 1:7 a value cannot begin with a backtick"]),
        ("when: [a, b] == x\n", ["E101 1:7 a value that begins with `[` is a YAML list, and text follows its `]`"]),
        ("when: | x\n", ["E101 1:7 text cannot follow `|` on its line"]),
        ("when: a: b\n", ["E101 1:8 `: ` inside an unquoted value begins a second mapping"]),
        ("a: 1\n b: 2\n", ["E101 2:2 a key cannot stand here"]),
        ("a:\n\t- b\n", ["E101 2:1 a tab cannot indent"]),
        ("a: [1,\nb: 2\n", ["E101 1:4 a comma or a closing bracket is missing here"]),
        ("x: 1\na: \"x\nb: 2\n", ["E101 2:4 this quote is never closed"]),
        ("a: \"\\d\"\n", ["E101 1:5 this escape is not one of YAML's"]),
        ("- a\nb: 1\n", ["E101 2:1 this line does not fit to the lines above it"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_plain_words_where_it_stands(source: str, expected: list[str], pure: bool) -> None:
    assert found(source, pure=pure) == expected


@pytest.mark.parametrize("source", ["when: !x\n", "when: !x && y\n", "when: !contains(a, 'b')\n", "when: *x && y\n"])
def test_a_condition_that_begins_with_an_indicator_is_told_to_use_quotes(source: str) -> None:
    (diagnostic, *_) = load(source, "p.yaml").diagnostics
    assert diagnostic.where == Where("p.yaml", 1, 7, 1, diagnostic.where.end_column)
    assert "put the whole value in quotes" in diagnostic.help


def test_a_duplicate_key_names_its_first_place_and_the_first_value_stays() -> None:
    document = load("a: {x: 1}\nb: 2\na: 3\n", "p.yaml")
    assert document.data == {"a": {"x": 1}, "b": 2}
    assert "p.yaml:1:1" in document.diagnostics[0].help
    assert document.value(("a",)).line == 1


def test_what_was_found_before_a_syntax_error_is_kept() -> None:
    assert [each[:4] for each in found("a: 1\na: 2\nb: @\n")] == ["E102", "E101"]


def test_refused_keys_keep_the_positions_of_the_others_right() -> None:
    source = "? [p, q]\n: z\n1: x\na: 1\na: [7]\n<<: {m: 1}\nlast: [8, 9]\n"
    document = load(source, "p.yaml")
    assert text(source, document.value(("last", 1))) == "9"
    assert document.key(("last",)).line == 7


def test_a_byte_order_mark_is_accepted() -> None:
    document = load("\ufeffa: 1\n", "p.yaml")
    assert document.data == {"a": 1}
    assert document.key(("a",)) == Where("p.yaml", 1, 1, 1, 2)


def test_an_empty_file_has_no_data_and_no_diagnostics() -> None:
    document = load("# nothing\n", "p.yaml")
    assert document.data is None
    assert document.sound
    assert document.value(("a",)) == Where("p.yaml")


def test_aliases_are_the_anchored_value() -> None:
    source = "a: &x [1, {b: two}]\nc: *x\n"
    document = load(source, "p.yaml")
    assert document.data["c"] is document.data["a"]
    assert document.value(("c",)) == Where("p.yaml", 2, 4, 2, 6)
    assert text(source, document.value(("c", 1, "b"))) == "two"
    assert text(source, document.inside(("c", 1, "b"), 1, 3)) == "wo"


def test_aliases_cannot_multiply_without_bound() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    document = load("\n".join(lines), "bomb.yaml")
    assert document.data is None
    assert [each.code for each in document.diagnostics] == ["E106"]


@pytest.mark.parametrize("source", ["[" * 5000, "a: " + "{a: " * 5000, "- " * 5000 + "x"])
def test_nesting_is_bounded(source: str) -> None:
    document = load(source, "deep.yaml")
    assert [each.code for each in document.diagnostics] == ["E109"]
    assert str(MAX_DEPTH) in document.diagnostics[0].message


def test_a_file_that_is_too_large_is_not_read() -> None:
    assert [each.code for each in load("#" * (MAX_CHARACTERS + 1), "big.yaml").diagnostics] == ["E109"]


def test_bytes_that_are_not_utf_8_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes("a: ü\nb: ".encode() + b"\xff\n")
    (diagnostic,) = read(path, "p.yaml").diagnostics
    assert (diagnostic.code, diagnostic.where.line, diagnostic.where.column) == ("E110", 2, 4)


RULES = """\
rules:
  - id: a   # the first
    when: any(x) # and more
    match: {tool: [b, "c d"]}
  - id: b
    note: |
      one

      two

other: 1
"""


def test_keys_and_values_have_their_places() -> None:
    document = load(RULES, "p.yaml")
    assert document.key(("rules", 0, "when")) == Where("p.yaml", 3, 5, 3, 9)
    assert document.value(("rules", 0, "match", "tool", 1)) == Where("p.yaml", 4, 23, 4, 28)
    assert document.value(("rules", 0, "match")) == Where("p.yaml", 4, 12, 4, 30)
    assert document.key(("rules", 1)) == document.value(("rules", 1))
    assert text(RULES, document.value(("rules", 1))).startswith("id: b")
    assert document.value(("rules", 1)).end_line == 9


def test_what_is_missing_is_placed_at_its_nearest_parent() -> None:
    document = load(RULES, "p.yaml")
    assert document.key(("rules", 0, "match", "caller", 3)) == Where("p.yaml", 4, 5, 4, 10)
    assert document.value(("nothing", "here")).line == 1


def test_a_comment_behind_a_plain_scalar_is_found() -> None:
    document = load(RULES + "quoted: 'x' # y\n", "p.yaml")
    assert document.comment_after(("rules", 0, "when")) == Where("p.yaml", 3, 18, 3, 28)
    assert document.comment_after(("other",)) is None
    assert document.comment_after(("quoted",)) is None


def test_a_document_survives_the_way_between_processes() -> None:
    document: Document = pickle.loads(pickle.dumps(load(RULES, "p.yaml")))
    assert document.data["other"] == 1
    assert document.value(("other",)).line == 11


@pytest.mark.parametrize(
    ("source", "needle"),
    [
        ("a: one two\n", "two"),
        ("a: one\n  two\n   three\n", "three"),
        ("a: 'it''s two'\n", "two"),
        ('a: "\\u00e9\\t\\x41 two"\n', "two"),
        ('a: "one\n  \\\n  \n  two"\n', "two"),
        ("a: |\n  one\n    two\n", "two"),
        ("a: |2-\n    one\n   two\n", "two"),
        ("a: >-  # folded\n  one\n  more\n\n   kept\n  two\n", "two"),
        ("a:\n - &anchor !!str\n   one\n   two\n", "two"),
        ("a: |+\n\n  one\n\n  two\n\n", "two"),
        ("a: one\r\n  two\r\n", "two"),
        ("a: >\r\n  one\r\n  two\r\n", "two"),
        ("{a: [one\n two, x]}\n", "two"),
    ],
)
@pytest.mark.parametrize("pure", [False, True])
def test_a_word_inside_a_scalar_is_found_in_the_file(source: str, needle: str, pure: bool) -> None:
    document = load(source, "p.yaml", pure=pure)
    value: Any = document.data["a"]
    path: tuple[str | int, ...] = ("a",) if isinstance(value, str) else ("a", 0)
    value = value if isinstance(value, str) else value[0]
    at = value.index(needle)
    assert text(source.replace("\r\n", "\n"), document.inside(path, at, at + len(needle))) == needle


def test_the_end_of_a_scalar_is_a_place_too() -> None:
    document = load("a: 'b' \n", "p.yaml")
    assert document.inside(("a",), 1, 1) == Where("p.yaml", 1, 6, 1, 6)
    assert document.inside(("a",), 5, 9) == Where("p.yaml", 1, 6, 1, 6)


LINE = st.text(alphabet="ab'\"\\: \t#é|>{}-", max_size=6)
LINES = st.lists(LINE, min_size=1, max_size=6)
STYLES = ["", "'", '"', "|", "|-", "|+", ">", ">-", ">+", "|2", ">2", ">2-"]


@given(LINES, st.sampled_from(STYLES), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(["a", "", " b", "c"], ">", "\n", False)
@example([" ", "  a", "", ""], "|+", "\n", False)
@example(["a\\", "", "\tb"], '"', "\n", True)
def test_every_character_that_stands_literally_is_found(lines: list[str], style: str, ending: str, pure: bool) -> None:
    """Whatever the style, a place of a decoded character holds that character, an escape, or a line break."""
    joined = (ending + "   ").join(lines)
    match style:
        case "":
            written = "x" + joined
        case "'":
            written = "'" + joined.replace("'", "''") + "'"
        case '"':
            written = (
                '"' + joined.replace("\\", "\\\\").replace('"', '\\"').replace("\\\\" + ending, "\\" + ending) + '"'
            )
        case _:
            written = style + ending + "   " + joined
    source = f"k:{ending} - {written}{ending} - z{ending}"
    document = load(source, "p.yaml", pure=pure)
    if document.data is None or not document.sound or not isinstance(document.data["k"][0], str):
        return
    rows = source.split(ending)
    for at, character in enumerate(document.data["k"][0]):
        where = document.inside(("k", 0), at, at + 1)
        row = rows[where.line - 1]
        stands = row[where.column - 1 :]
        assert (
            stands.startswith((character, "\\" + character))
            or (character == "'" and stands.startswith("''"))
            or (character in " \n" and where.column == len(row) + 1)
        ), (source, at, where)


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_json_strings_decode_the_same_and_every_character_has_its_place(value: str) -> None:
    source = "a: " + json.dumps(value)
    document = load(source, "p.yaml")
    if not document.sound:  # JSON's surrogate pairs are no escapes of YAML
        assert "\\ud" in source
        return
    assert document.data["a"] == value
    places = [document.inside(("a",), at, at + 1) for at in range(len(value))]
    assert "".join(json.loads(f'"{text(source, place)}"') for place in places) == value


@given(st.text(alphabet="ab:-[]{}'\"\n #!&*|>%@`,?\t\\", max_size=40))
def test_no_text_breaks_the_loader(source: str) -> None:
    for pure in (False, True):
        document = load(source, "p.yaml", pure=pure)
        for each in document.diagnostics:
            assert 1 <= each.where.line <= source.count("\n") + 2
            assert each.message


def test_suppressions_are_read_with_line_code_and_reason() -> None:
    source = (
        'a: 1 # policy-lint: ignore=W301 reason="known"\n# policy-lint: ignore=W302,W401\nb: x#policy-lint: ignore=W1\n'
    )
    assert suppressions(source) == [
        Suppression(1, ("W301",), "known", alone=False, column=6, end_column=47),
        Suppression(2, ("W302", "W401"), "", alone=True, column=1, end_column=32),
    ]
