"""Keys, teams and roles over the admin interface: what is changed there holds at the door on the next request."""

from typing import Any

import pytest

from .admin_server import Admin

HI = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


def asking(admin: Admin, text: str) -> Any:
    return admin.lexgate.post(HI, headers={"authorization": f"Bearer {text}"})


def test_a_key_works_from_its_making_to_its_revocation_and_with_grace_after_a_rotation(admin: Admin) -> None:
    first = admin.ask("POST", "/keys", {"name": "bob", "team": "payments", "expires_in": 3600}).json
    assert first["key"]["caller"] == "key:bob"
    assert first["key"]["expires"] - first["key"]["created"] == pytest.approx(3600, abs=1)
    assert asking(admin, first["text"]).status == 200
    second = admin.ask("POST", "/keys/bob/rotate", {"grace": 60}).json["text"]
    assert [asking(admin, text).status for text in (first["text"], second)] == [200, 200]
    third = admin.ask("POST", f"/keys/{first['key']['id']}/rotate", {}).json["text"]
    assert [asking(admin, text).status for text in (first["text"], third)] == [401, 200]
    assert admin.ask("POST", "/keys/bob/revoke").json["state"] == "revoked"
    assert asking(admin, third).json["error"]["code"] == "revoked_api_key"


def test_the_scope_of_a_key_holds(admin: Admin) -> None:
    text = admin.ask("POST", "/keys", {"scope": {"models": ["claude-*"]}}).json["text"]
    assert asking(admin, text).json["error"]["code"] == "model_not_allowed"


def test_a_team_that_is_narrowed_is_narrow_on_the_next_request(admin: Admin) -> None:
    assert admin.chat("Hi").status == 200
    said = admin.ask("PUT", "/teams/payments", {"models": ["claude-*"]}).json
    assert said == {"name": "payments", "stored": {"models": ["claude-*"]}, "configured": {"models": ["gpt-*"]}}
    assert admin.chat("Hi").status == 403
    assert admin.ask("DELETE", "/teams/payments").status == 204
    assert admin.chat("Hi").status == 200


def test_keys_are_listed_a_page_at_a_time_and_by_team_and_state(admin: Admin) -> None:
    admin.ask("POST", "/keys/dev/revoke")
    first = admin.get("/keys?limit=3")
    second = admin.get(f"/keys?limit=3&after={first['next']}")
    names = [each["name"] for each in (*first["items"], *second["items"])]
    assert (names, second["next"]) == (["admin", "operator", "auditor", "dev"], "")
    assert [each["name"] for each in admin.get("/keys?team=payments&only=revoked")["items"]] == ["dev"]


def test_no_list_holds_what_could_open_a_door(admin: Admin) -> None:
    text = admin.keys["dev"].text
    assert text.rpartition("_")[2] not in str(admin.get("/keys")) + str(admin.get("/keys/dev"))
    assert admin.keys["dev"].record.hash not in str(admin.get("/keys/dev"))


def test_an_admin_key_may_be_revoked_once_there_is_another_one(admin: Admin) -> None:
    assert admin.ask("POST", "/keys/admin/revoke").status == 409
    admin.ask("POST", "/keys", {"name": "second", "roles": ["admin"]})
    assert admin.ask("POST", "/keys/admin/revoke").status == 200
    assert admin.ask("GET", "/keys").status == 401
