"""The example on the page of every action and function is one that lint has nothing to say of, where it belongs."""

import re
from datetime import date

import pytest

from engine.actions import ACTIONS
from engine.language.functions import FUNCTIONS
from engine.model.phases import Phase
from engine.policy.compile import PolicySource
from engine.policy.lint import examine
from engine.policy.sources import PolicySet

TODAY = date(2026, 11, 22)
POLICY = """\
version: 1
policy: example
sets: {shells: [bash], reviewers: [alice]}
patterns: {secrets: {key: 'sk-[a-z]{20}'}, codenames: {blue: 'bluefalcon'}, aliases: {fast: 'fast'}}
definitions: {pushes: "tool.shell.commands[?program == 'git']"}
"""
OF_THE_SURROUNDINGS = {"W417", "N425", "N426"}
"""The names above that one example does not use, and the twin that an example stands without."""


def said(phase: Phase, body: str) -> list[str]:
    window = "    window: 500\n" if phase is Phase.TEXT and "when:" in body else ""
    delay = "    delay: all\n" if phase is Phase.RESPONSE and "actions:" in body else ""
    text = f"{POLICY}rules:\n  - id: r\n    phase: {phase.value}\n{window}{delay}{body}"
    found = examine(PolicySet(sources=(PolicySource("p.yaml", text),)), TODAY).diagnostics
    return [f"{each.code} {each.message}" for each in found if each.code not in OF_THE_SURROUNDINGS]


def least_said(phases: tuple[Phase, ...], *bodies: str) -> list[str]:
    """What is said of the body where least is said of it."""
    return min((said(phase, body) for phase in phases for body in bodies), key=len)


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_the_example_of_an_action_is_right_in_a_phase_of_it(name: str) -> None:
    action = ACTIONS[name]
    written = re.search(rf"(`+)({name}: .+?)\1", action.doc)
    assert written is not None, f"{name} shows no example"
    assert least_said(tuple(action.phases), f"    actions:\n      - {written[2]}\n") == []


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_example_of_a_function_is_right_as_a_condition_or_in_a_template(name: str) -> None:
    _, _, example = FUNCTIONS[name].page.partition("Example: ")
    written = re.match(r"(`+)(.+?)\1(?!`)", example)
    assert written is not None
    quoted = written[2].strip().replace("'", "''")
    condition = f"    when: '{quoted}'\n    actions: [log: x]\n"
    template = f"    actions: [log: '{{{{ {quoted} }}}}']\n"
    assert least_said(tuple(Phase), condition, template) == []
