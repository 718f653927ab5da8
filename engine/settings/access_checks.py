"""What contradicts itself in who may come in: keys without a place to live, issuers without keys, addresses that are none."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from engine.settings.judge import Steps
from engine.settings.model import Settings

_BUILT_IN = frozenset(("admin", "operator", "auditor"))

Finding = tuple[Steps, str, str]


def team_has_a_key_store(settings: Settings) -> Iterator[Finding]:
    if settings.server.mode == "team" and settings.state.reveal().startswith("memory:"):
        message = "team mode keeps keys in its store, and memory:// forgets them"
        yield ("state",), message, "set state: sqlite:///… (one host), postgresql://… or redis://…"


def issuers_have_keys(settings: Settings) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, issuer in settings.access.issuers.items():
        place = ("access", "issuers", name)
        if bool(issuer.jwks_url) == bool(issuer.jwks_file):
            message = f"the issuer '{name}' needs one place with its public keys"
            yield place, message, "jwks_url: https://… or jwks_file: path"
        elif issuer.jwks_url and not _is_safe(issuer.jwks_url):
            message = "keys are believed only as they come over https, or from this machine"
            yield (*place, "jwks_url"), message, "jwks_url: https://host/path"
        for setting in ("audience", "algorithms"):
            if not getattr(issuer, setting):
                message = f"without {setting} no token of '{name}' could be believed"
                yield (*place, setting), message, "name at least one"
        if (other := seen.setdefault(issuer.issuer, name)) != name:
            yield (*place, "issuer"), f"'{name}' and '{other}' are the same issuer", "join them into one"
        if "/" in name:
            yield place, f"the name '{name}' holds a slash", "callers are named token:NAME/…"


def scopes_name_networks(settings: Settings) -> Iterator[Finding]:
    for section, scopes in (("teams", settings.teams), ("roles", settings.roles)):
        for name, reach in scopes.items():
            for index, address in enumerate(reach.addresses or ()):
                try:
                    ipaddress.ip_network(address, strict=False)
                except ValueError:
                    place = (section, name, "addresses", index)
                    yield place, f"'{address}' is not a network", "an address, or a network such as 10.0.0.0/8"


def roles_are_not_built_in(settings: Settings) -> Iterator[Finding]:
    for name in settings.roles.keys() & _BUILT_IN:
        message = f"the role '{name}' is built in: it looks after the endpoint, and asks no models"
        yield ("roles", name), message, "choose another name"


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        local = host == "localhost" or _is_loopback(host)
    except ValueError:
        return False
    return bool(host) and parts.username is None and (parts.scheme == "https" or (parts.scheme == "http" and local))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


ACCESS_CHECKS = (team_has_a_key_store, issuers_have_keys, scopes_name_networks, roles_are_not_built_in)
