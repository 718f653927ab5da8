"""Secrets in texts: what is masked, and what is left alone."""

import pytest

from engine.settings import Backend, Secret, SecretUrl, Settings
from engine.world.redaction import MASK, Redactor, known_secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpM"
PLANTED = "Pl4ntedV4lue99"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {PLANTED}",
        f"authorization: {PLANTED}",
        f'Authorization: Digest username="x", response="{PLANTED}"',
        f"proxy-authorization: Basic {PLANTED}",
        f"Cookie: a=b; session={PLANTED}",
        f"set-cookie: session={PLANTED}; Path=/",
        f"{{'x-api-key': '{PLANTED}', 'model': 'm'}}",
        f'{{"api_key": "{PLANTED}"}}',
        f'{{\\"api_key\\": \\"{PLANTED}\\"}}',
        f"[(b'authorization', b'{PLANTED}')]",
        f"('x-api-key', '{PLANTED}')",
        f"OPENAI_API_KEY={PLANTED}",
        f"api_key={PLANTED}",
        f"export DB_PASSWORD={PLANTED}",
        f"password = {PLANTED}",
        f"client_secret: {PLANTED}",
        f"bearer {PLANTED}",
        f"Basic {PLANTED}==",
        f"https://generativelanguage.test/v1?key={PLANTED}&alt=sse",
        f"GET /hook?a=1&token={PLANTED}",
        f"/x?X-Amz-Signature={PLANTED}",
        f"key={PLANTED}",
        f"postgresql://lexgate:{PLANTED}@db:5432/x",
        f"sk-{PLANTED}",
        f"sk-ant-api03-{PLANTED}",
        f"my_sk-{PLANTED}",
        f"AKIA{PLANTED.upper()}",
        f"aws_secret_access_key = {PLANTED}",
        f"AIza{PLANTED}{PLANTED}{PLANTED}",
        f"ghp_{PLANTED}{PLANTED}",
        f"xoxb-12345678-{PLANTED}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}",
        JWT.replace("SflKxw", PLANTED),
    ],
)
def test_what_looks_like_a_credential_is_masked_wherever_it_stands(text: str) -> None:
    redactor = Redactor()
    for whole in (text, f"before {text} after", f"é{text}\nnext line"):
        assert redactor.suspicious(whole)
        masked = redactor.text(whole)
        assert PLANTED.lower() not in masked.lower()
        assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "the task-management system of risk-assessment",
        "input_tokens=512 output_tokens=3",
        "a bearer of good news",
        "basic understanding of authorization",
        "monkey=7",
        "https://api.openai.com/v1/chat/completions?model=gpt-4o",
        "https://example.com:8080/a@b",
        "policies/shell.yaml:14:19 E202 unknown field 'modle' of request",
        "decision 01JD4Z5C8M by dangerous-commands/no-force-push",
    ],
)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_the_text_around_a_credential_stays() -> None:
    masked = Redactor().text("POST https://h.test/x?key=abcdefgh&alt=sse failed: x-api-key: abcdefgh, status 401")
    assert masked == f"POST https://h.test/x?key={MASK}&alt=sse failed: x-api-key: {MASK}, status 401"


@pytest.mark.parametrize("wrap", ["{}", "x{}y", '{{"a":"{}"}}'])
def test_a_known_secret_is_masked_in_every_spelling(wrap: str) -> None:
    secret = 'p"ass/wörd\\1'
    redactor = Redactor([secret])
    for form in (secret, 'p\\"ass/wörd\\\\1', "p%22ass%2Fw%C3%B6rd%5C1", 'p"ass/wörd\\\\1'):
        assert redactor.suspicious(wrap.format(form))
        assert "wörd" not in redactor.text(wrap.format(form))
        assert "w%C3%B6rd" not in redactor.text(wrap.format(form))


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert Redactor(["abcdef", "abcdef-ghijkl"]).text("abcdef-ghijkl") == MASK


def test_a_secret_too_short_to_be_told_from_words_is_not_looked_for() -> None:
    assert Redactor(["dev", ""]).text("development") == "development"


@pytest.mark.parametrize(
    "name", ["Authorization", "x-api-key", "API_KEY", "openai_api_key", "Cookie", "token", "secret"]
)
def test_a_name_hides_its_value(name: str) -> None:
    assert Redactor.hides(name)
    assert Redactor().suspicious(f"x {name} y")


@pytest.mark.parametrize("name", ["key", "input_tokens", "event", "rule", "authorized", "secrets_found"])
def test_other_names_do_not(name: str) -> None:
    assert not Redactor.hides(name)


def test_every_secret_of_the_settings_is_known() -> None:
    settings = Settings(
        backends={
            "a": Backend(
                protocol="openai",
                api_key=(Secret("first-key"), Secret("client")),
                headers={"x-extra": Secret("header-secret")},
                proxy=SecretUrl("http://user:pr%40xy-pass@proxy:3128"),
            )
        },
        state=SecretUrl("redis://:redis-pass@cache:6379"),
    )
    known = set(known_secrets(settings))
    assert {"first-key", "header-secret", "pr%40xy-pass", "pr@xy-pass", "redis-pass"} <= known
    assert "client" not in known
    assert "in-query" in set(known_secrets(SecretUrl("postgresql://host/db?password=in-query")))
    assert set(known_secrets(Settings())) == set()


def test_of_a_key_of_ours_the_public_id_stays() -> None:
    text = "key lxg_7Kq2mZ0aXw3T_" + "a1B2" * 12 + " was wrong"
    assert Redactor().text(text) == "key lxg_7Kq2mZ0aXw3T_[secret] was wrong"
