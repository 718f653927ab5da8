"""The policies that benchmarks run under, generated: a few rules that concern the traffic, many that do not."""

from collections.abc import Iterator
from typing import Any

import yaml

MODEL = "gpt-4o-mini"


def policy_of(kind: str) -> str:
    """A policy file: `none`, `50` (50 rules, 10 of them candidates of every request), or `streams` (5 text, 5 tools)."""
    rules = {"none": [], "50": list(_fifty()), "streams": list(_streams())}[kind]
    policy: dict[str, Any] = {
        "version": 1,
        "policy": "bench",
        "patterns": {"keys": {f"k{n}": rf"\bkey{n}-[a-z0-9]{{16,40}}\b" for n in range(20)}},
        "rules": rules,
    }
    return yaml.safe_dump(policy, sort_keys=False)


def _fifty() -> Iterator[dict[str, Any]]:
    """Forty for other models and tools; ten that look at every request: eight conditions, a redaction, and one that acts."""
    for number in range(25):
        yield {
            "id": f"other-model-{number}",
            "phase": "request",
            "match": {"model": f"other-{number}"},
            "when": "length(request.messages) > `10`",
            "actions": [{"block": "no"}],
        }
    for number in range(15):
        yield {
            "id": f"other-tool-{number}",
            "phase": "tool_call",
            "match": {"tool": f"other_tool_{number}"},
            "when": "any(tool.shell.commands[?program == 'rm'])",
            "actions": [{"steer": "no"}],
        }
    conditions = [
        "length(request.messages) > `500`",
        "request.params.temperature > `1.5`",
        "contains(request.last_user, 'project bluefalcon')",
        "request.params.max_tokens > `100000`",
        "glob(request.model, 'o3*') && request.stream",
        "contains(caller.roles, 'guest')",
        "length(request.tools) > `64`",
        "any(request.messages[?role == 'system' && contains(text, 'unrestricted')])",
    ]
    for number, condition in enumerate(conditions):
        yield {
            "id": f"looks-{number}",
            "phase": "request",
            "match": {"model": "gpt-*"},
            "when": condition,
            "actions": [{"block": "no"}],
        }
    yield {
        "id": "redacts",
        "phase": "request",
        "match": {"model": "gpt-*"},
        "actions": [{"redact": {"patterns": "keys"}}],
    }
    yield {"id": "tags", "phase": "request", "match": {"model": "gpt-*"}, "actions": [{"tag": {"name": "seen"}}]}


def _streams() -> Iterator[dict[str, Any]]:
    for number in range(5):
        yield {
            "id": f"text-{number}",
            "phase": "text",
            "actions": [{"redact": {"patterns": {f"t{number}": rf"\bsecret{number}-[a-z0-9]{{16,40}}\b"}}}],
        }
        yield {
            "id": f"tool-{number}",
            "phase": "tool_call",
            "when": f"any(tool.shell.commands[?program == 'danger{number}'])",
            "actions": [{"steer": "no"}],
        }
