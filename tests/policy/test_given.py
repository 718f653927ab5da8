"""What follows from a tool call's arguments."""

import pytest

from engine.model.events import complete
from engine.model.phases import Phase
from engine.policy.given import EVERYTHING, complete_event, names_a_path, paths_of, tool_section


@pytest.mark.parametrize(
    "name", ["path", "file_path", "filePath", "notebook_path", "target_file", "cwd", "paths", "destination", "dirPATH"]
)
def test_names_that_mean_a_path(name: str) -> None:
    assert names_a_path(name)


@pytest.mark.parametrize("name", ["command", "pattern", "file_contents", "new_source", "profile", "pathology", ""])
def test_names_that_do_not(name: str) -> None:
    assert not names_a_path(name)


def test_paths_are_found_at_any_depth_once_each() -> None:
    args = {
        "file_path": "a.py",
        "paths": ["b.py", "a.py"],
        "edits": [{"path": "c.py", "text": "d.py"}],
        "source": "line one\nline two",
        "limit": 3,
    }
    assert paths_of(args) == ["a.py", "b.py", "c.py"]


def test_the_files_of_a_patch_text_are_paths() -> None:
    patch = "*** Begin Patch\n*** Update File: src/a.py\n*** Move to: src/b.py\n@@\n-x\n*** Add File: c.md\n+y\n*** End Patch"
    assert paths_of({"input": patch}) == ["src/a.py", "src/b.py", "c.md"]


def test_only_what_is_wanted_is_worked_out() -> None:
    args = {"command": "ls", "cwd": "/tmp"}
    nothing = tool_section("1", "bash", args, "{}", True, want=frozenset())
    assert (nothing["paths"], nothing["shell"]) == ([], None)
    everything = tool_section("1", "bash", args, "{}", True, want=EVERYTHING)
    assert everything["paths"] == ["/tmp"]
    assert everything["shell"]["commands"][0]["program"] == "ls"


def test_a_given_tool_call_is_completed_with_its_command_line() -> None:
    event = complete_event({"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "A=1 git push | cat"}}})
    assert [each["program"] for each in event["tool"]["shell"]["commands"]] == ["git", "cat"]


def test_what_is_written_is_not_worked_out_again() -> None:
    event = complete_event(
        {"phase": "tool_call", "tool": {"name": "bash", "args": {"command": "ls"}, "shell": None, "paths": ["x"]}}
    )
    assert (event["tool"]["shell"], event["tool"]["paths"]) == (None, ["x"])


def test_a_completed_event_is_one_that_can_be_given_again() -> None:
    """A recorded event can be explained: everything that the shell parser says is declared."""
    command = "f() { f | f & }; A=1 git push > $OUT <<< hi; f"
    event = complete_event({"phase": "tool_call", "tool": {"name": "bash", "args": {"command": command}}})
    assert complete(event) == event


def test_other_phases_are_completed_as_ever() -> None:
    assert complete_event({"phase": "done"}) == complete({"phase": Phase.DONE})
