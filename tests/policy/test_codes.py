"""Every number of a diagnostic that the code can give stands in the table, and the table holds no other."""

import ast
from pathlib import Path

import engine
from engine.documents.load import CHARACTER, SYNTAX
from engine.policy.codes import CODES, FAMILIES
from engine.settings.judge import NO_FILE, UNKNOWN

ROOT = Path(engine.__file__).parent
GIVERS = {"error", "warning", "note", "diagnose", "wrong", "unknown", "warn", "_wrong", "_report", "Finding"}


def _given() -> set[int]:
    """The numbers that stand as first argument of a call that makes a finding, and in tables of numbers."""
    found: set[int] = set()
    for file in ROOT.rglob("*.py"):
        if file.name == "codes.py" or file.name == "findings.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value in CODES:
                found.add(node.value)
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                first = node.args[0]
                if name in GIVERS and isinstance(first, ast.Constant) and type(first.value) is int and first.value > 99:
                    found.add(first.value)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                letter, number = node.value[:1], node.value[1:]
                if letter in "EWN" and len(number) == 3 and number.isdigit():
                    found.add(int(number))
    found |= set(range(SYNTAX, CHARACTER + 1))
    found |= set(range(UNKNOWN, NO_FILE + 1))
    return found


def test_every_code_has_its_line_and_every_line_its_code() -> None:
    given = _given()
    assert sorted(given - CODES.keys()) == []
    assert sorted(CODES.keys() - given) == []


def test_every_code_belongs_to_a_family() -> None:
    assert {number // 100 for number in CODES} <= FAMILIES.keys()
