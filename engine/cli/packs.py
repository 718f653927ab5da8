"""`policy packs`: the shipped policy packs."""

from typing import Any

import rich_click as click
from rich.table import Table

from engine.policy.compile import PolicySource, check_file
from engine.policy.context import UNKNOWN
from engine.policy.sources import pack_names, pack_source

from .output import console, output_format, print_json


@click.command("packs")
@output_format("text", "json")
def command(output: str) -> None:
    """List the shipped policy packs. A configuration switches them on: `packs: {secrets: {}}`."""
    packs = [_described(name, source) for name in pack_names() if (source := pack_source(name)) is not None]
    if output == "json":
        print_json(packs)
        return
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("pack", "rules", "tests", "what it is for"):
        rows.add_column(title, no_wrap=title == "pack", justify="right" if title in ("rules", "tests") else "left")
    for each in packs:
        rows.add_row(
            each["name"], str(each["rules"]), str(each["tests"]), each["description"].split(". ")[0].rstrip(".")
        )
    console().print(rows)


def _described(name: str, source: PolicySource) -> dict[str, Any]:
    checked, _, _ = check_file(source, UNKNOWN)
    if checked is None:
        return {"name": name, "description": "this pack cannot be loaded: see `policy lint`", "rules": 0, "tests": 0}
    spec = checked.spec
    return {
        "name": name, "description": " ".join(spec.description.split()),
        "rules": len(spec.rules), "tests": len(spec.tests),
    }  # fmt: skip
