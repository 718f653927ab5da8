"""Each function of our own by examples; the specification's are held by its official cases."""

import json
from typing import Any

import pytest

from engine.language import Condition, ConditionError, Env, Names, compile_expression
from engine.language.functions import FUNCTIONS
from engine.language.patterns import PatternSet, compile_pattern

EVENT: dict[str, Any] = {
    "session": {"vars": {"edits": 4, "nothing": None}},
    "none": None,
    "loop": "ab" * 10,
    "path": "src/app.py",
}
NAMES = Names(
    sets={"shells": ("bash", "*run*command*"), "nets": ("10.0.0.0/8", "::1")},
    patterns={"codenames": PatternSet("codenames", [compile_pattern("blue", "(?i)blue ?falcon")])},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # lists
        ("any(`[false, null]`)", False),
        ("any(`[false, true]`)", True),
        ("any(`[{}]`)", True),
        ("any(to_array('')[?@ == ''])", True),
        ("any(none)", False),
        ("any(`[]`)", False),
        ("none(`[false, null]`)", True),
        ("none(`[0]`)", False),
        ("none(none)", True),
        ("count(none)", 0),
        ("count(`[1, null]`)", 2),
        ("has(session, 'vars')", True),
        ("has(session.vars, 'nothing')", True),
        ("has(session, 'id')", False),
        ("has(none, 'id')", False),
        ("get(session.vars, join('', ['no', 'thing']))", None),
        ("get(session, 'id')", None),
        ("type(get(session, join('', ['va', 'rs'])))", "object"),
        ("get(none, 'id')", None),
        ("default(none, 'x')", "x"),
        ("default('', 'x')", ""),
        ('intersects(`["a", 1]`, `[true, "b"]`)', False),
        ('intersects(`["a", 1]`, `[1.0]`)', True),
        ("intersects(set('shells'), `[\"bash\"]`)", True),
        ("intersects(none, `[1]`)", False),
        # formats
        ("fits_format('No.', none)", True),
        ('fits_format(\'No.\', `{"type": "text"}`)', True),
        ('fits_format(\'No.\', `{"type": "json_object"}`)', False),
        ('fits_format(\'{}\', `{"type": "json_object"}`)', True),
        ('fits_format(\'{}\', `{"type": "json_schema", "schema": {"type": "object"}}`)', True),
        ('fits_format(\'[]\', `{"type": "json_schema", "schema": {"type": "object"}}`)', False),
        ('fits_format(\'1\', `{"type": "json_schema", "json_schema": {"schema": {"enum": [1]}}}`)', True),
        ('fits_format(\'2\', `{"type": "json_schema", "json_schema": {"schema": {"enum": [1]}}}`)', False),
        ('fits_format(\'{\', `{"type": "json_schema", "json_schema": {"name": "a"}}`)', False),
        # text
        ("lower('ÀB')", "àb"),
        ("upper('àb')", "ÀB"),
        ("trim(' \ta \n')", "a"),
        ("normalize('ﬁ①ｈ')", "fi1h"),
        ("normalize('\x1b[1;31mred\x1b[0m\x00 \x1b(Bplain')", "red plain"),
        ("normalize('\x1b]0;hidden\x07 seen')", "0;hidden seen"),
        ("split('a/b/c', '/')", ["a", "b", "c"]),
        ("split('a/b/c', '/', `1`)", ["a", "b/c"]),
        ("words('Deploy, to prod_1!')", ["Deploy", "to", "prod_1"]),
        ("truncate('abc', `2`)", "ab"),
        ("truncate('abc', `-1`)", ""),
        ("bytes('aé')", 3),
        ("json('{\"a\": [1]}').a", [1]),
        ("json('{')", None),
        ("json('[1] x')", None),
        # patterns, globs
        ("matches('say Password now', '(?i)\\bpassword\\b')", True),
        ("matches('passwords', '^password$')", False),
        ("matches_any('the BlueFalcon', 'codenames')", True),
        ("matches_any('the falcon', 'codenames')", False),
        ("glob('GPT-4o', 'gpt-4*')", True),
        ("glob('o3-mini', 'o?-mini')", True),
        ("glob('xgpt', 'gpt*')", False),
        ("glob('my_run_a_command', set('shells'))", True),
        ('glob(\'b\', `["a", "b"]`)', True),
        # places
        ("path_within(path, '/repo')", True),
        ("path_within('../etc', '/repo')", False),
        ("path_within('/b/c', ['/a', '/b'])", True),
        ("path_within('/b/../c', ['/a', '/b'])", False),
        ("path_within('c', ['/a', '/b'])", False),
        ("cidr('10.1.2.3', '10.0.0.0/8')", True),
        ("cidr('::ffff:10.1.2.3', set('nets'))", True),
        ("cidr('::1', set('nets'))", True),
        ("cidr('192.168.0.1', set('nets'))", False),
        ("cidr('no address', '0.0.0.0/0')", False),
        # names
        ("set('shells')[0]", "bash"),
        ("var('edits', `0`) > `3`", True),
        ("var('missing', `0`)", 0),
        ("var('nothing', 'x')", "x"),
        ("var('missing')", None),
        # loops
        ("repeats(loop, `2`, `10`)", True),
        ("repeats(loop, `2`, `11`)", False),
        ("repeats(loop, `4`, `5`)", True),
        ("repeats(loop, `3`, `2`)", False),
        ("repeats('abcabc', `3`, `2`)", True),
        ("repeats('xabcabcab', `3`, `2`)", True),
        ("repeats('abc', `3`, `1`)", True),
    ],
)
def test_value(text: str, value: Any) -> None:
    found = compile_expression(text, NAMES)(EVENT)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("any('text')", "invalid-type"),
        ("lower(none)", "invalid-type"),
        ("has(`[1]`, 'a')", "invalid-type"),
        ("truncate('abc', `1.5`)", "invalid-value"),
        ("repeats('abc', `0`, `2`)", "invalid-value"),
        ("bytes(`true`)", "invalid-type"),
        ("abs(`true`)", "invalid-type"),
    ],
)
def test_error(text: str, kind: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_expression(text, NAMES)(EVENT)
    assert caught.value.kind == kind


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_repeats_finds_what_trying_every_place_finds(size: int, times: int) -> None:
    """Every text of seven letters of two, against the definition read literally."""
    condition = compile_expression(f"repeats(@, `{size}`, `{times}`)")
    for number in range(2**7):
        text = f"{number:07b}"
        wanted = any(text[at : at + size] * times == text[at : at + size * times] for at in range(8 - size * times))
        assert condition(text) is wanted, text


def test_fingerprints_are_stable_and_do_not_see_the_order_of_fields() -> None:
    condition = compile_expression("fingerprint(@)")
    assert condition({"a": [1, "é"], "b": None}) == condition({"b": None, "a": [1.0, "é"]})
    assert condition({"a": 1}) != condition({"a": True})
    assert condition("x") == "ee8b79dab5015bd04784f08f5b0bb660"


def test_random_is_replayed_by_the_seed_and_differs_by_place_and_origin() -> None:
    def draw(condition: Condition, seed: str) -> float:
        return float(condition({}, Env({}, seed=seed)))

    condition = compile_expression("random()")
    assert draw(condition, "exchange-1") == draw(condition, "exchange-1") != draw(condition, "exchange-2")
    assert draw(compile_expression("random()", origin="a/b"), "s") != draw(
        compile_expression("random()", origin="a/c"), "s"
    )
    first, second = compile_expression("[random(), random()]")({})
    assert first != second
    draws = [draw(condition, str(number)) for number in range(1000)]
    assert all(0 <= each < 1 for each in draws)
    assert 0.45 < sum(draws) / 1000 < 0.55


def test_half_a_surrogate_pair_is_a_character_like_any_other() -> None:
    document = json.loads('"\\ud800a"')
    text = "[matches(@, 'a'), bytes(@), fingerprint(@) != '', to_string([@]) != '', json(@), glob(@, '*a')]"
    assert compile_expression(text)(document) == [True, 2, True, True, None, True]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_a_page_with_an_example_that_compiles(name: str) -> None:
    function = FUNCTIONS[name]
    _, _, example = function.page.partition("Example: ")
    assert example, f"{name}() shows no example"
    names = Names(
        sets={"shells": (), "reviewers": ()},
        patterns=NAMES.patterns,
        definitions={"pushes": compile_expression("@")},
    )
    code = example.split("``")[1] if example.startswith("``") else example.split("`")[1]
    assert f"{name}(" in code
    assert compile_expression(code, names).text == code
