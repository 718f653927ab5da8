"""`redact` and `replace`: in every place where text flows, and nowhere else."""

from typing import Any

import pytest

from engine.model.decision import Facts
from engine.model.effects import Conceal

from .acting import act, after, refused

KEY = {"redact": {"patterns": {"key": "sk-[a-z]+"}}}


def request(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"request": {"messages": list(messages)}}


def texts(event: dict[str, Any]) -> list[str]:
    return [message["text"] for message in event["request"]["messages"]]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "ipython", ""])
def test_no_role_keeps_its_text_from_redaction(role: str) -> None:
    assert texts(after(KEY, request({"role": role, "text": "a sk-abc b"}))) == ["a [key] b"]


def test_tool_results_in_a_request_are_the_phase_tool_results_alone() -> None:
    assert texts(after(KEY, request({"role": "tool", "text": "sk-abc", "tool_call_id": "c"}))) == ["sk-abc"]
    result = after(KEY, {"phase": "tool_result", "result": {"text": "x sk-abc"}})["result"]
    assert (result["text"], result["bytes"]) == ("x [key]", 7)


@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("system", ["[key]", "sk-b", "sk-c"]),
        ("user", ["sk-a", "[key]", "sk-c"]),
        ("assistant", ["sk-a", "sk-b", "[key]"]),
    ],
)
def test_in_narrows_it_to_some_messages(place: str, seen: list[str]) -> None:
    messages = [
        {"role": role, "text": f"sk-{text}"} for role, text in (("system", "a"), ("user", "b"), ("assistant", "c"))
    ]
    step = {"redact": {"patterns": {"key": "sk-[a-z]+"}, "in": [place]}}
    assert texts(after(step, request(*messages))) == seen


def test_arguments_of_calls_in_the_history_are_redacted_at_any_depth() -> None:
    call = {"id": "c", "name": "t", "args": {"a": ["sk-a", {"text": "sk-b", "parts": ["sk-c"]}], "n": 1}}
    made = after(KEY, request({"role": "assistant", "tool_calls": [call]}))["request"]["messages"][0]["tool_calls"][0]
    assert made["args"] == {"a": ["[key]", {"text": "[key]", "parts": ["[key]"]}], "n": 1}
    assert made["text"] == '{"a":["[key]",{"text":"[key]","parts":["[key]"]}],"n":1}'


def test_a_tool_call_is_redacted_before_the_client_sees_it() -> None:
    tool = after(KEY, {"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "echo sk-abc"}}})["tool"]
    assert tool["args"] == {"command": "echo [key]"}
    assert tool["shell"]["commands"][0]["argv"] == ["echo", "[key]"]


def test_the_same_text_gives_the_same_bytes_on_every_turn() -> None:
    first = after(KEY, request({"role": "user", "text": "sk-abc"}))
    again = after(KEY, request({"role": "user", "text": "sk-abc"}, {"role": "user", "text": "more"}))
    assert texts(again)[:1] == texts(first)


def test_the_mask_names_the_pattern_and_may_hold_templates() -> None:
    step = {"redact": {"patterns": {"key": "sk-[a-z]+"}, "mask": "<{name} of {{ caller.id }}>"}}
    assert texts(after(step, request({"role": "user", "text": "sk-a"}))) == ["<key of local>"]


# -- flowing text --


@pytest.mark.parametrize(
    ("window", "sent", "settled", "becomes"),
    [
        ("a sk-abc b", 0, 10, "a [key] b"),
        ("a sk-abc b", 0, 5, "a sk-abc b"),  # it may yet go on
        ("sk-ab sk-cd", 6, 11, "sk-ab [key]"),  # what was sent is sent
        ("a sk-abc b", 0, 8, "a [key] b"),
    ],
)
def test_in_a_stream_only_what_is_settled_and_was_not_sent_is_changed(
    window: str, sent: int, settled: int, becomes: str
) -> None:
    step = {"redact": {"patterns": {"key": {"re2": "sk-[a-z]+", "max_width": 20}}}}
    given = {"phase": "text", "text": {"window": window, "sent": sent, "settled": settled}}
    text = after(step, given)["text"]
    assert text["window"] == becomes
    assert len(becomes) - text["settled"] == len(window) - settled


# -- placeholders --


def named(name: str, value: str) -> str:
    return f"[{name}:{len(value)}]"


@pytest.mark.parametrize(("restore", "tool_args"), [(True, False), ({"tool_args": True}, True)])
def test_with_restore_a_value_is_concealed_behind_a_placeholder(restore: Any, tool_args: bool) -> None:
    step = {"redact": {"patterns": {"key": "sk-[a-z]+"}, "restore": restore}}
    decision = act(step, request({"role": "user", "text": "sk-a and sk-bc"}), Facts(placeholder=named))
    assert decision.event is not None
    assert texts(dict(decision.event)) == ["[key:4] and [key:5]"]
    concealed = [effect for effect in decision.effects if isinstance(effect, Conceal)]
    assert concealed == [Conceal("[key:4]", "sk-a", tool_args), Conceal("[key:5]", "sk-bc", tool_args)]


def test_without_a_key_for_placeholders_the_value_is_masked_for_good() -> None:
    step = {"redact": {"patterns": {"key": "sk-[a-z]+"}, "restore": True}}
    assert texts(after(step, request({"role": "user", "text": "sk-a"}))) == ["[key]"]


# -- replace --


@pytest.mark.parametrize(
    ("with_", "text", "becomes"),
    [
        ("<\\1>", "ab12", "<12>"),
        ("<\\0>", "ab12", "<ab12>"),
        ("<\\7>", "ab12", "<>"),
        ("\\\\1", "ab12", "\\1"),
        ("{{ request.params.x }}", "ab12", "\\1"),
        ("x", "none", "none"),
    ],
)
def test_replace_may_use_the_groups_of_its_pattern(with_: str, text: str, becomes: str) -> None:
    step = {"replace": {"patterns": {"p": "ab([0-9]+)"}, "with": with_}}
    given = {"request": {"messages": [{"role": "user", "text": text}], "params": {"x": "\\1"}}}
    assert texts(after(step, given)) == [becomes]


@pytest.mark.parametrize(("first", "becomes"), [(True, "A b a"), (False, "A A A")])
def test_first_stops_at_the_first_pattern_that_hits(first: bool, becomes: str) -> None:
    step = {"replace": {"patterns": {"none": "z", "start": "^a", "any": "[ab]"}, "with": "A", "first": first}}
    assert texts(after(step, request({"role": "user", "text": "a b a"}))) == [becomes]


def test_replace_rewrites_the_models_name() -> None:
    step = {"replace": {"patterns": {"gpt": "^gpt-(.*)$"}, "with": "local:\\1", "in": ["model"]}}
    assert after(step, {"request": {"model": "gpt-5"}})["request"]["model"] == "local:5"


def test_a_pattern_set_that_is_not_there_is_said() -> None:
    assert refused({"redact": {"patterns": "secrets"}}) == [("E407", "unknown pattern set 'secrets'")]
