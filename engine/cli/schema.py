"""`policy schema`: the schemas and the generated pages, printed, written, or held against what is committed."""

from collections.abc import Mapping
from pathlib import Path

import rich_click as click

import engine
from engine.diagnostics import UsageError, suggestion

from .pages import SCHEMAS, generated, schema_text


@click.command("schema")
@click.argument("name", required=False)
@click.option("--write", is_flag=True, help="Write schemas/ and docs/reference/ of the checkout anew.")
@click.option("--check", is_flag=True, help="Say which of them differ from what would be written; exit code 1.")
@click.pass_context
def command(ctx: click.Context, name: str | None, write: bool, check: bool) -> None:
    """Print the JSON Schema NAME: policy, config, decision, traffic, or event.PHASE. Without NAME, list them.

    Editors complete and check policy files with it: `# yaml-language-server: $schema=…/policy.schema.json`.
    """
    if name is not None and (write or check):
        raise UsageError("--write and --check are for all generated files: leave NAME away")
    if write:
        root, files = checkout(), generated()
        for file in outdated(root, files):
            target = root / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[file], "utf-8")
            click.echo(f"wrote {file}")
    elif check:
        different = outdated(checkout(), generated())
        for file in different:
            click.echo(f"{file} is not what `policy schema --write` writes")
        ctx.exit(1 if different else 0)
    elif name is None:
        click.echo("\n".join(SCHEMAS))
    elif name in SCHEMAS:
        click.echo(schema_text(name), nl=False)
    else:
        raise UsageError(f"there is no schema '{name}'; {suggestion(name, SCHEMAS) or 'one of ' + ', '.join(SCHEMAS)}")


def checkout() -> Path:
    """The root of the checkout that this is installed from. Raises UsageError where it is none."""
    root = Path(engine.__file__).parent.parent
    if not (root / "schemas").is_dir() or not (root / "pyproject.toml").is_file():
        raise UsageError("--write and --check need a checkout of the repository; here is only the installed package")
    return root


def outdated(root: Path, files: Mapping[str, str]) -> list[str]:
    """Which of the generated files are missing below `root`, or stand there with another text."""
    return [file for file, text in files.items() if _text(root / file) != text]


def _text(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None
