"""`policy lint` for machines, its fixes, its baseline and its memory."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from .conftest import Run

WRONG = """\
version: "1"
policy: limits
sets: {names: [a]}
rules:
  - id: only-mini
    phase: requst
    when: 'request.modle != "gpt-4o-mini" and request.input_tokens > 5'
    actions: [{blok: "Only the small model."}]
"""
MENDED = """\
version: 1
policy: limits
sets: {names: [a]}
rules:
  - id: only-mini
    phase: request
    when: 'request.model != ''gpt-4o-mini'' && request.input_tokens > `5`'
    actions: [{block: "Only the small model."}]
"""

_REGION: Final = {
    "type": "object",
    "required": ["startLine"],
    "properties": {
        each: {"type": "integer", "minimum": 1} for each in ("startLine", "startColumn", "endLine", "endColumn")
    },
    "additionalProperties": False,
}
_TEXT: Final = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_LEVEL: Final = {"enum": ["none", "note", "warning", "error"]}
_ARTIFACT: Final = {
    "type": "object",
    "required": ["uri"],
    "properties": {"uri": {"type": "string", "format": "uri-reference"}},
    "additionalProperties": False,
}
SARIF: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "additionalProperties": False,
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": _TEXT,
                                                "defaultConfiguration": {
                                                    "type": "object",
                                                    "properties": {"level": _LEVEL},
                                                    "additionalProperties": False,
                                                },
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": _LEVEL,
                                "message": _TEXT,
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "additionalProperties": False,
                                                "properties": {"artifactLocation": _ARTIFACT, "region": _REGION},
                                            }
                                        },
                                    },
                                },
                                "fixes": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["artifactChanges"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "description": _TEXT,
                                            "artifactChanges": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": {
                                                    "type": "object",
                                                    "required": ["artifactLocation", "replacements"],
                                                    "additionalProperties": False,
                                                    "properties": {
                                                        "artifactLocation": _ARTIFACT,
                                                        "replacements": {
                                                            "type": "array",
                                                            "minItems": 1,
                                                            "items": {
                                                                "type": "object",
                                                                "required": ["deletedRegion"],
                                                                "additionalProperties": False,
                                                                "properties": {
                                                                    "deletedRegion": _REGION,
                                                                    "insertedContent": _TEXT,
                                                                },
                                                            },
                                                        },
                                                    },
                                                },
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The parts of SARIF 2.1.0 that are written, with the requirements that its specification puts on them (section 3)."""


@pytest.fixture
def wrong(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with five mistakes, alone in its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    (folder / "shell.yaml").unlink()
    file = folder / "limits.yaml"
    file.write_text(WRONG)
    return file


def test_sarif_says_every_finding_with_its_place_and_its_fix(run: Run, wrong: Path) -> None:
    shown = run("lint", wrong.name, "--format", "sarif")
    assert shown.code == 1
    log = json.loads(shown.out)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (told,) = log["runs"]
    assert [each["ruleId"] for each in told["results"]] == ["E135", "E135", "E411"]
    assert [told["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] for each in told["results"]] == [
        "E135",
        "E135",
        "E411",
    ]
    second = told["results"][1]
    assert second["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 6, "startColumn": 12, "endLine": 6, "endColumn": 18,
    }  # fmt: skip
    assert second["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"] == {"text": "request"}


def test_junit_has_a_suite_for_each_file_and_counts_that_are_true(run: Run, wrong: Path, folder: Path) -> None:
    (folder / "right.yaml").write_text("version: 1\npolicy: right\nrules: []\n")
    shown = run("lint", ".", "--format", "junit")
    assert shown.code == 1
    root = ET.fromstring(shown.out)
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "4", "3")
    suites = {suite.get("name"): suite for suite in root}
    assert suites.keys() == {wrong.name, "right.yaml"}
    for suite in suites.values():
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert all(case.get("name") and case.get("classname") for case in cases)
        assert all(each.get("message") and each.get("type") for each in suite.iter("failure"))


def test_fixes_are_shown_before_they_are_made(run: Run, wrong: Path) -> None:
    shown = run("lint", wrong.name, "--diff")
    assert shown.code == 1
    assert "\n-    phase: requst\n" in shown.out
    assert "\n+    phase: request\n" in shown.out
    assert wrong.read_text() == WRONG
    made = run("lint", wrong.name, "--fix")
    assert wrong.read_text() == MENDED
    assert "W417" in made.out
    assert "mended limits.yaml" in made.err
    assert run("lint", wrong.name, "--diff").code == 0


def test_a_baseline_leaves_out_what_was_there_and_nothing_new(run: Run, wrong: Path) -> None:
    wrong.write_text(MENDED)
    assert run("lint", wrong.name).code == 1
    assert run("lint", wrong.name, "--baseline", "known.json", "--write-baseline").code == 0
    assert run("lint", wrong.name, "--baseline", "known.json").code == 0
    wrong.write_text(MENDED.replace("names: [a]", "names: [a], more: [b]"))
    shown = run("lint", wrong.name, "--baseline", "known.json")
    assert shown.code == 1
    assert "'more'" in shown.out
    assert "'names'" not in shown.out


def test_a_baseline_that_is_none_is_wrong_use(run: Run, wrong: Path, folder: Path) -> None:
    (folder / "known.json").write_text("[]")
    assert run("lint", wrong.name, "--baseline", "known.json").code == 2
    assert run("lint", wrong.name, "--baseline", "nowhere.json").code == 2
    assert run("lint", wrong.name, "--write-baseline").code == 2


def test_what_is_remembered_says_the_same(run: Run, wrong: Path) -> None:
    first = run("lint", wrong.name)
    assert run("lint", wrong.name) == first == run("lint", wrong.name, "--no-cache")


@pytest.mark.parametrize("columns", [80, 140])
def test_findings_fit_the_terminal(run: Run, wrong: Path, columns: int) -> None:
    wrong.write_text(MENDED.replace("actions", "x" * 150 + ": 1\n    actions"))
    excerpts = [
        line for line in run("lint", wrong.name, columns=columns).out.splitlines() if " | " in line and "^" not in line
    ]
    assert excerpts
    assert max(map(len, excerpts)) <= columns


def test_a_page_is_printed(run: Run, folder: Path) -> None:
    shown = run("lint", "--explain", "E214")
    assert shown.code == 0
    assert shown.out.startswith("# E214: double quotes name a field")
    assert run("lint", "--explain", "E999").code == 2
