"""Commands without a rule, and rules without a command."""

from collections.abc import Iterator

from engine.diagnostics import Diagnostic, suggestion, warning
from engine.language.globs import any_glob_matcher, is_glob
from engine.model.phases import Phase
from engine.policy.names import Path, listed
from engine.policy.spec import CommandsSpec

from .subject import Subject


def unanswered_commands(subject: Subject) -> Iterator[Diagnostic]:
    """W443: a command that the file declares, and that none of its rules of phase `command` waits for.

    Whoever writes it is told that it does nothing. Write a rule for it, or remove it.

    Example:
        commands:
          define:
            hello: {description: Say hello.}  # <--
        rules: []

    Use instead:
        commands:
          define:
            hello: {description: Say hello.}
        rules:
          - {id: hello, phase: command, match: {command: hello}, actions: [respond: "Hello."]}
    """
    declared = subject.spec.commands
    if declared is None:
        return
    rules = [rule.match for rule in subject.spec.rules if rule.phase is Phase.COMMAND]
    if any(match is None or match.command is None for match in rules):
        return  # a rule for every command
    wanted = [name for match in rules if match is not None for name in subject.listed(match.command)]
    answered = any_glob_matcher(wanted)
    for name in declared.define:
        if not answered(name):
            where = subject.document.key(("commands", "define", name))
            help = f"write a rule: {{phase: command, match: {{command: {name}}}, ...}}"
            yield warning(443, f"no rule answers the command '{name}'", where, help)


def undeclared_commands(subject: Subject) -> Iterator[Diagnostic]:
    """W442: a rule of a file that declares commands waits for one that it does not declare.

    The rule can never match: most often the name is misspelled, or it is an alias. Rules see the command's own name.

    Example:
        commands:
          define:
            hello: {description: Say hello.}
        rules:
          - {id: hello, phase: command, match: {command: [hello, helo]}, actions: [respond: "Hello."]}  # <--

    Use instead:
        commands:
          define:
            hello: {description: Say hello.}
        rules:
          - {id: hello, phase: command, match: {command: hello}, actions: [respond: "Hello."]}
    """
    declared = subject.spec.commands
    if declared is None:
        return
    aliases = _aliases(declared)
    for index, rule in enumerate(subject.spec.rules):
        if rule.phase is not Phase.COMMAND or rule.match is None:
            continue
        for name in subject.listed(rule.match.command):
            if is_glob(name) or name.lower() in declared.define:
                continue
            path: Path = ("rules", index, "match", "command")
            own = aliases.get(name.lower())
            help = f"it is an alias of '{own}': write that" if own else suggestion(name, declared.define)
            help = help or f"declared: {listed(list(declared.define))}"
            yield subject.warn(442, f"the file declares no command '{name}'", path, help)


def _aliases(declared: CommandsSpec) -> dict[str, str]:
    return {alias: name for name, each in declared.define.items() for alias in each.aliases}
