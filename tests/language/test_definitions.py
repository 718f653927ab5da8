"""Definitions that use each other, and the names that expressions use."""

from engine.language import Names, compile_definitions, compile_expression, names_used, parse


def test_definitions_use_each_other_in_any_order() -> None:
    texts = {"a": "def('b')[?@ > `1`]", "b": "def('c').list", "c": "event"}
    found, wrong = compile_definitions(texts, Names())
    assert not wrong
    assert found["a"]({"event": {"list": [1, 2]}}) == [2]
    assert found["a"].reads == {("event",)}


def test_a_definition_that_needs_itself_is_wrong_and_so_is_what_uses_it() -> None:
    texts = {
        "a": "x || def('b')",
        "b": "def('c')",
        "c": "def('a')",
        "user": "!def('a')",
        "own": "def('own')",
        "fine": "y",
    }
    found, wrong = compile_definitions(texts, Names())
    assert set(found) == {"fine"}
    assert {name: error.kind for name, error in wrong.items()} == {
        "a": "cycle",
        "b": "cycle",
        "c": "cycle",
        "own": "cycle",
        "user": "unknown-name",
    }
    assert (
        "a → b → c → a" in wrong["a"].message
        or "b → c → a → b" in wrong["a"].message
        or "c → a → b → c" in wrong["a"].message
    )
    assert texts["a"][wrong["a"].start : wrong["a"].end] == "'b'"
    assert wrong["user"].message == "definition 'a' has an error itself"


def test_every_error_is_told_and_the_rest_is_compiled() -> None:
    found, wrong = compile_definitions(
        {"a": "x =", "b": "lenght(x)", "c": "def('nope')", "d": "set('s')"}, Names(sets={"s": ()})
    )
    assert set(found) == {"d"}
    assert {name: error.kind for name, error in wrong.items()} == {
        "a": "syntax",
        "b": "unknown-function",
        "c": "unknown-name",
    }


def test_a_long_chain_of_definitions_compiles() -> None:
    texts = {f"d{number}": f"def('d{number + 1}')" for number in range(150)} | {"d150": "x"}
    found, wrong = compile_definitions(texts, Names())
    assert not wrong
    assert found["d0"]({"x": 1}) == 1


def test_the_names_that_a_tree_uses() -> None:
    tree = parse("any(def('d')[?glob(name, set('s'))]) || matches_any(text, 'p') || def(x)")
    assert [(kind, name) for kind, name, _ in names_used(tree)] == [
        ("definition", "d"),
        ("set", "s"),
        ("pattern set", "p"),
    ]
    assert compile_expression("def('d')", Names(definitions={"d": compile_expression("x")}))({"x": 3}) == 3
