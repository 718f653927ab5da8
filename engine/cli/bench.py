"""`policy bench`: what rules cost."""

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.table import Table
from rich.text import Text

from engine.diagnostics import UsageError
from engine.model.phases import Phase
from engine.model.traffic import Header, RecordedExchange, events_of
from engine.policy.given import complete_event
from engine.policy.ruleset import Event
from engine.proving.cost import Cost, RuleCost, measure

from .compiled import CompiledSet, compiled_set
from .output import CONFIG, PATHS, console, output_format, plural, print_json
from .traffic import lines_of

_DEAREST: Final = 10
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms)")


@click.command("bench")
@PATHS
@CONFIG
@click.option(
    "--traffic",
    multiple=True,
    metavar="TRAFFIC",
    help="Recordings to take events from; without, those of the policies' own tests.",
)
@click.option("--events", default=200, show_default=True, metavar="N", help="Events of each phase that are measured.")
@click.option(
    "--fail-above", metavar="TIME", help="Exit code 1 where a decision, or a rule, takes longer on average: 500us, 2ms."
)
@output_format("text", "json")
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[Path, ...],
    config: Path | None,
    traffic: tuple[str, ...],
    events: int,
    fail_above: str | None,
    output: str,
) -> None:
    """Measure what decisions cost, phase by phase, and which rules are the dearest.

    A rule is measured alone, over the events of its phase: what it costs beyond a decision without rules. Only relations
    hold from one machine to the next.
    """
    limit = _microseconds(fail_above)
    compiled = compiled_set(paths, config)
    given = _recorded(traffic, output) if traffic else _examples(compiled)
    chosen = list(_some(given, events))
    if not chosen:
        raise UsageError("there are no events to measure: the policies have no tests; name recordings by --traffic")
    cost = measure(compiled.rules, chosen, time.perf_counter_ns)
    too_dear = [each.rule.name for each in cost.rules if limit is not None and each.mean > limit]
    too_dear += [each.phase.value for each in cost.phases if limit is not None and each.mean > limit]
    if output == "json":
        print_json(_document(cost, too_dear))
    else:
        _print(cost)
        if too_dear:
            console().print(Text(f"above {fail_above}: {', '.join(too_dear)}", "bold red"))
    ctx.exit(1 if too_dear else 0)


def _microseconds(text: str | None) -> float | None:
    if text is None:
        return None
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--fail-above takes a time such as 500us or 2ms, not '{text}'")
    return float(found[1]) * (1000 if found[2] == "ms" else 1)


def _recorded(traffic: tuple[str, ...], output: str) -> Iterator[Event]:
    for line in lines_of(traffic, "reading", quiet=output != "text"):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=Header if line.startswith(b'{"format"') else RecordedExchange)
        except msgspec.DecodeError as wrong:
            raise UsageError(f"{', '.join(traffic)} is no recording: {wrong}") from wrong
        if isinstance(read, RecordedExchange):
            yield from (event for _, event in events_of(read))


def _examples(compiled: CompiledSet) -> Iterator[Event]:
    for policy in compiled.checked:
        for _, given, _ in itertools.chain.from_iterable(case.events for case in policy.spec.tests):
            try:
                yield complete_event(given, compiled.policies.shell_tools)
            except (msgspec.ValidationError, ValueError):
                continue  # `policy test` says what is wrong with it


def _some(given: Iterator[Event], most: int) -> Iterator[Event]:
    """So many of each phase; a recording is read no further than needed."""
    taken = dict.fromkeys(Phase, 0)
    for event in given:
        phase = Phase(event["phase"])
        if taken[phase] < most:
            taken[phase] += 1
            yield event
        elif all(count >= most for count in taken.values()):
            return


def _print(cost: Cost) -> None:
    out = console()
    phases = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("phase", "rules", "events", "mean", "slowest"):
        phases.add_column(title, justify="left" if title == "phase" else "right", no_wrap=True)
    for each in cost.phases:
        phases.add_row(each.phase.value, str(each.rules), str(each.events), _time(each.mean), _time(each.worst))
    out.print(phases)
    dear = [each for each in cost.rules if each.mean > 0][:_DEAREST]
    if not dear:
        return
    out.print()
    rules = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("mean", "slowest", "matched"):
        rules.add_column(title, justify="right", no_wrap=True, min_width=8)
    rules.add_column("dearest rules" if len(cost.rules) > _DEAREST else "rule", overflow="ellipsis", no_wrap=True)
    rules.add_column("", overflow="ellipsis", no_wrap=True, style="dim")
    for one in dear:
        place = f"{one.rule.where.file}:{one.rule.where.line}"
        rules.add_row(_time(one.mean), _time(one.worst), f"{one.matched} of {one.events}", one.rule.name, place)
    out.print(rules)
    if len(cost.rules) > len(dear):
        out.print(Text(f"{plural(len(cost.rules), 'rule')} measured", "dim"))


def _time(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms" if microseconds >= 1000 else f"{microseconds:.1f} µs"


def _document(cost: Cost, too_dear: list[str]) -> dict[str, Any]:
    def row(each: RuleCost) -> dict[str, Any]:
        where = each.rule.where
        return {
            "rule": each.rule.name, "phase": each.rule.phase.value, "mean_us": round(each.mean, 3),
            "worst_us": round(each.worst, 3), "matched": each.matched, "events": each.events,
            "file": where.file, "line": where.line,
        }  # fmt: skip

    phases = [
        {"phase": each.phase.value, "rules": each.rules, "events": each.events, "mean_us": round(each.mean, 3),
         "worst_us": round(each.worst, 3)}
        for each in cost.phases
    ]  # fmt: skip
    return {"phases": phases, "rules": [row(each) for each in cost.rules], "too_dear": too_dear}
