"""A Lexgate in team mode with a key of each role, asked over its admin interface."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.access.registry import Draft, Issued
from tests.support.lexgate import Lexgate, Raw
from tests.support.team import ask_raw, issue, team_settings

BASE: Final = "/admin/v1"
ROLES: Final = ("admin", "operator", "auditor")
RULES: Final = """\
version: 1
policy: words
rules:
  - id: no-bananas
    phase: request
    when: contains(request.last_user, 'banana')
    actions: [{block: {message: No bananas.}}]
  - id: no-apples
    phase: request
    mode: shadow
    when: contains(request.last_user, 'apple')
    actions: [{block: {message: No apples.}}]
  - id: counts
    phase: request
    actions: [{count: {key: asked, ttl: 1h}}]
"""


class Admin:
    """The server and its keys, by role; `dev` is a caller of the team payments."""

    def __init__(self, folder: Path, policy: str = RULES, **settings: Any) -> None:
        self.keys: dict[str, Issued] = {
            **{role: issue(folder, Draft(name=role, roles=(role,))) for role in ROLES},
            "dev": issue(folder, Draft(name="dev", team="payments")),
        }
        backends = {"lab": {"protocol": "sandbox", "models": ["gpt-*"]}}
        given = {"backends": backends, "teams": {"payments": {"models": ["gpt-*"]}}, **settings}
        self.lexgate = Lexgate(folder, policy, settings=team_settings(**given))

    def __enter__(self) -> "Admin":
        self.lexgate.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lexgate.stop()

    def ask(self, method: str, path: str, body: Any = None, role: str = "admin") -> Raw:
        """One request with the key of a role; "" shows none."""
        headers = [("authorization", f"Bearer {self.keys[role].text}")] if role else []
        sent = b"" if body is None else json.dumps(body).encode()
        if sent and method not in ("POST", "GET"):
            headers.append(("content-type", "application/json"))
        return ask_raw(self.lexgate, method, BASE + path, headers, sent)

    def get(self, path: str, role: str = "admin") -> Any:
        raw = self.ask("GET", path, role=role)
        assert raw.status == 200, raw
        return raw.json

    def chat(self, text: str, headers: Mapping[str, str] = {}, role: str = "dev") -> Raw:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
        all_headers = {"authorization": f"Bearer {self.keys[role].text}", **headers}
        return self.lexgate.post(body, headers=all_headers)

    def changes(self) -> list[dict[str, Any]]:
        """What the audit log says of the admin interface."""
        return [each for each in self.lexgate.records() if each.get("kind") == "admin"]
