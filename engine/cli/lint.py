"""`policy lint`: every finding with a caret below it, or for machines; the safe ones mended."""

import difflib
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import rich_click as click

from engine.diagnostics import Diagnostic, UsageError
from engine.policy.compile import PolicySource
from engine.policy.lint import Memory, findings, lint_file
from engine.policy.lint.baseline import baseline_of, beyond, read_baseline
from engine.policy.lint.fixes import mend
from engine.policy.lint.pages import explain
from engine.policy.sources import PolicySet
from engine.rendering import ordered, render_json

from .output import CONFIG, PATHS, named_sets, output_format, plural, print_findings, texts_of
from .reports import github, junit, sarif


@click.command("lint")
@PATHS
@CONFIG
@click.option("--strict", is_flag=True, help="Also ask for descriptions, owners and tests.")
@click.option("--fix", is_flag=True, help="Mend what can be mended without a doubt, and say what is left.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option(
    "--baseline", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Leave out what FILE knows."
)
@click.option("--write-baseline", is_flag=True, help="Write the warnings and notes of today to the file of --baseline.")
@click.option("--explain", "code", metavar="CODE", help="Show the page of a code, such as E202, and do nothing else.")
@click.option("--no-cache", is_flag=True, help="Judge every file anew; else what did not change is remembered.")
@output_format("text", "json", "github", "sarif", "junit")
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[Path, ...],
    config: Path | None,
    strict: bool,
    fix: bool,
    diff: bool,
    baseline: Path | None,
    write_baseline: bool,
    code: str | None,
    no_cache: bool,
    output: str,
) -> None:
    """Find what is wrong in policy files: mistakes of shape, types, names, patterns, and what is probably not meant.

    PATH is a file, or a folder of *.yaml files at any depth. A folder that holds a lexgate.yaml is judged as that
    configuration puts it into force: its policies and packs, with the backends and routes that it names.

    An error stops loading; warnings and notes do not. Exit code 1 where anything was found.
    """
    if code is not None:
        click.echo(explain(code), nl=False)
        return
    if write_baseline and baseline is None:
        raise UsageError("--write-baseline needs to know where: --baseline FILE")
    sets = named_sets(paths, config)
    today = datetime.now(UTC).date()
    if fix or diff:
        changed = mended(sets, today)
        if diff:
            click.echo("".join(_difference(each, text) for each, text in changed), nl=False)
            ctx.exit(1 if changed else 0)
        for source, text in changed:
            Path(source.file).write_text(text, "utf-8", newline="")
            click.echo(f"mended {source.file}", err=True)
        sets = named_sets(paths, config)
    memory = None if no_cache else Memory(_cache(os.environ), importlib.metadata.version("lexgate") + _stamp())
    examined = [findings(each, today, strict=strict, memory=memory) for each in sets]
    if memory is not None:
        memory.tidy()
    found = ordered(dict.fromkeys(one for each in examined for one in each.diagnostics))
    if baseline is not None and write_baseline:
        baseline.write_bytes(baseline_of(found))
    if baseline is not None:
        found = list(beyond(found, read_baseline(_content(baseline))))
    show(output, found, {file: count for each in examined for file, count in each.rules.items()}, sets)
    ctx.exit(1 if found else 0)


def show(output: str, found: Sequence[Diagnostic], files: Mapping[str, int], sets: Sequence[PolicySet]) -> None:
    """Print findings; `files` gives the rules of each file that was read."""
    rules = sum(files.values())
    match output:
        case "json":
            click.echo(render_json(found, len(files), rules))
        case "github":
            for each in found:
                click.echo(github(each))
        case "sarif":
            click.echo(sarif(found))
        case "junit":
            click.echo(junit(found, files))
        case _ if found:
            print_findings(found, texts_of(sets))
        case _:
            click.echo(f"{plural(rules, 'rule')} in {plural(len(files), 'file')}: no findings")


def mended(sets: Sequence[PolicySet], today: date) -> list[tuple[PolicySource, str]]:
    """The files that can be mended, with their new text."""
    changed = []
    for policies in sets:
        for source in policies.sources:

            def judge(text: str, source: PolicySource = source, policies: PolicySet = policies) -> Sequence[Diagnostic]:
                return lint_file(msgspec.structs.replace(source, text=text), policies.catalogue, today).diagnostics

            result = mend(source.text, judge)
            if result.fixed:
                changed.append((source, result.text))
    return changed


def _difference(source: PolicySource, text: str) -> str:
    before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, source.file, source.file))


def _content(baseline: Path) -> bytes:
    try:
        return baseline.read_bytes()
    except OSError as problem:
        raise UsageError(f"the baseline {baseline} cannot be read: {problem.strerror}") from problem


def _cache(environ: Mapping[str, str]) -> Path:
    """Where what was found is remembered: below the user's cache folder."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lexgate" / "lint"


def _stamp() -> str:
    """What tells two states of the code apart that have one version: when its files were written last."""
    root = Path(__file__).parents[1]
    return str(max(each.stat().st_mtime_ns for each in root.rglob("*.py")))
