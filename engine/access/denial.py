"""Why somebody does not come in: one value for every refusal of the door, which each protocol says in its own shape."""

from typing import Final

import msgspec

from engine.diagnostics import LexgateError


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal. `kind` is the family in OpenAI's terms; `challenge` is the error that `WWW-Authenticate` names (RFC 6750),
    None where another credential would not help. `reason` is for our own log and tells a stranger nothing."""

    status: int
    message: str
    code: str
    kind: str
    param: str | None = None
    retry_after: float | None = None
    challenge: str | None = None
    reason: str = ""


class OutOfScope(LexgateError):
    """The caller may not use what it asked for."""

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.message)
        self.denied = denied


def unauthenticated(message: str, code: str, *, challenge: str = "invalid_token", reason: str = "") -> Denied:
    return Denied(
        status=401, message=message, code=code, kind="authentication_error", challenge=challenge, reason=reason or code
    )


def forbidden(message: str, code: str, param: str | None = None) -> Denied:
    return Denied(status=403, message=message, code=code, kind="permission_error", param=param, reason=code)


NO_CREDENTIAL: Final = unauthenticated(
    "A key is needed here: send it as `Authorization: Bearer lxg_...`, or as your client sends its API key.",
    "missing_api_key",
    challenge="",
)
AMBIGUOUS: Final = Denied(
    status=400,
    message="The request carries several credentials, and it is not clear which of them counts; send one.",
    code="ambiguous_credentials",
    kind="invalid_request_error",
    reason="ambiguous_credentials",
)
WRONG_KEY: Final = unauthenticated("The key is not valid here.", "invalid_api_key")
EXPIRED: Final = unauthenticated("The key has expired; ask your operator for a new one.", "expired_api_key")
EXPIRED_TOKEN: Final = unauthenticated("The token has expired; log in again.", "expired_token")
REVOKED: Final = unauthenticated("The key was revoked; ask your operator for a new one.", "revoked_api_key")
STORE_DOWN: Final = Denied(
    status=503,
    message="The proxy cannot check keys at the moment.",
    code="store_down",
    kind="server_error",
    retry_after=1.0,
    reason="store_down",
)
ADMIN_KEY: Final = forbidden(
    "An admin key is not for asking models; create a key of a team for that: policy keys create --team ...",
    "admin_key_refused",
)
NOT_ADMIN: Final = forbidden("This page is for keys with the role admin, operator or auditor.", "admin_key_needed")


def too_many_failures(wait: float) -> Denied:
    return Denied(
        status=429,
        message="Too many wrong keys came from your address; wait before you try another.",
        code="too_many_wrong_keys",
        kind="rate_limit_error",
        retry_after=wait,
        reason="too_many_wrong_keys",
    )
