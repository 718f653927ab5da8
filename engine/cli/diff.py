"""`policy diff`: what two sets of policies decide differently, without traffic."""

from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.text import Text

from engine.diagnostics import UsageError
from engine.proving.semantics import Kind, RuleChange, Side, semantic_diff
from engine.rendering import visible

from .compiled import CompiledSet, compiled_set
from .output import console, output_format, plural, print_json
from .trees import cut, shown

_STYLES: Final = {
    Kind.ADDED: "bold green",
    Kind.REMOVED: "bold red",
    Kind.WIDENED: "yellow",
    Kind.NARROWED: "magenta",
    Kind.CHANGED: "cyan",
}


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path), metavar="OLD")
@click.argument("new", type=click.Path(path_type=Path), metavar="NEW")
@click.option("--fail-on", default="", metavar="KIND,…", help=f"Exit code 1 where there is one: {', '.join(Kind)}.")
@output_format("text", "json")
@click.pass_context
def command(ctx: click.Context, old: Path, new: Path, fail_on: str, output: str) -> None:
    """Say which rules were added, removed, widened, narrowed or changed between two files or folders of policies.

    A rule is wider where it acts on everything that it acted on before, and more. Where that cannot be proved the rule is
    `changed`. An event shows the difference, where one of the tests, or of the names that a rule matches, does.
    """
    wanted = [each.strip() for each in fail_on.split(",") if each.strip()]
    for each in wanted:
        if each not in list(Kind):
            raise UsageError(f"--fail-on knows no '{each}'; it knows {', '.join(Kind)}")
    sides = [_side(compiled_set((path,), None)) for path in (old, new)]
    changes = semantic_diff(*sides)
    if output == "json":
        print_json(
            {
                "old": sides[0].rules.revision,
                "new": sides[1].rules.revision,
                "changes": [_row(each) for each in changes],
            }
        )
    else:
        _print(changes)
    ctx.exit(1 if any(each.kind in wanted for each in changes) else 0)


def _side(compiled: CompiledSet) -> Side:
    return Side(compiled.checked, compiled.rules)


def _print(changes: list[RuleChange]) -> None:
    out = console()
    for each in changes:
        out.print(
            Text.assemble((f"{each.kind.value:<9}", _STYLES[each.kind]), (each.rule, "bold"), (f"  {each.where}", "dim")),
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        for detail in each.details:
            out.print(Text(f"         {visible(detail)}"), no_wrap=True, overflow="ellipsis")
        if each.witness is not None:
            said = f"{each.witness.before} -> {each.witness.after}: "
            given = cut(shown(each.witness.given), out.width - 9 - len(said))
            out.print(
                Text.assemble(("   e.g.  ", "dim"), said, (given, "cyan")),
                no_wrap=True, overflow="ellipsis",
            )  # fmt: skip
    if changes:
        out.print()
    counts = {kind: sum(each.kind is kind for each in changes) for kind in Kind}
    said = ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count)
    verb = "differs" if len(changes) == 1 else "differ"
    out.print(Text(f"{plural(len(changes), 'rule')} {verb}: {said}" if changes else "no rule differs"))


def _row(change: RuleChange) -> dict[str, Any]:
    where = change.where
    return {
        "kind": change.kind.value, "rule": change.rule, "file": where.file, "line": where.line,
        "details": list(change.details),
        "witness": msgspec.to_builtins(change.witness) if change.witness is not None else None,
    }  # fmt: skip
