"""`policy config`: every setting with the layer that gave it."""

import os
from pathlib import Path

import rich_click as click
from rich.table import Table

from engine.diagnostics import UsageError
from engine.settings import LayerKind, describe, load_settings

from .output import console, output_format, print_json


@click.command("config")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LEXGATE_CONFIG",
    metavar="FILE",
    help="The configuration; default: lexgate.yaml in this folder, where it is there.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting: server.port=9000.")
@click.option("--changed", is_flag=True, help="Only what is no default.")
@output_format("text", "json")
def command(config: Path | None, overrides: tuple[str, ...], changed: bool, output: str) -> None:
    """Show every setting, its value and where the value came from. Secrets are masked."""
    if config is not None and not config.is_file():
        raise UsageError(f"there is no configuration file {config}")
    loaded = load_settings(config, os.environ, [_split(each) for each in overrides])
    rows = [each for each in describe(loaded) if not changed or each.layer.kind is not LayerKind.DEFAULT]
    if output == "json":
        print_json(
            [
                {"path": each.path, "value": each.value, "layer": each.layer.kind.value, "from": str(each.layer)}
                for each in rows
            ]
        )
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for each in rows:
        style = "dim" if each.layer.kind is LayerKind.DEFAULT else ""
        table.add_row(each.path, each.value, str(each.layer), style=style)
    console().print(table)


def _split(written: str) -> tuple[str, str]:
    name, equals, text = written.partition("=")
    if not equals or not name:
        raise UsageError(f"--set takes KEY=VALUE, and '{written}' is none")
    return name, text
