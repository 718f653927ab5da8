"""Does what the README says, in its order, against the real server, and compares what comes with what it shows."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx2
import pytest

from engine.cli import VERBS
from tests.docs.readme import Command, Edit, Program, steps

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
BIN: Final = Path(sys.executable).parent
PATIENCE: Final = 20.0
OWN_ADDRESS: Final = "http://127.0.0.1:8000"


class Reader:
    """Somebody who follows the page in a copy of the example, with the server on a port that is free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "examples/quickstart", folder / "examples/quickstart", ignore=_not_var)
        command: list[str | Path] = [
            BIN / "policy",
            "serve",
            "--config",
            "examples/quickstart/lexgate.yaml",
            "--port",
            "0",
        ]
        self._log = (folder / "log").open("w+b")
        self._server = subprocess.Popen(command, cwd=folder, env=_environ(), stderr=self._log)
        self.url = f"http://127.0.0.1:{self._waited(lambda: self._logged('serving'))['port']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(PATIENCE)
        self._log.close()

    def _logged(self, event: str) -> dict[str, Any] | None:
        lines = (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return next((found for line in lines if (found := json.loads(line))["event"] == event), None)

    def _waited(self, ask: Callable[[], Any]) -> Any:
        """The first answer that is not None."""
        until = time.monotonic() + PATIENCE
        while (answer := ask()) is None:
            assert self._server.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < until, "the server took too long"
            time.sleep(0.02)
        return answer

    def _attempt(self) -> int:
        number: int = httpx2.get(f"{self.url}/policy/status", trust_env=False).json()["last_attempt"]["number"]
        return number

    def edit(self, edit: Edit) -> None:
        """Save a changed file, and wait until the server has seen it."""
        file = self.folder / edit.file
        text = file.read_text(encoding="utf-8")
        assert text.count(edit.old + "\n") == 1, f"{edit.file} does not have the line that the page changes: {edit.old}"
        before = self._attempt()
        file.write_text(text.replace(edit.old + "\n", edit.new + "\n"), encoding="utf-8")
        self._waited(lambda: self._attempt() > before or None)

    def run(self, line: str) -> str:
        """What a command of the page prints."""
        program, *arguments = shlex.split(line.replace(OWN_ADDRESS, self.url))
        if program == "curl" and shutil.which("curl") is None:
            return _asked(arguments)
        if program == ".venv/bin/policy":
            program = str(BIN / "policy")
        return self._printed([program, *arguments])

    def run_program(self, source: str) -> str:
        return self._printed([sys.executable, "-c", source.replace(OWN_ADDRESS, self.url)])

    def _printed(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=_environ(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr


def _not_var(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "var"]


def _environ() -> dict[str, str]:
    """The environment without what would change the answers: settings of ours, proxies, width and colour."""
    unwanted = ("LEXGATE_", "OPENAI_", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}


def _asked(arguments: Sequence[str]) -> str:
    """What curl would print, where there is none: for the few options that the page uses."""
    match arguments:
        case ["-s", url, "-H", header, "-d", body]:
            name, _, value = header.partition(": ")
            return httpx2.post(url, headers={name: value}, content=body, trust_env=False).text
        case _:
            raise AssertionError(f"this curl command is not understood: {arguments}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(tmp_path) as reader:
        yield reader


def test_what_the_page_shows_is_what_comes(reader: Reader) -> None:
    done = 0
    for step in steps(README):
        match step:
            case Command("make serve", ""):
                continue  # it runs already
            case Command(line, shown):
                assert reader.run(line).rstrip("\n") == shown.rstrip("\n"), line
            case Program(source, shown):
                assert reader.run_program(source) == shown
            case Edit():
                reader.edit(step)
        done += 1
    assert done >= 7


def test_make_serve_serves_the_quick_start() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "EXAMPLE ?= examples/quickstart\n" in makefile
    assert "$(BIN)/policy serve --config $(EXAMPLE)/lexgate.yaml" in makefile


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("http", "#", "mailto:"))]
    missing = [link for link in links if not ((ROOT / page).parent / link.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_name_only_targets_and_verbs_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    planned = {"audit"}
    assert set(re.findall(r"`policy ([a-z]+)", text)) <= set(VERBS) | planned
