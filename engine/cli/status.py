"""`policy status`: what a running server serves."""

from typing import Any

import httpx2
import rich_click as click
from rich.table import Table

from engine.diagnostics import Diagnostic, Severity, UsageError, Where

from .output import console, output_format, print_findings, print_json


@click.command("status")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the server listens.")
@output_format("text", "json")
@click.pass_context
def command(ctx: click.Context, url: str, output: str) -> None:
    """Ask a running server which policies it serves, and what is wrong with those that it does not.

    Exit code 1 where the server reports findings.
    """
    status = _asked(url)
    if output == "json":
        print_json(status)
    found = _findings(status)
    if output == "text":
        rows = Table(box=None, pad_edge=False, show_header=False)
        rows.add_column(no_wrap=True, style="dim")
        rows.add_column(overflow="fold")
        for name, value in _flat(status):
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


def _asked(url: str) -> dict[str, Any]:
    """The server's answer. Raises UsageError where there is none."""
    address = f"{url.rstrip('/')}/policy/status"
    try:
        answer = httpx2.get(address, timeout=5.0, trust_env=False)
        document = answer.raise_for_status().json()
    except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
        raise UsageError(f"{address} does not answer: {problem}; is the server running? --url says where") from problem
    except ValueError as problem:
        raise UsageError(f"{address} is not a Lexgate server: its answer is not JSON") from problem
    if not isinstance(document, dict):
        raise UsageError(f"{address} is not a Lexgate server: its answer is not a status")
    return document


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """`reload.at`, `policies.0`: one line a value."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [row for key, each in items for row in _flat(each, f"{name}.{key}" if name else str(key))]
    shown = "" if value in ({}, [], None) else "yes" if value is True else "no" if value is False else str(value)
    return [(name, shown)]
