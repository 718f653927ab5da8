"""Everything in the repository that is generated: the schemas and the reference pages, each made by one function."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from engine.model.events import event_schema
from engine.model.phases import Phase
from engine.model.traffic import traffic_schema
from engine.policy.record import decision_schema
from engine.policy.schema import policy_schema
from engine.settings import settings_schema

from .actions import actions_page
from .codes import codes_page, lint_pages
from .configuration import configuration_page
from .events import events_page
from .functions import functions_page
from .match import match_page
from .packs import pack_pages
from .translation import translation_page

SCHEMAS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "policy": policy_schema,
    "config": settings_schema,
    "decision": decision_schema,
    "traffic": traffic_schema,
    **{f"event.{phase.value}": partial(event_schema, phase) for phase in Phase},
}
"""The schemas by the name that `policy schema NAME` takes."""

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "actions": actions_page,
    "functions": functions_page,
    "events": events_page,
    "match": match_page,
    "configuration": configuration_page,
    "codes": codes_page,
}
"""The pages of `docs/reference/`."""


def schema_file(name: str) -> str:
    """Where a schema is committed, below the root of the repository."""
    return f"schemas/{name}.json" if name.startswith("event.") else f"schemas/{name}.schema.json"


def schema_text(name: str) -> str:
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def generated() -> dict[str, str]:
    """Every generated file by its path below the root of the repository, with its text."""
    found = {schema_file(name): schema_text(name) for name in SCHEMAS}
    found |= {f"docs/reference/{name}.md": make() for name, make in PAGES.items()}
    found |= {f"docs/packs/{name}": text for name, text in pack_pages().items()}
    found |= lint_pages()
    return found | {"docs/translation.md": translation_page()}
