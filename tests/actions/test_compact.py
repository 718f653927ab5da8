"""Which older results become stubs, and which stay."""

from typing import Any

from .acting import after, refused

LONG = "x" * 500
STUB = "[An older result of this call, 500 characters, was left out; a newer one stands below.]"


def read(number: int, path: str, text: str = LONG, tool: str = "read_file", **args: Any) -> list[dict[str, Any]]:
    call = {"id": f"c{number}", "name": tool, "args": {"path": path, **args}}
    return [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "text": text, "parts": [{"text": text}]},
    ]


def left(step: dict[str, Any], *turns: list[dict[str, Any]]) -> list[str]:
    messages = [each for turn in turns for each in turn]
    event = after({"compact": {"above": 100, **step}}, {"request": {"messages": messages}})
    return [each["parts"][0]["text"] for each in event["request"]["messages"] if each["role"] == "tool"]


def test_older_results_for_one_resource_become_stubs() -> None:
    assert left({"tools": "read*"}, read(1, "a"), read(2, "a"), read(3, "a")) == [STUB, STUB, LONG]


def test_the_newest_ones_stay_as_many_as_are_kept() -> None:
    assert left({"tools": "read*", "keep": 2}, read(1, "a"), read(2, "a"), read(3, "a")) == [STUB, LONG, LONG]


def test_another_resource_is_counted_apart() -> None:
    assert left({"tools": "read*"}, read(1, "a"), read(2, "b")) == [LONG, LONG]


def test_a_part_of_a_file_is_another_resource() -> None:
    assert left({"tools": "read*"}, read(1, "a", offset=0), read(2, "a", offset=100)) == [LONG, LONG]


def test_other_tools_are_left_alone() -> None:
    assert left({"tools": "read*"}, read(1, "a", tool="bash"), read(2, "a", tool="bash")) == [LONG, LONG]


def test_a_short_conversation_is_left_alone() -> None:
    assert left({"tools": "read*", "above": 1000}, read(1, "a"), read(2, "a")) == [LONG, LONG]


def test_a_result_that_is_shorter_than_its_stub_stays() -> None:
    assert left({"tools": "read*"}, read(1, "a", "short"), read(2, "a")) == ["short", LONG]


def test_the_stub_is_the_authors() -> None:
    assert left({"tools": "read*", "stub": "[{size} gone]"}, read(1, "a"), read(2, "a")) == ["[500 gone]", LONG]


def test_a_result_without_its_call_stays() -> None:
    assert left({"tools": "*"}, read(1, "a")[1:], read(2, "a")) == [LONG, LONG]


def test_at_least_one_is_kept() -> None:
    assert [code for code, _ in refused({"compact": {"tools": "read*", "keep": 0}})] == ["E134"]
