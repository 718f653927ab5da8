"""Models that nobody has, most likely because the name is misspelt."""

import re
from collections.abc import Iterator
from typing import Final

from engine.diagnostics import Diagnostic, nearest
from engine.language.globs import any_glob_matcher
from engine.model.plan import PlanError, named, parse_plan, plan_text
from engine.policy.names import Path

from .subject import Subject

_WORDS: Final = (
    *("claude", "sonnet", "opus", "haiku", "gemini", "gemma", "flash", "llama", "mistral", "mixtral", "codestral"),
    *("qwen", "deepseek", "reasoner", "grok", "command", "embedding", "turbo", "nano", "mini", "preview", "instruct"),
    *("latest", "gpt", "davinci", "phi", "nova", "titan", "kimi", "minimax", "granite", "nemotron", "large", "small"),
)
"""The words that models' names are made of; versions and sizes change every month, these do not."""

_PART: Final = re.compile(r"[a-z]+")


def misspelt_models(subject: Subject) -> Iterator[Diagnostic]:
    """W466: a model's name is misspelt, or its backend does not serve it.

    A rule for a model that does not exist matches nothing, and a route to it fails at the first request. A name is held
    against the words that models' names are made of, and, where the configuration is known, the model of a route against
    the `models` of its backend.

    Example:
        rules:
          - id: no-opus
            phase: request
            match: {model: "cluade-opus-*"}  # <--
            actions: [block: "Opus is not for everybody."]

    Use instead:
        rules:
          - id: no-opus
            phase: request
            match: {model: "claude-opus-*"}
            actions: [block: "Opus is not for everybody."]
    """
    for name, path in _named(subject):
        for word in _PART.findall(name.lower()):
            near = nearest(word, _WORDS) if len(word) > 2 and word not in _WORDS else ""
            if near and (sorted(near) == sorted(word) or (len(word) > 4 and abs(len(near) - len(word)) < 2)):
                yield subject.warn(466, f"'{name}' is hardly the name of a model", path, f"did you mean '{near}'?")
                break
    served = subject.catalogue.models
    if served is None:
        return
    for _, name, written, path in subject.steps():
        plan = written if isinstance(written, str) else written.get("plan") if isinstance(written, dict) else None
        if name != "route" or not isinstance(plan, str) or "{{" in plan:
            continue
        for backend, model in _legs(plan):
            globs = served.get(backend, ())
            if globs and model and not any_glob_matcher(globs)(model):
                message = f"backend '{backend}' does not list the model '{model}'"
                yield subject.warn(466, message, path, f"it lists {', '.join(globs)}")


def _legs(plan: str) -> Iterator[tuple[str, str]]:
    try:
        text = plan_text(plan)
        if named(text) is None:
            yield from ((leg.backend, leg.model) for leg in parse_plan(text).legs)
    except PlanError:
        return  # said where routes are linked


def _named(subject: Subject) -> Iterator[tuple[str, Path]]:
    """Every model that `match` names."""
    for index, rule in enumerate(subject.spec.rules):
        for match, path in (
            (rule.match, ("rules", index, "match")),
            (rule.match and rule.match.not_, ("rules", index, "match", "not")),
        ):
            value = match.model if match is not None else None
            if isinstance(value, str):
                yield value, (*path, "model")
            elif isinstance(value, list):
                for number, each in enumerate(value):
                    yield each, (*path, "model", number)
