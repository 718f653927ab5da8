"""`policy serve` as a process of its own: how it starts, what it says, how it stops."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.openai_mock import Gate, OpenAIMock, Reply

from .talk import asking

PATIENCE = 40.0
SECRETS = ["hunter2-header-secret", "hunter2-body-secret", "hunter2-query-secret", "hunter2-upstream-secret"]


class Served:
    """A running process; `lines` are what it said on standard error."""

    def __init__(self, folder: Path, *flags: str, environ: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("policy"), "serve", "--config", folder / "lexgate.yaml", *flags],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environ or {})},
            text=True,
        )
        self.lines: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "serving":
                    self.port = said["port"]
                    self._ready.set()
        self._ready.set()

    def wait_until_ready(self) -> "Served":
        assert self._ready.wait(PATIENCE)
        assert self.port, self.lines
        return self

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.lines)]

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        sent = None if body is None else json.dumps(body).encode()
        connection.request(method, path, sent, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    configure(tmp_path, {})
    write(tmp_path, "No bananas.")
    return tmp_path


def configure(folder: Path, settings: Mapping[str, Any]) -> None:
    (folder / "lexgate.yaml").write_text(json.dumps({"policies": ["./policies"], **settings}))


def write(folder: Path, message: str, *, phase: str = "request") -> None:
    (folder / "policies" / "words.yaml").write_text(
        f"version: 1\npolicy: words\nrules:\n  - id: no-bananas\n    phase: {phase}\n"
        f"    when: contains(request.last_user, 'banana')\n    actions: [{{block: {{message: {message}}}}}]\n"
    )


@pytest.fixture
def serving(folder: Path) -> Iterator[Any]:
    started: list[Served] = []

    def start(*flags: str, environ: Mapping[str, str] | None = None) -> Served:
        started.append(Served(folder, "--port", "0", *flags, environ=environ))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


def test_broken_policies_stop_the_start_with_their_place(folder: Path, serving: Any) -> None:
    write(folder, "x", phase="requst")
    served = serving()
    assert served.end() == 1
    said = "\n".join(served.lines)
    assert "policies/words.yaml:5:12 E" in said
    assert "did you mean 'request'?" in said
    assert "Traceback" not in said


def test_broken_policies_after_a_good_start_serve_the_last_good_set(folder: Path, serving: Any) -> None:
    first = serving().wait_until_ready()
    revision = json.loads(first.ask("GET", "/policy/status")[2])["revision"]
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == -signal.SIGTERM
    write(folder, "x", phase="requst")
    second = serving().wait_until_ready()
    status = json.loads(second.ask("GET", "/policy/status")[2])
    assert (status["revision"], status["serving_last_good"]) == (revision, True)
    assert second.ask("POST", "/v1/chat/completions", asking("banana"))[0] == 400


def test_a_port_in_use_is_said_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = Served(folder, "--port", str(port))
        assert served.end() == 1
    assert served.lines == [
        f"policy: cannot listen on 127.0.0.1, port {port}: it is in use; choose another by --host and --port"
    ]


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--host", "0.0.0.0"], 1, "personal mode has no keys"),
        (["--set", "server.mode=team"], 1, "team mode needs an admin key"),
        (["--set", "nonsense"], 2, "KEY=VALUE"),
        (["--set", "server.prot=1"], 1, "did you mean"),
        (["--set", "state=mysql://x"], 1, "no store that can be used"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(folder: Path, flags: Sequence[str], code: int, said: str) -> None:
    served = Served(folder, "--port", "0", *flags)
    assert served.end() == code
    # Boxes and line ends of the terminal's layout are not the point.
    assert said in re.sub(r"[│\s]+", " ", " ".join(served.lines))


def test_flags_stand_above_the_environment_and_that_above_the_file(folder: Path, serving: Any) -> None:
    configure(folder, {"log": {"level": "error"}, "commands": {"prefix": "?"}})
    served = serving("--set", "log.level=info", environ={"LEXGATE_LOG__LEVEL": "warning"}).wait_until_ready()
    assert served.events[-1]["event"] == "serving"


def test_sigterm_lets_a_stream_finish_and_refuses_what_is_new(folder: Path, serving: Any) -> None:
    gate = Gate()
    with OpenAIMock(Reply(text="One two three four.", gate=gate, gate_before=3)) as provider:
        backend = {"protocol": "openai", "base_url": provider.base_url, "models": ["*"]}
        configure(folder, {"backends": {"openai": backend}})
        served = serving().wait_until_ready()
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
        body = json.dumps(asking(stream=True)).encode()
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = connection.getresponse()
        gate.wait_until_reached()
        served.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", served.port), timeout=1).close()
            except OSError:
                break
            assert time.monotonic() < until, "it still listens"
            time.sleep(0.02)
        gate.open()
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.close()
        assert served.end() == -signal.SIGTERM


def test_an_edit_is_in_force_and_a_broken_one_changes_nothing(folder: Path, serving: Any) -> None:
    served = serving().wait_until_ready()

    def answer() -> tuple[str, str]:
        _, headers, body = served.ask("POST", "/v1/chat/completions", asking("banana", tools=None))
        return json.loads(body)["error"]["message"], headers["x-lexgate-revision"]

    def until(message: str) -> float:
        began = time.monotonic()
        while answer()[0] != message:
            assert time.monotonic() - began < PATIENCE, served.lines
            time.sleep(0.01)
        return time.monotonic() - began

    message, before = answer()
    assert message == "No bananas."
    write(folder, "Nor cherries.")
    until("Nor cherries.")
    good = answer()[1]
    assert good != before

    write(folder, "x", phase="requst")
    began = time.monotonic()
    while json.loads(served.ask("GET", "/policy/status")[2])["last_attempt"]["outcome"] != "error":
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    assert answer() == ("Nor cherries.", good)
    found = json.loads(served.ask("GET", "/policy/status")[2])["last_attempt"]["diagnostics"][0]
    assert (Path(found["file"]).name, found["line"], found["column"]) == ("words.yaml", 5, 12)
    assert b"lexgate_policy_reload_ok 0.0" in served.ask("GET", "/metrics")[2]
    assert b'lexgate_policy_reloads_total{result="failure"} 1.0' in served.ask("GET", "/metrics")[2]
    said = next(each for each in served.events if each["event"] == "policies refused")
    assert said["where"].endswith("words.yaml:5:12")

    write(folder, "Nor cherries.")  # as it was: nothing is swapped, and yet the log must not end with a refusal
    began = time.monotonic()
    while not any(each["event"] == "policies mended" for each in served.events):
        assert time.monotonic() - began < PATIENCE, served.lines
        time.sleep(0.01)
    assert answer() == ("Nor cherries.", good)
    assert b"lexgate_policy_reload_ok 1.0" in served.ask("GET", "/metrics")[2]

    write(folder, "Mended.")
    until("Mended.")

    (folder / "policies" / "words.yaml").unlink()
    began = time.monotonic()
    while not json.loads(served.ask("GET", "/policy/status")[2])["serving_last_good"]:
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    assert answer()[0] == "Mended."


def test_failures_are_one_line_each_and_no_line_holds_a_secret(folder: Path, serving: Any) -> None:
    header, body, query, upstream = SECRETS
    said = json.dumps({"error": {"message": f"You said {body}, with {upstream}", "type": "x", "code": "bad"}}).encode()
    with OpenAIMock(Reply(status=500, body=said), Reply(status=400, body=said)) as provider:
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        backend = {"protocol": "openai", "models": ["gpt-4o"], "api_key": upstream}
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        backends = {
            "up": {**backend, "base_url": provider.base_url},
            "gone": {**backend, "models": ["gone"], "base_url": gone},
        }
        configure(folder, {"backends": backends})
        served = serving("--set", "log.level=debug").wait_until_ready()
        headers = {"authorization": f"Bearer {header}", "x-note": header, "cookie": header}
        path = f"/v1/chat/completions?key={query}"
        asked = [asking(body), asking(body), asking(body, model="gone"), asking(f"banana {body}"), asking(model="none")]
        statuses = [served.ask("POST", path, each, headers)[0] for each in asked]
        served.ask("POST", f"/v1/{query}", asking(body), headers)
        closed.close()
    assert statuses == [500, 400, 502, 400, 404]
    served.process.send_signal(signal.SIGTERM)
    served.end()
    ends = [each for each in served.events if each["event"] in ("exchange failed", "exchange refused")]
    assert [(each["status"], each["reason"], each["backend"], each.get("rule", "")) for each in ends] == [
        (500, "bad", "up", ""),
        (400, "bad", "up", ""),
        (502, "upstream_failed", "gone", ""),
        (400, "policy_blocked", "", "words/no-bananas"),
        (404, "model_not_found", "", ""),
    ]
    assert all(len(each["request"]) == 24 for each in ends)
    cause = next(each for each in served.events if each["event"] == "upstream failed")
    assert cause["request"] == ends[2]["request"]
    everything = "\n".join(served.lines) + (folder / "var" / "audit.jsonl").read_text()
    assert [secret for secret in SECRETS if secret in everything] == []


def test_pages_say_what_they_are_and_are_safe_to_show(folder: Path, serving: Any) -> None:
    served = serving().wait_until_ready()
    kinds = {
        "/healthz": "text/plain",
        "/readyz": "text/plain",
        "/metrics": "text/plain; version=1.0.0",
        "/policy/status": "application/json",
        "/v1/models": "application/json",
    }
    for path, kind in kinds.items():
        status, headers, _ = served.ask("GET", path)
        assert (status, headers["content-type"].startswith(kind)) == (200, True), path
        assert headers["content-type"].count("charset") <= 1
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
        assert served.ask("GET", path, headers={"host": "evil.example"})[0] == 403
        assert served.ask("GET", path, headers={"origin": "https://evil.example"})[0] == 403
    assert served.ask("GET", "/admin/keys")[0] == 404


@pytest.mark.slow
def test_of_50_edits_each_is_in_force_within_a_second(folder: Path, serving: Any) -> None:
    """From the write to the first answer under it, asked all the time, with every shipped pack on.

    The process that compiles starts beside the server; an edit in its first second waits for it.
    """
    shipped = Path(__file__).parents[2] / "policies"
    configure(folder, {"packs": {path.stem: {} for path in shipped.glob("*.yaml")}})
    served = serving().wait_until_ready()
    began = time.monotonic()
    while (compiler := json.loads(served.ask("GET", "/policy/status")[2])["compiler"])["busy"] or not compiler["pid"]:
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.05)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    body = json.dumps(asking("banana", tools=None)).encode()

    def answer() -> str:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        said: str = json.loads(connection.getresponse().read())["error"]["message"]
        return said

    waits = []
    for number in range(50):
        began = time.monotonic()
        write(folder, f"Edit {number}.")
        while answer() != f"Edit {number}.":
            assert time.monotonic() - began < PATIENCE, served.lines[-3:]
            time.sleep(0.005)
        waits.append(time.monotonic() - began)
    connection.close()
    # Of 50, the 99th percentile is the longest.
    assert max(waits) < 1.0, sorted(waits)[-5:]
