"""Rules from a few lines of YAML, and the decisions that they give: what the tests of this room begin with."""

from textwrap import dedent, indent
from typing import Any

from engine.model.decision import NO_FACTS, Decision, Facts
from engine.model.phases import Phase
from engine.policy.compile import Compiled, PolicySource, compile_policies
from engine.policy.context import UNKNOWN, UNLIMITED, Catalogue, Grant
from engine.policy.given import complete_event
from engine.policy.ruleset import RuleSet, Stage


def policy(rules: str, head: str = "", name: str = "p") -> str:
    """A policy file around a list of rules."""
    return f"version: 1\npolicy: {name}\n{dedent(head)}\nrules:\n{indent(dedent(rules).strip(), '  ')}\n"


def compiled(*texts: str, catalogue: Catalogue = UNKNOWN, grant: Grant = UNLIMITED) -> Compiled:
    sources = [PolicySource(f"{number}.yaml", text, grant) for number, text in enumerate(texts)]
    return compile_policies(sources, catalogue)


def ruleset(*texts: str, catalogue: Catalogue = UNKNOWN, grant: Grant = UNLIMITED) -> RuleSet:
    """The rules of files that must be right."""
    result = compiled(*texts, catalogue=catalogue, grant=grant)
    assert result.ruleset is not None, [f"{each.where} {each.code} {each.message}" for each in result.diagnostics]
    return result.ruleset


def rules(text: str, head: str = "") -> RuleSet:
    """Rules of one policy `p`."""
    return ruleset(policy(text, head))


def findings(*texts: str, catalogue: Catalogue = UNKNOWN, grant: Grant = UNLIMITED) -> list[tuple[str, int, int, str]]:
    """Code, line, column and message of all that is wrong."""
    found = compiled(*texts, catalogue=catalogue, grant=grant).diagnostics
    return [(each.code, each.where.line, each.where.column, each.message) for each in found]


def decide(
    rules: RuleSet, given: dict[str, Any], facts: Facts = NO_FACTS, *, stage: Stage = Stage.MAIN, trace: bool = False
) -> Decision:
    """The decision on a partial event."""
    event = complete_event(given)
    decision = rules.decide(Phase(event["phase"]), event, facts, stage=stage, trace=trace)
    assert isinstance(decision, Decision)
    return decision


def outcomes(decision: Decision) -> dict[str, str]:
    """The outcome of each rule, by its short name."""
    return {each.rule.partition("/")[2]: each.outcome.value for each in decision.outcomes}
