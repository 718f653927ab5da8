"""What can be wrong with a backend: its place, its name, its keys, and whose they are."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from engine.settings.judge import Steps
from engine.settings.model import CLIENT, Backend, Settings
from engine.settings.presets import presets

Finding = tuple[Steps, str, str]
"""Where it is, what is wrong, and what helps."""

_KEY: Final = re.compile(r"[!-~]+")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def backends_have_urls(settings: Settings) -> Iterator[Finding]:
    for name, backend in settings.backends.items():
        place = ("backends", name, "base_url")
        if backend.protocol == "sandbox":
            if backend.base_url:
                yield place, f"the sandbox backend '{name}' is built in and has no URL", "remove base_url"
        elif not _is_http(backend):
            preset = presets().get(backend.preset)
            help = f"base_url: {(preset and preset.place) or 'https://host/path'}"
            yield place, f"backend '{name}' needs an http:// or https:// URL", help
        if ":" in name or "|" in name or "@" in name:
            yield ("backends", name), f"the name '{name}' cannot be used in a route", "use letters, digits, - and _"


def keys_can_be_sent(settings: Settings) -> Iterator[Finding]:
    """A key that is empty or holds a line break would be answered 401, or refused as a header, at every request."""
    for name, backend in settings.backends.items():
        keys = [key.reveal() for key in backend.api_key]
        for at, key in enumerate(keys):
            if not _KEY.fullmatch(key):
                what = "is empty" if not key.strip() else "holds a space, a line break or a character beyond ASCII"
                help = "set the variable or the file that it comes from"
                yield ("backends", name, "api_key", at), f"a key of the backend '{name}' {what}", help
        if CLIENT in keys and len(keys) > 1:
            message = f"the backend '{name}' has both keys of its own and the caller's"
            yield ("backends", name, "api_key"), message, "configure it twice, under two names"
        if backend.key_header and not _HEADER.fullmatch(backend.key_header):
            yield ("backends", name, "key_header"), f"'{backend.key_header}' is no name of a header", ""


def presets_have_their_keys(settings: Settings) -> Iterator[Finding]:
    """A provider's own place refuses whoever has no key; another place of the same preset may need none."""
    for name, backend in settings.backends.items():
        preset = presets().get(backend.preset)
        if preset is None or not preset.key or backend.api_key or "authorization" in map(str.lower, backend.headers):
            continue
        if preset.place or backend.base_url == preset.settings.get("base_url"):
            message = f"the backend '{name}' has no key, and {preset.title} needs one"
            help = f'api_key: "${{{preset.key}}}", or api_key: client to forward every caller\'s own'
            yield ("backends", name), message, help


def client_keys_are_the_callers(settings: Settings) -> Iterator[Finding]:
    """In team mode callers come with a key of ours; that a provider's login comes with it must be meant."""
    for name, backend in settings.backends.items():
        if not backend.forwards_client_key:
            continue
        place = ("backends", name, "api_key")
        if settings.server.mode == "team" and not backend.forward_client_key:
            message = f"in team mode the backend '{name}' would get the callers' own logins"
            yield place, message, "forward_client_key: true, where that is meant; else a key of the team's"
        if backend.discover:
            message = f"the backend '{name}' has no key of its own to ask for its models with"
            yield ("backends", name, "discover"), message, "discover: false, and name its models"


BACKEND_CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    backends_have_urls,
    keys_can_be_sent,
    presets_have_their_keys,
    client_keys_are_the_callers,
)


def _is_http(backend: Backend) -> bool:
    try:
        parts = urlsplit(backend.base_url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
