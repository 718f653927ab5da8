"""A shipped pack, compiled by itself, and events to try it on."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.model.decision import Decision
from engine.policy.compile import PolicySource, compile_policies
from engine.policy.given import complete_event
from engine.policy.ruleset import RuleSet
from engine.policy.trial import judge

POLICIES = Path(__file__).parents[2] / "policies"
DATA = Path(__file__).parents[1] / "data"
PACKS = tuple(sorted(path.stem for path in POLICIES.glob("*.yaml")))


def source(name: str, overrides: Mapping[str, Any] | None = None) -> PolicySource:
    """The text of a pack, with what a configuration would change of it."""
    path = POLICIES / f"{name}.yaml"
    return PolicySource(path.name, path.read_text("utf-8"), overrides=overrides or {})


@functools.cache
def pack(name: str) -> RuleSet:
    """The rules of a pack as it ships."""
    return compiled(source(name))


def compiled(written: PolicySource) -> RuleSet:
    result = compile_policies([written])
    assert result.ruleset is not None, result.diagnostics
    return result.ruleset


def decide(rules: RuleSet, **given: Any) -> Decision:
    """What the rules say of a partial event."""
    return judge(rules, complete_event(given))


def decide_command(rules: RuleSet, command: str, tool: str = "run_terminal_command") -> Decision:
    """What the rules say of a call of a shell tool; the default tool leaves the shell's kind to be recognised."""
    return decide(rules, phase="tool_call", tool={"name": tool, "args": {"command": command}})
