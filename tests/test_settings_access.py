"""What contradicts itself in who may come in is found when the configuration is read."""

from pathlib import Path

import pytest

from engine.diagnostics import ConfigurationError
from engine.settings import load_settings

ISSUER = "access: {issuers: {okta: {issuer: x, audience: [a], %s}}}\n"


def found(folder: Path, text: str) -> list[str]:
    """What is wrong, with the place."""
    file = folder / "lexgate.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load_settings(file, {})
    except ConfigurationError as wrong:
        return [f"{each.where.line}:{each.where.column} {each.message}" for each in wrong.diagnostics]
    return []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "server: {mode: team}\nstate: memory://\n",
            "2:8 team mode keeps keys in its store, and memory:// forgets them",
        ),
        (ISSUER % "leeway: 5s", "1:26 the issuer 'okta' needs one place with its public keys"),
        (ISSUER % "jwks_url: 'https://a', jwks_file: b", "1:26 the issuer 'okta' needs one place with its public keys"),
        (ISSUER % "jwks_url: 'http://a/k'", "keys are believed only as they come over https, or from this machine"),
        (
            ISSUER % "jwks_url: 'https://u:p@a/k'",
            "keys are believed only as they come over https, or from this machine",
        ),
        (ISSUER % "jwks_url: 'file:///etc/k'", "keys are believed only as they come over https, or from this machine"),
        (ISSUER % "jwks_file: k, algorithms: [HS256]", "algorithms"),
        (ISSUER % "jwks_file: k, algorithms: [none]", "algorithms"),
        (ISSUER % "jwks_file: k, algorithms: []", "algorithms"),
        ("access: {issuers: {okta: {issuer: x, audience: [], jwks_file: k}}}\n", "audience"),
        ("teams: {payments: {addresses: [here]}}\n", "'here' is not a network"),
        ("roles: {admin: {models: ['*']}}\n", "the role 'admin' is built in"),
        ("server: {open: [admin]}\n", "server.open"),
        ("teams: {payments: {model: ['*']}}\n", "there is no setting 'teams.payments.model'"),
    ],
)
def test_what_cannot_hold_is_said(tmp_path: Path, text: str, wrong: str) -> None:
    assert any(wrong in each for each in found(tmp_path, text)), found(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        ISSUER % "jwks_url: 'https://a/k'",
        ISSUER % "jwks_url: 'http://127.0.0.1:8080/k'",
        ISSUER % "jwks_file: k",
        "server: {mode: team}\nstate: redis://r\n",
        "teams: {payments: {addresses: [10.0.0.1, '2001:db8::/32'], models: []}}\n",
        "access: {store_down: refuse}\n",
        "access: {store_down: {serve_for: 60s}}\n",
        "server: {mode: team, host: 0.0.0.0, open: [healthz, readyz, metrics, status]}\n",
    ],
)
def test_what_can_hold_loads(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []
