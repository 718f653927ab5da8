"""`policy audit`: prove the audit log, and read it."""

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.diagnostics import UsageError
from engine.proving.past import past_of
from engine.rendering import visible
from engine.settings import load_settings
from engine.settings.model import Settings
from engine.world.chain import Head
from engine.world.heads import SignedHead, key_path, public_path
from engine.world.logfiles import chain_of, chains, heads_path, log_of
from engine.world.signing import is_signed, public_key
from engine.world.trail import Fault, Known, Proof, heads_in, prove

from .output import console, output_format, plural, print_json
from .past import print_past
from .records import Place, following, in_order, last, matching, write_csv, write_lines

F = TypeVar("F", bound=Callable[..., Any])

_LENGTH: Final = re.compile(r"(\d+)\s*([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_HEAD: Final = re.compile(r"(?:(.+):)?([0-9]+):([0-9a-f]{64})")


def _of_log(command: F) -> F:
    """The log that is meant."""
    for option in (
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a setting."),
        click.option("--config", type=click.Path(path_type=Path), help="The configuration (default: ./lexgate.yaml)."),
        click.argument("log", required=False, type=click.Path(path_type=Path), metavar="[LOG]"),
    ):
        command = option(command)
    return command


@click.group("audit")
def command() -> None:
    """Prove the audit log, and read it. LOG is a file of it, or the name of all its workers' files: audit.jsonl.

    Without LOG it is that of the configuration. Exit codes: 0 as it was written, 1 it is not, 2 wrong use.
    """


@command.command("verify")
@_of_log
@click.option(
    "--heads", "kept", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Signed heads that were kept elsewhere, beside those next to the log and in audit.heads.",
)  # fmt: skip
@click.option(
    "--head", "noted", multiple=True, metavar="[NAME:]COUNT:HASH", help="A head that you noted; NAME: audit.w2.jsonl."
)
@click.option("--key", metavar="HEX|FILE", help="The public key that heads must be signed with.")
@output_format("text", "json")
def verify(
    log: Path | None,
    config: Path | None,
    changes: tuple[str, ...],
    kept: tuple[Path, ...],
    noted: tuple[str, ...],
    key: str | None,
    output: str,
) -> None:
    """Find every byte that was changed, every line that is missing, and a log that was cut behind a signed head.

    It needs nothing but the files: no server, no store.
    """
    settings = _settings(config, changes)
    path = _log(log, settings)
    trusted, source = _trusted(key, path, settings)
    found = chains(path)
    places = [*kept, *([settings.resolve(settings.audit.heads)] if log is None and settings.audit.heads else [])]
    for place in kept:
        if not place.is_file():
            raise UsageError(f"there is no file of heads {place}")
    heads, faults = _heads([*(heads_path(each) for each in found), *places], trusted)
    known = [(each.log, Known(Head(each.count, each.hash), f"the head of {each.at[:19]}Z")) for each in heads]
    known += _noted(noted, found)
    named = {path.with_name(name) for name, _ in known if log_of(path.with_name(name)) == path or path.name == name}
    every = sorted({*found, *named}, key=lambda chain: (len(chain.name), chain.name))
    if not every:
        raise UsageError(f"there is no audit log {path}")
    proofs = [prove(chain, [each for name, each in known if name == chain.name]) for chain in every]
    faults += [each.fault for each in proofs if each.fault is not None]
    if trusted is not None and not key:
        told = {name for name, _ in known}
        faults += [
            Fault(heads_path(each.chain), 0, f"there are no heads of {each.chain.name}, and {source} says it is signed")
            for each in proofs if each.records and each.chain.name not in told
        ]  # fmt: skip
    keys = sorted({each.key for each in heads})
    if output == "json":
        print_json({"ok": not faults, "key": trusted or "", "signed_by": keys, "chains": [_shown(each) for each in proofs],
                    "faults": [_fault(each) for each in faults]})  # fmt: skip
    else:
        _print_proofs(console(), proofs, faults, keys, source)
    raise SystemExit(1 if faults else 0)


@command.command("tail")
@_of_log
@click.option("-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True, help="How many records.")
@click.option("-f", "--follow", is_flag=True, help="Go on with records as they are written, until Ctrl-C.")
@output_format("text", "json")
def tail(
    log: Path | None, config: Path | None, changes: tuple[str, ...], count: int, follow: bool, output: str
) -> None:
    """The last records of all workers, a line each; in JSON as they stand in the log."""
    path = _log(log, _settings(config, changes))
    if not chains(path) and not follow:
        raise UsageError(f"there is no audit log {path}")
    out = console()
    going_on = following(path) if follow else iter(())
    for record, _ in last(path, count):
        _print_line(out, record, output)
    try:
        for further in going_on:
            if further is None:
                time.sleep(0.2)
            else:
                _print_line(out, further, output)
    except KeyboardInterrupt:
        return


@command.command("show")
@click.argument("id", metavar="ID")
@_of_log
@output_format("text", "json")
def show(id: str, log: Path | None, config: Path | None, changes: tuple[str, ...], output: str) -> None:
    """One record in full. ID is that of a decision, of a request, the beginning of a record's hash, or FILE:LINE.

    A request with several decisions is shown as a line for each.
    """
    path = _log(log, _settings(config, changes))
    if not chains(path):
        raise UsageError(f"there is no audit log {path}")
    found = list(matching(path, id))
    if not found:
        raise UsageError(f"no record of {path} has the decision, request or hash {id}")
    if output == "json":
        print_json([{"place": str(place), "record": record} for record, place in found])
        return
    out = console()
    if len(found) > 1:
        for record, _ in found:
            _print_line(out, record, output)
        return
    record, place = found[0]
    _print_record(out, record, place)


@command.command("export")
@_of_log
@click.option("--since", metavar="TIME", help="Not before: 2027-01-31, 2027-01-31T08:00, or 7d for seven days ago.")
@click.option("--until", metavar="TIME", help="Before this moment, written alike.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="A new file (0600).")
@output_format("jsonl", "csv")
def export(
    log: Path | None, config: Path | None, changes: tuple[str, ...], since: str | None, until: str | None,
    target: Path | None, output: str,
) -> None:  # fmt: skip
    """The records of a period, of all workers in the order of their times. Days are UTC.

    In JSON Lines they are the lines of the log, byte by byte; in CSV what can stand in a table.
    """
    path = _log(log, _settings(config, changes))
    if not chains(path):
        raise UsageError(f"there is no audit log {path}")
    records = in_order(path, _moment(since, "--since", 0.0), _moment(until, "--until", float("inf")))
    write = write_csv if output == "csv" else write_lines
    if target is None:
        with os.fdopen(os.dup(1), "wb") as stream:
            write(records, stream)
        return
    try:
        handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as problem:
        raise UsageError(f"{target} cannot be made: {problem.strerror}") from problem
    with os.fdopen(handle, "wb") as stream:
        count = write(records, stream)
    click.echo(f"{plural(count, 'record')} in {target}", err=True)


@command.command("key")
@_of_log
@output_format("text", "json")
def key(log: Path | None, config: Path | None, changes: tuple[str, ...], output: str) -> None:
    """The public key that heads of the log are signed with: to be kept where the log is not."""
    settings = _settings(config, changes)
    found, source = _trusted(None, _log(log, settings), settings)
    if found is None:
        raise UsageError("there is no key yet: it is made at the start of a server with audit.key, or in team mode")
    if output == "json":
        print_json({"algorithm": "ed25519", "key": found, "file": source})
    else:
        click.echo(found)


# --- how


def _settings(config: Path | None, changes: tuple[str, ...]) -> Settings:
    given = []
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not '{change}'")
        given.append((path, text))
    return load_settings(config, os.environ, given).settings


def _log(log: Path | None, settings: Settings) -> Path:
    if log is not None:
        return chain_of(log)
    if not settings.audit.path:
        raise UsageError("the configuration has no audit log: audit.path is empty")
    path = settings.resolve(settings.audit.path)
    with_folder = Path.cwd()
    return path.relative_to(with_folder) if path.is_absolute() and path.is_relative_to(with_folder) else path


def _trusted(given: str | None, log: Path, settings: Settings) -> tuple[str | None, str]:
    """The public key that signatures are held to, and where it is from. Raises UsageError."""
    places = [public_path(settings.resolve(settings.audit.key))] if settings.audit.key else []
    places.append(public_path(key_path(log_of(log))))
    source = given or next((str(place) for place in places if place.is_file()), None)
    if source is None:
        return None, ""
    try:
        return public_key(source), "--key" if given else source
    except (OSError, ValueError) as wrong:
        raise UsageError(f"{wrong}") from wrong


def _heads(files: Iterable[Path], trusted: str | None) -> tuple[list[SignedHead], list[Fault]]:
    heads, faults = [], []
    for file in dict.fromkeys(files):
        if file.is_file():
            for each in heads_in(file, trusted, is_signed):
                if isinstance(each, Fault):
                    faults.append(each)
                else:
                    heads.append(each)
    return heads, faults


def _noted(given: Sequence[str], found: Sequence[Path]) -> list[tuple[str, Known]]:
    known = []
    for text in given:
        match = _HEAD.fullmatch(text)
        if match is None:
            raise UsageError(f"--head takes COUNT:HASH or NAME:COUNT:HASH, as `verify` prints it, not '{text}'")
        if match[1] is None and len(found) != 1:
            raise UsageError(f"--head says of which file: {' or '.join(each.name for each in found)}:COUNT:HASH")
        known.append((match[1] or found[0].name, Known(Head(int(match[2]), match[3]), "the head that you gave")))
    return known


def _shown(proof: Proof) -> dict[str, Any]:
    return {
        "file": str(proof.chain), "files": proof.files, "records": proof.records, "first": proof.first,
        "head": f"{proof.head.count}:{proof.head.hash}", "signed": proof.signed,
        "fault": _fault(proof.fault) if proof.fault else None,
    }  # fmt: skip


def _fault(fault: Fault) -> dict[str, Any]:
    return {"file": str(fault.file), "line": fault.line, "reason": fault.reason}


def _print_proofs(
    out: Console, proofs: Sequence[Proof], faults: Sequence[Fault], keys: Sequence[str], source: str
) -> None:
    for fault in faults:
        out.print(Text.assemble((fault.place, "bold"), ": ", (fault.reason, "red")))
    if faults:
        out.print()
    width = max(len(each.chain.name) for each in proofs)
    for each in proofs:
        state = ("ok    ", "green") if each.fault is None else ("broken", "bold red")
        records = f"{each.records:,} record{'' if each.records == 1 else 's'}"
        shown = records if each.first == 1 else f"records {each.first:,} to {each.head.count:,}"
        size = f"{shown} in {plural(each.files, 'file')}"
        if each.fault is not None:
            size = f"{records} before that"
        signed = f", signed up to {each.signed:,}" if each.signed else ", not signed"
        out.print(Text.assemble((each.chain.name.ljust(width), "bold"), "  ", state, "  ", size, (signed, "dim")))
        if not each.signed and each.fault is None and each.records:
            out.print(Text(f"  head {each.head.count}:{each.head.hash}", "dim"))
    for name in keys:
        out.print(Text.assemble(("key ", "dim"), name), soft_wrap=True)
    if keys and not source:
        out.print("The heads name this key themselves: compare it with the one that you kept, --key HEX.")
    if not keys and not faults:
        out.print("No signed head vouches for the end: a cut there shows only against a head that was")
        out.print("kept elsewhere. Set audit.key, or note the head above and give it as --head.")


def _print_line(out: Console, record: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.encode(record))
        return
    at = record.get("at", "")
    if isinstance(at, int | float):
        at = datetime.fromtimestamp(at, UTC).isoformat()
    verdict = str(record.get("verdict", record.get("action", "")))
    style = "green" if verdict == "allow" else "red" if verdict in ("block", "steer", "error") else ""
    what = " ".join(
        str(record[name]) for name in ("by", "caller", "model", "target", "through", "count") if record.get(name)
    )
    line = Text.assemble(
        (str(at)[5:19].replace("T", " "), "dim"), "  ", str(record.get("id", ""))[:32].ljust(28), " ",
        str(record.get("phase", record.get("kind", ""))).ljust(11), " ", (verdict.ljust(6), style), " ",
        (visible(what), "dim"),
    )  # fmt: skip
    out.print(line, no_wrap=True, overflow="ellipsis")


def _print_record(out: Console, record: dict[str, Any], place: Place) -> None:
    out.print(Text.assemble(("record   ", "dim"), str(place)), soft_wrap=True)
    if "verdict" in record and "phase" in record:
        print_past(out, past_of(record), None)
    else:
        rows = Table(box=None, pad_edge=False, show_header=False)
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        for name, value in record.items():
            if name not in ("previous", "hash"):
                rows.add_row(name, visible(value if isinstance(value, str) else msgspec.json.encode(value).decode()))
        out.print(rows)
    out.print(Text.assemble(("hash     ", "dim"), str(record.get("hash", ""))), soft_wrap=True)


def _moment(text: str | None, option: str, default: float) -> float:
    if text is None:
        return default
    if length := _LENGTH.fullmatch(text.strip()):
        return time.time() - float(length[1]) * _UNITS[length[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} takes a time such as 2027-01-31, 2027-01-31T08:00 or 7d, not '{text}'") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
