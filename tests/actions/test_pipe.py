"""What a line pipeline leaves of a tool's output."""

from typing import Any

import pytest

from engine.model.phases import Phase

from .acting import act, after, refused

LOG = "collecting\n\x1b[31mERROR\x1b[0m a\nat line 3\nok\nok\nok\n\n\n\nFAILED b\ndone"

STAGES: list[tuple[dict[str, Any], str]] = [
    ({"strip_ansi": True}, "collecting\nERROR a\nat line 3\nok\nok\nok\n\n\n\nFAILED b\ndone"),
    ({"drop": {"ok": "^ok$"}}, "collecting\n\x1b[31mERROR\x1b[0m a\nat line 3\n\n\n\nFAILED b\ndone"),
    (
        {"strip_ansi": True, "keep": {"bad": "ERROR|FAILED"}},
        "[1 line left out]\nERROR a\n[7 lines left out]\nFAILED b\n[1 line left out]",
    ),
    (
        {"strip_ansi": True, "keep": {"bad": "ERROR|FAILED"}, "context": 1},
        "collecting\nERROR a\nat line 3\n[5 lines left out]\n\nFAILED b\ndone",
    ),
    ({"squeeze": True}, "collecting\n\x1b[31mERROR\x1b[0m a\nat line 3\nok\nok\nok\n\nFAILED b\ndone"),
    (
        {"dedupe": True, "squeeze": True},
        "collecting\n\x1b[31mERROR\x1b[0m a\nat line 3\nok [3 times]\n\nFAILED b\ndone",
    ),
    ({"head": 1, "tail": 2}, "collecting\n[8 lines left out]\nFAILED b\ndone"),
    ({"head": 0, "tail": 1}, "[10 lines left out]\ndone"),
    ({"head": 8, "tail": 2}, LOG),
    (
        {"strip_ansi": True, "tail": 2, "max_line": 4},
        "[9 l [14 characters left out]\nFAIL [4 characters left out]\ndone",
    ),
    ({"max_chars": 10}, "colle\n[53 characters left out]\n\ndone"),
    ({"above": 1000, "tail": 1}, LOG),
]


def result(*texts: str) -> dict[str, Any]:
    return {"phase": "tool_result", "result": {"parts": [{"text": each} for each in texts]}}


@pytest.mark.parametrize(("params", "left"), STAGES, ids=[str(each[0]) for each in STAGES])
def test_a_stage_leaves_out_what_it_is_for_and_says_so(params: dict[str, Any], left: str) -> None:
    assert after({"pipe": params}, result(LOG))["result"]["parts"][0]["text"] == left


def test_every_part_of_a_result_is_piped_by_itself() -> None:
    parts = after({"pipe": {"tail": 1}}, result("a\nb\nc", "d\ne\nf"))["result"]["parts"]
    assert [each["text"] for each in parts] == ["[2 lines left out]\nc", "[2 lines left out]\nf"]


def test_what_is_short_already_is_not_touched() -> None:
    assert act({"pipe": {"tail": 5, "squeeze": True, "dedupe": True}}, result("a\nb")).effects == ()


def test_it_belongs_to_tool_results() -> None:
    assert [code for code, _ in refused({"pipe": {"tail": 1}}, Phase.REQUEST)] == ["E409"]
    assert [code for code, _ in refused({"pipe": {"tail": -1}}, Phase.TOOL_RESULT)] == ["E134"]
