"""The pack context-compaction on conversations that are too long to stand in its file."""

from typing import Any

from tests.policies.packs import decide, pack

LONG = "a line of a file that was read before\n" * 1100


def reads(tool: str, **args: Any) -> list[dict[str, Any]]:
    """A call and its result, four times."""
    messages: list[dict[str, Any]] = []
    for number in range(4):
        messages += [
            {"role": "assistant", "tool_calls": [{"id": f"c{number}", "name": tool, "args": args}]},
            {"role": "tool", "tool_call_id": f"c{number}", "text": LONG, "parts": [{"text": LONG}]},
        ]
    return messages


def left(messages: list[dict[str, Any]]) -> list[str]:
    decision = decide(pack("context-compaction"), phase="request", request={"messages": messages})
    assert decision.event is not None
    return [each["parts"][0]["text"] for each in decision.event["request"]["messages"] if each["role"] == "tool"]


def test_the_newest_two_readings_of_a_file_stay() -> None:
    stub = "[An older result of this call, 41800 characters, was left out; a newer one stands below.]"
    assert left(reads("read_file", path="a.py")) == [stub, stub, LONG, LONG]


def test_the_newest_two_runs_of_a_command_stay() -> None:
    stub = "[An older result of this command, 41800 characters, was left out; a newer one stands below.]"
    assert left(reads("bash", command="pytest")) == [stub, stub, LONG, LONG]


def test_results_of_other_tools_stay() -> None:
    assert left(reads("ask_user", question="?")) == [LONG] * 4
