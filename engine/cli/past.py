"""Decisions that happened, found in audit logs by their ids, as text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from engine.diagnostics import UsageError
from engine.model.traffic import RecordedEvent, RecordedExchange, events_of
from engine.proving.past import Past, is_masked
from engine.rendering import visible
from engine.world.logfiles import worker_paths

from .traffic import lines_of
from .trees import cut, shown

_STYLES: Final = {"matched": "bold green", "excepted": "yellow", "limited": "yellow", "error": "bold red"}


def found_record(id: str, audit: Path) -> dict[str, Any]:
    """The record of a decision; of several workers' logs, from whichever holds it. Raises UsageError."""
    files = [audit] if audit.is_file() else list(worker_paths(audit))
    if not files:
        raise UsageError(f"there is no audit log {audit}")
    needle = msgspec.json.encode(id)
    of_exchange: list[str] = []
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if needle[:-1] not in line:
                    continue
                try:
                    record = msgspec.json.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue  # a torn line; `policy audit verify` says so
                if record.get("id") == id:
                    return dict(record)
                if record.get("request") == id:
                    of_exchange.append(f"{record['id']} ({record['phase']}: {record['verdict']})")
    if of_exchange:
        raise UsageError(f"{id} is an exchange; its decisions are {', '.join(of_exchange)}")
    raise UsageError(f"there is no decision {id} in {', '.join(map(str, files))}")


def found_event(id: str, traffic: Sequence[str]) -> tuple[RecordedEvent, dict[str, Any]] | None:
    """The recorded event of a decision, None where it was not recorded. Raises UsageError."""
    needle = id.encode()
    for line in lines_of(traffic, "reading", quiet=True):
        if needle in line:
            try:
                exchange = msgspec.json.decode(line, type=RecordedExchange)
            except msgspec.DecodeError as wrong:
                raise UsageError(f"{', '.join(traffic)} is no recording: {wrong}") from wrong
            for recorded, event in events_of(exchange):
                if recorded.id == id:
                    return recorded, event
    return None


def print_past(out: Console, past: Past, rule: str | None) -> None:
    """All that the record says."""
    record = past.record
    facts = (
        ("decision", record["id"]), ("at", record["at"]), ("phase", record["phase"]), ("caller", record["caller"]),
        ("model", record["model"]), ("revision", record["revision"]),
    )  # fmt: skip
    for name, value in facts:
        out.print(Text.assemble((f"{name:<9}", "dim"), visible(str(value))), no_wrap=True, overflow="ellipsis")
    out.print()
    for each in past.rules:
        if rule is not None and each.name != rule and each.name.partition("/")[2] != rule:
            continue
        head = Text.assemble((each.name, "bold"), "  ", (each.outcome, _STYLES.get(each.outcome, "dim")))
        if each.mode != "enforce":
            head.append(f" ({each.mode})", "magenta")
        head.append(f"  {visible(each.why)}", "dim")
        out.print(head, no_wrap=True, overflow="ellipsis")
        for number, (expression, value, span) in enumerate(each.because):
            last = number == len(each.because) - 1
            out.print(_because(expression, value, span, last, out.width), no_wrap=True, overflow="ellipsis")
        out.print()
    for line in _ending(past):
        out.print(line, no_wrap=True, overflow="ellipsis")


def _because(expression: str, value: Any, span: str, last: bool, width: int) -> Text:
    said = "masked" if is_masked(value) else shown(value)
    tail = f" = {said}"
    room = width - 5
    tail = cut(tail, max(room // 2, room - len(expression)))
    text = cut(visible(" ".join(expression.split())), room - len(tail))
    line = Text.assemble(("  └─ " if last else "  ├─ ", "dim"), text, (tail, "yellow" if said == "masked" else "cyan"))
    if len(line) + len(span) + 2 <= width:
        line.append(f"  {span}", "dim")
    return line


def _ending(past: Past) -> Iterator[Text]:
    record = past.record
    verdict = str(record["verdict"])
    line = Text.assemble("verdict  ", (verdict, "bold green" if verdict == "allow" else "bold red"))
    if record.get("by"):
        line.append(f" by {record['by']}")
    yield line
    if record.get("message"):
        yield Text(f"         {'masked' if is_masked(record['message']) else visible(record['message'])}")
    if record.get("route"):
        yield Text(f"route    {visible(str(record['route']))}")
    title = "patch    "
    for outcome in record.get("outcomes", ()):
        for op in outcome.get("patch", ()):
            value = f" = {'masked' if is_masked(op['value']) else shown(op['value'])}" if "value" in op else ""
            yield Text.assemble(title, op["op"], " ", (op["path"], "bold"), value, (f"  {outcome['rule']}", "dim"))
            title = " " * len(title)
    if past.masked:
        values = ", ".join(dict.fromkeys(f"{part} ({rule})" if rule else part for rule, part in past.masked))
        yield Text(f"masked   {visible(values)}", "yellow")
