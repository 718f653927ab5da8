"""The guides to writing policies and to adding features: every policy in them loads without findings, and its tests pass."""

import re
from datetime import date
from pathlib import Path

import pytest

from engine.policy.compile import PolicySource
from engine.policy.lint import examine
from engine.policy.sources import PolicySet
from engine.policy.trial import run_tests

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    block
    for guide in ("writing-policies", "adding-features")
    for block in re.findall(
        r"^```yaml\n(.*?)^```$", (DOCS / f"{guide}.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if block.startswith("version:")
]
TODAY = date(2026, 11, 22)


def name_of(block: str) -> str:
    return block.split("policy: ", 1)[1].split()[0]


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_policy_of_the_guide_has_no_findings(block: str) -> None:
    found = examine(PolicySet(sources=(PolicySource("guide.yaml", block),)), TODAY, strict=True)
    assert [f"{each.where}: {each.message}" for each in found.diagnostics] == []


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_the_tests_of_a_policy_of_the_guide_pass(block: str) -> None:
    (policy,) = examine(PolicySet(sources=(PolicySource("guide.yaml", block),)), TODAY).compiled.checked
    results = run_tests(policy)
    assert len(results) >= 2
    assert [f"{each.name}: {each.error or each.mismatches}" for each in results if not each.passed] == []


def test_the_guide_shows_each_idea_by_a_policy() -> None:
    assert len(BLOCKS) >= 7
    assert len({name_of(block) for block in BLOCKS}) == len(BLOCKS)
