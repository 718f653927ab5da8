"""Sets are built beside traffic: in slices, of what changed, and freed without the garbage collector."""

import asyncio
import gc
from pathlib import Path

import pytest

from engine.policy.assemble import SLICE, Pace, Part, by_mode, enforced, link_slowly, long_lived, unite
from engine.policy.compile import CheckedPolicy, PolicySource, check_file, link_checked
from engine.policy.context import UNKNOWN
from engine.resources import packs_dir

from .reloading import policy

pytestmark = pytest.mark.anyio

RICH = """version: 1
policy: rich
sets: {shells: [bash, "*shell*"]}
patterns: {names: {falcon: '(?i)falcon', wide: {re2: 'a+', max_width: 20}}}
definitions: {pushes: "tool.shell.commands[?program == 'git' && subcommand == 'push']"}
rules:
  - id: push
    phase: tool_call
    match: {tool: {$set: shells}}
    when: {any: ["any(def('pushes')[?contains(flags, 'force')])", "matches_any(tool.text, 'names')"]}
    actions: [{steer: {message: "not {{ tool.name }}", attempts: 2}}]
  - id: mask
    phase: request
    limit: {max: 1, every: 1h}
    actions: [{log: {message: "{{ caller.id }}"}}]
exceptions:
  - {rule: rich/push, reason: a test, expires: 2099-01-01, when: "contains(caller.roles, 'admin')"}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def checked(text: str, file: str = "a.yaml") -> CheckedPolicy:
    found, _, diagnostics = check_file(PolicySource(file, text), UNKNOWN)
    assert found is not None, diagnostics
    return found


def part(text: str) -> Part:
    found = checked(text)
    return Part(found.source, found.spec.policy, link_checked(found, UNKNOWN))


async def test_a_file_that_is_linked_slowly_has_the_rules_of_one_that_is_linked_at_once() -> None:
    found = checked(RICH)
    slow = await link_slowly(found, UNKNOWN, Pace())
    quick = link_checked(found, UNKNOWN)
    assert (
        [rule.name for rule in slow.linked.rules] == [rule.name for rule in quick.rules] == ["rich/push", "rich/mask"]
    )
    assert [rule.reads for rule in slow.linked.rules] == [rule.reads for rule in quick.rules]
    assert [len(rule.exemptions) for rule in slow.linked.rules] == [1, 0]


async def test_others_have_their_turn_while_rules_are_built() -> None:
    rules = "".join(
        RICH.partition("rules:\n")[2].partition("exceptions")[0].replace("id: ", f"id: r{n}-") for n in range(50)
    )
    found = checked(RICH.partition("rules:\n")[0] + "rules:\n" + rules)
    turns, done = 0, asyncio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    pace = Pace()
    await link_slowly(found, UNKNOWN, pace)
    done.set()
    await beside
    assert turns > 3
    assert pace.longest >= SLICE


def test_a_set_that_nobody_holds_is_freed_at_once() -> None:
    """Since sets are kept from the garbage collector, a cycle among rules would be a leak with every reload."""
    packs = [path for path in packs_dir().iterdir() if isinstance(path, Path) and path.suffix == ".yaml"]
    found = [checked(RICH), *(checked(path.read_text(), str(path)) for path in packs)]
    for each in found:
        link_checked(each, UNKNOWN)  # fills what is remembered for good
    gc.collect()
    gc.disable()
    try:
        parts = {each.source.digest: Part(each.source, each.spec.policy, link_checked(each, UNKNOWN)) for each in found}
        rules = unite(parts, "revision")
        assert "rich/push" in rules.by_name
        del parts, rules
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_what_lives_long_is_not_walked_by_collections() -> None:
    with long_lived():
        assert not gc.isenabled()
        built = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert not any(each is built[0] for each in gc.get_objects())
    gc.unfreeze()


def test_rules_are_counted_by_mode_and_the_enforced_ones_named() -> None:
    quiet = policy("quiet").replace("rules:", "mode: shadow\nrules:")
    nobody = policy("nobody").replace("rules:", "rollout: 0\nrules:")
    parts = {str(number): part(text) for number, text in enumerate([policy("loud"), quiet, nobody])}
    assert by_mode(parts) == {"enforce": 2, "shadow": 1, "off": 0}
    assert list(enforced(unite(parts, ""))) == ["loud/stop"]
