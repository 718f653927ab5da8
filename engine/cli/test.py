"""`policy test`: the tests that stand in policy files and in the folder `cases/` beside them."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.text import Text

from engine.diagnostics import Diagnostic, UsageError
from engine.policy.sources import PolicySet, policy_files, read_source
from engine.policy.trial import CaseResult
from engine.proving.casefiles import FOLDER, CaseFile, case_file
from engine.proving.cases import Failure, Proof, Prover
from engine.proving.mutation import Survivor, mutants_of
from engine.rendering import visible
from engine.rendering_junit import JUnitCase, JUnitSuite, render_junit

from .coverage import coverage_document, coverage_lines, coverage_page
from .output import CONFIG, PATHS, console, named_sets, output_format, plural, print_findings, print_json, texts_of
from .trees import cut, rule_lines, shown

SNAPSHOTS: Final = ".snapshots.json"
"""What the name of the file of snapshots ends in; it stands beside the file of the tests."""

_LOOK: Final = 0.3
"""Seconds between two looks at the files, with `--watch`."""


@click.command("test")
@PATHS
@CONFIG
@click.option("--coverage", is_flag=True, help="Say which parts of the rules no test has seen at work.")
@click.option("--fail-under", type=float, metavar="N", help="Exit code 1 where less than N % is covered.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the coverage as a page of its own.",
)
@click.option("--mutate", is_flag=True, help="Break the rules one by one, and list what no test notices.")
@click.option("--update", is_flag=True, help="Keep what comes out as the snapshots to compare with.")
@click.option("--watch", is_flag=True, help="Go on, and run again when a file changes.")
@output_format("text", "json", "junit")
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[Path, ...],
    config: Path | None,
    coverage: bool,
    fail_under: float | None,
    html: Path | None,
    mutate: bool,
    update: bool,
    watch: bool,
    output: str,
) -> None:
    """Run the tests that stand in policy files, and those in a folder `cases/` beside them.

    Each test gives a partial event, several `steps`, or the `turns` of a conversation, and says what must come
    of it. Tests in a policy file are by the rules of that file alone, those in `cases/` by all rules of the set. A failing
    test is shown with the truth tree of the rules that it is about.
    """
    covers = coverage or fail_under is not None or html is not None
    if watch and output != "text":
        raise UsageError("--watch prints text")
    while True:
        sets = named_sets(paths, config)
        beside = [list(case_files(each)) for each in sets]
        proof = _prove(sets, beside, update=update, covers=covers)
        survivors, tried = _survivors(sets) if mutate and proof.holds else ([], 0)
        if update:
            _keep(proof)
        if html is not None and proof.covered is not None:
            html.write_text(coverage_page(proof.covered, texts_of(sets)), "utf-8")
        match output:
            case "json":
                print_json(_document(proof, survivors if mutate else None, tried))
            case "junit":
                click.echo(_junit(proof), nl=False)
            case _:
                _print(proof, sets, coverage, survivors if mutate else None, tried)
        low = fail_under is not None and proof.covered is not None and proof.covered.percent < fail_under
        if low and output == "text" and proof.covered is not None:
            console().print(
                Text(f"{proof.covered.percent:.1f} % is covered, and {fail_under:g} % is asked for", "bold red")
            )
        if not watch:
            ctx.exit(0 if proof.holds and not survivors and not low else 1)
        _wait_for_change([*_files(sets), *(Path(each.file) for files in beside for each in files)])


def _prove(sets: Sequence[PolicySet], beside: Sequence[list[CaseFile]], *, update: bool, covers: bool) -> Proof:
    files = [source.file for each in sets for source in each.sources] + [each.file for one in beside for each in one]
    prover = Prover(run=asyncio.run, kept=_kept(files), updates=update, covers=covers)
    done: set[str] = set()
    for policies, cases in zip(sets, beside, strict=True):
        prover.files(policies, done)
        prover.beside(policies, [each for each in cases if each.file not in done])
        done |= {each.file for each in cases}
    return prover.proof()


def case_files(policies: PolicySet) -> Iterator[CaseFile]:
    """The files of tests in the folders `cases/` beside the files of a set. Raises OSError."""
    folders = {Path(source.file).parent for source in policies.sources if Path(source.file).exists()}
    if policies.config is not None:
        folders.add(policies.config.parent)
    for folder in sorted(folders):
        for file in policy_files(folder / FOLDER):
            yield case_file(read_source(file))


def _kept(files: Sequence[str]) -> dict[str, Any]:
    """The snapshots of earlier runs. Raises UsageError."""
    found = {}
    for file in files:
        place = Path(file + SNAPSHOTS)
        if place.is_file():
            try:
                found[file] = msgspec.json.decode(place.read_bytes())
            except msgspec.DecodeError as wrong:
                raise UsageError(f"the snapshots in {place} are no JSON: {wrong}; --update makes them anew") from wrong
    return found


def _keep(proof: Proof) -> None:
    for file, snapshots in proof.snapshots.items():
        text = msgspec.json.format(msgspec.json.encode(snapshots), indent=2)
        Path(file + SNAPSHOTS).write_bytes(text + b"\n")


def _survivors(sets: Sequence[PolicySet]) -> tuple[list[Survivor], int]:
    """The mutants that every test of their file lets live, and how many mutants there were."""
    survivors: list[Survivor] = []
    tried = 0
    seen: set[str] = set()
    for policies in sets:
        for source in policies.sources:
            if source.file in seen:
                continue
            seen.add(source.file)
            for survivor in mutants_of(source, policies.catalogue, policies.shell_tools):
                tried += 1
                if survivor is not None:
                    survivors.append(survivor)
    return survivors, tried


def _files(sets: Sequence[PolicySet]) -> list[Path]:
    return [Path(source.file) for each in sets for source in each.sources]


def _wait_for_change(files: Sequence[Path]) -> None:
    """Until one of the files, or of the folders that they stand in, is not as it was."""
    watched = sorted({*files, *(each.parent for each in files)})
    console().print(Text(f"watching {plural(len(files), 'file')}; Ctrl+C ends it", "dim"))
    before = [_stamp(each) for each in watched]
    while [_stamp(each) for each in watched] == before:
        time.sleep(_LOOK)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


# -- text --


def _print(
    proof: Proof, sets: Sequence[PolicySet], coverage: bool, survivors: list[Survivor] | None, tried: int
) -> None:
    if proof.diagnostics:
        print_findings(proof.diagnostics, texts_of(sets))
    out = console()
    for failure in proof.failures:
        for line in _lines(failure, out.width):
            out.print(line, no_wrap=True, overflow="ellipsis")
        out.print()
    if coverage and proof.covered is not None:
        for line in coverage_lines(proof.covered, out.width):
            out.print(line, no_wrap=True, overflow="ellipsis")
        out.print()
    for survivor in survivors or ():
        out.print(Text.assemble(("SURVIVED ", "bold yellow"), cut(visible(survivor.change), out.width - 9)))
        out.print(Text(f"  {survivor.where}  {survivor.rule}", "dim"), no_wrap=True, overflow="ellipsis")
    if survivors:
        out.print()
    out.print(_verdict(proof))
    if survivors is not None and proof.holds:
        killed = tried - len(survivors)
        style = "bold yellow" if survivors else ""
        out.print(Text(f"{plural(tried, 'mutant')}: {killed} noticed, {len(survivors)} survived", style))
    elif survivors is not None:
        out.print(Text("no mutants: the tests must pass first", "dim"))


def _verdict(proof: Proof) -> Text:
    failed = len(proof.failures)
    files = plural(len({each.where.file for each in proof.results}), "file")
    if not proof.results:
        return Text("no test was run, because of these errors" if proof.diagnostics else "no tests")
    if failed:
        return Text.assemble((f"{failed} of {plural(len(proof.results), 'test')} failed", "bold red"), f" in {files}")
    return Text(f"{plural(len(proof.results), 'test')} in {files}: all passed")


def _lines(failure: Failure, width: int) -> list[Text]:
    result = failure.result
    lines = [Text.assemble(("FAILED ", "bold red"), (_name(result), "bold"))]
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


def _name(result: CaseResult) -> str:
    return f"{result.policy}: {result.name}" if result.policy else result.name


# -- machines --


def _junit(proof: Proof) -> str:
    suites: dict[str, list[JUnitCase]] = {}
    for each in proof.results:
        said = [f"{one.what}: expected {shown(one.expected)}, got {shown(one.got)}" for one in each.mismatches]
        case = JUnitCase(
            name=each.name, file=each.where.file, line=each.where.line, failure="\n".join(said), error=each.error
        )
        suites.setdefault(each.policy or each.where.file, []).append(case)
    for each_finding in proof.diagnostics:
        where = each_finding.where
        error = f"{each_finding.code} {each_finding.message}"
        suites.setdefault(where.file, []).append(JUnitCase(name="loads", file=where.file, line=where.line, error=error))
    return render_junit([JUnitSuite(name, tuple(cases)) for name, cases in suites.items()])


def _document(proof: Proof, survivors: list[Survivor] | None, tried: int) -> dict[str, Any]:
    document = {
        "tests": [_result(each) for each in proof.results],
        "passed": sum(each.passed for each in proof.results),
        "failed": len(proof.failures),
        "diagnostics": [_diagnostic(each) for each in proof.diagnostics],
    }
    if proof.covered is not None:
        document["coverage"] = coverage_document(proof.covered)
    if survivors is not None:
        rows = [
            {"rule": each.rule, "change": each.change, "file": each.where.file, "line": each.where.line,
             "column": each.where.column}
            for each in survivors
        ]  # fmt: skip
        document["mutants"] = {"tried": tried, "survived": rows}
    return document


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
