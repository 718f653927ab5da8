"""Secrets out of texts: what the configuration holds, and what looks like a credential wherever it comes from. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
import re2

from engine.settings.values import Secret, SecretUrl

MASK: Final = "[secret]"
SHORTEST: Final = 6  # characters of a configured secret that is looked for; a shorter one would stand in ordinary words

_HEADERS: Final = r"(?:proxy-)?authorization|(?:set-)?cookie"
_KEYS: Final = (
    r"x-api-key|x-goog-api-key|api[_-]?key|passw(?:or)?d|(?:client|app)[_-]?secret|"
    r"(?:access|refresh|id|session|auth|security)[_-]?token"
)
_PARAMETERS: Final = rf"key|token|sig|signature|secret|code|x-amz-(?:signature|credential|security-token)|{_KEYS}"
_QUOTED: Final = r"b?\\?\"[^\"\r\n]*\"?|b?\\?'[^'\r\n]*'?"

_LOOKS: Final = tuple(
    # A pattern, and what is left of a match.
    (re2.compile(pattern), left)
    for pattern, left in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", MASK),
        # `Authorization: Digest a="b", c="d"` has no end but the line's; `{'x-api-key': 'x'}` and `(b'cookie', b'x')` have.
        (rf"(?i)((?:\b|_)(?:{_HEADERS}))(\\?[\"']?\s*[:=]\s*)(?:{_QUOTED}|[^\s\"'][^\r\n]*)", rf"\1\2{MASK}"),
        (rf"(?i)((?:\b|_)(?:{_KEYS}))(\\?[\"']?\s*[:=]\s*)(?:{_QUOTED}|[^\s\"'&,;)}}\]]+)", rf"\1\2{MASK}"),
        (rf"(?i)((?:\b|_)(?:{_HEADERS}|{_KEYS}))(\\?[\"'],\s*)(?:{_QUOTED})", rf"\1\2{MASK}"),
        (rf"(?i)([?&;](?:{_PARAMETERS})=)[^&;\s\"'<>#]+", rf"\1{MASK}"),
        (r"(?i)(\bkey=)[^&;\s\"'<>#,]+", rf"\1{MASK}"),
        (r"(://[^/\s:@\"']*:)[^/\s@\"']+(@)", rf"\1{MASK}\2"),
        (r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{4,}", rf"\1{MASK}"),
        (r"(\b[Bb]asic\s+)[A-Za-z]*[0-9+/=][A-Za-z0-9+/=]{5,}", rf"\1{MASK}"),
        (r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){0,3}", MASK),
        (r"(\b|_)(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}", rf"\1{MASK}"),
        (r"(\b|_)(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{12,}", rf"\1{MASK}"),
        (r"(?i)(aws_?secret_?(?:access_?)?key[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9/+=]{8,}", rf"\1{MASK}"),
        (r"AIza[0-9A-Za-z_-]{30,}", MASK),
        (r"(\b|_)gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}", rf"\1{MASK}"),
        (r"(lxg_[0-9A-Za-z]{12}_)[0-9A-Za-z]{8,}", rf"\1{MASK}"),  # a key of ours: its public id stays
        (r"(\b|_)xox[abeprs]-[A-Za-z0-9-]{8,}", rf"\1{MASK}"),
    )
)

_SECRET_NAME: Final = re2.compile(rf"(?i)(?:.*[_-])?(?:{_HEADERS}|{_KEYS}|secret|token|credentials?|private[_-]?key)")
_NAME_IN_TEXT: Final = r"(?i:(?:key|token|secret|cookie|credentials?|password|passwd|authorization)\b)"


class Redactor:
    """Masks known secrets and whatever looks like one. `suspicious` is one pass over a text, far cheaper than `text`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({form for secret in secrets for form in _forms(secret)}, key=lambda form: (-len(form), form))
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = (
            32 << 20
        )  # the automaton of many secrets grows beyond RE2's default, and would be slow without
        together = "|".join(map(re2.escape, known))
        self.longest: Final = max(map(len, known), default=0)
        """Characters of the longest known secret."""
        self._known = re2.compile(together, options) if known else None
        every = [*filter(None, [together]), *(f"(?:{pattern.pattern})" for pattern, _ in _LOOKS), _NAME_IN_TEXT]
        self._any = re2.compile("|".join(every), options)

    def suspicious(self, text: str) -> bool:
        """Whether there is anything that `text` would change, or a name that `hides` says yes to. Never wrongly False."""
        return self._any.search(text) is not None

    def text(self, text: str) -> str:
        """The text with every secret in it masked. It must be encodable as UTF-8."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, left in _LOOKS:
            text = pattern.sub(left, text)
        return text

    @staticmethod
    def hides(name: str) -> bool:
        """Whether a member or header of this name is a secret whatever its value looks like."""
        return _SECRET_NAME.fullmatch(name) is not None


def known_secrets(settings: Any) -> Iterator[str]:
    """Every secret that a configuration (or a part of it) holds. Words that only look like one are not among them."""
    match settings:
        case SecretUrl():
            url = settings.reveal()
            try:
                parts = urlsplit(url)
                passwords = [parts.password, *[value for name, value in parse_qsl(parts.query) if "password" in name]]
            except ValueError:
                passwords = [url]
            for password in filter(None, passwords):
                yield from (password, unquote(password), url)
        case Secret():
            if settings.reveal() != "client":  # not a key, but the word for the caller's own
                yield settings.reveal()
        case msgspec.Struct():
            for name in settings.__struct_fields__:
                yield from known_secrets(getattr(settings, name))
        case Mapping():
            for value in settings.values():
                yield from known_secrets(value)
        case list() | tuple():
            for value in settings:
                yield from known_secrets(value)
        case _:
            return


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written where it slipped out: as it is, in JSON, in Python's way, in a URL."""
    secret = secret.strip()
    if len(secret) < SHORTEST:
        return
    yield secret
    yield msgspec.json.encode(secret).decode()[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    for line in secret.splitlines():  # a key file of several lines may be shown line by line
        if len(line) >= 2 * SHORTEST:
            yield line
