"""A command line -> commands with program, argv and flags, so that rules match arguments and not text."""

from engine.language.shell.commands import Assignment, Command, Function, Redirect, Shell
from engine.language.shell.parse import dialect_of, parse_argv, parse_command
from engine.language.shell.tools import DEFAULT_TOOLS, ShellTool, ShellTools, shell_of_tool

__all__ = [
    "DEFAULT_TOOLS",
    "Assignment",
    "Command",
    "Function",
    "Redirect",
    "Shell",
    "ShellTool",
    "ShellTools",
    "dialect_of",
    "parse_argv",
    "parse_command",
    "shell_of_tool",
]
