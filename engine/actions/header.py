"""Add a header to the upstream request or to the client's response."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from engine.model.effects import Effect, SetHeader
from engine.model.phases import Phase

from .params import Params, Text
from .registry import ActionError, Kind, Moment, action

FORBIDDEN: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "host", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade", "proxy-authenticate", "proxy-authorization"),
        *("authorization", "cookie", "set-cookie", "api-key", "x-api-key", "x-goog-api-key", "x-auth-token"),
    }
)
"""Headers of the connection and of credentials: no rule writes them."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$", description="The header's name.")]


_UNSENDABLE: Final = "a header's value holds a control character, or one that is not ASCII"


def _can_be_sent(value: str) -> bool:
    """RFC 9110 5.5: visible ASCII and blanks; what is beyond ASCII has no meaning that both sides agree on."""
    return all(32 <= ord(character) < 127 for character in value)


class HeaderParams(Params, frozen=True, kw_only=True):
    name: Name
    value: Annotated[Text, Meta(description="Its value; ASCII; a control character in it is an error.")]
    to: Annotated[Literal["upstream", "client"], Meta(description="Who is sent the header.")] = "upstream"

    def __post_init__(self) -> None:
        if self.name.lower() in FORBIDDEN:
            raise ValueError(f"the header '{self.name}' is the proxy's own")
        if self.value.constant is not None and not _can_be_sent(self.value.constant):
            raise ValueError(_UNSENDABLE)


@action(Phase.REQUEST, Phase.ATTEMPT, kind=Kind.TRANSFORM)
def header(params: HeaderParams, moment: Moment) -> Iterator[Effect]:
    """Set a header of the upstream request, or of the response to the client.

    Example: `header: {name: x-title, value: "{{ caller.team }}"}`.
    """
    value = params.value(moment.event, moment.env)
    if not _can_be_sent(value):
        raise ActionError(_UNSENDABLE)
    yield SetHeader(params.name.lower(), value, params.to)
