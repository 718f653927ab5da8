"""Commands in a text: what is one, what is taken out, and what its arguments are."""

from typing import Any

import pytest

from engine.language.patterns import PatternSet, compile_pattern
from engine.policy.commands import Argument, Command, CommandTable, Spoken, WrongArguments, arguments_of

from .rules import compiled, policy

TEMPERATURE = Command(
    name="temperature",
    policy="p",
    description="Set it.",
    aliases=("temp",),
    arguments=(Argument(name="value", type="number", minimum=0, maximum=2, required=True),),
)
TABLE = CommandTable(
    [
        TEMPERATURE,
        Command(name="approve", policy="p", description="Let it go on.", arguments=(Argument(name="id"),)),
        Command(name="help", policy="p", description="Say what there is.", arguments=(Argument(name="name"),)),
        Command(name="admin", policy="p", description="For a few.", roles=("operator",)),
    ],
    [PatternSet("ignored", [compile_pattern("code", "(?s)```.*?```")])],
)


def nothing_known(_type: str, value: str) -> str:
    return "" if value == "there" else f"there is no '{value}'"


SPLIT: list[tuple[str, str, tuple[Spoken, ...]]] = [
    ("!/help", "", (Spoken("help"),)),
    ("  !/help  \n", "", (Spoken("help"),)),
    ("Look:\n!/temperature(0.5)\nand go on", "Look:\nand go on", (Spoken("temperature", ("0.5",)),)),
    ("!/temp(value=1)", "", (Spoken("temp", (), (("value", "1"),)),)),
    ("!/approve a1b2", "", (Spoken("approve", ("a1b2",)),)),
    ("!/help\n!/temp(1)", "", (Spoken("help"), Spoken("temp", ("1",)))),
    ("!/nosuch", "", (Spoken("nosuch"),)),
    ("!/nosuch(1, 'a, b', \"c\")", "", (Spoken("nosuch", ("1", "a, b", "c")),)),
    ("say !/help to me", "say !/help to me", ()),
    ("!/bin/sh", "!/bin/sh", ()),
    ("!/nosuch has words behind it", "!/nosuch has words behind it", ()),
    ("```\n!/help\n```", "```\n!/help\n```", ()),
    ("#!/bin/sh", "#!/bin/sh", ()),
    ("no command at all", "no command at all", ()),
]


@pytest.mark.parametrize(("text", "rest", "spoken"), SPLIT, ids=[each[0] for each in SPLIT])
def test_a_whole_line_is_a_command_and_leaves_the_text(text: str, rest: str, spoken: tuple[Spoken, ...]) -> None:
    assert TABLE.split(text, "!/") == (rest, spoken)


def test_the_prefix_is_the_operators() -> None:
    assert TABLE.split("/lex help\n!/help", "/lex ") == ("!/help", (Spoken("help"),))


TYPED: list[tuple[Argument, str, Any]] = [
    (Argument(name="a"), "text", "text"),
    (Argument(name="a", type="integer"), "-3", -3),
    (Argument(name="a", type="number"), "0.25", 0.25),
    (Argument(name="a", type="number"), "2", 2),
    (Argument(name="a", type="boolean"), "Yes", True),
    (Argument(name="a", type="boolean"), "off", False),
    (Argument(name="a", one_of=("low", "high")), "low", "low"),
    (Argument(name="a", type="model"), "there", "there"),
    (Argument(name="a", type="route"), "there", "there"),
]


@pytest.mark.parametrize(("argument", "text", "value"), TYPED)
def test_an_argument_has_its_declared_type(argument: Argument, text: str, value: Any) -> None:
    command = Command(name="c", policy="p", description="d", arguments=(argument,))
    assert arguments_of(command, Spoken("c", (text,)), nothing_known) == {"a": value}


WRONG: list[tuple[Argument, tuple[str, ...], str]] = [
    (Argument(name="a", required=True), (), "`a` is missing: a text"),
    (Argument(name="a", type="number", minimum=0, maximum=2), ("3",), "`a` takes a number from 0 to 2, and not '3'"),
    (Argument(name="a", type="number"), ("nan",), "`a` takes a number, and not 'nan'"),
    (Argument(name="a", type="number"), ("hot",), "`a` takes a number, and not 'hot'"),
    (Argument(name="a", type="integer"), ("1.5",), "`a` takes a whole number, and not '1.5'"),
    (Argument(name="a", type="boolean"), ("maybe",), "`a` takes true or false, and not 'maybe'"),
    (Argument(name="a", one_of=("low", "high")), ("mid",), "`a` takes one of low, high, and not 'mid'"),
    (Argument(name="a", type="backend"), ("x",), "there is no 'x'"),
    (Argument(name="a"), ("1", "2"), "'2' is one value too many"),
]


@pytest.mark.parametrize(("argument", "values", "why"), WRONG, ids=[each[2] for each in WRONG])
def test_a_wrong_argument_says_what_is_taken(argument: Argument, values: tuple[str, ...], why: str) -> None:
    command = Command(name="c", policy="p", description="d", arguments=(argument,))
    with pytest.raises(WrongArguments, match="^" + why.replace("(", r"\(")):
        arguments_of(command, Spoken("c", values), nothing_known)


def test_an_argument_that_is_left_out_is_null_or_its_default() -> None:
    arguments = (Argument(name="a"), Argument(name="b", type="integer", default=3))
    command = Command(name="c", policy="p", description="d", arguments=arguments)
    assert arguments_of(command, Spoken("c"), nothing_known) == {"a": None, "b": 3}


def test_the_last_argument_may_take_all_that_is_left() -> None:
    arguments = (Argument(name="a"), Argument(name="b", type="integer", many=True))
    command = Command(name="c", policy="p", description="d", arguments=arguments)
    assert arguments_of(command, Spoken("c", ("x", "1", "2")), nothing_known) == {"a": "x", "b": [1, 2]}


def test_pairs_are_taken_as_what_they_look_like_where_the_command_says_so() -> None:
    command = Command(name="c", policy="p", description="d", pairs=True)
    _, (spoken,) = CommandTable([command]).split("!/c(a=1, b=true, c=text, d=0.5)", "!/")
    assert arguments_of(command, spoken, nothing_known) == {"a": 1, "b": True, "c": "text", "d": 0.5}


def test_a_sign_of_equality_belongs_to_the_value_where_no_argument_has_that_name() -> None:
    assert TABLE.split("!/approve(x=1)", "!/")[1] == (Spoken("approve", ("x=1",)),)


def test_help_lists_what_the_caller_may_use() -> None:
    assert TABLE.help("!/", ["developer"]).splitlines() == [
        "- `!/approve([id])`: Let it go on.",
        "- `!/help([name])`: Say what there is.",
        "- `!/temperature(value)`: Set it.",
    ]
    assert "!/admin" in TABLE.help("!/", ["operator"])
    assert "!/admin" in TABLE.help("!/", None)


def test_help_on_one_command_says_how_it_is_written() -> None:
    assert TABLE.help("!/", None, "temp").splitlines() == [
        "`!/temperature(value)`: Set it.",
        "- `value`: a number from 0 to 2.",
        "Also: `!/temp`",
    ]
    assert TABLE.help("!/", None, "hlp") == "There is no command `!/hlp`. Did you mean `!/help`?"


def test_two_commands_of_one_name_do_not_load() -> None:
    head = "commands: {define: {a: {description: x}, b: {description: y, aliases: [a]}}}"
    found = compiled(policy("- {id: r, phase: command, actions: [respond: ok]}", head)).diagnostics
    assert [(each.code, each.message) for each in found] == [("E441", "'a' is already a command of policy 'p'")]


def test_only_the_last_argument_takes_many_values() -> None:
    head = "commands: {define: {a: {description: x, args: {b: {many: true}, c: {}}}}}"
    found = compiled(policy("- {id: r, phase: command, actions: [respond: ok]}", head)).diagnostics
    assert [each.code for each in found] == ["E441"]
