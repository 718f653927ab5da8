"""`policy actions`, `policy functions`, `policy packs`: the reference in the terminal."""

import json

import pytest

from engine.actions import ACTIONS
from engine.language.functions import FUNCTIONS
from engine.policy.sources import pack_names

from .conftest import Run


def test_actions_are_listed(run: Run) -> None:
    shown = run("actions")
    assert shown.code == 0
    assert [name for name in ACTIONS if f"\n{name} " not in shown.out] == []


def test_functions_are_listed(run: Run) -> None:
    shown = run("functions")
    assert shown.code == 0
    assert [name for name in FUNCTIONS if f"\n{name}(" not in shown.out] == []


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_shows_its_page(name: str, run: Run) -> None:
    shown = run("actions", name)
    assert shown.code == 0
    assert "Default of on_error" in " ".join(shown.out.split())
    assert max(map(len, shown.out.splitlines())) <= 80


def test_a_function_shows_its_page(run: Run) -> None:
    shown = run("functions", "split")
    assert shown.code == 0
    assert "split(text, separator, limit?)" in shown.out


@pytest.mark.parametrize(
    ("verb", "name", "meant"), [("actions", "redct", "redact"), ("functions", "matchs", "matches")]
)
def test_a_misspelled_name_is_wrong_use_and_the_nearest_is_named(run: Run, verb: str, name: str, meant: str) -> None:
    shown = run(verb, name)
    assert (shown.code, shown.out) == (2, "")
    assert f"did you mean '{meant}'?" in shown.err


def test_packs_are_listed(run: Run) -> None:
    shown = run("packs", "--format", "json")
    assert shown.code == 0
    packs = json.loads(shown.out)
    assert [each["name"] for each in packs] == pack_names()
    assert all(each["rules"] > 0 for each in packs)
    text = run("packs")
    assert text.code == 0
    assert packs[0]["name"] in text.out
