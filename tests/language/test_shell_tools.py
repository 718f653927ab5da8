"""Tool calls, and the command line that each of them carries."""

from typing import Any

import pytest

from engine.language.shell import DEFAULT_TOOLS, shell_of_tool


def programs(shell: dict[str, Any] | None) -> list[str]:
    assert shell is not None
    return [command["program"] for command in shell["commands"]]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("bash", {"command": "rm x"}),
        ("Bash", {"command": "rm x", "description": "d", "timeout": 1}),
        ("shell", {"command": ["bash", "-lc", "rm x"]}),
        ("shell", {"command": ["rm", "x"]}),
        ("local_shell", {"action": {"type": "exec", "command": ["sh", "-c", "rm x"]}}),
        ("shell", {"action": {"commands": ["rm x"]}}),
        ("shell", {"commands": ["rm x"]}),
        ("exec_command", {"cmd": "rm x"}),
        ("container.exec", {"cmd": ["bash", "-lc", "rm x"]}),
        ("unified_exec", {"input": ["rm", "x"]}),
        ("execute_command", {"command": "rm x", "requires_approval": True}),
        ("run_terminal_cmd", {"command": "rm x", "is_background": False}),
        ("run_shell_command", {"command": "rm x"}),
        ("run_in_terminal", {"command": "rm x"}),
        ("run_command", {"CommandLine": "rm x", "Cwd": "/"}),
        ("write_stdin", {"session_id": 1, "chars": "rm x\n"}),
        ("mcp__box__bash", {"script": "rm x"}),
    ],
)
def test_the_tools_of_agents_carry_their_command(name: str, args: dict[str, Any]) -> None:
    shell = shell_of_tool(name, args)
    assert programs(shell) == ["rm"]
    assert shell is not None
    assert shell["resolved"]


@pytest.mark.parametrize(
    ("name", "args", "dialect"),
    [
        ("powershell", {"command": "rm x"}, "powershell"),
        ("run_PowerShell", {"script": "rm x"}, "powershell"),
        ("cmd", {"command": "del x"}, "cmd"),
        ("bash", {"command": "Remove-Item x"}, "posix"),
        ("terminal", {"command": "Remove-Item x"}, "powershell"),
        ("shell", {"command": ["powershell.exe", "-Command", "ri x"]}, "powershell"),
    ],
)
def test_the_dialect_comes_from_the_tool_else_from_the_text(name: str, args: dict[str, Any], dialect: str) -> None:
    shell = shell_of_tool(name, args)
    assert shell is not None
    assert shell["dialect"] == dialect


@pytest.mark.parametrize("args", [{}, {"command": None}, {"command": 3}, {"command": [1]}, {"text": "rm x"}])
def test_a_listed_tool_without_its_argument_is_not_resolved(args: dict[str, Any]) -> None:
    shell = shell_of_tool("bash", args)
    assert shell is not None
    assert (shell["resolved"], shell["commands"]) == (False, [])


def test_a_restart_of_the_shell_carries_no_command() -> None:
    assert shell_of_tool("bash", {"restart": True}) is None


SCHEMA = {"type": "object", "properties": {"cmd": {"type": "string"}, "n": {}}, "required": ["cmd"]}


def test_a_tool_of_no_table_counts_by_its_schema() -> None:
    assert programs(shell_of_tool("do_it", {"cmd": "rm x"}, SCHEMA)) == ["rm"]
    assert shell_of_tool("do_it", {"cmd": "rm x"}, {**SCHEMA, "required": []}) is None
    assert shell_of_tool("do_it", {"cmd": "rm x"}, {**SCHEMA, "properties": {"cmd": {"type": "array"}}}) is None
    assert shell_of_tool("do_it", {"cmd": "rm x"}) is None
    assert shell_of_tool("Read", {"file_path": "/x"}, {"type": "object"}) is None


def test_the_table_is_extended_by_names_and_globs_without_case() -> None:
    table = DEFAULT_TOOLS.extended({"Ops_*": "line", "bash": ["first", "second"]})
    assert programs(shell_of_tool("OPS_run", {"line": "rm x"}, None, table)) == ["rm"]
    assert programs(shell_of_tool("bash", {"second": "rm x"}, None, table)) == ["rm"]
    assert shell_of_tool("ops_run", {"line": "rm x"}) is None


def test_a_document_belongs_to_its_caller() -> None:
    first = shell_of_tool("bash", {"command": "rm x"})
    assert first is not None
    first["commands"].clear()
    assert programs(shell_of_tool("bash", {"command": "rm x"})) == ["rm"]
