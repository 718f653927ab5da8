"""`policy status`: what a running server says, and servers that are none."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import Run

STATUS = {
    "version": "0.1.0",
    "revision": "abc123",
    "loaded_at": 1795368519.3,
    "serving_last_good": False,
    "policies": ["content-filter", "secrets"],
    "rules": {"enforce": 2, "shadow": 1, "off": 0},
    "enforced": ["secrets/prompts", "secrets/answers"],
    "sources": [{"source": "policies", "files": 1, "rules": 3, "digest": "8ed2"}],
    "last_attempt": {"outcome": "ok", "at": 1795368519.3, "seconds": 0.106, "diagnostics": []},
    "compiler": {"deaths": 1},
}


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, object]]]:
    """A server on a free port, and the paths that it answers with JSON."""
    answers: dict[str, object] = {"/policy/status": dict(STATUS)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            body = json.dumps(answers.get(self.path)).encode() if known else b"nothing here"
            self.send_response(200 if known else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_status_says_which_rules_are_in_force_and_since_when(
    run: Run, served: tuple[str, dict[str, object]]
) -> None:
    shown = run("status", "--url", served[0] + "/")
    assert shown.code == 0
    assert [line.rstrip() for line in shown.out.splitlines()] == [
        "revision   abc123 since 2026-11-22 17:28:39 UTC",
        "files      in force as they are",
        "rules      2 enforced, 1 in shadow, 0 off",
        "policies   content-filter  nothing enforced",
        "           secrets  2 enforced",
        "sources    policies  1 file, 3 rules",
        "last edit  taken over at 2026-11-22 17:28:39 UTC, in 0.11 s",
        "compiler   died 1 time, and was started again",
        "version    0.1.0",
    ]
    assert json.loads(run("status", "--url", served[0], "--format", "json").out) == STATUS


def test_a_server_that_says_less_is_shown_all_the_same(run: Run, served: tuple[str, dict[str, object]]) -> None:
    served[1]["/policy/status"] = {"revision": "abc123"}
    shown = run("status", "--url", served[0])
    assert (shown.code, shown.out.split()[:2]) == (0, ["revision", "abc123"])


def test_a_server_with_findings_exits_1(run: Run, served: tuple[str, dict[str, object]]) -> None:
    finding = {
        "code": "E202",
        "severity": "error",
        "message": "unknown field",
        "file": "a.yaml",
        "line": 3,
        "column": 9,
    }
    served[1]["/policy/status"] = {**STATUS, "last_attempt": {"outcome": "error", "diagnostics": [finding]}}
    shown = run("status", "--url", served[0])
    assert shown.code == 1
    assert "a.yaml:3:9 E202 unknown field" in shown.out
    shown = run("status", "--url", served[0], "--format", "json")
    assert shown.code == 1
    assert json.loads(shown.out)["last_attempt"]["diagnostics"] == [finding]


def test_a_server_that_serves_its_last_good_set_exits_1(run: Run, served: tuple[str, dict[str, object]]) -> None:
    served[1]["/policy/status"] = {**STATUS, "serving_last_good": True}
    shown = run("status", "--url", served[0])
    assert shown.code == 1
    assert "refused; the last good set goes on" in shown.out


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://["])
def test_no_server_is_wrong_use(run: Run, url: str) -> None:
    shown = run("status", "--url", url)
    assert (shown.code, shown.out) == (2, "")
    assert "--url says where" in shown.err


def test_another_server_is_wrong_use(run: Run, served: tuple[str, dict[str, object]]) -> None:
    served[1]["/policy/status"] = [1]
    assert "not a Lexgate server" in run("status", "--url", served[0]).err
    del served[1]["/policy/status"]
    assert run("status", "--url", served[0]).code == 2
