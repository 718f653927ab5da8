"""`policy status`: what a running server serves."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import rich_click as click
from rich.table import Table

from engine.diagnostics import Diagnostic, Severity, UsageError, Where

from .output import console, output_format, plural, print_findings, print_json

KEY: Final = "LEXGATE_KEY"
"""The variable that holds the key, which is in no argument that others could see."""


@click.command("status")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the server listens.")
@output_format("text", "json")
@click.pass_context
def command(ctx: click.Context, url: str, output: str) -> None:
    """Ask a running server which policies it serves, and what is wrong with those that it does not.

    A server in team mode wants an admin key: in the environment, as LEXGATE_KEY. Exit code 1 where the server reports
    findings.
    """
    status = _asked(url, os.environ.get(KEY, ""))
    if output == "json":
        print_json(status)
    found = _findings(status)
    if output == "text":
        rows = Table(box=None, pad_edge=False, show_header=False)
        rows.add_column(no_wrap=True, style="dim")
        rows.add_column(overflow="fold")
        for name, value in _rows(status):
            rows.add_row(name, value)
        console().print(rows)
        if found:
            print_findings(found, {})
    ctx.exit(1 if found or status.get("serving_last_good") else 0)


def _findings(status: dict[str, Any]) -> list[Diagnostic]:
    """What the last attempt to load policies found; those of another version of the server may say less."""
    attempt = status.get("last_attempt")
    rows = attempt.pop("diagnostics", []) if isinstance(attempt, dict) else []
    return [
        Diagnostic(
            str(row.get("code", "")),
            Severity(row.get("severity", "error")),
            str(row.get("message", "")),
            Where(str(row.get("file", "")), int(row.get("line", 0)), int(row.get("column", 0))),
            str(row.get("help", "")),
        )
        for row in rows
    ]


def _asked(url: str, key: str = "") -> dict[str, Any]:
    """The server's answer. Raises UsageError where there is none."""
    address = f"{url.rstrip('/')}/policy/status"
    try:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = httpx2.get(address, headers=headers, timeout=5.0, trust_env=False)
        if answer.status_code in (401, 403):
            raise UsageError(f"{address} wants an admin key (status {answer.status_code}): set {KEY}")
        document = answer.raise_for_status().json()
    except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
        raise UsageError(f"{address} does not answer: {problem}; is the server running? --url says where") from problem
    except ValueError as problem:
        raise UsageError(f"{address} is not a Lexgate server: its answer is not JSON") from problem
    if not isinstance(document, dict):
        raise UsageError(f"{address} is not a Lexgate server: its answer is not a status")
    return document


def _rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What an operator asks, in the order of asking: which rules, since when, from which files, and what of the last edit."""
    yield "revision", f"{status.get('revision', '')}{_since(status.get('loaded_at'))}"
    yield "files", _agreement(status)
    rules = status.get("rules", {})
    yield "rules", ", ".join(f"{rules.get(mode, 0)} {said}" for mode, said in _MODES.items() if mode in rules)
    enforced = Counter(str(name).partition("/")[0] for name in status.get("enforced", ()))
    for index, policy in enumerate(status.get("policies", ())):
        yield "" if index else "policies", f"{policy}  {enforced[policy] or 'nothing'} enforced"
    for index, each in enumerate(status.get("sources", ())):
        count = f"{plural(each.get('files', 0), 'file')}, {plural(each.get('rules', 0), 'rule')}"
        yield "" if index else "sources", f"{each.get('source', '')}  {count}"
    attempt = status.get("last_attempt")
    if isinstance(attempt, dict):
        took = f", in {attempt['seconds']:.2f} s" if "seconds" in attempt else ""
        outcome = {"ok": "taken over", "error": "refused"}.get(str(attempt.get("outcome")), "")
        yield "last edit", f"{outcome}{_since(attempt.get('at'), 'at')}{took}"
    compiler = status.get("compiler", {})
    if compiler.get("deaths"):
        yield "compiler", f"died {plural(compiler['deaths'], 'time')}, and was started again"
    if isinstance(store := status.get("store"), dict):
        yield "state", f"{store.get('url', '')}{'' if store.get('up', True) else '  does not answer'}"
    if status.get("watching") is False:
        yield "reload", "off: edits are not noticed"
    yield "version", str(status.get("version", ""))


_MODES: Final = {"enforce": "enforced", "shadow": "in shadow", "off": "off"}


def _agreement(status: dict[str, Any]) -> str:
    """Whether the rules in force are those of the files."""
    if not status.get("serving_last_good"):
        return "in force as they are"
    kept = ", read back from disk at the start" if status.get("restored_from_disk") else ""
    return f"refused; the last good set goes on{kept}"


def _since(seconds: Any, word: str = "since") -> str:
    """` since 2026-11-22 17:28:39 UTC`, or nothing where the server does not say."""
    if not isinstance(seconds, int | float) or not seconds:
        return ""
    return f" {word} {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
