"""`policy config`: every value with the layer that gave it."""

import json
from pathlib import Path

import pytest

from .conftest import Run

CONFIG = (
    "server: {port: 9000}\n"
    'backends: {a: {protocol: openai, base_url: "https://a.example/v1", api_key: "${KEY_OF_A}"}}\n'
)


@pytest.fixture
def config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEY_OF_A", "sk-very-secret")
    (folder / "lexgate.yaml").write_text(CONFIG)
    return folder


def rows(run: Run, *args: str) -> dict[str, tuple[str, str, str]]:
    shown = run("config", "--format", "json", *args)
    assert shown.code == 0
    return {each["path"]: (each["value"], each["layer"], each["from"]) for each in json.loads(shown.out)}


def test_each_value_names_its_layer(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEXGATE_LOG__LEVEL", "debug")
    found = rows(run, "--set", "server.host=127.0.0.2")
    assert found["server.port"] == ("9000", "file", "lexgate.yaml:1:16")
    assert found["log.level"] == ("debug", "environment", "LEXGATE_LOG__LEVEL")
    assert found["server.host"] == ("127.0.0.2", "flag", "--set server.host")
    assert found["server.workers"] == ("1", "default", "default")


def test_secrets_are_masked(run: Run, config: Path) -> None:
    shown = run("config", columns=140)
    assert shown.code == 0
    assert "backends.a.api_key" in shown.out
    assert "${KEY_OF_A}" in shown.out
    assert "sk-very-secret" not in shown.out + run("config", "--format", "json").out


def test_only_what_is_no_default(run: Run, config: Path) -> None:
    assert set(rows(run, "--changed")) == {
        "server.port", "backends.a.protocol", "backends.a.base_url", "backends.a.api_key",
    }  # fmt: skip


def test_a_wrong_setting_is_a_finding_with_a_caret(run: Run, config: Path) -> None:
    (config / "lexgate.yaml").write_text("server: {prt: 9000}\n")
    shown = run("config")
    assert (shown.code, shown.out) == (1, "")
    assert "lexgate.yaml:1:10 E120" in shown.err
    assert "^^^ did you mean 'port'?" in shown.err


@pytest.mark.parametrize("args", [["--config", "none.yaml"], ["--set", "server.port"]])
def test_wrong_use(run: Run, args: list[str]) -> None:
    assert run("config", *args).code == 2
