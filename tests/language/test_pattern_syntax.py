"""Widths, literals and beginnings hold for whatever RE2 itself matches."""

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language.pattern_syntax import Literals, NotUnderstood, asserts, beginning, literals, read, source, width

WIDTHS = [
    ("abc", 3, 3),
    ("", 0, 0),
    ("a|bcd|", 0, 3),
    ("a*", 0, None),
    ("a+b?", 1, None),
    ("(?:ab){2,5}", 4, 10),
    ("(a{2}){3}", 6, 6),
    ("a{2,}?", 2, None),
    ("a{,3}", 5, 5),
    ("a{x}", 4, 4),
    (r"^\b(?m)$\z\A\B", 0, 0),
    (r"(?:\b)*", 0, 0),
    (r"\Qa.b\E+", 3, None),
    (r"\Qa(b", 3, 3),
    (r"[^]a-z]{3}", 3, 3),
    (r"[]]", 1, 1),
    (r"[[:alpha:]\]\-]", 1, 1),
    (r"\x{1F600}\x41\101\pN\p{Greek}\PL\n\.", 8, 8),
    ("(?i)straße", 6, 6),
    ("(?P<name>a)(?<other>b)(?i:c)(?-i)d", 4, 4),
    ("(?s).{3,7}", 3, 7),
    ("é😀", 2, 2),
]


@pytest.mark.parametrize(("text", "least", "most"), WIDTHS)
def test_the_width_of_a_match_is_known_from_the_text(text: str, least: int, most: int | None) -> None:
    assert width(read(text)) == (least, most)
    assert re2.compile(text)


LITERALS = [
    ("sk-[a-z]+", {"sk-"}, False),
    ("gh[pousr]_[A-Z]", {"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, False),
    (r"(?i)\bblue ?falcon\b", {"falcon"}, True),
    ("(?:secret|token)=", {"secret=", "token="}, False),
    ("(?:a+|key-[0-9])x", {"x"}, False),
    ("(?:ab){3}", {"ababab"}, False),
    (r"AK\bIA", {"AKIA"}, False),
]


@pytest.mark.parametrize(("text", "texts", "folded"), LITERALS)
def test_the_longest_needed_text_is_found(text: str, texts: set[str], folded: bool) -> None:
    assert literals(read(text)) == Literals(frozenset(texts), folded)


@pytest.mark.parametrize("text", [r"\d+", "(?:abc)?", "a|", ".*", ""])
def test_a_pattern_that_needs_no_text_has_no_literals(text: str) -> None:
    assert literals(read(text)) is None


def test_a_pattern_that_looks_beside_a_match_is_known() -> None:
    assert asserts(read(r"(?:a\b)+"))
    assert not asserts(read("(?:a|b)+"))


@pytest.mark.parametrize("text", [r"\C", "(a", "a)", "[a", r"\x{110000}", "*"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read(text)


STEADY = settings(max_examples=300, deadline=None, derandomize=True, database=None)
ATOMS = st.sampled_from(
    ["a", "b", "B", "é", "_", r"\b", r"\B", "^", "$", ".", "[ab]", "[^a]", r"\w", r"\x41", r"\Qa.\E", "(?i:b)"]
)
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "??"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(st.tuples(inner, REPEATS), min_size=1, max_size=4).map(
            lambda parts: "".join(f"(?:{part}){repeat}" for part, repeat in parts)
        ),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
        inner.map(lambda part: f"(?i){part}"),
    ),
    max_leaves=6,
)
TEXTS = st.text(alphabet="abBAé_. \n", max_size=12)


@STEADY
@given(PATTERNS, TEXTS)
def test_every_match_keeps_to_width_literals_and_language(pattern: str, text: str) -> None:
    tree = read(pattern)
    least, most = width(tree)
    needed = literals(tree)
    same = re2.compile(source(tree))
    found = re2.compile(pattern).search(text)
    assert (found is None) == (same.search(text) is None)
    if found is not None:
        matched = found.group()
        assert least <= len(matched)
        assert most is None or len(matched) <= most
        if needed is not None:
            held = matched.lower() if needed.folded else matched
            assert any((each.lower() if needed.folded else each) in held for each in needed.texts)


@STEADY
@given(PATTERNS, TEXTS)
def test_every_cut_of_a_match_is_one_of_its_beginnings(pattern: str, text: str) -> None:
    found = re2.compile(pattern).search(text)
    if found is None:
        return
    opened = re2.compile(rf"(?:{beginning(read(pattern))})\z")
    for cut in range(found.start() + 1, found.end() + 1):
        assert opened.match(text[:cut], found.start()) is not None


@STEADY
@given(PATTERNS, TEXTS)
def test_no_beginning_is_without_a_character(pattern: str, text: str) -> None:
    opened = re2.compile(rf"(?:{beginning(read(pattern))})\z")
    assert opened.search(text, len(text)) is None
