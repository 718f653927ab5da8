"""The other actions: what they yield, what they refuse, and what they leave alone."""

from typing import Any

import pytest

from engine.actions import ACTIONS
from engine.model.effects import (
    Block,
    Count,
    Forget,
    Label,
    Log,
    Metric,
    Notify,
    Remember,
    Respond,
    Scope,
    SetHeader,
    Steer,
    Tag,
    Take,
)
from engine.model.phases import Phase

from .acting import act, after, error_of, refused


def message(role: str, text: str = "", calls: tuple[str, ...] = (), answers: str = "") -> dict[str, Any]:
    tool_calls = [{"id": each, "name": "t", "args": {}} for each in calls]
    return {"role": role, "text": text, "tool_calls": tool_calls, "tool_call_id": answers}


def left(where: str, *messages: dict[str, Any]) -> list[str]:
    event = after({"drop_messages": where}, {"request": {"messages": list(messages)}})
    return [each["text"] for each in event["request"]["messages"]]


# -- drop_messages --


def test_selected_messages_are_dropped() -> None:
    assert left(
        "request.messages[?text == 'b']", message("user", "a"), message("system", "b"), message("user", "c")
    ) == [
        "a",
        "c",
    ]


def test_the_newest_message_of_the_user_stays() -> None:
    assert left("request.messages", message("user", "a"), message("assistant", "b"), message("user", "c")) == ["c"]


def test_a_call_and_its_results_leave_together() -> None:
    history = (
        message("user", "q"),
        message("assistant", "call", ("c1", "c2")),
        message("tool", "one", answers="c1"),
        message("tool", "two", answers="c2"),
        message("assistant", "other", ("c3",)),
        message("tool", "three", answers="c3"),
    )
    assert left("request.messages[?text == 'one']", *history) == ["q", "other", "three"]
    assert left("request.messages[?text == 'call']", *history) == ["q", "other", "three"]


def test_calls_without_an_id_pull_nothing_with_them() -> None:
    history = (message("user", "q"), message("assistant", "call", ("",)), message("assistant", "said"))
    assert left("request.messages[?text == 'call']", *history) == ["q", "said"]


def test_of_two_messages_that_say_the_same_only_the_meant_one_leaves() -> None:
    assert left("request.messages[:1]", message("assistant", "a"), message("assistant", "a"), message("user", "q")) == [
        "a",
        "q",
    ]


@pytest.mark.parametrize("where", ["request.messages[].text", "request.params"])
def test_what_selects_no_messages_is_an_error(where: str) -> None:
    given = {"request": {"messages": [message("assistant", "a")], "params": {"a": 1}}}
    assert "`where` selects" in error_of({"drop_messages": where}, given)


# -- inject --


def injected(step: dict[str, Any], *messages: dict[str, Any]) -> list[tuple[str, str]]:
    event = after({"inject": step}, {"request": {"messages": list(messages)}})
    return [(each["role"], each["text"]) for each in event["request"]["messages"]]


@pytest.mark.parametrize(
    ("step", "result"),
    [
        ({"text": "+"}, [("system", "s+"), ("user", "u")]),
        ({"text": "+", "position": "start"}, [("system", "+s"), ("user", "u")]),
        ({"text": "+", "role": "user"}, [("system", "s"), ("user", "u+")]),
        ({"text": ""}, [("system", "s"), ("user", "u")]),
    ],
)
def test_text_is_injected_where_it_is_said(step: dict[str, Any], result: list[tuple[str, str]]) -> None:
    assert injected(step, message("system", "s"), message("user", "u")) == result


def test_without_a_system_prompt_one_is_made_and_without_a_user_nothing_is() -> None:
    assert injected({"text": "+"}, message("user", "u")) == [("system", "+"), ("user", "u")]
    assert injected({"text": "+", "role": "user"}, message("system", "s")) == [("system", "s")]


def test_what_stands_there_already_is_not_added_again() -> None:
    assert injected({"text": "s"}, message("system", "s"), message("user", "u"))[0] == ("system", "s")


# -- tools --


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ({"keep_tools": ["READ_*", "grep"]}, ["read_file", "grep"]),
        ({"drop_tools": "read_*"}, ["grep", "bash"]),
        ({"drop_tools": {"names": ["*"]}}, []),
    ],
)
def test_tools_are_kept_and_dropped_by_name_without_case(step: dict[str, Any], names: list[str]) -> None:
    request = after(step, {"request": {"tool_names": ["read_file", "grep", "bash"]}})["request"]
    assert (request["tool_names"], [tool["name"] for tool in request["tools"]]) == (names, names)


@pytest.mark.parametrize(
    ("step", "args"),
    [
        ({"args": {"b": 2}}, {"a": 1, "n": None, "b": 2}),
        ({"args": {"a": None}}, {"n": None}),
        ({"args": {"b": 2}, "only": True}, {"b": 2}),
        ({"args": {"a": "{{ tool.args.a }}"}}, {"a": 1, "n": None}),
        ({"args": "{{ tool.args }}"}, {"a": 1}),
    ],
)
def test_arguments_are_merged_null_removes_and_only_replaces(step: dict[str, Any], args: dict[str, Any]) -> None:
    given = {"phase": "tool_call", "tool": {"name": "t", "args": {"a": 1, "n": None}}}
    assert after({"rewrite_args": step}, given)["tool"]["args"] == args


def test_new_arguments_that_are_no_mapping_are_an_error() -> None:
    given = {"phase": "tool_call", "tool": {"name": "t", "args": {"a": 1}}}
    assert "not a mapping" in error_of({"rewrite_args": {"args": "{{ tool.args.a }}"}}, given)


# -- header --


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\x00", "a\x7f", "é", "a\u0085b"])
def test_a_headers_value_cannot_be_anything_but_visible_ascii(value: str) -> None:
    step = {"header": {"name": "x-a", "value": "{{ request.params.v }}"}}
    assert "control character" in error_of(step, {"request": {"params": {"v": value}}})


def test_a_header_is_set_in_lower_case_for_whom_it_is_said() -> None:
    decision = act({"header": {"name": "X-Team", "value": "{{ caller.id }}", "to": "client"}}, {})
    assert decision.effects == (SetHeader("x-team", "local", "client"),)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "api-key", "Host", "content-length"])
def test_credentials_and_the_connections_own_headers_are_nobodys_to_write(name: str) -> None:
    assert [code for code, _ in refused({"header": {"name": name, "value": "x"}})] == ["E411"]


# -- meters --


@pytest.mark.parametrize(("key", "text"), [("caller.id", "local"), ("join('/', caller.roles)", "")])
def test_a_rate_limit_takes_from_what_its_key_names(key: str, text: str) -> None:
    (spend,) = act({"rate_limit": {"key": key, "limit": 5, "window": "1m"}}, {}).spends
    assert spend.take == Take(text, 5, 60.0, "requests")


def test_a_rate_limit_whose_key_is_not_there_refuses() -> None:
    decision = act({"rate_limit": {"key": "caller.team", "limit": 5, "window": 60}}, {})
    assert isinstance(decision.effect, Block)
    assert (decision.effect.status, decision.spends) == (500, ())


# -- verdicts --


def test_the_verdicts_say_what_their_parameters_say() -> None:
    call = {"phase": "tool_call", "tool": {"name": "t"}}
    assert act({"block": {"message": "m {{ caller.id }}", "status": 451, "code": "legal"}}, {}).effect == Block(
        "m local", 451, "legal"
    )
    assert act({"block": {}}, {}).effect == Block("This request is not allowed by policy.", 400, "policy_blocked")
    assert act({"respond": "hi"}, {}).effect == Respond("hi")
    assert act({"steer": {"message": "m", "mode": "reply"}}, call).effect == Steer("m", mode="reply")


# -- state --


def test_state_is_written_for_whom_it_is_said_and_has_a_time_to_live() -> None:
    def change(step: dict[str, Any]) -> object:
        return act(step, {"phase": "done"}).changes[0]

    assert change({"remember": {"key": "k", "value": [1], "ttl": "2h"}}) == Remember(Scope.SESSION, "k", [1], 7200.0)
    assert change({"forget": "k"}) == Forget(Scope.SESSION, "k")
    assert change({"count": {"key": "k-{{ caller.id }}", "by": -2, "in": "team"}}) == Count(
        Scope.TEAM, "k-local", -2, 86400.0
    )
    assert change({"label": {"name": "l", "in": "global", "ttl": 5}}) == Label(Scope.GLOBAL, "l", 5.0)


# -- observe --


def observed(step: dict[str, Any], given: dict[str, Any] | None = None) -> object:
    return act(step, given or {"phase": "done"}).observations[0][1]


def test_what_is_observed_is_said_as_data() -> None:
    assert observed({"log": {"message": "by {{ caller.id }}", "level": "warning"}}) == Log("by local", "warning")
    assert observed({"tag": "t"}) == Tag("t", "true")


def test_a_metric_shows_only_fields_that_it_names() -> None:
    given = {
        "phase": "attempt",
        "caller": {"team": "a", "roles": ["y", "x"]},
        "attempt": {"backend": "b", "model": "m"},
        "request": {"model": "asked"},
    }
    labels = {"t": "team", "r": "role", "b": "backend", "m": "model", "p": "protocol", "o": "tool"}
    shown = (("t", "a"), ("r", "x,y"), ("b", "b"), ("m", "m"), ("p", "openai-chat"), ("o", ""))
    assert observed({"metric": {"name": "n", "by": 2, "labels": labels}}, given) == Metric("n", 2, shown)
    assert refused({"metric": {"name": "n", "labels": {"a": "caller"}}})[0][0] == "E135"


def test_a_metric_and_a_webhook_say_what_they_read() -> None:
    assert ("caller", "team") in ACTIONS["metric"].reads[Phase.DONE]
    assert ("tool", "name") not in ACTIONS["metric"].reads[Phase.REQUEST]
    assert ("request", "model") in ACTIONS["notify"].reads[Phase.DONE]


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("a b", "https://h.example.com/x/a%20b?q=a%20b"),
        ("a/../b?c#d&e", "https://h.example.com/x/a%2F..%2Fb%3Fc%23d%26e?q=a%2F..%2Fb%3Fc%23d%26e"),
        ("..", "https://h.example.com/x/?q="),
        ("é", "https://h.example.com/x/%C3%A9?q=%C3%A9"),
    ],
)
def test_what_a_template_gives_leads_an_address_nowhere_else(value: str, url: str) -> None:
    step = {
        "notify": {"url": "https://h.example.com/x/{{ caller.id }}?q={{ caller.id }}", "body": {"a": "{{ caller.id }}"}}
    }
    assert observed(step, {"phase": "done", "caller": {"id": value}}) == Notify(url, {"a": value})


def test_a_webhook_says_by_itself_who_and_what() -> None:
    effect = observed({"notify": {"url": "https://h.example.com/"}}, {"phase": "done", "request": {"model": "m"}})
    body = {"rule": "p/r", "phase": "done", "caller": "local", "model": "m", "at": "1970-01-01T00:00:00Z"}
    assert effect == Notify("https://h.example.com/", body)


# -- route --


@pytest.mark.parametrize(
    ("step", "plan"),
    [("a:m|b:", "a:m|b:"), ({"plan": "@x"}, "@x"), ({"failover": ["a:m", "b:"]}, "a:m|b:")],
)
def test_a_route_is_chosen_by_its_text_or_a_mapping(step: Any, plan: str) -> None:
    route = act({"route": step}, {"phase": "route"}).route
    assert route is not None
    assert route.plan == plan


def test_a_set_can_be_the_lone_parameter_of_tools() -> None:
    assert refused({"drop_tools": {"$set": "s"}}) == [("E406", "unknown set 's'")]


def test_text_can_stand_in_the_first_message_on_every_turn() -> None:
    turns = [message("user", "a"), message("assistant", "b"), message("user", "c")]
    step = {"text": "+", "role": "user", "message": "first"}
    assert injected(step, *turns) == [("user", "a+"), ("assistant", "b"), ("user", "c")]
