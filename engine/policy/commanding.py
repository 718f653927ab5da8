"""From what a file declares to the commands that people can write, each name in it looked up."""

from collections.abc import Iterable, Iterator

from engine.diagnostics import Diagnostic
from engine.diagnostics import error as diagnose
from engine.language.patterns import PatternSet
from engine.model.decision import Mode

from .commands import Argument, Command, CommandTable
from .names import FileNames, Path
from .spec import CommandSpec, PolicySpec


def link_commands(spec: PolicySpec, names: FileNames) -> tuple[tuple[Command, ...], tuple[PatternSet, ...]]:
    """The commands of a file, and the pattern sets of what is none; nothing where the whole file is switched off."""
    declared = spec.commands
    if declared is None:
        return (), ()
    path: Path = ("commands", "ignore")
    ignored = names.values(declared.ignore, path) if declared.ignore is not None else ()
    ignores = tuple(names.patterns(each, path) for each in ignored)
    commands = tuple(_command(name, each, spec.policy, names) for name, each in declared.define.items())
    return (commands, ignores) if spec.mode is not Mode.OFF else ((), ())


def _command(name: str, spec: CommandSpec, policy: str, names: FileNames) -> Command:
    path: Path = ("commands", "define", name)
    places = [place for place, each in enumerate(spec.args.values()) if each.many]
    if places and places != [len(spec.args) - 1]:
        help = "it takes all values that are left, so that the next argument would find none"
        names.wrong(441, "`many` belongs to the last argument", (*path, "args"), help)
    return Command(
        name=name,
        policy=policy,
        description=spec.description,
        aliases=tuple(spec.aliases),
        arguments=tuple(
            Argument(
                name=key,
                type=each.type,
                description=each.description,
                required=each.required,
                minimum=each.minimum,
                maximum=each.maximum,
                one_of=tuple(each.one_of),
                default=each.default,
                many=each.many,
            )
            for key, each in spec.args.items()
        ),
        roles=names.values(spec.roles, (*path, "roles")) if spec.roles is not None else (),
        pairs=spec.pairs,
        where=names.locate(path),
    )


def command_table(
    linked: Iterable[tuple[tuple[Command, ...], tuple[PatternSet, ...]]],
) -> tuple[CommandTable, list[Diagnostic]]:
    """The commands of all files; two of one name are said, and the first one counts."""
    first: dict[str, Command] = {}
    commands: list[Command] = []
    ignores: list[PatternSet] = []
    said: list[Diagnostic] = []
    for declared, ignored in linked:
        ignores += ignored
        for command in declared:
            said += _taken(command, first)
            commands.append(command)
    return CommandTable(commands, ignores), said


def _taken(command: Command, first: dict[str, Command]) -> Iterator[Diagnostic]:
    for name in (command.name, *command.aliases):
        other = first.setdefault(name, command)
        if other is not command:
            message = f"'{name}' is already a command of policy '{other.policy}'"
            yield diagnose(441, message, command.where, "rename one of them")
