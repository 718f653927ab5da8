"""Usage, sessions and decisions: what was done is found again, by whom and how much."""

from pathlib import Path

import pytest

from .admin_server import Admin


def test_usage_is_summed_by_what_is_asked_for(admin: Admin) -> None:
    for text in ("Hi", "Hi", "a banana"):
        admin.chat(text)
    report = admin.get("/usage?by=caller&by=backend")
    assert [(row["caller"], row.get("backend", ""), row["requests"], row["errors"]) for row in report["rows"]] == [
        ("key:dev", "lab", 2, 0),
        ("key:dev", "", 1, 1),
    ]
    assert (report["total"]["requests"], report["total"]["attempts"], report["complete"]) == (3, 2, True)
    assert report["total"]["input_tokens"] > 0
    assert report["total"]["output_tokens"] > 0


def test_usage_costs_what_the_models_cost(tmp_path: Path) -> None:
    price = {"gpt-*": {"input": 1_000_000, "output": 0}}
    backends = {"lab": {"protocol": "sandbox", "models": ["gpt-*"], "prices": price}}
    with Admin(tmp_path, backends=backends) as admin:
        admin.chat("Hi")
        total = admin.get("/usage")["total"]
    assert total["cost_usd"] == total["input_tokens"] > 0
    assert total["unpriced"] == 0


def test_usage_is_filtered_and_other_days_are_other_days(admin: Admin) -> None:
    admin.chat("Hi")
    assert admin.get("/usage?team=payments")["total"]["requests"] == 1
    assert admin.get("/usage?team=")["total"]["requests"] == 0
    assert admin.get("/usage?first=2020-01-01&last=2020-01-31&by=day")["rows"] == []


def test_a_session_is_seen_reset_and_ended(admin: Admin) -> None:
    admin.chat("Hi", {"x-session-id": "one"})
    admin.chat("Hi", {"x-session-id": "two"})
    shown = admin.get("/sessions?caller=key:dev")
    assert [(each["session"], each["vars"]) for each in shown["items"]] == [
        ("x-session-id/one", {"asked": 1}),
        ("x-session-id/two", {"asked": 1}),
    ]
    which = {"caller": "key:dev", "session": "x-session-id/one"}
    assert admin.ask("POST", "/sessions/reset", which, "operator").json == {"facts": 1}
    assert [each["session"] for each in admin.get("/sessions")["items"]] == ["x-session-id/two"]
    admin.chat("Hi", {"x-session-id": "one"})
    assert admin.get("/sessions?session=x-session-id/one")["items"][0]["vars"] == {"asked": 1}
    assert admin.ask("POST", "/sessions/end", which, "operator").json == {"facts": 1}


def test_a_session_that_ends_is_not_known_again_by_its_history(admin: Admin) -> None:
    first = {"role": "user", "content": "Hi"}
    headers = {"authorization": f"Bearer {admin.keys['dev'].text}"}
    answer = admin.lexgate.post({"model": "gpt-4o", "messages": [first]}, headers=headers).json["choices"][0]["message"]
    known = admin.get("/sessions")["items"]
    assert [each["turns"] for each in known] == [1]
    ended = admin.ask("POST", "/sessions/end", {"caller": "key:dev", "session": known[0]["session"]})
    assert ended.json == {"facts": 2}
    again = [first, answer, {"role": "user", "content": "More"}]
    admin.lexgate.post({"model": "gpt-4o", "messages": again}, headers=headers)
    assert known[0]["session"] not in [each["session"] for each in admin.get("/sessions")["items"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("verdict=block", 1),
        ("rule=words/no-bananas", 1),
        ("rule=words/counts", 3),
        ("rule=words/nothing", 0),
        ("caller=key:dev", 3),
        ("caller=key:other", 0),
        ("since=2020-01-01T00:00:00Z", 3),
        ("since=2099-01-01T00:00:00Z", 0),
        ("until=2020-01-01T00:00:00Z", 0),
    ],
)
def test_decisions_are_found_by_what_they_are(admin: Admin, query: str, found: int) -> None:
    for text in ("Hi", "a banana", "an apple"):
        admin.chat(text)
    assert len(admin.get(f"/decisions?{query}")["items"]) == found


def test_decisions_come_the_newest_first_a_page_at_a_time(admin: Admin) -> None:
    ids = [admin.chat("Hi").headers["x-lexgate-decision"] for _ in range(5)]
    seen, after = [], ""
    while True:
        page = admin.get(f"/decisions?limit=2&after={after}")
        seen += [each["id"] for each in page["items"]]
        after = page["next"]
        if not after:
            break
    assert seen == ids[::-1]
    assert admin.get(f"/decisions/{ids[2]}")["id"] == ids[2]


def test_a_rule_in_shadow_is_compared_with_what_was_enforced(admin: Admin) -> None:
    for text in ("an apple", "an apple", "a banana and an apple", "Hi"):
        admin.chat(text)
    assert admin.get("/policies/shadow") == [
        {"rule": "words/no-apples", "matched": 3, "agreed": 1, "differed": {"block > allow": 2}}
    ]
