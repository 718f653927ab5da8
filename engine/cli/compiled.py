"""One rule set of all the policies that a command line names, for verbs that decide events."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.diagnostics import ConfigurationError
from engine.policy.compile import CheckedPolicy, compile_policies
from engine.policy.ruleset import RuleSet
from engine.policy.sources import PolicySet

from .output import named_sets


class CompiledSet(msgspec.Struct, frozen=True):
    """Files, the rules that they are together, and what they were checked to be."""

    policies: PolicySet
    rules: RuleSet
    checked: tuple[CheckedPolicy, ...]


def compiled_set(paths: Sequence[Path], config: Path | None) -> CompiledSet:
    """One set of all that is named. Raises ConfigurationError with what stops it from loading, UsageError."""
    sets = named_sets(paths, config)
    joined = msgspec.structs.replace(
        sets[0],
        sources=tuple({source.file: source for each in sets for source in each.sources}.values()),
        diagnostics=tuple(one for each in sets for one in each.diagnostics),
    )
    compiled = compile_policies(joined.sources, joined.catalogue)
    wrong = [each for each in (*joined.diagnostics, *compiled.diagnostics) if each.stops_loading]
    if wrong or compiled.ruleset is None:
        raise ConfigurationError(wrong)
    return CompiledSet(joined, compiled.ruleset, compiled.checked)
