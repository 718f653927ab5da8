"""Findings for machines: workflow commands of GitHub, SARIF for code scanning, JUnit for everything that shows tests."""

import importlib.metadata
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import msgspec

from engine.diagnostics import Diagnostic, Severity
from engine.policy.codes import CODES
from engine.rendering import visible

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_COMMANDS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(each: Diagnostic) -> str:
    """A workflow command of GitHub Actions, which shows the finding beside the line.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    where = each.where
    parts = {"file": where.file}
    if where.line:
        parts |= {"line": str(where.line), "col": str(where.column)}
        parts |= {"endLine": str(where.end_line), "endColumn": str(where.end_column)}
    parts["title"] = each.code
    properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in parts.items())
    return f"::{_COMMANDS[each.severity]} {properties}::{_escaped(_sentence(each))}"


def sarif(found: Sequence[Diagnostic]) -> bytes:
    """A log of SARIF 2.1.0 with one run. Columns are counted in code points, and it says so.

    https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html
    """
    codes = list(dict.fromkeys(each.code for each in found))
    driver = {
        "name": "lexgate",
        "version": importlib.metadata.version("lexgate"),
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, codes.index(each.code)) for each in found],
    }
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(log), indent=2)


def junit(found: Sequence[Diagnostic], files: Mapping[str, int]) -> str:
    """A JUnit report: a suite for each file, in it a failure for each finding; a file without one is a test that passed."""
    root = ET.Element("testsuites", name="policy lint")
    total = failed = 0
    for file in dict.fromkeys([*files, *(each.where.file for each in found)]):
        of_file = [each for each in found if each.where.file == file]
        count = max(1, len(of_file))
        counts: dict[str, str] = {
            "tests": str(count),
            "failures": str(len(of_file)),
            "errors": "0",
            "skipped": "0",
            "time": "0",
        }
        suite = ET.SubElement(root, "testsuite", {"name": visible(file), **counts})
        for each in of_file:
            name = visible(f"{each.code} at {each.where.line}:{each.where.column}")
            case = ET.SubElement(suite, "testcase", classname=visible(file), name=name, time="0")
            failure = ET.SubElement(case, "failure", message=visible(each.message), type=each.code)
            failure.text = visible(f"{each.where}: {each.code} {_sentence(each)}")
        if not of_file:
            ET.SubElement(suite, "testcase", classname=visible(file), name="no findings", time="0")
        total, failed = total + count, failed + len(of_file)
    root.attrib |= {"tests": str(total), "failures": str(failed), "errors": "0", "time": "0"}
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _rule(code: str) -> dict[str, Any]:
    level = {"E": "error", "W": "warning", "N": "note"}[code[0]]
    return {
        "id": code,
        "shortDescription": {"text": CODES[int(code[1:])]},
        "defaultConfiguration": {"level": level},
    }


def _result(each: Diagnostic, index: int) -> dict[str, Any]:
    where = each.where
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(where.file)}}
    if where.line:
        place["region"] = {
            "startLine": where.line,
            "startColumn": where.column,
            "endLine": max(where.line, where.end_line),
            "endColumn": max(1, where.end_column),
        }
    found: dict[str, Any] = {
        "ruleId": each.code,
        "ruleIndex": index,
        "level": each.severity.value,
        "message": {"text": _sentence(each)},
        "locations": [{"physicalLocation": place}],
    }
    if each.fix is not None and "region" in place:
        replaced = {"deletedRegion": place["region"], "insertedContent": {"text": each.fix.text}}
        change = {"artifactLocation": place["artifactLocation"], "replacements": [replaced]}
        found["fixes"] = [{"description": {"text": each.help or each.message}, "artifactChanges": [change]}]
    return found


def _uri(file: str) -> str:
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else _quoted(path.as_posix())


def _quoted(path: str) -> str:
    return PurePath("/", path).as_uri().removeprefix("file:///")


def _sentence(each: Diagnostic) -> str:
    return f"{each.message}. {each.help}" if each.help else each.message


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
