"""Guards that give in, and conditions of guards that are silent about a value that is not there."""

from collections.abc import Iterator
from typing import Final

from engine.actions import ACTIONS, Kind
from engine.diagnostics import Diagnostic, warning
from engine.language.guards import is_null, path_of
from engine.language.nodes import Node

from .subject import Subject

_OPEN: Final = frozenset(
    {("tool", "args"), ("request", "params"), ("request", "headers"), ("session", "vars"), ("command", "args")}
)
_ORDERINGS: Final = frozenset({"lt", "lte", "gt", "gte"})
_GUARDS: Final = frozenset({Kind.PROTECT, Kind.VERDICT})
_TELLS: Final = frozenset({"has", "type", "not_null"})


def gives_in(subject: Subject) -> Iterator[Diagnostic]:
    """W463: a rule of high severity lets the call pass after a few attempts.

    `then: allow` makes `steer` a reminder: a model that insists gets its way. At severity high or critical that is
    hardly meant. (A limit with `beyond: allow` is refused there for the same reason.)

    Example:
        rules:
          - id: no-production
            phase: tool_call
            severity: critical
            match: {tool: deploy}
            actions:
              - steer: {message: "Deploy to staging first.", attempts: 2, then: allow}  # <--

    Use instead:
        rules:
          - id: no-production
            phase: tool_call
            severity: critical
            match: {tool: deploy}
            actions:
              - steer: {message: "Deploy to staging first.", attempts: 2, then: block}
    """
    for rule, name, written, path in subject.steps():
        gives_in = name == "steer" and isinstance(written, dict) and written.get("then") == "allow"
        if gives_in and rule.severity in ("high", "critical"):
            message = f"after its attempts a rule of severity {rule.severity} lets the call pass"
            yield subject.warn(463, message, (*path, "then"), "write `then: block`, or a lower severity")


def silent_about_absence(subject: Subject) -> Iterator[Diagnostic]:
    """W306: a guard orders a value that may not be there.

    Arguments of tools, parameters, headers and remembered values are open: whoever sends them may leave them out, or send
    a text. Ordering what is no number gives null, the condition does not hold, and the guard does nothing. Say what a
    missing value means with `default()`.

    Example:
        rules:
          - id: short-answers
            phase: request
            when: request.params.max_tokens > `4000`  # <--
            actions: [block: "Ask for at most 4000 tokens."]

    Use instead:
        rules:
          - id: short-answers
            phase: request
            when: default(request.params.max_tokens, `100000`) > `4000`
            actions: [block: "Ask for at most 4000 tokens."]
    """
    for index, rule in enumerate(subject.spec.rules):
        if not any(ACTIONS[name].kind in _GUARDS for step in rule.actions for name in step if name in ACTIONS):
            continue
        uses = [use for use in subject.names.uses if use.path[:3] == ("rules", index, "when")]
        known = {path for use in uses for path in _looked_at(use.node)}
        for use in uses:
            for node in use.node.walk():
                for child in node.children if node.kind == "comparator" and node.value in _ORDERINGS else ():
                    path = path_of(child) or ()
                    if len(path) > 2 and path[:2] in _OPEN and path not in known:
                        where = subject.names.inside(use.path, child.start + use.offset, child.end + use.offset)
                        name = ".".join(path)
                        message = f"{name} may be missing, and the guard then does nothing"
                        yield warning(306, message, where, f"say what that means: default({name}, `0`)")


def _looked_at(node: Node) -> Iterator[tuple[str, ...]]:
    """The fields of which a condition asks whether they are there."""
    for each in node.walk():
        if each.kind == "comparator" and any(map(is_null, each.children)):
            yield from (path for child in each.children if (path := path_of(child)))
        elif each.kind == "function_expression" and each.value in _TELLS:
            for child in each.children:
                path = path_of(child)
                if path:
                    yield path
                    if each.value == "has" and each.children[-1].kind == "literal":
                        yield (*path, str(each.children[-1].value))
