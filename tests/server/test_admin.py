"""The admin interface as a whole: who may do what on each route, how problems are said, and that changes are recorded."""

from pathlib import Path
from typing import Any

import pytest

from engine.server.admin import schema
from tests.support.lexgate import Lexgate
from tests.support.team import ask_raw

from .admin_server import ROLES, Admin

READ = (401, 403, 200, 200, 200)
OPERATE = (401, 403, 403, 200, 200)
ADMINISTER = (401, 403, 403, 403, 200)
CALLERS = ("", "dev", "auditor", "operator", "admin")
SESSION = {"caller": "key:dev", "session": "x-session-id/s"}

# Statuses of no key, a key for models, and the three roles. What is done comes in an order in which all of it can be.
ROUTES: list[tuple[str, str, str, Any, tuple[int, ...]]] = [
    ("get", "/keys", "/keys", None, READ),
    ("get", "/keys/{which}", "/keys/dev", None, READ),
    ("post", "/keys", "/keys", {"name": "bob"}, (401, 403, 403, 403, 201)),
    ("post", "/keys/{which}/rotate", "/keys/bob/rotate", {"grace": 5}, (401, 403, 403, 403, 201)),
    ("post", "/keys/{which}/revoke", "/keys/bob/revoke", None, ADMINISTER),
    ("get", "/teams", "/teams", None, READ),
    ("get", "/teams/{name}", "/teams/payments", None, READ),
    ("put", "/teams/{name}", "/teams/research", {"models": ["gpt-*"]}, ADMINISTER),
    ("delete", "/teams/{name}", "/teams/research", None, (401, 403, 403, 403, 204)),
    ("get", "/roles", "/roles", None, READ),
    ("put", "/roles/{name}", "/roles/reader", {"tools": []}, ADMINISTER),
    ("get", "/roles/{name}", "/roles/reader", None, READ),
    ("delete", "/roles/{name}", "/roles/reader", None, (401, 403, 403, 403, 204)),
    ("get", "/usage", "/usage?by=team", None, READ),
    ("get", "/sessions", "/sessions", None, READ),
    ("post", "/sessions/reset", "/sessions/reset", SESSION, (401, 403, 403, 200, 404)),
    ("post", "/sessions/end", "/sessions/end", SESSION, (401, 403, 403, 404, 404)),
    ("get", "/decisions", "/decisions", None, READ),
    ("get", "/decisions/{decision_id}", "/decisions/DECISION", None, READ),
    ("get", "/policies", "/policies", None, READ),
    ("get", "/policies/findings", "/policies/findings", None, READ),
    ("get", "/policies/shadow", "/policies/shadow", None, READ),
    ("post", "/policies/reload", "/policies/reload", None, OPERATE),
    ("post", "/policies/rollback", "/policies/rollback", None, (401, 403, 403, 409, 409)),
    ("post", "/policies/pin", "/policies/pin", {"revision": "REVISION"}, OPERATE),
    ("delete", "/policies/pin", "/policies/pin", None, OPERATE),
    ("get", "/processes", "/processes", None, READ),
    ("get", "/backends", "/backends", None, READ),
    ("get", "/backends/{name}", "/backends/lab", None, READ),
    ("post", "/backends/{name}/drain", "/backends/lab/drain", None, OPERATE),
    ("post", "/backends/{name}/undrain", "/backends/lab/undrain", None, OPERATE),
    ("get", "/openapi.json", "/openapi.json", None, READ),
    ("get", "/docs", "/docs", None, READ),
]


def test_each_route_answers_those_who_may_and_nobody_else(admin: Admin) -> None:
    decision = admin.chat("a banana", {"x-session-id": "s"}).headers["x-lexgate-decision"]
    real = {"DECISION": decision, "REVISION": admin.lexgate.live.current.revision}
    found = []
    for method, template, path, body, _ in ROUTES:
        for stand_in, value in real.items():
            path = path.replace(stand_in, value)
            body = {name: value if given == stand_in else given for name, given in body.items()} if body else body
        statuses = tuple(admin.ask(method.upper(), path, body, role).status for role in CALLERS)
        found.append((method, template, statuses))
    assert found == [(method, template, expected) for method, template, _, _, expected in ROUTES]


def test_the_table_above_has_every_route_that_there_is() -> None:
    described = {
        (method, path.removeprefix("/admin/v1")) for path, item in schema()["paths"].items() for method in item
    }
    assert described == {each[:2] for each in ROUTES} - {("get", "/openapi.json"), ("get", "/docs")}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_makes_a_key_that_asks_models(admin: Admin, role: str) -> None:
    assert admin.chat("Hi", role=role).status == 403


PROBLEMS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/nothing", None, 404, "not_found"),
    ("GET", "/keys/nobody", None, 404, "key_not_found"),
    ("GET", "/teams/nobody", None, 404, "team_not_found"),
    ("GET", "/backends/nobody", None, 404, "backend_not_found"),
    ("GET", "/decisions/nobody", None, 404, "decision_not_found"),
    ("PATCH", "/keys", None, 405, "method_not_allowed"),
    ("POST", "/keys", {"nme": "x"}, 400, "invalid_request"),
    ("POST", "/keys", {"name": "no good"}, 409, "not_possible"),
    ("POST", "/keys", {"roles": ["admin"], "team": "payments"}, 409, "not_possible"),
    ("POST", "/keys/admin/revoke", None, 409, "last_admin"),
    ("PUT", "/teams/x", {"addresses": ["nowhere"]}, 409, "not_possible"),
    ("PUT", "/roles/admin", {}, 409, "not_possible"),
    ("DELETE", "/teams/payments", None, 409, "configured"),
    ("GET", "/usage?first=2026-01-02&last=2026-01-01", None, 400, "invalid_request"),
    ("GET", "/usage?by=moon", None, 400, "invalid_request"),
    ("GET", "/decisions?limit=0", None, 400, "invalid_request"),
    ("GET", "/decisions?after=x", None, 400, "invalid_request"),
    ("POST", "/policies/pin", {"revision": "../../etc"}, 404, "revision_not_found"),
    ("POST", "/sessions/end", {"caller": "x", "session": "y"}, 404, "session_not_found"),
]


def test_problems_are_json_with_a_code_a_message_and_help(admin: Admin) -> None:
    for method, path, body, status, code in PROBLEMS:
        raw = admin.ask(method, path, body)
        assert (method, path, raw.status, raw.json["code"]) == (method, path, status, code)
        assert set(raw.json) == {"code", "message", "help"}
        assert raw.json["message"].endswith(".") or code == "invalid_request"


def test_who_has_no_business_here_is_told_so_in_the_same_shape(admin: Admin) -> None:
    assert admin.ask("GET", "/keys", role="").json["code"] == "missing_api_key"
    assert admin.ask("GET", "/keys", role="dev").json["code"] == "admin_key_needed"
    assert admin.ask("POST", "/policies/reload", role="auditor").json == {
        "code": "role_not_allowed",
        "message": "This needs the role admin or operator.",
        "help": "use a key that has it",
    }


def test_every_change_is_recorded_with_who_and_what_and_never_a_secret(admin: Admin) -> None:
    text = admin.ask("POST", "/keys", {"name": "bob", "team": "payments"}).json["text"]
    rotated = admin.ask("POST", "/keys/bob/rotate", {}).json["text"]
    admin.ask("POST", f"/keys/{text}/revoke")
    admin.ask("PUT", "/teams/x", {"models": ["a"]}, "operator")
    changes = admin.changes()
    assert [(each["caller"], each["status"], each["action"], each["route"]) for each in changes] == [
        ("key:admin", 201, "keys.create", "/admin/v1/keys"),
        ("key:admin", 201, "keys.rotate", "/admin/v1/keys/{which}/rotate"),
        ("key:admin", 400, "", "/admin/v1/keys/{which}/revoke"),
        ("key:operator", 403, "", "/admin/v1/teams/{name}"),
    ]
    assert changes[0]["change"] == {"name": "bob", "team": "payments", "roles": [], "expires": None}
    everything = str(admin.lexgate.records()) + str(admin.lexgate.logs)
    assert text.rpartition("_")[2] not in everything
    assert rotated.rpartition("_")[2] not in everything


def test_reading_is_no_change(admin: Admin) -> None:
    admin.get("/keys")
    assert admin.changes() == []


def test_a_change_that_cannot_be_recorded_is_not_made(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = admin.lexgate.house.world.audit
    monkeypatch.setattr(type(audit), "has_room", property(lambda _: False))
    raw = admin.ask("POST", "/keys", {"name": "bob"})
    assert (raw.status, raw.json["code"]) == (503, "audit_full")
    assert [each["name"] for each in admin.get("/keys")["items"]] == [*ROLES, "dev"]


def test_in_personal_mode_there_is_no_admin_interface(tmp_path: Path) -> None:
    with Lexgate(tmp_path) as personal:
        for path in ("/admin/v1/keys", "/admin/v1/openapi.json", "/admin/v1/docs"):
            assert ask_raw(personal, "GET", path).status == 404


def test_the_document_for_people_names_every_route_and_may_be_shown_by_its_policy(admin: Admin) -> None:
    raw = admin.ask("GET", "/docs", role="auditor")
    page = raw.body.decode()
    for path in schema()["paths"]:
        assert f"</b> {path}</h3>" in page
    assert "script" not in page
    assert "style-src 'sha256-" in raw.headers["content-security-policy"]
