"""Which tools carry a command, and in which argument: from a tool call to `tool.shell`."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Any

import msgspec

from engine.language.shell.commands import Dialect, Shell
from engine.language.shell.parse import parse_argv, parse_command

ARGUMENTS = ("command", "cmd", "script", "input")


class ShellTool(msgspec.Struct, frozen=True):
    """How one tool carries its command: the `arguments` looked up in turn (a dot goes into an object).

    A call that has one of the arguments `without` carries none (`bash` with `restart: true`).
    """

    arguments: tuple[str, ...] = ARGUMENTS
    dialect: Dialect | None = None
    without: tuple[str, ...] = ()


class ShellTools(msgspec.Struct, frozen=True):
    """The table from names of tools (globs, without case) to how they carry a command; the first that fits counts."""

    exact: Mapping[str, ShellTool]
    globs: tuple[tuple[re.Pattern[str], ShellTool], ...] = ()

    def extended(self, more: Mapping[str, str | Sequence[str]]) -> "ShellTools":
        """This table with further globs, which come first: `{"run_*": "command"}` or `{"run_*": ["command", "cmd"]}`."""
        exact, globs = dict(self.exact), []
        for name, given in more.items():
            tool = ShellTool((given,) if isinstance(given, str) else tuple(given))
            if any(mark in name for mark in "*?["):
                globs.append((re.compile(translate(name.lower())), tool))
            else:
                exact[name.lower()] = tool
        return ShellTools(exact, (*globs, *self.globs))

    def find(self, name: str) -> ShellTool | None:
        """The entry for a tool's name, or None."""
        lowered = name.lower()
        found = self.exact.get(lowered)
        if found is not None:
            return found
        return next((tool for pattern, tool in self.globs if pattern.match(lowered)), None)


_BASH = ShellTool(("command", "cmd", "script", "input"), "posix", ("restart",))
_GENERIC = ShellTool(("command", "cmd", "commands", "script", "input", "action", "action.command", "action.commands"))
_POWERSHELL = ShellTool(ARGUMENTS, "powershell")
_CMD = ShellTool(ARGUMENTS, "cmd")
_TABLE: Mapping[str, ShellTool] = {
    # Claude Code, Anthropic's bash tools, OpenCode, OpenHands, Amazon Q, Kiro, SWE-agent
    **dict.fromkeys(("bash", "execute_bash", "bash_code_execution", "run_bash", "bash_command", "zsh", "sh"), _BASH),
    # Codex, OpenAI's hosted shells, Gemini CLI, Qwen Code, Cline, Roo, Cursor, VS Code, Zed, Continue, Goose, ...
    **dict.fromkeys(
        (
            "shell", "local_shell", "shell_command", "exec_command", "unified_exec", "container.exec", "container_exec",
            "exec", "execute_command", "execute_cmd", "run_command", "run_cmd", "run_terminal_cmd",
            "run_terminal_command", "run_in_terminal", "run_shell_command", "run_shell", "shell_exec", "execute_shell",
            "execute_shell_command", "execute_terminal_command", "terminal", "terminal_execute", "developer__shell",
            "builtin_run_terminal_command", "start_process", "command_line", "launch-process", "console",
        ),
        _GENERIC,
    ),
    "run_command_line": ShellTool(("commandline", "CommandLine", "command_line", *ARGUMENTS)),
    "write_stdin": ShellTool(("chars", "input"), None, ("session_id",)),
    **dict.fromkeys(("powershell", "pwsh", "run_powershell", "execute_powershell", "powershell_command"), _POWERSHELL),
    **dict.fromkeys(("cmd", "cmd.exe", "command_prompt", "run_cmd_exe"), _CMD),
}  # fmt: skip
_TABLE = {
    **_TABLE,
    "run_command": ShellTool((*_GENERIC.arguments, "CommandLine")),
    "write_stdin": ShellTool(("chars", "input", "command")),
}
DEFAULT_TOOLS = ShellTools(
    _TABLE,
    tuple(
        (re.compile(translate(glob)), tool)
        for glob, tool in (
            ("mcp__*__bash", _BASH),
            ("*__execute_command", _GENERIC),
            ("*__run_command", _GENERIC),
            ("*__shell", _GENERIC),
            ("*powershell*", _POWERSHELL),
        )
    ),
)


def shell_of_tool(
    name: str, args: Mapping[str, Any], schema: Mapping[str, Any] | None = None, table: ShellTools = DEFAULT_TOOLS
) -> dict[str, Any] | None:
    """`tool.shell` of a call: plain JSON, or None where the tool carries no command.

    A tool of the table without its argument is an unresolved command line. A tool that is in no table counts where
    its JSON Schema requires a string `command` or `cmd`.
    """
    tool = table.find(name)
    if tool is None:
        tool = _by_schema(schema)
        if tool is None:
            return None
    for argument in tool.arguments:
        value = _lookup(args, argument)
        if value is not None and value != {}:
            shell = _shell(value, tool.dialect, argument)
            if shell is not None:
                return shell.document()
    if any(args.get(key) for key in tool.without):
        return None
    return Shell(tool.dialect or "posix", False).document()


def _lookup(args: Mapping[str, Any], argument: str) -> Any:
    value: Any = args
    for part in (argument,) if argument in args else argument.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shell(value: Any, dialect: Dialect | None, argument: str) -> Shell | None:
    if isinstance(value, str):
        return parse_command(value, dialect)
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        if argument.endswith("commands"):  # a list of command lines, not one argument vector
            return parse_command("\n".join(value), dialect)
        return parse_argv(value, dialect)
    return None


def _by_schema(schema: Mapping[str, Any] | None) -> ShellTool | None:
    if not schema:
        return None
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
        return None
    for argument in ("command", "cmd"):
        declared = properties.get(argument)
        if argument in required and isinstance(declared, Mapping) and declared.get("type") == "string":
            return ShellTool((argument,))
    return None
