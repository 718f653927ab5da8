"""Which paths of the event a condition may read."""

import pytest

from engine.language import Names, compile_expression

NAMES = Names(definitions={"pushes": compile_expression("tool.shell.commands[?program == 'git']")})


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("request.model == 'x'", {"request.model"}),
        ('request.headers."x-a"', {"request.headers.x-a"}),
        ("request.messages[*].role", {"request.messages"}),
        ("request.messages[0].role", {"request.messages"}),
        ("request.messages[?role == 'user'] | [0].text", {"request.messages"}),
        ("request | model", {"request.model"}),
        ("(request || tool).name", {"request", "tool.name"}),
        ("!caller && session.id", {"caller", "session.id"}),
        ("caller.{t: team, r: roles}", {"caller"}),
        ("{t: caller.team, r: caller.roles}.t", {"caller.team", "caller.roles"}),
        ("sort_by(request.tools, &name)[0]", {"request.tools"}),
        ("caller.*.id", {"caller"}),
        ("def('pushes')", {"tool.shell.commands"}),
        ("any(def('pushes')[?contains(flags, 'f')])", {"tool.shell.commands"}),
        ("var('x', now.hour)", {"session.vars.x", "now.hour"}),
        ("request.model || request", {"request"}),
        ("random() < `0.1`", set()),
        ("'constant'", set()),
    ],
)
def test_reads(text: str, reads: set[str]) -> None:
    assert compile_expression(text, NAMES).reads == {tuple(path.split(".")) for path in reads}


@pytest.mark.parametrize("text", ["@", "to_string(@)", "*", "[@, a]", "length(@) && a.b"])
def test_what_uses_the_event_itself_reads_everything(text: str) -> None:
    assert compile_expression(text).reads == {()}
