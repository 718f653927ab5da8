"""Does what the page on team mode says, in its order, in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.docs.readme import Command, steps

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/team.md").read_text(encoding="utf-8")
PATIENCE: Final = 30.0
OWN_ADDRESS: Final = "http://127.0.0.1:8000"


class Reader:
    """Somebody who follows the page, with the server on a port that is free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        configuration = re.search(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        assert configuration is not None
        (folder / "lexgate.yaml").write_text(configuration[1], encoding="utf-8")
        self.url = OWN_ADDRESS
        self.server: subprocess.Popen[bytes] | None = None
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LEXGATE_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }

    def serve(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.server = subprocess.Popen(
                ["policy", "serve", "--port", "0"], cwd=self.folder, env=self.environ, stderr=log
            )
        until = time.monotonic() + PATIENCE
        while (found := self._serving()) is None:
            assert self.server.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "the server took too long"
            time.sleep(0.05)
        self.url = f"http://127.0.0.1:{found['port']}"

    def _serving(self) -> Mapping[str, int] | None:
        lines = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        return next((line for line in lines if line["event"] == "serving"), None)

    def run(self, line: str) -> str:
        if line.startswith("curl") and shutil.which("curl") is None:
            return self._asked(line)
        done = subprocess.run(
            ["sh", "-c", line.replace(OWN_ADDRESS, self.url)],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _asked(self, line: str) -> str:
        """What curl would print, where there is none."""
        url = re.search(r"http://\S+", line)
        key = re.search(r"cat (\w+\.key)", line)
        body = re.search(r"-d '(.*)'$", line)
        assert url is not None
        assert key is not None
        headers = {"authorization": f"Bearer {(self.folder / key[1]).read_text().strip()}"}
        address = url[0].replace(OWN_ADDRESS, self.url)
        with httpx2.Client(trust_env=False, headers=headers) as client:
            if body is None:
                return client.get(address).text
            return client.post(address, content=body[1], headers={"content-type": "application/json"}).text


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    if reader.server is not None:
        reader.server.terminate()
        reader.server.wait(PATIENCE)


def test_from_nothing_to_two_teams_in_five_commands(reader: Reader) -> None:
    commands = [step for step in steps(PAGE) if isinstance(step, Command)]
    assert [each.line for each in commands].index("policy serve &") == 3
    for command in commands:
        if command.line == "policy serve &":
            reader.serve()
            continue
        printed = reader.run(command.line)
        if command.shown:  # every answer that the page shows is JSON
            assert printed.strip() == command.shown.strip(), command.line
    assert "root" not in (reader.folder / "root.key").read_text()
    log = (reader.folder / "log").read_text()
    for file in ("root.key", "alice.key", "bob.key"):
        text = (reader.folder / file).read_text().strip()
        assert text.startswith("lxg_")
        assert text.rpartition("_")[2] not in log
