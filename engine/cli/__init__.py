"""The command `policy`: one file a verb, and here one line a verb."""

import importlib
import importlib.metadata
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

import rich_click as click

from engine.diagnostics import ConfigurationError, LexgateError, UsageError, nearest
from engine.rendering import render_text

VERBS: Final = {
    "serve": ("engine.cli.serve", "Run the endpoint."),
    "lint": ("engine.cli.lint", "Find what is wrong in policy files."),
    "test": ("engine.cli.test", "Run the tests that stand in policy files."),
    "explain": ("engine.cli.explain", "Say what the rules make of one event, and why."),
    "replay": ("engine.cli.replay", "Decide recorded traffic anew, under other policies."),
    "diff": ("engine.cli.diff", "Say which rules differ between two sets of policies."),
    "bench": ("engine.cli.bench", "Measure what each rule costs."),
    "actions": ("engine.cli.actions", "Show what rules can do."),
    "functions": ("engine.cli.functions", "Show what conditions can call."),
    "packs": ("engine.cli.packs", "List the shipped policy packs."),
    "config": ("engine.cli.config", "Show every setting and where its value came from."),
    "keys": ("engine.cli.keys", "Make, list, rotate and revoke the keys of team mode."),
    "audit": ("engine.cli.audit", "Prove the audit log, and read it."),
    "status": ("engine.cli.status", "Ask a running server what it serves."),
    "schema": ("engine.cli.schema", "Print, write or check the generated schemas and pages."),
}
"""Each verb with the module whose `command` it is, loaded when it is called, and the line that `policy --help` shows."""

FINDINGS: Final = 1
WRONG_USE: Final = 2
INTERNAL: Final = 3


class Verbs(click.RichGroup):
    """Loads a verb's module only when the verb is called; help is made of the table alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        verb = VERBS.get(cmd_name)
        return click.RichCommand(name=cmd_name, help=verb[1]) if verb else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = nearest(args[0], VERBS)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{near}'?" if near else ""))
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        loaded: click.Command = importlib.import_module(VERBS[name][0]).command
        return name, loaded, rest


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lexgate", message="lexgate %(version)s")
def policy() -> None:
    """Lexgate: LLM traffic governed by rules in YAML files.

    Exit codes: 0 fine, 1 findings, 2 wrong use, 3 internal error.
    """


def main(args: Sequence[str] | None = None) -> Any:
    """Run a command line (default: the process's own) and exit. The outermost edge: nothing unexpected goes past it."""
    try:
        policy.main(args=list(args) if args is not None else None, prog_name="policy")
    except UsageError as wrong:
        print(f"policy: {wrong}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except ConfigurationError as wrong:
        files = {each.where.file for each in wrong.diagnostics}
        print(render_text(wrong.diagnostics, _sources(files)), end="", file=sys.stderr)
        sys.exit(FINDINGS)
    except LexgateError as wrong:
        print(f"policy: {wrong}", file=sys.stderr)
        sys.exit(FINDINGS)
    except Exception as problem:
        print(internal_error(problem), file=sys.stderr)
        sys.exit(INTERNAL)


def internal_error(problem: Exception) -> str:
    """What to tell somebody who met a mistake of ours; the traceback only with LEXGATE_DEBUG=1."""
    if os.environ.get("LEXGATE_DEBUG") == "1":
        return "".join(traceback.format_exception(problem)).rstrip()
    place = traceback.extract_tb(problem.__traceback__)[-1]
    version = importlib.metadata.version("lexgate")
    return (
        f"policy: internal error: {type(problem).__name__}: {problem}\n"
        f"   in {os.path.basename(place.filename)}:{place.lineno}, "
        f"lexgate {version}, Python {platform.python_version()}, {platform.system()}\n"
        "   This is a mistake of Lexgate, not of your files. Please report these lines with the command that you ran;\n"
        "   LEXGATE_DEBUG=1 shows the whole traceback."
    )


def _sources(files: set[str]) -> dict[str, str]:
    """The text of the files that can still be read, for the lines below findings."""
    found = {}
    for file in files:
        try:
            with open(file, encoding="utf-8") as stream:
                found[file] = stream.read()
        except (OSError, UnicodeDecodeError):
            continue
    return found
