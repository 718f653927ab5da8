"""`policy replay`: what recorded traffic would have met under other policies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.text import Text

from engine.diagnostics import UsageError
from engine.proving.replay import MEANINGS, Change, Example, NotTraffic, Replay, Replayed
from engine.rendering import visible

from .compiled import CompiledSet, compiled_set
from .output import console, output_format, plural, print_json
from .traffic import TRAFFIC, lines_of
from .trees import cut, shown

_STYLES: Final = {
    Change.NEWLY_BLOCKED: "bold red",
    Change.NEWLY_ALLOWED: "bold yellow",
    Change.CHANGED_VERDICT: "magenta",
    Change.CHANGED_RULE: "cyan",
    Change.CHANGED_PATCH: "cyan",
    Change.CHANGED_ROUTE: "cyan",
}
_MOST: Final = 8
"""Names of one kind that are shown; the rest are counted."""

FAILURES: Final = ("any", "error", *(each.value for each in Change))


@click.command("replay")
@TRAFFIC
@click.option(
    "--policies",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The new policies; may be repeated.",
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The old policies; without, the decisions that were recorded.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LEXGATE_CONFIG",
    metavar="FILE",
    help="Judge both by what this configuration names and grants; without --policies, all that it puts into force is new.",
)
@click.option(
    "--fail-on", metavar="CHANGE,…", default="", help=f"Exit code 1 where one was found: {', '.join(FAILURES)}."
)
@click.option("--examples", default=3, show_default=True, metavar="N", help="Examples of each change by each rule.")
@output_format("text", "json", "markdown")
@click.pass_context
def command(
    ctx: click.Context,
    traffic: tuple[str, ...],
    policies: tuple[Path, ...],
    against: tuple[Path, ...],
    config: Path | None,
    fail_on: str,
    examples: int,
    output: str,
) -> None:
    """Decide recorded events anew, and show what is decided otherwise.

    TRAFFIC is a recording (`record:` in lexgate.yaml writes them), a folder of recordings, or `-`. Each event is
    judged as it was recorded, with the facts that were read then: nothing is asked, counted or sent. See docs/replay.md.
    """
    wanted = _wanted(fail_on)
    new = compiled_set(policies, config)
    old = compiled_set(against, config) if against else None
    run = Replay(new.rules, old.rules if old else None, examples)
    for number, line in enumerate(lines_of(traffic, "replaying", quiet=output != "text"), 1):
        if line.strip():
            try:
                run.feed(line)
            except NotTraffic as wrong:
                raise UsageError(f"line {number} of {', '.join(traffic)}: {wrong}") from wrong
    found = run.found
    match output:
        case "json":
            print_json(document(found, new, old))
        case "markdown":
            click.echo("\n".join(markdown(found, new, old)))
        case _:
            _print(found, new, old)
    failed = [each for each in wanted if (found.errors if each == "error" else found.changes[Change(each)].count)]
    ctx.exit(1 if failed else 0)


def _wanted(fail_on: str) -> list[str]:
    names = [each.strip().replace("-", "_") for each in fail_on.split(",") if each.strip()]
    for each in names:
        if each not in FAILURES:
            raise UsageError(f"--fail-on knows no '{each}'; it knows {', '.join(FAILURES)}")
    return [each for each in FAILURES if each != "any"] if "any" in names else names


def _title(found: Replayed, new: CompiledSet, old: CompiledSet | None) -> str:
    before = f"revision {old.rules.revision}" if old else "the recorded decisions"
    events = f"{plural_of(found.events, 'event')} of {plural_of(found.exchanges, 'exchange')}"
    return f"{events}: {before} -> revision {new.rules.revision} ({plural(len(new.rules.rules), 'rule')})"


def plural_of(count: int, noun: str) -> str:
    """As `plural`, with separated thousands."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


# -- text --


def _print(found: Replayed, new: CompiledSet, old: CompiledSet | None) -> None:
    out = console()
    out.print(Text(_title(found, new, old)))
    for note in notes(found, old):
        out.print(Text(note, "dim"))
    for change, tally in found.changes.items():
        if not tally.count:
            continue
        out.print()
        name = change.value.replace("_", " ")
        share = f"{tally.count / found.events:.2%}"
        head = Text.assemble((f"{name:<16}", _STYLES[change]), (f"{tally.count:>8,}", "bold"), f"  {share:>7}")
        head.append(f"  {MEANINGS[change]}", "dim")
        out.print(head, no_wrap=True, overflow="ellipsis")
        kinds = (("rule", tally.rules), ("caller", tally.callers), ("model", tally.models))
        lines = [each for title, counts in kinds for each in _named(title, counts, out.width)]
        for example in (each for each in found.examples if each.change is change):
            lines += _example(example, out.width)
        for line in lines:
            out.print(line, no_wrap=True, overflow="ellipsis")
    if found.errors:
        out.print()
        out.print(Text.assemble(("errors", "bold red"), ("          rules that could not be evaluated", "dim")))
        for named in _named("rule", found.errors, out.width):
            out.print(named, no_wrap=True, overflow="ellipsis")
    out.print()
    out.print(Text(_verdict(found)))


def notes(found: Replayed, old: CompiledSet | None) -> Iterator[str]:
    """What a reader must know to judge the figures."""
    if found.unknown:
        yield f"{plural_of(found.unknown, 'event')} left out: a counter refused, which replay does not have"
    if found.content - {"full"}:
        kept = " and ".join(sorted(found.content - {"full"}))
        yield f"texts are {kept}: rules that look for what was masked do not match it"
        if old is None:
            yield "patches are compared with --against only"


def _verdict(found: Replayed) -> str:
    if not found.changed:
        return "no decision changed"
    return f"{plural_of(found.changed, 'decision')} of {found.events:,} changed ({found.changed / found.events:.2%})"


def _named(title: str, counts: Any, width: int) -> Iterator[Text]:
    """The most frequent names, as many on a line as fit."""
    pieces = [f"{visible(name) or '-'} {count:,}" for name, count in counts.most_common(_MOST)]
    if len(counts) > _MOST:
        pieces.append(f"and {len(counts) - _MOST} more")
    indent = 2 + 8
    line = Text(f"  {title:<8}", "dim")
    room = width - indent
    for number, piece in enumerate(pieces):
        said = piece + ("" if number == len(pieces) - 1 else ", ")
        if room < len(said) and room < width - indent:
            line.rstrip()
            yield line
            line, room = Text(" " * indent), width - indent
        line.append(said, "")
        room -= len(said)
    yield line


def _example(example: Example, width: int) -> Iterator[Text]:
    where = (
        f"{example.phase.value}  {visible(example.caller)}  {visible(example.model)}  {example.at[:19]}  {example.id}"
    )
    yield Text.assemble(("  e.g.    ", "dim"), (cut(where.rstrip(), width - 10), "dim"))
    if example.excerpt:
        yield Text(" " * 10 + cut(visible(example.excerpt), width - 10))
    for line in _changed(example):
        yield Text(" " * 10 + cut(line, width - 10), "italic")


def _changed(example: Example) -> Iterator[str]:
    before, after = example.before, example.after
    match example.change:
        case Change.CHANGED_PATCH:
            for sign, patch in (("-", before.patch or {}), ("+", after.patch or {})):
                other = after.patch if sign == "-" else before.patch
                for rule, ops in patch.items():
                    for op in ops:
                        if op not in (other or {}).get(rule, []):
                            value = f" = {shown(op['value'])}" if "value" in op else ""
                            yield f"{sign} {op['op']} {op['path']}{value}  {rule}"
        case Change.CHANGED_ROUTE:
            yield f"{before.route or 'no route'} -> {after.route or 'no route'}"
        case _:
            yield f"{_said(before.verdict, before.by)} -> {_said(after.verdict, after.by)}"


def _said(verdict: str, by: str) -> str:
    return f"{verdict} by {by}" if by else verdict


# -- machines and pull requests --


def document(found: Replayed, new: CompiledSet, old: CompiledSet | None) -> dict[str, Any]:
    return {
        "exchanges": found.exchanges,
        "events": found.events,
        "left_out": found.unknown,
        "content": sorted(found.content),
        "new": new.rules.revision,
        "old": old.rules.revision if old else None,
        "changed": found.changed,
        "changes": {
            change.value: {
                "count": tally.count,
                "by_rule": dict(tally.rules.most_common()),
                "by_caller": dict(tally.callers.most_common()),
                "by_model": dict(tally.models.most_common()),
            }
            for change, tally in found.changes.items()
        },
        "errors": dict(found.errors.most_common()),
        "matched": dict(found.matched.most_common()),
        "examples": [msgspec.to_builtins(each) for each in found.examples],
    }


def markdown(found: Replayed, new: CompiledSet, old: CompiledSet | None) -> Iterator[str]:
    """A comment for a pull request."""
    yield f"### Policy replay: {_verdict(found)}"
    yield ""
    yield _title(found, new, old).replace("->", "→")
    yield ""
    for line in notes(found, old):
        yield f"> {line}"
    if found.changed:
        yield ""
        yield "| change | events | rules | callers | models |"
        yield "|---|---:|---|---|---|"
        for change, tally in found.changes.items():
            if tally.count:
                cells = (_cell(each) for each in (tally.rules, tally.callers, tally.models))
                yield f"| {change.value.replace('_', ' ')} | {tally.count:,} | {' | '.join(cells)} |"
        yield ""
        yield "<details><summary>Examples</summary>"
        yield ""
        for example in sorted(found.examples, key=lambda each: list(Change).index(each.change)):
            where = f"{example.phase.value}, {_code(example.caller)}, {_code(example.model)}"
            yield f"- **{example.change.value.replace('_', ' ')}** ({where}): {_code(example.excerpt)}"
            yield from (f"  - {_code(line)}" for line in _changed(example))
        yield ""
        yield "</details>"
    if found.errors:
        yield ""
        yield f"**Rules that could not be evaluated:** {_cell(found.errors)}"


def _cell(counts: Any) -> str:
    said = [f"{_code(name or '-')} {count:,}" for name, count in counts.most_common(_MOST)]
    return ", ".join(said) + (f", and {len(counts) - _MOST} more" if len(counts) > _MOST else "")


def _code(text: str) -> str:
    """A text as code in a table's cell, whatever it holds."""
    text = visible(text).replace("|", "\\|")
    fence = "`" * (2 if "`" in text else 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`" if text else ""
