"""What follows from a tool call's arguments: the command line that it carries and the paths that it names. Pure."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.language.shell import DEFAULT_TOOLS, ShellTools, shell_of_tool
from engine.model.events import complete
from engine.model.phases import Phase

EVERYTHING: Final = frozenset({"paths", "shell"})
"""The fields of `tool` that cost something to build."""

_PATH_WORDS: Final = frozenset(
    {"path", "file", "filename", "filepath", "dir", "directory", "folder", "cwd", "workdir"}
    | {"paths", "files", "filenames", "filepaths", "dirs", "directories", "folders"}
)
_PATH_NAMES: Final = frozenset({"source", "destination", "src", "dst"})
"""Names that mean a path in tools that move and copy; elsewhere they may hold text, which has line breaks."""

_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_PATCHED: Final = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", re.MULTILINE)
_LONGEST: Final = 4096
_DEEPEST: Final = 6


@functools.lru_cache(4096)
def names_a_path(argument: str) -> bool:
    """Whether an argument's name says that it holds a path: `file_path`, `notebookPath`, `targetFile`, `cwd`."""
    if argument.lower() in _PATH_NAMES:
        return True
    words = _WORD.findall(argument)
    return bool(words) and words[-1].lower() in _PATH_WORDS


def paths_of(args: Mapping[str, Any]) -> list[str]:
    """Every string argument, at any depth, that names a file or folder, once each; also the files of a patch text."""
    return list(dict.fromkeys(_paths(args, False, 0)))


def _paths(value: Any, named: bool, depth: int) -> Iterator[str]:
    match value:
        case str():
            if named and value and len(value) <= _LONGEST and "\n" not in value:
                yield value
            elif "*** Begin Patch" in value:
                yield from _PATCHED.findall(value)
        case dict() if depth < _DEEPEST:
            for name, each in value.items():
                yield from _paths(each, names_a_path(name), depth + 1)
        case list() if depth < _DEEPEST:
            for each in value:
                yield from _paths(each, named, depth + 1)
        case _:
            return


def tool_section(
    id: str,
    name: str,
    args: Mapping[str, Any],
    text: str,
    offered: bool,
    schema: Mapping[str, Any] | None = None,
    shell_tools: ShellTools = DEFAULT_TOOLS,
    want: frozenset[str] = EVERYTHING,
) -> dict[str, Any]:
    """The event's section `tool` of one complete call. `schema` is the tool's own, where the request offers it.

    Of `paths` and `shell` only what stands in `want` is worked out; what nobody reads stays at its default.
    """
    return {
        "id": id,
        "name": name,
        "args": args,
        "text": text,
        "paths": paths_of(args) if "paths" in want else [],
        "offered": offered,
        "shell": shell_of_tool(name, args, schema, shell_tools) if "shell" in want else None,
    }


_PLACE: Final = re.compile(r"^(?P<said>.*?)(?: - at `\$\.?(?P<path>.*)`)?$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_EXPECTED: Final = re.compile(r"Expected `(.*)`, got `(.*)`")
_TYPES: Final[Mapping[str, str]] = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def misfit_in_words(wrong: Exception) -> str:
    """What is wrong with a partial event, in the words of those who write policies."""
    found = _PLACE.match(str(wrong))
    said, path = (found["said"], found["path"] or "") if found else (str(wrong), "")
    place = f"given.{path}" if path else "given"
    if unknown := _UNKNOWN.fullmatch(said):
        return f"{place} has no field '{unknown[1]}'"
    if kinds := _EXPECTED.fullmatch(said):
        wanted = " or ".join(_TYPES.get(each.strip(), each.strip()) for each in kinds[1].split("|"))
        return f"{place}: expected {wanted}, found {_TYPES.get(kinds[2], kinds[2])}"
    return f"{place}: {said[:1].lower()}{said[1:]}"


def complete_event(given: Mapping[str, Any], shell_tools: ShellTools = DEFAULT_TOOLS) -> dict[str, Any]:
    """A whole event from a partial one: the schema's defaults, and for a tool call what its arguments imply.

    Raises `msgspec.ValidationError` with the path of a wrong or unknown field.
    """
    event = complete(given)
    if event["phase"] == Phase.TOOL_CALL:
        tool, written = event["tool"], given.get("tool", {})
        want = EVERYTHING - written.keys()
        full = tool_section(tool["id"], tool["name"], tool["args"], tool["text"], True, None, shell_tools, want)
        event["tool"] = {**tool, **{name: full[name] for name in want}}
    return event
