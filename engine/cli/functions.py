"""`policy functions`: what conditions can call."""

import rich_click as click
from rich.table import Table

from engine.diagnostics import UsageError, suggestion
from engine.language.functions import FUNCTIONS

from .output import console
from .pages.functions import function_section
from .section import print_section


@click.command("functions")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Show the page of the function NAME; without NAME, list all."""
    if name is None:
        _list()
    elif name in FUNCTIONS:
        print_section(function_section(name))
    else:
        raise UsageError(f"there is no function '{name}'; {suggestion(name, FUNCTIONS) or 'see `policy functions`'}")


def _list() -> None:
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column("function", no_wrap=True)
    rows.add_column("what it gives")
    for function in FUNCTIONS.values():
        rows.add_row(function.signature, " ".join(function.page.split("\n\n")[0].split()))
    console().print(rows)
