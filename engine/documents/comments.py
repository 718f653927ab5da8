"""Comments that speak to the linter: `# policy-lint: ignore=W301 reason="…"`."""

import re

import msgspec

_SUPPRESSION = re.compile(
    r"""(?:^|(?<=[ \t]))\#[ \t]*policy-lint:[ \t]*ignore=(?P<codes>[A-Z]\d+(?:,[A-Z]\d+)*)
        (?:[ \t]+reason="(?P<reason>[^"\r\n]*)")?""",
    re.VERBOSE | re.MULTILINE,
)


class Suppression(msgspec.Struct, frozen=True):
    """One comment that silences `codes` on its line, or, where it stands alone, on the next line; lines count from 1."""

    line: int
    codes: tuple[str, ...]
    reason: str
    alone: bool
    column: int = 0
    end_column: int = 0


def suppressions(source: str) -> list[Suppression]:
    """Return every suppression of a file in order; one without a reason has an empty `reason`."""
    found = []
    for match in _SUPPRESSION.finditer(source):
        line_start = max(source.rfind("\n", 0, match.start()), source.rfind("\r", 0, match.start())) + 1
        before = source[:line_start]
        line = 1 + before.count("\n") + before.replace("\r\n", "\n").count("\r")
        alone = not source[line_start : match.start()].strip()
        columns = match.start() - line_start + 1, match.end() - line_start + 1
        found.append(Suppression(line, tuple(match["codes"].split(",")), match["reason"] or "", alone, *columns))
    return found
