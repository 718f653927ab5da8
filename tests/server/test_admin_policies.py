"""Policies and backends: what an operator orders is done by every process that shares the store."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.support.lexgate import Lexgate
from tests.support.team import team_settings

from .admin_server import RULES, Admin

PATIENCE = 20.0
OTHER = RULES.replace("banana", "cherry")


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def replica(tmp_path: Path, policy: str) -> Lexgate:
    """Another server on the same files and the same store."""
    backends = {"lab": {"protocol": "sandbox", "models": ["gpt-*"]}}
    more = {"audit": {"path": "second.jsonl"}, "reload": {"last_good": "good"}}
    return Lexgate(tmp_path, policy, settings=team_settings(backends=backends, **more))


def test_the_revision_before_can_be_had_back_and_stays_until_it_is_let_go(admin: Admin) -> None:
    first = admin.lexgate.live.current.revision
    admin.lexgate.reload(OTHER)
    second = admin.lexgate.live.current.revision
    assert admin.chat("a banana").status == 200
    said = admin.ask("POST", "/policies/rollback", role="operator").json
    assert (said["status"]["revision"], said["status"]["pinned"], said["status"]["earlier"]) == (first, first, [second])
    assert admin.chat("a banana").status == 400
    admin.lexgate.reload(OTHER.replace("cherry", "grape"))
    assert admin.lexgate.live.current.revision == first
    assert admin.get("/policies/findings")["findings"][-1]["code"] == "N450"
    assert admin.ask("DELETE", "/policies/pin").json["status"]["pinned"] == ""
    assert admin.chat("a grape").status == 400
    assert [each["action"] for each in admin.changes()] == ["policies.rollback", "policies.unpin"]
    assert admin.changes()[0]["change"] == {"before": second}


def test_reload_now_reads_the_files_and_says_what_is_wrong_with_them(admin: Admin) -> None:
    admin.lexgate.write(OTHER)
    assert admin.ask("POST", "/policies/reload").json["findings"]["sound"] is True
    assert admin.chat("a cherry").status == 400
    admin.lexgate.write(OTHER.replace("phase: request", "phase: requst"))
    said = admin.ask("POST", "/policies/reload").json
    assert said["findings"]["sound"] is False
    assert "requst" in said["findings"]["findings"][0]["message"]
    assert said["revision"] == admin.lexgate.live.current.revision


def test_every_process_does_what_is_ordered(tmp_path: Path) -> None:
    with Admin(tmp_path, reload={"last_good": "good"}) as admin:
        first = admin.lexgate.live.current.revision
        admin.lexgate.reload(OTHER)
        with replica(tmp_path, OTHER) as other:
            assert other.live.current.revision != first
            admin.ask("POST", "/policies/pin", {"revision": first})
            until(lambda: other.live.current.revision == first == other.live.pinned)
            admin.ask("POST", "/backends/lab/drain")
            until(lambda: "lab" in other.house.world.health.drained)
            admin.ask("POST", "/backends/lab/undrain")
            until(lambda: not other.house.world.health.drained)
        with replica(tmp_path, OTHER) as later:
            assert later.live.current.revision == first == later.live.pinned


def test_a_drained_backend_is_asked_no_more_and_says_why(admin: Admin) -> None:
    said = admin.ask("POST", "/backends/lab/drain", role="operator").json
    assert (said["available"], said["why_not"]) == (False, "an operator took it out")
    assert admin.chat("Hi").status == 503
    admin.ask("POST", "/backends/lab/undrain")
    assert admin.chat("Hi").status == 200


def test_a_backend_is_shown_without_its_keys(tmp_path: Path) -> None:
    backend = {
        "protocol": "openai",
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": ["sk-one", "sk-two"],
        "models": ["m"],
    }
    with Admin(tmp_path, backends={"openai": backend}) as admin:
        shown = admin.get("/backends/openai")
    assert (shown["keys"], shown["url"]) == (2, "http://127.0.0.1:9/v1")
    assert "sk-" not in str(shown)
