"""The page of actions: which phase has which, and for each what it does and takes."""

from typing import Any, Final, get_type_hints

from engine.actions import ACTIONS, Action
from engine.actions.params import Expression, FieldPath, Globs, Patterns, Plan, Seconds, Text, Value, bare_type
from engine.actions.registry import DENIES_ON_ERROR
from engine.model.phases import Phase
from engine.policy.schema import policy_schema

from .markdown import code, page, table, type_words, unwrapped, value

_LINKED: Final = {
    Text: "text with templates",
    Value: "any value, with templates",
    Expression: "expression",
    Patterns: "pattern set",
    Globs: "names or globs",
    Plan: "route",
    Seconds: "length of time",
    FieldPath: "path of a field",
}
"""What a parameter's type is called, where its JSON type does not say enough."""

_INTRODUCTION: Final = """\
A rule's `actions` are steps; each names one action with its parameters. Where an action has one parameter that matters
most, its value may stand alone: `block: "Not here."`. A text with templates may hold `{{ expressions }}`, which are
evaluated on the event.

A rule is evaluated in the pass of its earliest action: first *transform*, then *decide*, then *observe*. What an error in
a rule means is its `on_error`; the default is given with each action."""


def actions_page() -> str:
    phases = [phase.value for phase in Phase]
    rows = [
        [f"[{code(each.name)}](#{each.name})", each.kind.value, *("✓" if p in each.phases else "" for p in Phase)]
        for each in sorted(ACTIONS.values(), key=lambda each: each.name)
    ]
    matrix = table(["action", "kind", *map(code, phases)], rows)
    sections = [action_section(name) for name in sorted(ACTIONS)]
    return page("Actions", _INTRODUCTION, matrix, *sections)


def action_section(name: str) -> str:
    """The part of the page that is about one action."""
    action = ACTIONS[name]
    phases = ", ".join(code(phase.value) for phase in Phase if phase in action.phases)
    if len(action.phases) == len(Phase):
        phases = "all"
    on_error = "deny" if action.kind in DENIES_ON_ERROR else "skip"
    facts = (
        f"Kind: {action.kind.value}. Pass: {action.pass_.value}. Phases: {phases}. "
        f"Default of `on_error`: {code(on_error)}."
    )
    rows = list(_params(action))
    params = table(["parameter", "type", "default", "meaning"], rows) if rows else "It takes no parameters: `{}`."
    return "\n\n".join([f"## {name}", unwrapped(action.doc), facts, params])


def _params(action: Action) -> list[list[str]]:
    defs = policy_schema()["$defs"]
    schema: dict[str, Any] = defs[action.params.__name__]
    hints = get_type_hints(action.params, include_extras=True)
    rows = []
    for field, name in zip(action.params.__struct_fields__, action.params.__struct_encode_fields__, strict=True):
        written = schema["properties"][name]
        linked = _LINKED.get(bare_type(hints[field]))
        default = "required" if name in schema.get("required", []) else ""
        if "default" in written and written["default"] is not None:
            default = value(written["default"])
        lone = " May stand alone." if field == action.params.lone else ""
        meaning = str(written.get("description", "")) + lone
        rows.append([code(name), linked or type_words(written, defs), default, meaning])
    return rows
