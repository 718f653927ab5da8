"""`policy test`: the tests that stand in policy files."""

from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from engine.diagnostics import Diagnostic
from engine.policy.trial import CaseResult
from engine.proving.cases import Failure, Proof, prove

from .output import CONFIG, PATHS, console, named_sets, output_format, plural, print_findings, print_json, texts_of
from .trees import rule_lines, shown


@click.command("test")
@PATHS
@CONFIG
@output_format("text", "json")
@click.pass_context
def command(ctx: click.Context, paths: tuple[Path, ...], config: Path | None, output: str) -> None:
    """Run the tests that stand in policy files.

    Each test gives a partial event and says what must come of it, under the rules of its own file alone. A failing
    test is shown with the truth tree of the rules that it is about.
    """
    sets = named_sets(paths, config)
    proof = prove(sets)
    if output == "json":
        print_json(_document(proof))
    else:
        if proof.diagnostics:
            print_findings(proof.diagnostics, texts_of(sets))
        _print(proof)
    ctx.exit(0 if proof.holds else 1)


def _print(proof: Proof) -> None:
    out = console()
    for failure in proof.failures:
        for line in _lines(failure, out.width):
            out.print(line, no_wrap=True, overflow="ellipsis")
        out.print()
    failed = len(proof.failures)
    files = plural(len({each.where.file for each in proof.results}), "file")
    if not proof.results:
        said = Text("no test was run, because of these errors" if proof.diagnostics else "no tests")
    elif failed:
        said = Text.assemble((f"{failed} of {plural(len(proof.results), 'test')} failed", "bold red"), f" in {files}")
    else:
        said = Text(f"{plural(len(proof.results), 'test')} in {files}: all passed")
    out.print(said)


def _lines(failure: Failure, width: int) -> list[Text]:
    result = failure.result
    lines = [Text.assemble(("FAILED ", "bold red"), (f"{result.policy}: {result.name}", "bold"))]
    lines.append(Text(f"  {result.where}", "dim"))
    if result.error:
        lines.append(Text.assemble("  ", (result.error, "red")))
    for each in result.mismatches:
        lines.append(Text(f"  {each.what}"))
        lines.append(Text.assemble("    expected  ", (shown(each.expected), "green")))
        lines.append(Text.assemble("    got       ", (shown(each.got), "red")))
    for explained in failure.explained:
        lines += [Text("  ").append_text(line) for line in rule_lines(explained, width - 2)]
    return lines


def _document(proof: Proof) -> dict[str, Any]:
    return {
        "tests": [_result(each) for each in proof.results],
        "passed": sum(each.passed for each in proof.results),
        "failed": len(proof.failures),
        "diagnostics": [_diagnostic(each) for each in proof.diagnostics],
    }


def _result(result: CaseResult) -> dict[str, Any]:
    return {
        "policy": result.policy,
        "name": result.name,
        "file": result.where.file,
        "line": result.where.line,
        "passed": result.passed,
        "error": result.error,
        "mismatches": [{"what": each.what, "expected": each.expected, "got": each.got} for each in result.mismatches],
    }


def _diagnostic(each: Diagnostic) -> dict[str, Any]:
    where = each.where
    return {
        "code": each.code, "severity": each.severity.value, "message": each.message,
        "file": where.file, "line": where.line, "column": where.column, "help": each.help,
    }  # fmt: skip
