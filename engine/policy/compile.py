"""`compile(files) -> RuleSet | diagnostics`: the one path from policy files to rules, for lint, start and reload."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.diagnostics import Diagnostic, Where, suggestion, warning
from engine.diagnostics import error as diagnose
from engine.language.patterns import Pattern, compile_pattern

from .commanding import command_table
from .context import UNKNOWN, UNLIMITED, Catalogue, Grant
from .link import FileLinker, Foreign, Linked
from .names import FileNames, Path, pattern_parts
from .read import ReadFile, read_policy
from .rule import Rule
from .ruleset import RuleSet
from .spec import PolicySpec, RuleSpec
from .typecheck import check_types

CONFIGURATION: Final = Where("lexgate.yaml")


class PolicySource(msgspec.Struct, frozen=True):
    """One policy file as it was read from disk, and what its source is granted. `overrides` are a pack's."""

    file: str
    text: str
    grant: Grant = UNLIMITED
    overrides: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def digest(self) -> str:
        said = hashlib.sha256(msgspec.json.encode((self.file, self.grant, self.overrides)))
        said.update(self.text.encode("utf-8", "surrogatepass"))  # bytes that are no UTF-8 were read as surrogates
        return said.hexdigest()


class CheckedPolicy(msgspec.Struct, frozen=True):
    """A file without errors, as plain data that another process can link: the spec, and where its expressions stand."""

    source: PolicySource
    spec: PolicySpec
    places: Mapping[str, Where]


class Compiled(msgspec.Struct, frozen=True):
    """What became of the files: the rules, unless an error stands among the diagnostics."""

    ruleset: RuleSet | None
    checked: tuple[CheckedPolicy, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def sound(self) -> bool:
        return not any(each.stops_loading for each in self.diagnostics)


FileCheck = Callable[[PolicySource, Catalogue], tuple["CheckedPolicy | None", "Linked | None", list[Diagnostic]]]
"""How one file is judged: `check_file`, or one that remembers what it judged before."""


def compile_policies(
    sources: Sequence[PolicySource],
    catalogue: Catalogue = UNKNOWN,
    require: Sequence[str] = (),
    check: FileCheck | None = None,
    required_at: Where = CONFIGURATION,
) -> Compiled:
    """Read, judge, link and type-check every file, then the set as a whole. Collects everything that is wrong.

    `required_at` is where the configuration says what it requires.
    """
    check = check or check_file
    diagnostics: list[Diagnostic] = []
    checked: list[CheckedPolicy] = []
    linked: list[Linked] = []
    for source in sources:
        policy, links, found = check(source, catalogue)
        diagnostics += found
        if policy is not None and links is not None:
            checked.append(policy)
            linked.append(links)
    diagnostics += _duplicate_policies(checked)
    rules, said = join(linked, judge=True)
    commands, doubled = command_table((each.commands, each.ignores) for each in linked)
    diagnostics += [*said, *doubled]
    ruleset = None
    diagnostics = sorted(set(diagnostics), key=lambda each: (each.where, each.code))
    if not any(each.stops_loading for each in diagnostics):
        ruleset = RuleSet(rules, revision_of(sources), [each.spec.policy for each in checked], commands)
        missing = list(missing_requirements(ruleset, require, required_at))
        diagnostics += missing
        ruleset = None if missing else ruleset
    return Compiled(ruleset, tuple(checked), tuple(diagnostics))


class Judged(msgspec.Struct, frozen=True):
    """One file as it was read and linked, with its findings; `spec` is None where it cannot be read at all."""

    source: PolicySource
    read: ReadFile
    diagnostics: tuple[Diagnostic, ...]
    spec: PolicySpec | None = None
    names: FileNames | None = None
    linked: Linked | None = None

    @property
    def checked(self) -> CheckedPolicy | None:
        """The file for whoever links it; None where it has an error."""
        if self.spec is None or self.names is None or any(each.stops_loading for each in self.diagnostics):
            return None
        return CheckedPolicy(self.source, self.spec, _places(self.read, self.names))


def judge_file(source: PolicySource, catalogue: Catalogue) -> Judged:
    """One file by itself, with all that was made of it on the way."""
    read = read_policy(source.text, source.file)
    readable = read.spec or read.rest
    if readable is None:
        return Judged(source, read, read.diagnostics)
    spec = overridden(readable, source.overrides)
    names = FileNames(spec, read.document.value, read.document.inside, catalogue)
    linked = FileLinker(spec, source.file, names, source.grant).link()
    found = (*read.diagnostics, *linked.diagnostics, *check_types(spec, names))
    return Judged(source, read, found, spec, names, linked)


def check_file(
    source: PolicySource, catalogue: Catalogue
) -> tuple[CheckedPolicy | None, Linked | None, list[Diagnostic]]:
    """One file by itself: its spec and rules where it is right, and its findings."""
    judged = judge_file(source, catalogue)
    checked = judged.checked
    return checked, judged.linked if checked is not None else None, list(judged.diagnostics)


def link_checked(policy: CheckedPolicy, catalogue: Catalogue) -> Linked:
    """The rules of a file that was checked elsewhere; nothing is read and nothing is judged again."""
    linking = link_stepwise(policy, catalogue)
    while True:
        try:
            next(linking)
        except StopIteration as done:
            linked: Linked = done.value
            return linked


def link_stepwise(policy: CheckedPolicy, catalogue: Catalogue) -> Generator[None, None, Linked]:
    """The same, in steps of one rule or one pattern, so that a server can answer between them."""
    prepared: dict[tuple[str, str, int | None, str | None], Pattern] = {}
    for patterns in policy.spec.patterns.values():
        for name, written in patterns.items():
            parts = pattern_parts(written)
            prepared[name, *parts] = compile_pattern(name, *parts)
            yield

    def prepare(name: str, text: str, width: int | None, check: str | None) -> Pattern:
        return prepared.get((name, text, width, check)) or compile_pattern(name, text, width, check)

    def locate(path: Path) -> Where:
        return policy.places.get(_key(path), Where(policy.source.file))

    def inside(path: Path, _start: int, _end: int) -> Where:
        return locate(path)

    names = FileNames(policy.spec, locate, inside, catalogue, prepare)
    yield
    return (yield from FileLinker(policy.spec, policy.source.file, names, policy.source.grant).stepwise())


def join(linked: Iterable[Linked], *, judge: bool = False) -> tuple[list[Rule], list[Diagnostic]]:
    """The rules of all files, with the exceptions that one file makes to rules of another.

    With `judge` the conditions of those exceptions are type-checked, against the phase of the rule that they name.
    """
    linked = list(linked)
    rules = {rule.name: rule for each in linked for rule in each.rules}
    diagnostics: list[Diagnostic] = []
    for foreign in (one for each in linked for one in each.foreign):
        rule = rules.get(foreign.rule)
        if rule is None:
            help = suggestion(foreign.rule, rules)
            diagnostics.append(diagnose(403, f"the exception names no rule: '{foreign.rule}'", foreign.where, help))
        elif foreign.policy not in rule.exceptable_by:
            help = f"the rule must say so: exceptable_by: [{foreign.policy}]"
            message = f"rule '{foreign.rule}' of another file does not allow this exception"
            diagnostics.append(diagnose(404, message, foreign.where, help))
        else:
            bound = foreign.bind(rule.phase, judge)
            diagnostics += bound.diagnostics
            if bound.exemption is not None:
                exemptions = (*rule.exemptions, bound.exemption)
                rules[rule.name] = msgspec.structs.replace(rule, exemptions=exemptions, reads=rule.reads | bound.reads)
    return list(rules.values()), diagnostics


def revision_of(sources: Sequence[PolicySource]) -> str:
    """Twelve hexadecimal digits that name the content of a set of files, whatever their order."""
    said = "".join(sorted(source.digest for source in sources))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def missing_requirements(
    ruleset: RuleSet, require: Sequence[str], where: Where = CONFIGURATION
) -> Iterator[Diagnostic]:
    """Policies that the operator requires must be loaded, with at least one rule that is enforced."""
    enforced = {rule.policy for rule in ruleset.rules if rule.live}
    for name in require:
        if name not in enforced:
            loaded = name in ruleset.policies
            message = f"the required policy '{name}' is {'loaded, but enforces nothing' if loaded else 'not loaded'}"
            help = "it stands under `require:` in the configuration"
            yield diagnose(420, message, where, help)


def _duplicate_policies(checked: Sequence[CheckedPolicy]) -> Iterator[Diagnostic]:
    first: dict[str, CheckedPolicy] = {}
    for each in checked:
        other = first.setdefault(each.spec.policy, each)
        if other is not each:
            message = f"policy '{each.spec.policy}' is already in {other.source.file}"
            yield diagnose(
                401, message, each.places.get(_key(("policy",)), Where(each.source.file)), "rename one of them"
            )


_OVERRIDABLE: Final = ("mode", "scope", "priority", "sets")
SPEAKING: Final = frozenset({"block", "respond", "steer"})
"""The actions that tell somebody a message."""


def overridden(spec: PolicySpec, overrides: Mapping[str, Any]) -> PolicySpec:
    """A pack with what the configuration changes of it: mode, scope, priority, the content of its sets, and messages."""
    changes: dict[str, Any] = {}
    if overrides.get("messages"):
        changes["rules"] = [_with_message(rule, overrides["messages"].get(rule.id)) for rule in spec.rules]
    for name in _OVERRIDABLE:
        if overrides.get(name) is None:
            continue
        value = overrides[name]
        if name == "sets":  # one that the pack does not have is said elsewhere, and not said again to be unused
            value = {key: value.get(key, own) for key, own in spec.sets.items()}
        changes[name] = msgspec.convert(value, _field_type(name))
    return msgspec.structs.replace(spec, **changes) if changes else spec


def _with_message(rule: RuleSpec, message: str | None) -> RuleSpec:
    """The rule with another text for those whom it stops."""
    if message is None:
        return rule
    actions = [
        {name: {**(written if isinstance(written, dict) else {}), "message": message}}
        if name in SPEAKING
        else {name: written}
        for step in rule.actions
        for name, written in step.items()
    ]
    return msgspec.structs.replace(rule, actions=actions)


def _field_type(name: str) -> Any:
    return PolicySpec.__annotations__[name]


def _places(read: ReadFile, names: FileNames) -> dict[str, Where]:
    """Where each rule, test and expression stands: all that a record, or a failing test, says of places."""
    paths: list[Path] = [("policy",), *(use.path for use in names.uses)]
    spec = read.spec
    if spec is not None:
        paths += [("rules", index) for index in range(len(spec.rules))]
        paths += [("tests", index) for index in range(len(spec.tests))]
    return {_key(path): read.document.value(path) for path in paths}


def _key(path: Path) -> str:
    return "/".join(map(str, path))


__all__ = [
    "CheckedPolicy",
    "Compiled",
    "Foreign",
    "PolicySource",
    "check_file",
    "compile_policies",
    "join",
    "link_checked",
    "link_stepwise",
    "warning",
]
