"""`policy actions`: what rules can do."""

import rich_click as click
from rich.table import Table

from engine.actions import ACTIONS
from engine.diagnostics import UsageError, suggestion
from engine.model.phases import Phase

from .output import console
from .pages.actions import action_section
from .section import print_section


@click.command("actions")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Show the page of the action NAME; without NAME, list all with their phases."""
    if name is None:
        _list()
    elif name in ACTIONS:
        print_section(action_section(name))
    else:
        raise UsageError(f"there is no action '{name}'; {suggestion(name, ACTIONS) or 'see `policy actions`'}")


def _list() -> None:
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("action", "phases", "what it does"):
        rows.add_column(title, no_wrap=title == "action")
    for name, action in sorted(ACTIONS.items()):
        phases = [phase.value for phase in Phase if phase in action.phases]
        said = "all" if len(phases) == len(Phase) else ", ".join(phases)
        rows.add_row(name, said, " ".join(action.doc.split("\n\n")[0].split()).split(". ")[0].rstrip("."))
    console().print(rows)
