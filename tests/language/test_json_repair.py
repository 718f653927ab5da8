"""JSON as models write it, and what is made of it."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.language.json_repair import repaired

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": 1,}', '{"a":1}'),
        ("[1, 2, 3,]", "[1,2,3]"),
        ("[1,, 2]", "[1,2]"),
        ('{"a": 1 "b": 2}', '{"a":1,"b":2}'),
        ("{'a': 'it is \"so\"'}", '{"a":"it is \\"so\\""}'),
        ("{'a': 'it\\'s'}", '{"a":"it\'s"}'),
        ("{“a”: “b”}", '{"a":"b"}'),
        ("{name: 1, $ref: 2, a-b: 3}", '{"name":1,"$ref":2,"a-b":3}'),
        ('{"a": True, "b": False, "c": None}', '{"a":true,"b":false,"c":null}'),
        ('{"a": 1} // done', '{"a":1}'),
        ('{/* first */ "a": 1, // one\n "b": 2}', '{"a":1,"b":2}'),
        ('{"a": "line\nnext\ttab"}', '{"a":"line\\u000anext\\u0009tab"}'),
        ('{"a": "C:\\path"}', '{"a":"C:\\\\path"}'),
        ('{"a": 1.50, "b": 12345678901234567890.10}', '{"a": 1.50, "b": 12345678901234567890.10}'),
        ('Here it is: {"a": 1.50,} Enjoy!', '{"a":1.50}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('Sure:\n```\n{"a": 1,}\n```\nDone.', '{"a":1}'),
        ('As [agreed]:\n```json\n{"a": 1}\n```', '{"a": 1}'),
        ('{"code": "```py\nx\n```",}', '{"code":"```py\\u000ax\\u000a```"}'),
    ],
)
def test_what_is_meant_is_written_as_valid_json(written: str, meant: str) -> None:
    assert repaired(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": [1, {"b": "c', '{"a":[1,{"b":"c"}]}'),
        ('{"a": 1, "b', '{"a":1}'),
        ('{"a": 1, "b":', '{"a":1}'),
        ('{"a": 1,', '{"a":1}'),
        ('{"a": tr', '{"a":true}'),
        ('{"a": 12.', '{"a":12}'),
        ('{"a": "\\u00', '{"a":"\\\\u00"}'),
        ('{"a": [1, 2}', '{"a":[1,2]}'),
        ('```json\n{"a": [1', '{"a":[1]}'),
        ("{", "{}"),
    ],
)
def test_what_was_cut_off_is_closed(written: str, meant: str) -> None:
    assert repaired(written) == meant


@pytest.mark.parametrize("text", ["", "No.", "I cannot say [so].", "{a}", '{"a" 1}', "[1 + 2]", "{]", "[" * 1000])
def test_what_holds_no_json_stays_without(text: str) -> None:
    assert repaired(text) in (None, "{}")


@given(VALUES)
def test_valid_json_stays_as_it_is_written(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        assert repaired(text) == text


@given(VALUES.filter(lambda value: isinstance(value, dict | list)), st.integers(0, 400))
@example([False, -1], 9)
@example(["𐀀"], 11)
def test_wherever_it_is_cut_off_it_becomes_valid(value: object, end: int) -> None:
    text = json.dumps(value)[: max(1, end)]
    made = repaired(text)
    assert made is not None
    assert type(json.loads(made)) is type(value)


@given(st.text(alphabet="{}[]\"',:\\ \n/*`ab1.-tn“”", max_size=60))
def test_whatever_it_is_given_it_ends_with_valid_json_or_without(text: str) -> None:
    made = repaired(text)
    assert made is None or json.loads(made) is not ...


def test_a_long_text_takes_time_by_its_length() -> None:
    assert repaired("{" + '"a": [1, 2, 3,], ' * 20_000) is not None
