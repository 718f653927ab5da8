"""Coding agents as their users start them, without a terminal, in a home of their own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

MODULES: Final = Path(__file__).parent / "node_modules"
PATIENCE: Final = 90.0
"""Seconds after which an agent that has not ended has failed."""


class Launch(msgspec.Struct, frozen=True):
    """`program` stands under `node_modules`: a script for Node, or a program of its own; `files` are written below the
    home first."""

    program: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    files: Mapping[str, str] = {}


class Ended(msgspec.Struct, frozen=True):
    """`answer` is the agent's last word; `printed` all that it wrote; `files` what stands in its folder."""

    answer: str
    printed: str
    files: set[str]


class Agent(msgspec.Struct, frozen=True):
    """`tool` and `argument` are those of its shell; `extra` are arguments that its schema asks for as well."""

    name: str
    model: str
    tool: str
    argument: str
    launch: Callable[[str, Path, str], Launch]
    answer: Callable[[str], str]
    extra: Mapping[str, str] = {}

    def call(self, command: str) -> tuple[str, str]:
        """Name and arguments of a call of its shell."""
        return self.tool, json.dumps({self.argument: command, **self.extra})

    def run(self, origin: str, folder: Path, prompt: str) -> Ended:
        """One turn against `origin`. An agent that is not installed, fails or does not end fails the test."""
        node = shutil.which("node")
        assert node, "node is not installed"
        home, work = folder / "home", folder / "work"
        for each in (home, work):
            each.mkdir(parents=True)
        launch = self.launch(origin, home, prompt)
        program = MODULES / launch.program
        assert program.is_file(), f"{self.name} is not installed: run `make test-clients`"
        for name, text in launch.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", **launch.environ}
        command = [str(program)] if program.suffix == "" else [node, str(program)]
        status, printed, complained = _ended([*command, *launch.arguments], work, environ)
        assert status == 0, f"{self.name} ended with {status}: {printed[-2000:]} {complained[-2000:]}"
        return Ended(self.answer(printed), printed, {path.name for path in work.iterdir()})


def _ended(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status and what was written. All that the command started ends with it."""
    process = subprocess.Popen(
        command, cwd=folder, env=environ, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        printed, complained = process.communicate(timeout=PATIENCE)
        return process.returncode, printed, complained
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _claude_code(origin: str, home: Path, prompt: str) -> Launch:
    return Launch(
        program="@anthropic-ai/claude-code/cli-wrapper.cjs",
        arguments=[
            *("-p", prompt, "--model", CLAUDE_CODE.model, "--allowed-tools", "Bash"),
            *("--output-format", "stream-json", "--verbose"),
        ],
        environ={
            "ANTHROPIC_BASE_URL": origin,
            "ANTHROPIC_API_KEY": "client-key",
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        },
    )


def _codex(origin: str, home: Path, prompt: str) -> Launch:
    config = f"""
model = "{CODEX.model}"
model_provider = "lexgate"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.lexgate]
name = "Lexgate"
base_url = "{origin}/v1"
wire_api = "responses"
env_key = "LEXGATE_KEY"
request_max_retries = 0
stream_max_retries = 0
"""
    return Launch(
        program="@openai/codex/bin/codex.js",
        arguments=["exec", "--json", "--skip-git-repo-check", prompt],
        environ={"CODEX_HOME": str(home / "codex"), "LEXGATE_KEY": "client-key"},
        files={"codex/config.toml": config},
    )


def _gemini_cli(origin: str, home: Path, prompt: str) -> Launch:
    settings = {
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
    }
    return Launch(
        program="@google/gemini-cli/bundle/gemini.js",
        arguments=["-p", prompt, "-m", GEMINI_CLI.model, "--yolo", "-o", "json"],
        environ={
            "GOOGLE_GEMINI_BASE_URL": origin,
            "GEMINI_API_KEY": "client-key",
            "GEMINI_CLI_HOME": str(home),
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
        files={".gemini/settings.json": json.dumps(settings)},
    )


def _opencode(origin: str, home: Path, prompt: str) -> Launch:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{origin}/v1", "apiKey": "client-key"},
        "models": {OPENCODE.model: {}},
    }
    config = {"autoupdate": False, "share": "disabled", "provider": {"lexgate": provider}}
    return Launch(
        program="opencode-linux-x64/bin/opencode",
        arguments=["run", "--model", f"lexgate/{OPENCODE.model}", "--format", "json", prompt],
        environ={
            "OPENCODE_CONFIG_CONTENT": json.dumps(config),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        },
    )


def _result(printed: str) -> str:
    lines = [json.loads(line) for line in printed.splitlines()]
    return "".join(line["result"] for line in lines if line["type"] == "result")


def _last_message(printed: str) -> str:
    items = [json.loads(line).get("item", {}) for line in printed.splitlines()]
    return [str(item["text"]) for item in items if item.get("type") == "agent_message"][-1]


def _last_text(printed: str) -> str:
    parts = [json.loads(line)["part"] for line in printed.splitlines()]
    return [str(part["text"]) for part in parts if part["type"] == "text"][-1]


def _response(printed: str) -> str:
    return str(json.loads(printed)["response"])


CLAUDE_CODE: Final = Agent(
    "Claude Code", "claude-opus-4-7", "Bash", "command", _claude_code, _result, {"description": "Does it"}
)
CODEX: Final = Agent("Codex", "gpt-5.5", "exec_command", "cmd", _codex, _last_message)
GEMINI_CLI: Final = Agent("Gemini CLI", "gemini-2.5-flash", "run_shell_command", "command", _gemini_cli, _response)
OPENCODE: Final = Agent("opencode", "gpt-5", "bash", "command", _opencode, _last_text, {"description": "Does it"})
