"""`policy keys` as an operator uses it."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main

CONFIGURATION = """\
server: {mode: team}
teams: {payments: {}, research: {}}
roles: {dev: {}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lexgate.yaml").write_text(CONFIGURATION, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["keys", *args])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    _, out, _ = run(capsys, "list", "--format", "json")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_a_key_stands_alone_on_standard_output_and_in_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "create", "--team", "payments", "--role", "dev", "--name", "ci", "--expires", "90d")
    assert code == 0
    assert out.startswith("lxg_")
    assert out.count("\n") == 1
    assert "not shown again" in err
    secret = out.strip().rpartition("_")[2]
    for args in (("list",), ("show", "ci"), ("list", "--format", "json"), ("show", "ci", "--format", "json")):
        code, shown, _ = run(capsys, *args)
        assert code == 0
        assert "payments" in shown
        assert secret not in shown


def test_scopes_are_given_one_by_one_or_joined(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", "--models", "gpt-*,o3", "--models", "claude-*", "--tools", "", "--addresses", "10.0.0.0/8")
    (key,) = listed(capsys)
    assert key["models"] == ["gpt-*", "o3", "claude-*"]
    assert key["tools"] == []
    assert key["addresses"] == ["10.0.0.0/8"]
    assert "routes" not in key


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("create", "--team", "payment"), "there is no team 'payment'; there are payments, research"),
        (("create", "--role", "devs"), "there is no role 'devs'; there are dev"),
        (("create", "--expires", "soon"), "--expires takes 90d"),
        (("create", "--expires", "2020-01-01"), "expired before it was made"),
        (("create", "--admin", "--team", "payments"), "not for asking models"),
        (("create", "--addresses", "here"), "a network such as 10.0.0.0/8"),
        (("create", "--name", "a b"), "is no name for a key"),
        (("revoke", "nobody"), "there is no key 'nobody'"),
        (("rotate", "nobody"), "there is no key 'nobody'"),
        (("show", "lxg_000000000000"), "there is no key 'lxg_000000000000'"),
        (("rotate", "nobody", "--grace", "long"), "--grace takes a length of time"),
        (("list", "--set", "state=memory://"), "memory://"),
    ],
)
def test_what_cannot_be_done_is_said(capsys: pytest.CaptureFixture[str], args: tuple[str, ...], said: str) -> None:
    code, out, err = run(capsys, *args)
    assert code in (1, 2)
    assert said in err
    assert out == ""


def test_a_secret_that_is_given_for_an_id_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    _, key, _ = run(capsys, "create")
    code, _, err = run(capsys, "revoke", key.strip())
    assert code == 1
    assert key.strip().rpartition("_")[2] not in err


def test_rotating_and_revoking(capsys: pytest.CaptureFixture[str]) -> None:
    _, first, _ = run(capsys, "create", "--name", "ci")
    _, second, _ = run(capsys, "rotate", "ci")
    assert first.split("_")[1] == second.split("_")[1]
    assert first != second
    assert run(capsys, "revoke", "ci")[1].endswith("(key:ci) is revoked.\n")
    assert [key["state"] for key in listed(capsys)] == ["revoked"]
    code, _, err = run(capsys, "rotate", "ci")
    assert code == 1
    assert "was revoked: create another one" in err
    code, _, err = run(capsys, "create", "--name", "ci")
    assert code == 1
    assert "never given to another" in err


def test_an_empty_store_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert "policy keys create --admin" in run(capsys, "list")[1]
