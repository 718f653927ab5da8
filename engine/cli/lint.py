"""`policy lint`: every finding with a caret below it, or for machines."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import rich_click as click

from engine.diagnostics import Diagnostic, Severity
from engine.policy.lint import examine
from engine.rendering import ordered, render_json

from .output import CONFIG, PATHS, named_sets, output_format, plural, print_findings, texts_of


@click.command("lint")
@PATHS
@CONFIG
@click.option("--strict", is_flag=True, help="Also ask for descriptions, owners and tests.")
@output_format("text", "json", "github")
@click.pass_context
def command(ctx: click.Context, paths: tuple[Path, ...], config: Path | None, strict: bool, output: str) -> None:
    """Find what is wrong in policy files: mistakes of shape, types, names, patterns, and what is probably not meant.

    PATH is a file, or a folder of *.yaml files at any depth. A folder that holds a lexgate.yaml is judged as that
    configuration puts it into force: its policies and packs, with the backends and routes that it names.

    An error stops loading; warnings and notes do not. Exit code 1 where anything was found.
    """
    sets = named_sets(paths, config)
    today = datetime.now(UTC).date()
    examined = [examine(each, today, strict=strict) for each in sets]
    found = ordered(dict.fromkeys(one for each in examined for one in each.diagnostics))
    files = {file: count for each in examined for file, count in each.rules.items()}
    rules = sum(files.values())
    match output:
        case "json":
            click.echo(render_json(found, len(files), rules))
        case "github":
            for each in found:
                click.echo(github(each))
        case _ if found:
            print_findings(found, texts_of(sets))
        case _:
            click.echo(f"{plural(rules, 'rule')} in {plural(len(files), 'file')}: no findings")
    ctx.exit(1 if found else 0)


_COMMANDS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(each: Diagnostic) -> str:
    """A workflow command of GitHub Actions, which shows the finding beside the line.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    where = each.where
    parts = {"file": where.file}
    if where.line:
        parts |= {"line": str(where.line), "col": str(where.column)}
        parts |= {"endLine": str(where.end_line), "endColumn": str(where.end_column)}
    parts["title"] = each.code
    properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in parts.items())
    message = f"{each.message}. {each.help}" if each.help else each.message
    return f"::{_COMMANDS[each.severity]} {properties}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
