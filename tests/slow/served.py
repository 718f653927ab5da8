"""`policy serve` as a process that tests may kill, and start again on the same folder."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PATIENCE: Final = 40.0
LOG: Final = "log.jsonl"


def configure(folder: Path, upstream: int, policy: str) -> None:
    """A folder to serve from: one policy, one backend for all models, state and audit where they are as installed."""
    backend = {"protocol": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1", "api_key": "key", "models": ["*"]}
    settings = {"policies": ["./policies"], "backends": {"upstream": backend}}
    (folder / "lexgate.yaml").write_text(json.dumps(settings))
    (folder / "policies").mkdir()
    (folder / "policies" / "policy.yaml").write_text(policy)


class Served:
    """Ready when made; what it logs is appended to `LOG` in its folder. The block's end stops it in the ordinary way."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / LOG
        with self._log.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("policy"), "serve", "--config", folder / "lexgate.yaml", "--port", "0"],
                stderr=log,
            )
        began = time.monotonic()
        self.port = 0
        while not self.port:
            said = self._log.read_bytes()[before:]
            assert self.process.poll() is None, said.decode()
            assert time.monotonic() - began < PATIENCE, said.decode()
            time.sleep(0.01)
            events = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
            self.port = next((each["port"] for each in events if each["event"] == "serving"), 0)
        self.ready_after = time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more when this returns."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def errors(self) -> list[bytes]:
        """What was logged as an error, of every process in the folder."""
        return [line for line in self._log.read_bytes().splitlines() if b'"level":"error"' in line]

    def status(self) -> dict[str, Any]:
        """What `/policy/status` says."""
        said: dict[str, Any] = json.loads(self._ask("GET", "/policy/status", None))
        return said

    def post(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """A chat completion."""
        said: dict[str, Any] = json.loads(self._ask("POST", "/v1/chat/completions", json.dumps(body), headers))
        return said

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str] = {}) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse().read()
        connection.close()
        return answer
