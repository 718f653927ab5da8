"""The page of what comes across between protocols."""

from typing import Final

from engine.codecs.translation.features import COLUMNS, FEATURES
from engine.codecs.translation.names import LIMITS
from engine.codecs.translation.problems import STATUS

from .markdown import code, page, table

_INTRODUCTION: Final = """\
Any client reaches any backend. Where the backend speaks the client's protocol, nothing is translated: bytes go on as they
came. Where it does not, the request is translated, and the answer is translated back, streaming or not. Which of the two
happens is decided for each attempt, so that a route may fail over from one provider to another in mid-conversation."""

_RULES: Final = """\
## Rules

Rules see the client's side of it. A request is judged before it is translated, an answer after it was translated back:
tools have the names that the client gave them, calls have the ids that the client gets. So one rule gives one verdict,
whatever backend answers. `steer`, redaction and hidden turns work the same; usage is counted as each protocol counts."""

_LOSSES: Final = """\
## What does not come across

What a protocol has no words for has one of four fates:"""

_FATES: Final = (
    ("carried", "it comes across"),
    ("approximated", "it comes across in the nearest form, as the last column says"),
    (
        "dropped",
        "it stays behind: the response has the header `x-lexgate-dropped`, which names the fields, and the log a line "
        "`request translated with losses`. Where a stream waited longer than `stream.commit_after` for its backend, its "
        "headers were gone already, and the log alone says it",
    ),
    (
        "refused",
        "nothing is sent, and the next leg of the route is tried; where there is none, the request is answered with 400 and "
        "the code `not_translatable`, in the client's protocol, with the field and the backend in the message",
    ),
)

_COLUMNS: Final = "A column is the protocol in which the backend is asked."

_BACK: Final = """\
## On the way back

- Why an answer ended is said in the client's words; a reason that only one provider has becomes the end of a normal answer.
- What the model thought is shown: as `reasoning_content` in Chat Completions, as a `thinking` block in Messages. Such a block
  carries the signature `lexgate-altered`; when the client re-sends it, it is taken out, because no provider would take it.
- What a provider signed goes back to it within one exchange, when a call was steered, and with the hidden turn later on. A
  client of another protocol cannot hold it. Where Anthropic thinks with a budget, and the newest results answer calls whose
  thinking is gone, it is asked without thinking, which it would refuse.
- Calls are told one after the other, also where a server says a little of each in turn.
- Citations and annotations stay behind.
- A call without arguments has the arguments `{}`. A call without an id, or with one that was given before, gets one of its
  own.
- Errors have the client's shape. The provider's headers stay behind, but `retry-after`."""

_NAMES: Final = """\
## Names and ids

A name of a tool that the provider refuses is sent as what is left of it and a mark of eight characters, and turned back in
calls. An id of a call that the provider refuses is replaced by one that is made of it. Both are functions of the name or id
alone, so that they are the same on every turn and every replica, and for every provider after a failover."""


def translation_page() -> str:
    columns = [protocol.value for protocol in COLUMNS]
    rows = [
        [feature.what, *(feature.fate(protocol).value for protocol in COLUMNS), feature.says] for feature in FEATURES
    ]
    limits = [
        [
            protocol.value,
            code(LIMITS[protocol].name.pattern),
            str(LIMITS[protocol].name_length),
            str(LIMITS[protocol].id_length),
        ]
        for protocol in COLUMNS
    ]
    statuses = [
        [protocol.value, ", ".join(f"{was} becomes {now}" for was, now in STATUS[protocol].items())]
        for protocol in COLUMNS
    ]
    return page(
        "Translation between protocols",
        _INTRODUCTION,
        _RULES,
        _LOSSES,
        table(["fate", "what happens"], _FATES),
        _COLUMNS,
        table(["what", *columns, "how"], rows),
        _NAMES,
        table(["protocol", "characters of a name", "length of a name", "length of an id"], limits),
        _BACK,
        "The status of an error is the provider's, but for those that the client's protocol has no class for:",
        table(["client", "status"], statuses),
    )
