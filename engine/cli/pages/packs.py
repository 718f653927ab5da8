"""The pages of the shipped packs: what each is for, what it does, what can be set, and what its tests show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.policy.read import read_policy
from engine.policy.sources import pack_names, pack_source
from engine.policy.spec import CaseSpec, CommandsSpec, PatternSpec, PolicySpec

from .markdown import page, table

_SHOWN = 12


def pack_pages() -> dict[str, str]:
    """Every page of `docs/packs/` by the name of its file."""
    specs = [spec for name in pack_names() if (spec := _spec(name)) is not None]
    return {"README.md": _list(specs)} | {f"{spec.policy}.md": pack_page(spec) for spec in specs}


def _spec(name: str) -> PolicySpec | None:
    source = pack_source(name)
    return read_policy(source.text, source.file).spec if source is not None else None


def _list(specs: Sequence[PolicySpec]) -> str:
    rows = [[f"[{spec.policy}]({spec.policy}.md)", _first_sentence(spec.description)] for spec in specs]
    introduction = (
        "Policies that ship with Lexgate, each with its tests. A configuration switches one on by name: "
        "`packs: {secrets: {}}`; `--set packs.secrets.mode=shadow` tries it, `LEXGATE_PACKS__SECRETS__MODE=off` switches it "
        "off. What a page lists under *What can be set* is set there too, without a copy of the file."
    )
    return page("Packs", introduction, table(["pack", "what it is for"], rows))


def pack_page(spec: PolicySpec) -> str:
    """The page of one pack."""
    sections = [_rules(spec)]
    if spec.commands is not None:
        sections.append(_commands(spec.commands))
    sections.append(_settings(spec))
    if spec.patterns:
        sections.append(_patterns(spec.patterns))
    sections.append(_tests(spec.tests))
    return page(spec.policy, " ".join(spec.description.split()), *sections)


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].rstrip(".") + "."


def _rules(spec: PolicySpec) -> str:
    rows = [
        [f"`{rule.id}`", rule.phase.value, rule.severity, ", ".join(_actions(rule.actions)), rule.description]
        for rule in spec.rules
    ]
    return "## Rules\n\n" + table(["rule", "phase", "severity", "actions", "why"], rows)


def _actions(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from dict.fromkeys(f"`{name}`" for step in steps for name in step)


def _commands(declared: CommandsSpec) -> str:
    rows = [
        [f"`!/{name}`", ", ".join(f"`{each}`" for each in command.args) or "–", command.description]
        for name, command in declared.define.items()
    ]
    return "## Commands\n\n" + table(["command", "arguments", "what it does"], rows)


def _settings(spec: PolicySpec) -> str:
    lines = [
        "## What can be set",
        "```yaml\npacks:\n  " + spec.policy + ":\n    mode: shadow            # enforce | shadow | off\n"
        '    scope: {team: [payments]}\n    messages: {RULE: "Another text."}' + _sets(spec) + "\n```",
    ]
    if spec.sets:
        rows = [[f"`{name}`", _shown(values)] for name, values in spec.sets.items()]
        lines.append(table(["set", "as shipped"], rows))
    return "\n\n".join(lines)


def _sets(spec: PolicySpec) -> str:
    name = next(iter(spec.sets), None)
    return f"\n    sets: {{{name}: [...]}}" if name else ""


def _shown(values: Sequence[str]) -> str:
    said = ", ".join(f"`{each}`" for each in values[:_SHOWN])
    return f"{said}, and {len(values) - _SHOWN} more" if len(values) > _SHOWN else said or "nothing"


def _patterns(patterns: Mapping[str, Mapping[str, str | PatternSpec]]) -> str:
    rows = [[f"`{name}`", str(len(each)), _shown(tuple(each))] for name, each in patterns.items()]
    return "## Patterns\n\n" + table(["set", "patterns", "names"], rows)


def _tests(tests: Sequence[CaseSpec]) -> str:
    shown = [f"- {case.name}" for case in tests[:60]]
    if len(tests) > len(shown):
        shown.append(f"- and {len(tests) - len(shown)} more")
    introduction = f"`policy test` runs the {len(tests)} tests that stand in the file."
    return "## What its tests show\n\n" + introduction + "\n\n" + "\n".join(shown)
