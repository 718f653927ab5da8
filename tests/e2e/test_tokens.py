"""Signed tokens against a real server, whose keys come from an issuer that answers over a socket."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from engine.access.registry import Draft
from tests.support.lexgate import Lexgate, Raw
from tests.support.openai_mock import OpenAIMock, Reply
from tests.support.team import ask_raw, issue, team_settings

from .talk import asking

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWKS = {"keys": [{**jwt.get_algorithm_by_name("RS256").to_jwk(KEY.public_key(), as_dict=True), "kid": "a"}]}
BODY = json.dumps(asking(tools=None)).encode()


class _Issuer(BaseHTTPRequestHandler):
    """Publishes keys at /keys; anything else is a redirection to them, which nobody may follow."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = json.dumps(JWKS).encode()
        self.send_response(200 if self.path == "/keys" else 302)
        self.send_header("location", "/keys")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    _Issuer.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Issuer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def token(**changed: Any) -> str:
    now = int(time.time())
    said = {"iss": "https://id.example", "aud": "lexgate", "sub": "u1", "exp": now + 600, "team": "payments"}
    return jwt.encode(said | changed, KEY, "RS256", headers={"kid": "a"})


def served(folder: Path, provider: OpenAIMock, **more: Any) -> Lexgate:
    issue(folder, Draft(name="root", roles=("admin",)))
    known = {
        "issuer": "https://id.example",
        "audience": ["lexgate"],
        "team_claim": "team",
        "roles_claim": "roles",
        **more,
    }
    settings = team_settings(access={"issuers": {"corp": known}}, teams={"payments": {"models": ["gpt-*"]}})
    return Lexgate(folder, provider=provider, settings=settings)


def ask(lexgate: Lexgate, text: str, body: bytes = BODY) -> Raw:
    return ask_raw(lexgate, "POST", "/v1/chat/completions", [("authorization", f"Bearer {text}")], body)


def test_a_token_is_let_in_and_its_issuer_asked_once(tmp_path: Path, provider: OpenAIMock, issuer: str) -> None:
    provider.script(*[Reply(text="Yes.")] * 3)
    with served(tmp_path, provider, jwks_url=f"{issuer}/keys") as lexgate:
        assert [ask(lexgate, token(sub=f"u{number}")).status for number in range(3)] == [200, 200, 200]
        assert _Issuer.asked == ["/keys"]
        refused = ask(lexgate, token(), json.dumps(asking(model="o3", tools=None)).encode())
        assert (refused.status, refused.json["error"]["code"]) == (403, "model_not_allowed")
    assert not any(request.headers["authorization"].startswith("Bearer ey") for request in provider.requests)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aud": "other"}, "invalid_token"),
        ({"iss": "https://other.example"}, "invalid_token"),
        ({"exp": 1}, "expired_token"),
        ({"team": "other"}, "team_unknown"),
    ],
)
def test_a_token_that_is_wrong_is_refused(
    tmp_path: Path, provider: OpenAIMock, issuer: str, changed: dict[str, Any], code: str
) -> None:
    with served(tmp_path, provider, jwks_url=f"{issuer}/keys") as lexgate:
        raw = ask(lexgate, token(**changed))
        assert (raw.status, raw.json["error"]["code"]) == (403 if code == "team_unknown" else 401, code)
        assert ("www-authenticate" in raw.headers) is (raw.status == 401)
    assert provider.requests == []


def test_keys_come_from_a_file_too(tmp_path: Path, provider: OpenAIMock) -> None:
    provider.script(Reply(text="Yes."))
    (tmp_path / "keys.json").write_text(json.dumps(JWKS), encoding="utf-8")
    with served(tmp_path, provider, jwks_file="keys.json") as lexgate:
        assert ask(lexgate, token()).status == 200


def test_a_redirection_is_not_followed(tmp_path: Path, provider: OpenAIMock, issuer: str) -> None:
    with served(tmp_path, provider, jwks_url=f"{issuer}/elsewhere") as lexgate:
        assert ask(lexgate, token()).status == 401
        assert any("answered 302" in str(each.get("reason")) for each in lexgate.logs)
    assert _Issuer.asked == ["/elsewhere"]


def test_a_token_with_a_mapped_role_opens_pages_and_asks_no_models(
    tmp_path: Path, provider: OpenAIMock, issuer: str
) -> None:
    with served(tmp_path, provider, jwks_url=f"{issuer}/keys", roles={"ops": "auditor"}) as lexgate:
        text = token(roles=["ops"])
        assert ask_raw(lexgate, "GET", "/metrics", [("authorization", f"Bearer {text}")]).status == 200
        assert ask(lexgate, text).status == 403
        plain = token(roles=["auditor"])
        assert ask_raw(lexgate, "GET", "/metrics", [("authorization", f"Bearer {plain}")]).status == 403
