"""Signed tokens: only what an issuer signed for us, now, by an algorithm that the operator named."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.access.denial import Denied
from engine.access.keysets import LEAST, OLD, TOO_OLD, KeySet, Unreadable, decoded_keys
from engine.access.tokens import Claimed, Tokens
from engine.settings.model import Issuer
from engine.world.fetch import FetchFailed

NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ISSUER = Issuer(
    issuer="https://id.example.com",
    audience=("lexgate",),
    algorithms=("RS256", "PS256", "ES256", "EdDSA"),
    jwks_url="https://id.example.com/keys",
    team_claim="team",
    roles_claim="realm_access.roles",
)


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256", ed25519.Ed25519PrivateKey: "EdDSA"}
    name = next(name for kind, name in kinds.items() if isinstance(key, kind))
    made = jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, **more}


JWKS = {"keys": [jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(ED, "ed")]}


class Published:
    """What an issuer publishes, and how often it was asked."""

    def __init__(self, document: Mapping[str, Any] = JWKS) -> None:
        self.document: Mapping[str, Any] | None = document
        self.asked = 0
        self.now = 0.0

    async def fetch(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.document is None:
            raise FetchFailed("https://id.example.com: no")
        return json.dumps(self.document).encode()

    def keys(self) -> KeySet:
        return KeySet("okta", self.fetch, lambda: self.now)


def claims(**changed: Any) -> dict[str, Any]:
    said = {"iss": ISSUER.issuer, "aud": "lexgate", "sub": "u1", "exp": NOW + 600, "iat": NOW - 5, "team": "payments"}
    return {name: value for name, value in (said | changed).items() if value is not None}


def token(
    key: Any = RSA, kid: str | None = "rsa", algorithm: str = "RS256", headers: Any = None, **changed: Any
) -> str:
    head = {"kid": kid} if kid is not None else {}
    return jwt.encode(claims(**changed), key, algorithm, headers={**head, **(headers or {})})


def verify(text: str, issuer: Issuer = ISSUER, published: Published | None = None) -> Claimed | Denied:
    found = published or Published()
    return asyncio.run(Tokens({"okta": issuer}, {"okta": found.keys()}, lambda: NOW).verify(text))


def refused(text: str, issuer: Issuer = ISSUER) -> str:
    """The reason, as the log says it."""
    found = verify(text, issuer)
    assert isinstance(found, Denied), found
    assert found.status == 401
    return found.reason


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [(RSA, "rsa", "RS256"), (RSA, "rsa", "PS256"), (EC, "ec", "ES256"), (ED, "ed", "EdDSA")],
)
def test_a_token_of_the_issuer_names_a_caller(key: Any, kid: str, algorithm: str) -> None:
    found = verify(token(key, kid, algorithm, realm_access={"roles": ["dev", "lead"]}))
    assert found == Claimed("token:okta/u1", "payments", ("dev", "lead"), NOW + 630)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "other"}, "token: audience"),
        ({"aud": ["other"]}, "token: audience"),
        ({"aud": None}, "token: signature"),
        ({"iss": "https://evil.example"}, "token: issuer"),
        ({"iss": "https://id.example.com/"}, "token: issuer"),
        ({"iss": None}, "token: issuer"),
        ({"iss": ["https://id.example.com"]}, "token: issuer"),
        ({"exp": NOW - 31}, "expired_token"),
        ({"exp": None}, "token: signature"),
        ({"exp": "tomorrow"}, "expired_token"),
        ({"exp": True}, "expired_token"),
        ({"nbf": NOW + 31}, "token: not valid yet"),
        ({"iat": NOW + 31}, "token: not valid yet"),
        ({"sub": None}, "token: caller"),
        ({"sub": ""}, "token: caller"),
        ({"sub": "a\nb"}, "token: caller"),
        ({"sub": "a" * 201}, "token: caller"),
        ({"sub": 7}, "token: caller"),
        ({"team": None}, "token: team"),
        ({"team": ["a", "b"]}, "token: several teams"),
        ({"team": 7}, "token: team"),
    ],
)
def test_a_claim_that_is_wrong_is_refused(changed: dict[str, Any], reason: str) -> None:
    # PyJWT would refuse to write some of these.
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"rsa"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims(**changed)).encode()).rstrip(b"=")
    signed = jwt.get_algorithm_by_name("RS256").sign(head + b"." + body, RSA)
    text = b".".join((head, body, base64.urlsafe_b64encode(signed).rstrip(b"="))).decode()
    assert refused(text) == reason


def test_clocks_may_differ_by_the_leeway() -> None:
    assert isinstance(verify(token(exp=NOW - 29, nbf=NOW + 29, iat=NOW + 29)), Claimed)


def test_a_token_of_another_key_is_refused() -> None:
    assert refused(token(OTHER)) == "token: signature"


def test_a_changed_token_is_refused() -> None:
    head, _, signature = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(sub="root")).encode()).rstrip(b"=").decode()
    assert refused(f"{head}.{body}.{signature}") == "token: signature"


def test_no_signature_is_no_signature() -> None:
    for algorithm in ("none", "None", "NONE"):
        head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "rsa"}).encode()).rstrip(b"=").decode()
        body = token().split(".")[1]
        assert refused(f"{head}.{body}.") in ("token: algorithm", "token: unreadable")


def test_a_public_key_is_no_shared_secret() -> None:
    """The attack by which an HMAC is keyed with the public key that everybody knows."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
    body = token().split(".")[1].encode()
    signed = jwt.get_algorithm_by_name("HS256").sign(head + b"." + body, pem)
    assert (
        refused(b".".join((head, body, base64.urlsafe_b64encode(signed).rstrip(b"="))).decode()) == "token: algorithm"
    )


def test_an_algorithm_that_was_not_named_is_refused() -> None:
    only = Issuer(issuer=ISSUER.issuer, audience=("lexgate",), algorithms=("RS256",))
    assert refused(token(EC, "ec", "ES256"), only) == "token: algorithm"


def test_an_algorithm_of_another_kind_of_key_is_refused() -> None:
    assert refused(token(EC, "rsa", "ES256")) == "token: signing key"


def test_extensions_that_must_be_understood_are_not() -> None:
    assert refused(token(headers={"crit": ["x"], "x": 1})) in ("token: algorithm", "token: unreadable")


@pytest.mark.parametrize("text", ["eyJ..", "eyJhbGciOiJub25lIn0..", "a.b.c", "eyJ" + "A" * 5000 + ".x.y"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    assert refused(text) == "token: unreadable"


def test_an_admin_role_is_given_only_where_the_operator_wrote_it_down() -> None:
    roles = {"roles": ["admin", "platform", "dev"]}
    found = verify(token(realm_access=roles))
    assert isinstance(found, Claimed)
    assert found.roles == ("platform", "dev")
    mapped = Issuer(
        issuer=ISSUER.issuer, audience=("lexgate",), roles_claim="realm_access.roles", roles={"platform": "admin"}
    )
    found = verify(token(realm_access=roles), mapped)
    assert isinstance(found, Claimed)
    assert found.roles == ("admin",)


def test_claims_are_found_by_their_whole_name_first() -> None:
    named = Issuer(
        issuer=ISSUER.issuer,
        audience=("lexgate",),
        roles_claim="https://x.example/roles",
        team_claim="a.b",
        teams={"p": "payments"},
    )
    said: dict[str, Any] = {"https://x.example/roles": "dev lead", "a": {"b": ["q", "p"]}}
    found = verify(token(**said), named)
    assert isinstance(found, Claimed)
    assert (found.team, found.roles) == ("payments", ("dev", "lead"))


# --- keys of an issuer ------------------------------------------------------------------------------------------------


def test_keys_are_read_once_for_all_who_wait() -> None:
    published = Published()

    async def many() -> list[object]:
        keys = published.keys()
        return await asyncio.gather(*[keys.key("rsa", "RS256") for _ in range(50)])

    assert all(asyncio.run(many()))
    assert published.asked == 1


def test_a_new_key_is_read_when_a_token_names_it_but_not_for_every_guess() -> None:
    published = Published({"keys": [jwk(RSA, "old")]})

    async def story() -> None:
        keys = published.keys()
        assert await keys.key("old", "RS256")
        for guess in range(100):
            assert await keys.key(f"guess-{guess}", "RS256") is None
        assert published.asked == 1
        published.document = {"keys": [jwk(RSA, "new")]}
        published.now = LEAST
        assert await keys.key("new", "RS256")
        assert await keys.key("old", "RS256") is None
        assert published.asked == 2

    asyncio.run(story())


def test_a_key_that_was_taken_back_counts_no_more_after_a_while() -> None:
    published = Published()

    async def story() -> None:
        keys = published.keys()
        assert await keys.key("rsa", "RS256")
        published.document = {"keys": [jwk(EC, "ec")]}
        published.now = OLD + 1
        assert await keys.key("rsa", "RS256")  # while it is read again
        await asyncio.sleep(0.01)
        assert await keys.key("rsa", "RS256") is None

    asyncio.run(story())


def test_an_issuer_that_cannot_be_reached_is_believed_for_a_day() -> None:
    published = Published()

    async def story() -> None:
        keys = published.keys()
        assert await keys.key("rsa", "RS256")
        published.document = None
        published.now = TOO_OLD - 1
        assert await keys.key("rsa", "RS256")
        await asyncio.sleep(0.01)
        published.now = TOO_OLD + LEAST
        assert await keys.key("rsa", "RS256") is None

    asyncio.run(story())


def test_shared_secrets_and_keys_for_other_uses_are_left_out() -> None:
    document = {
        "keys": [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
            jwk(RSA, "b", use="enc"),
            jwk(RSA, "c", key_ops=["encrypt"]),
            jwk(RSA, "d", use="sig"),
            "no key",
        ]
    }
    assert list(decoded_keys(json.dumps(document).encode())) == ["d"]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": 1}', b"<html>", json.dumps({"keys": [{}] * 101}).encode()]
)
def test_what_is_no_set_of_keys_is_refused(document: bytes) -> None:
    with pytest.raises(Unreadable):
        decoded_keys(document)


def test_a_key_says_which_algorithm_it_is_for() -> None:
    published = Published({"keys": [jwk(RSA, "rsa", alg="RS256")]})
    assert isinstance(verify(token(), published=published), Claimed)
    assert isinstance(verify(token(algorithm="PS256"), published=published), Denied)
