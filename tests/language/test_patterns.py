"""Patterns explain themselves, sets find what single patterns find, and a stream is masked as the whole text is."""

import itertools

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from engine.language.patterns import Match, Pattern, PatternError, PatternSet, compile_pattern
from tests.language.test_pattern_syntax import PATTERNS, STEADY

TEXTS = st.text(alphabet="abBAé_. \n😀", max_size=24)


def pattern_set(*texts: str, max_width: int | None = None) -> PatternSet:
    return PatternSet("test", [compile_pattern(f"p{rank}", text, max_width) for rank, text in enumerate(texts)])


REFUSED = [
    ("(?=a)b", "(?=", "invalid perl operator: (?=", "no lookahead"),
    ("a(?!b)", "(?!", "invalid perl operator: (?!", "no lookahead"),
    ("(?<=x)y", "(?<=", "invalid perl operator: (?<=", "no lookbehind"),
    ("(?<!x)y", "(?<!", "invalid perl operator: (?<!", "no lookbehind"),
    (r"(a)\1", r"\1", r"invalid escape sequence: \1", "no backreferences"),
    ("ab++", "++", "bad repetition operator: ++", "write +"),
    ("a(?>b)", "(?>", "invalid perl operator: (?>", "never backtracks"),
    (r"a\Z", r"\Z", r"invalid escape sequence: \Z", r"write \z"),
    (r"a\C", "\\", r"escape \C", "no character"),
    ("[z-a]", "z-a", "invalid character class range: z-a", ""),
    ("a{2000}", "{2000}", "invalid repetition size: {2000}", ""),
    ("*a", "*", "no argument for repetition operator: *", ""),
    ("a\ud800", "\ud800", "a lone surrogate is no character", ""),
]


@pytest.mark.parametrize(("text", "underlined", "message", "help"), REFUSED)
def test_a_refused_pattern_says_why_where_and_what_instead(text: str, underlined: str, message: str, help: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern("bad", text)
    error = caught.value
    assert (text[error.start : error.end], error.message) == (underlined, message)
    assert help in error.help
    assert bool(help) == bool(error.help)


def test_a_stated_width_below_the_least_width_is_refused() -> None:
    with pytest.raises(PatternError, match="at least 4 characters"):
        compile_pattern("x", "abcd", max_width=3)


def test_the_smaller_of_stated_and_computed_width_counts() -> None:
    assert compile_pattern("x", "a{2,9}", 20).max_width == 9
    assert compile_pattern("x", "a{2,9}", 5).max_width == 5
    assert compile_pattern("x", "a+", 5).max_width == 5
    assert compile_pattern("x", "a+").max_width is None


def test_a_set_names_its_unbounded_patterns_and_its_width() -> None:
    both = pattern_set("abc", "a+")
    assert [each.name for each in both.unbounded] == ["p1"]
    assert both.max_width is None
    assert pattern_set("abc", "a{5}").max_width == 5


def test_a_pattern_matches_as_re2_searches() -> None:
    assert compile_pattern("x", "^$").matches("")
    assert not compile_pattern("x", "^$").matches("a")


def test_the_leftmost_match_counts_then_the_earlier_pattern() -> None:
    assert list(pattern_set("cd", "bcd", "bc").find("abcde")) == [Match("p1", 1, 4)]


def test_offsets_are_code_points() -> None:
    assert list(pattern_set("key-[0-9]").find("é😀 key-1 ü key-2")) == [Match("p0", 3, 8), Match("p0", 11, 16)]


def test_text_before_the_start_is_context_and_not_searched() -> None:
    assert list(pattern_set(r"\bab").find("abab ab", start=2)) == [Match("p0", 5, 7)]


def test_a_replacement_may_be_a_function_of_the_match() -> None:
    assert pattern_set("a+", "b+").sub("xaaybb", lambda match: f"<{match.name}>") == "x<p0>y<p1>"


def test_a_lone_surrogate_in_the_text_hides_nothing() -> None:
    assert pattern_set("secret").sub("\ud800 secret", "*") == "\ud800 *"


def test_a_match_wider_than_stated_is_cut_to_its_preferred_part() -> None:
    assert list(pattern_set("AKIA[0-9]+", max_width=8).find("AKIA123456789")) == [Match("p0", 0, 8)]


def test_a_match_that_has_no_part_of_the_stated_width_is_none() -> None:
    assert list(pattern_set("a+b", max_width=3).find("aaaaab é ab")) == [Match("p0", 3, 6), Match("p0", 9, 11)]


@STEADY
@given(PATTERNS, st.text(alphabet="abBAé ", max_size=60), st.integers(1, 6))
@example("(?:a.*b|ab.)", "aaaaaaaaaaaaabaaaaaab", 3)
@example("a.{9,}z|pqr|q", "a----pqr---z", 3)
def test_a_stated_width_allows_at_every_place_what_the_window_there_allows(pattern: str, text: str, width: int) -> None:
    width = max(width, compile_pattern("x", pattern).min_width)
    regexp = re2.compile(pattern)
    expected = []
    at = 0
    while at < len(text):
        here = regexp.match(text, at, min(len(text), at + width))
        if here is None or here.end() == at:
            at += 1
        else:
            expected.append(Match("p0", at, here.end()))
            at = here.end()
    assert list(pattern_set(pattern, max_width=width).find(text)) == expected


@pytest.mark.parametrize(
    ("texts", "text", "held"),
    [
        (["sk-[a-z]{4}"], "an ordinary text.", ""),
        (["sk-[a-z]{4}"], "the key is sk-ab", "sk-ab"),
        (["sk-[a-z]{4}"], "the desk", "sk"),
        (["sk-[a-z]{4}"], "sk-ab then", ""),
        ([r"\bsk-[a-z]{4}\b"], "the desk", ""),
        ([r"\bsk-[a-z]{4}\b"], "a sk-abcd", "sk-abcd"),
        ([r"(?i)\bblue ?falcon\b"], "a Blue ", "Blue "),
        (["abc.{3}", "x"], "abcde", "abcde"),
        (["abcd", "cdxyz"], "abcd", "abcd"),
        (["abcd", "cdxyz"], "abcdxyz", ""),
        (["abcd", "dxyz"], "abcdx", ""),
        (["key: .+"], "key: a\n", ""),
        (["key: .+"], "key: abcdef", "key: abcdef"),
    ],
)
def test_only_what_can_still_become_a_match_is_held(texts: list[str], text: str, held: str) -> None:
    assert text[pattern_set(*texts).hold_from(text) :] == held


def test_no_more_than_the_widest_match_is_held() -> None:
    wide = pattern_set("é+x", max_width=10)
    assert wide.hold_from("é" * 40) == 30


def test_a_set_prepared_at_load_answers_as_one_that_is_not() -> None:
    prepared = pattern_set("sk-[a-z]{4}")
    prepared.prepare_for_streams()
    assert prepared.settled("a sk-a") == pattern_set("sk-[a-z]{4}").settled("a sk-a") == ((), 2)


def test_a_match_that_reached_its_stated_width_is_settled() -> None:
    wide = pattern_set("key: .+", max_width=10)
    assert wide.settled("key: " + "é" * 40) == ((Match("p0", 0, 10),), 45)


def test_a_pattern_whose_beginnings_are_too_many_holds_its_width() -> None:
    long = "ab" * 2000
    assert pattern_set(long).hold_from("x" * 9000) == 9000 - 4000


def streamed(patterns: PatternSet, chunks: list[str], context: int) -> str:
    """Masks chunk by chunk, as a stream does, with only `context` characters kept of what went out."""
    sent, waiting, out = "", "", ""
    for chunk in chunks:
        waiting += chunk
        matches, until = patterns.settled(sent + waiting, len(sent))
        assert patterns.max_width is None or len(sent + waiting) - until <= patterns.max_width
        done = len(sent)
        for match in matches:
            out += (sent + waiting)[done : match.start] + "*"
            done = match.end
        assert done <= until
        out += (sent + waiting)[done:until]
        sent, waiting = (sent + waiting)[:until][-context:], (sent + waiting)[until:]
    return out + patterns.sub(sent + waiting, "*", len(sent))


def cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(min(place, len(text)) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@STEADY
@given(st.lists(PATTERNS, min_size=1, max_size=3), TEXTS, st.lists(st.integers(0, 24)), st.integers(1, 8) | st.none())
@example(["ab|abc"], "abcd abc", [1, 2, 3, 4], None)
@example(["abcd", "dxyz"], "abcdxyz", [4, 5], None)
@example(["."], "😀A", [], None)
def test_a_stream_is_masked_as_the_whole_text_is(
    texts: list[str], text: str, places: list[int], max_width: int | None
) -> None:
    patterns = []
    for rank, each in enumerate(texts):
        least = compile_pattern("x", each).min_width
        patterns.append(compile_pattern(f"p{rank}", each, max_width and max(max_width, least, 1)))
    chosen = PatternSet("test", patterns)
    assert streamed(chosen, cut(text, places), context=4) == chosen.sub(text, "*")


@STEADY
@given(st.lists(PATTERNS, min_size=1, max_size=4), TEXTS)
def test_a_set_finds_what_one_alternation_finds(texts: list[str], text: str) -> None:
    alternation = re2.compile("|".join(f"(?:{each})" for each in texts))
    whole = alternation.search(text)
    if whole is not None and whole.end() == whole.start():
        return  # a set passes over matches of no characters
    first = next(pattern_set(*texts).find(text), None)
    assert (first and (first.start, first.end)) == (whole and whole.span())


@STEADY
@given(st.lists(st.sampled_from(["sk-[a-z]{3}", "(?i)TOKEN", "gh[po]_[a-z]", r"\d{3}", "a{1,3}b", "é+x"])), TEXTS)
@example(["sk-[a-z]{3}", "(?i)TOKEN", "gh[po]_[a-z]"], "a toKen gho_x")
def test_the_gate_lets_every_pattern_through_that_matches(texts: list[str], text: str) -> None:
    patterns: list[Pattern] = [compile_pattern(str(rank), each) for rank, each in enumerate(texts)]
    assert PatternSet("test", patterns).matches(text) == any(each.matches(text) for each in patterns)


def test_of_many_literals_those_that_occur_are_found() -> None:
    texts = [f"word{number:03}x[0-9]" for number in range(500)]
    found = pattern_set(*texts).find("word123x4 word007x word499x5 WORD001x1")
    assert [match.name for match in found] == ["p123", "p499"]


def test_the_groups_of_a_match_are_told_by_its_place_in_code_points() -> None:
    pattern = compile_pattern("key", r"([^ =]+)=([^ .]+)(!)?")
    assert pattern.groups_at("čaj é=ü.", 4) == ("é=ü", "é", "ü", None)
    assert pattern.groups_at("čaj é=ü.", 5) == ()  # the sign itself


@STEADY
@given(
    st.lists(PATTERNS, min_size=1, max_size=3), TEXTS, TEXTS, st.integers(1, 8) | st.none(), st.sampled_from([0, 300])
)
def test_what_is_quiet_is_settled_and_holds_no_match(
    texts: list[str], before: str, after: str, stated: int | None, long: int
) -> None:
    after = "x" * long + after
    try:
        patterns = pattern_set(*texts, max_width=stated)
    except PatternError:
        return
    if patterns.is_quiet(before, after):
        assert patterns.settled(before + after, len(before)) == ((), len(before + after))


@pytest.mark.parametrize(
    ("before", "text", "quiet"),
    [("", "word", True), ("a ", "s", False), ("a", "s", True), ("", "a sk-abcd b", False), ("", "a sk", False)],
)
def test_text_is_quiet_where_nothing_stands_in_it_or_begins_at_its_end(before: str, text: str, quiet: bool) -> None:
    assert pattern_set(r"\bsk-[a-z]{4}").is_quiet(before, text) is quiet


@pytest.mark.parametrize(("end", "quiet"), [("word", True), (" s", False), (" sk-abcd ", False)])
def test_a_long_text_is_quiet_for_the_same_reasons(end: str, quiet: bool) -> None:
    assert pattern_set(r"\bsk-[a-z]{4}").is_quiet("a ", "é" * 400 + end) is quiet


def test_a_narrowed_pattern_is_quiet_as_well() -> None:
    assert pattern_set("ab+", max_width=5).is_quiet("", "x")
    assert not pattern_set("ab+", max_width=5).is_quiet("", "xa")


@pytest.mark.parametrize(
    ("patterns", "text", "expected"),
    [
        ({"a": r"\bkey1-[a-z]+", "b": r"\bkey2-[a-z]+"}, "no such word", False),
        ({"a": r"\bkey1-[a-z]+", "b": r"\bkey2-[a-z]+"}, "a key1-word", True),
        ({"a": r"\bkey1-[a-z]+"}, "a key2-word", False),
        ({"a": r"(?i)\bkey1-[a-z]+"}, "a KEY1-word", True),
        ({"a": r"\bkey1-[a-z]+", "b": r"[0-9]{9}"}, "123456789", True),
    ],
    ids=["neither", "one of two", "another", "without case", "one without a word"],
)
def test_a_text_without_what_every_match_needs_is_not_searched(
    patterns: dict[str, str], text: str, expected: bool
) -> None:
    found = PatternSet("p", [compile_pattern(name, text) for name, text in patterns.items()])
    assert found.may_match(text) is expected
    assert found.matches(text) is expected
