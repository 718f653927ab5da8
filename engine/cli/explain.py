"""`policy explain`: what the rules make of one event, and why."""

import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.text import Text

from engine import documents
from engine.diagnostics import ConfigurationError, UsageError, suggestion
from engine.model.decision import Decision, Facts
from engine.model.effects import Block, Respond, Steer, VerdictKind
from engine.model.legs import Considered
from engine.model.phases import Phase
from engine.policy.given import complete_event
from engine.policy.record import RECOVERIES, DecisionRecord, Subject, attempt_record, op_record, record_of
from engine.policy.ruleset import Event, RuleSet
from engine.policy.sources import PolicySet
from engine.policy.trial import TEST_FACTS, judge
from engine.proving.explain import Explained, explain, legs
from engine.proving.past import past_of
from engine.proving.replay import facts_of
from engine.rendering import visible

from .compiled import compiled_set
from .output import CONFIG, console, output_format, print_json
from .past import found_event, found_record, print_past
from .trees import rule_lines, shown

_INDENT: Final = " " * 9


@click.command("explain")
@click.argument("event", metavar="EVENT")
@click.option(
    "--policies", multiple=True, type=click.Path(path_type=Path), metavar="PATH", help="Policy files or folders."
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]…")
@CONFIG
@click.option(
    "--audit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An audit log: EVENT is then the id of a decision that happened, as the header x-lexgate-decision says it.",
)
@click.option(
    "--traffic",
    multiple=True,
    metavar="TRAFFIC",
    help="Recordings: EVENT is then the id of a decision of an event in them.",
)
@click.option("--rule", metavar="NAME", help="Only this rule, by its full name or its id.")
@output_format("text", "json")
def command(
    event: str,
    policies: tuple[Path, ...],
    more: tuple[Path, ...],
    config: Path | None,
    audit: Path | None,
    traffic: tuple[str, ...],
    rule: str | None,
    output: str,
) -> None:
    """Say what the rules make of one event: every rule of its phase with the truth of each part, and who wins.

    EVENT is a JSON or YAML file, `-` for standard input. It may be partial, as `tests: given` is: `phase` says which
    phase it is of (default: request), and the schema's defaults complete it.

    With --audit it says what was decided then, from the log alone; what the log does not show is said to be masked. With
    --traffic a recorded event is explained in full, by the policies that are named now and the facts that were read then.
    """
    recorded = found_event(event, traffic) if traffic else None
    if traffic and recorded is None and audit is None:
        raise UsageError(f"there is no decision {event} in {', '.join(traffic)}")
    if audit is not None and recorded is None:
        past = past_of(found_record(event, audit))
        if output == "json":
            print_json({**past.record, "masked": [{"rule": name, "part": part} for name, part in past.masked]})
        else:
            print_past(console(), past, rule)
        return
    compiled = compiled_set((*policies, *more), config)
    policy_set, rules, checked = compiled.policies, compiled.rules, compiled.checked
    document = _completed(event, policy_set) if recorded is None else recorded[1]
    _check_rule(rule, rules, Phase(document["phase"]))
    facts = TEST_FACTS if recorded is None else facts_of(recorded[0])
    decision = judge(rules, document, facts, trace=True)
    if output == "json":
        record = _record(decision, document, rules, facts)
        routed = legs(document, decision, policy_set.catalogue)
        attempts = {"attempts": [attempt_record(each) for each in routed[1]]} if routed is not None else {}
        print_json({"verdict": record["verdict"], "by": record["by"], **record, **attempts})
        return
    found = explain(checked, rules, document, decision, policy_set.catalogue)
    out = console()
    for each in found:
        if rule is None or rule in (each.rule.name, each.rule.id):
            for line in rule_lines(each, out.width):
                out.print(line, no_wrap=True, overflow="ellipsis")
            out.print()
    if not found:
        out.print(f"no rule is of phase {decision.phase.value}")
    _print_decision(out, decision, found, legs(document, decision, policy_set.catalogue))


def _completed(file: str, policies: PolicySet) -> dict[str, Any]:
    """The whole event. Raises UsageError or ConfigurationError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"the event {file} cannot be read: {problem}") from problem
    name = "standard input" if file == "-" else file
    document = documents.load(text, name)
    if not document.sound:
        raise ConfigurationError(list(document.diagnostics))
    if not isinstance(document.data, dict):
        raise UsageError(f"the event {name} is not a mapping of fields")
    phases = [each.value for each in Phase]
    if (phase := document.data.get("phase", Phase.REQUEST.value)) not in phases:
        help = suggestion(str(phase), phases) or f"one of {', '.join(phases)}"
        raise UsageError(f"the event {name} is of no phase that there is: {phase!r}; {help}")
    try:
        return complete_event(document.data, policies.shell_tools)
    except (msgspec.ValidationError, ValueError) as wrong:
        raise UsageError(f"the event {name} is not one: {wrong}") from wrong


def _check_rule(rule: str | None, rules: RuleSet, phase: Phase) -> None:
    if rule is None or any(rule in (each.name, each.id) and each.phase is phase for each in rules.rules):
        return
    of_phase = [each.name for each in rules.rules if each.phase is phase]
    elsewhere = next((each.phase for each in rules.rules if rule in (each.name, each.id)), None)
    if elsewhere is not None:
        raise UsageError(f"rule '{rule}' is of phase {elsewhere.value}, and the event of phase {phase.value}")
    near = suggestion(rule, [*of_phase, *(each.partition("/")[2] for each in of_phase)])
    raise UsageError(f"there is no rule '{rule}'" + (f"; {near}" if near else ""))


def _print_decision(
    out: Console, decision: Decision, found: list[Explained], routed: tuple[str, Sequence[Considered]] | None
) -> None:
    style = "bold green" if decision.verdict is VerdictKind.ALLOW else "bold red"
    line = Text.assemble("verdict  ", (str(decision.verdict), style))
    if decision.by:
        line.append(f" by {decision.by}")
    out.print(line)
    match decision.effect:
        case Block(message=message, status=status, code=code):
            _print_below(out, f"{status} {code}: {message}")
        case Respond(message=message) | Steer(message=message):
            _print_below(out, message)
        case _:
            pass
    for each in found:
        if each.outcome.verdict is not VerdictKind.ALLOW and each.rule.name != decision.by:
            _print_below(out, f"{each.rule.name}: {each.why}", "dim")
    if decision.recovery:
        out.print(Text(f"recovery {', else '.join(RECOVERIES[type(each)] for each in decision.recovery)}"))
    if decision.skip is not None:
        out.print(Text(f"skipped  {visible(decision.skip.reason)}"))
    if routed is not None:
        plan, considered = routed
        out.print(Text(f"route    {plan}"))
        for leg in considered:
            out.print(Text.assemble(_INDENT, (leg.leg, "bold"), f"  {leg.fate}", (f"  {visible(leg.why)}", "dim")))
    title = "patch".ljust(len(_INDENT))
    for outcome in decision.outcomes:
        for op in map(op_record, outcome.patch):
            value = f" = {shown(op['value'])}" if "value" in op else ""
            said = Text.assemble(title, op["op"], " ", (op["path"], "bold"), value, (f"  {outcome.rule}", "dim"))
            out.print(said, no_wrap=True, overflow="ellipsis")
            title = _INDENT


def _print_below(out: Console, text: str, style: str = "") -> None:
    """A text below its title, over as many lines as it needs."""
    for line in textwrap.wrap(visible(text), out.width - len(_INDENT), break_on_hyphens=False):
        out.print(Text(f"{_INDENT}{line}", style))


def _record(decision: Decision, event: Event, rules: RuleSet, facts: Facts) -> DecisionRecord:
    request = event["request"]
    subject = Subject(
        caller=event["caller"]["id"],
        session=event["session"]["id"],
        request=request["id"],
        protocol=request["protocol"],
        model=request["model"],
        revision=rules.revision,
    )
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return record_of(decision, id="explain", at=at, subject=subject, facts=facts)
